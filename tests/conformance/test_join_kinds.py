"""Lefts, parts and labels of different kinds beside one another: DESIGN sections 2 and 3."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    Contextual,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
)

from .adapters import Adapter
from .instants import at
from .oracle import Result
from .questions import NOON
from .tables import BackfillCase, Functions, Table, table

JAN = "2024-01-01"
STOCK = table(
    "item STRING, shelf BIGINT, moved TIMESTAMP, ds STRING",
    ("pen", 1, JAN, "2024-03-03"),
    ("ink", 2, JAN, "2024-03-03"),
    ("pen", 3, "2024-03-04 10:00", "2024-03-04"),
    ("pen", 9, None, "2024-03-05"),
)
STOCK_LOG = table(
    "item STRING, shelf BIGINT, moved TIMESTAMP, changed TIMESTAMP, before BOOLEAN",
    ("pen", 3, "2024-03-04 10:00", "2024-03-05 10:00", True),
    ("pen", 4, "2024-03-05 10:00", "2024-03-05 10:00", False),
)
SALES = table(
    "item STRING, amount BIGINT, t TIMESTAMP",
    ("pen", 1, "2024-03-03 23:59:59.999999"),
    ("pen", 2, "2024-03-04"),
    ("pen", 4, "2024-03-05 11:00"),
    ("ink", 8, "2024-03-05 13:00"),
    ("pen", 16, "2024-03-06 11:00"),
)
TABLES = {"stock": STOCK, "stock_log": STOCK_LOG, "sales": SALES}
SALES_SOURCE = EventSource("sales", query=Query(select={"item": "item", "amount": "amount"}, time="t"))
CHANGING = {"mutation_time": "changed", "is_before": "before"}


def sold(*windows: str | None, name: str = "sold", keys: tuple[str, ...] = ("item",), **fields: Any) -> GroupBy:
    aggregations = [Aggregation("amount", Operation.SUM, windows=list(windows or (None,)))]
    return GroupBy(keys=keys, sources=[SALES_SOURCE], aggregations=aggregations, name=name, **fields)


def shelves(**query: Any) -> GroupBy:
    """Where an item stands."""
    select = {"item": "item", "shelf": "shelf"}
    source = EntitySource("stock", mutations="stock_log", query=Query(select=select, time="moved", **CHANGING, **query))
    return GroupBy(keys=["item"], sources=[source], name="place")


def left(**query: Any) -> EventSource:
    return EventSource("left", query=Query(**{"select": {"id": "id", "item": "item"}, "time": "asked", **query}))


def asked(*rows: tuple[Any, ...]) -> Table:
    return table("id BIGINT, item STRING, asked TIMESTAMP", *((number, *row) for number, row in enumerate(rows)))


def run(adapter: Adapter, join: Join, functions: Functions | None = None, **fields: Any) -> Result:
    tables = {**TABLES, **fields.pop("tables", {})}
    return adapter.run(BackfillCase(join, tables, functions=functions or {}, **fields))


def rows(result: Result) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in result.columns) for row in result.rows]


# Entities as left


def test_an_entity_as_left_gives_its_snapshot_rows_at_the_end_of_their_days(adapter: Adapter) -> None:
    entity = EntitySource("stock", query=Query(select={"item": "item", "shelf": "shelf"}, time="moved"))
    result = run(adapter, Join(left=entity, parts=[JoinPart(sold("1d", None))], name="daily"))
    assert result.columns == ("item", "shelf", "ts", "sold_amount_sum_1d", "sold_amount_sum")
    assert rows(result) == [
        ("pen", 1, at("2024-03-04"), 1, 1),
        ("ink", 2, at("2024-03-04"), None, None),
        ("pen", 3, at("2024-03-05"), 2, 3),
        ("pen", 9, at("2024-03-06"), 4, 7),
    ]


def test_changes_of_an_entity_as_left_give_no_rows(adapter: Adapter) -> None:
    query = Query(select={"shelf": "shelf"}, time="moved", **CHANGING)
    entity = EntitySource("stock", mutations="stock_log", query=query)
    assert [row[0] for row in rows(run(adapter, Join(left=entity, parts=[], name="daily")))] == [1, 2, 3, 9]


def test_an_entity_as_left_has_its_bounds_and_conditions(adapter: Adapter) -> None:
    functions: Functions = {"shelf <> 2": lambda row: row["shelf"] != 2}
    query = Query(select={"shelf": "shelf"}, where=["shelf <> 2"], end="2024-03-04")
    result = run(adapter, Join(left=EntitySource("stock", query=query), parts=[], name="daily"), functions)
    assert rows(result) == [(1, at("2024-03-04")), (3, at("2024-03-05"))]


def test_a_state_asked_about_at_the_end_of_its_own_day_is_that_days(adapter: Adapter) -> None:
    # The query is midnight after the day: the day's snapshot has ended, and no change after it is seen.
    entity = EntitySource("stock", query=Query(select={"item": "item"}))
    result = run(adapter, Join(left=entity, parts=[JoinPart(shelves())], name="daily"))
    assert [row[-1] for row in rows(result)] == [1, 2, 3, None]


def test_labels_of_an_entity_as_left_start_at_the_end_of_its_day(adapter: Adapter) -> None:
    entity = EntitySource("stock", query=Query(select={"item": "item"}))
    join = Join(left=entity, parts=[], labels=LabelPart([JoinPart(sold("1d"))], offset="1d"), name="daily")
    assert rows(run(adapter, join)) == [
        ("pen", at("2024-03-04"), 2),
        ("ink", at("2024-03-04"), None),
        ("pen", at("2024-03-05"), 4),
    ]
    assert len(run(adapter, join, as_of="2024-03-07").rows) == 4


def test_a_chain_over_an_entity_as_left(adapter: Adapter) -> None:
    entity = EntitySource("stock", query=Query(select={"item": "item"}))
    daily = Join(left=entity, parts=[JoinPart(sold("1d"))], name="daily")
    best = GroupBy(
        keys=["item"],
        sources=[JoinSource(daily, query=Query(select={"item": "item", "day": "sold_amount_sum_1d"}))],
        aggregations=[Aggregation("day", Operation.TOP_K, k=9)],
        name="best",
    )
    tables = {"left": asked(("pen", "2024-03-05"), ("pen", "2024-03-05 00:00:00.000001"), ("pen", "2024-03-07"))}
    result = run(adapter, Join(left=left(), parts=[JoinPart(best)], name="j"), tables=tables)
    assert [row[-1] for row in rows(result)] == [[1], [2, 1], [4, 2, 1]]


# No keys


def test_a_group_by_without_keys_is_of_everything_whatever_the_left_row(adapter: Adapter) -> None:
    tables = {"left": asked(("pen", NOON), (None, NOON), ("pen", None), ("nail", "2024-03-07"))}
    join = Join(left=left(), parts=[JoinPart(sold(keys=(), name="all")), JoinPart(sold())], name="j")
    result = run(adapter, join, tables=tables)
    assert [row[-2:] for row in rows(result)] == [(7, 7), (7, None), (None, None), (31, None)]


def test_a_label_without_keys(adapter: Adapter) -> None:
    label = LabelPart([JoinPart(sold("1d", name="all", keys=()))], offset="1d")
    join = Join(left=left(), parts=[], labels=label, name="j")
    result = run(adapter, join, tables={"left": asked(("pen", "2024-03-05 11:00"), (None, "2024-03-05 10:30"))})
    assert [row[-1] for row in rows(result)] == [12, 12]


# Several labels


def labelled(labels: list[JoinPart], offset: str = "1d", **fields: Any) -> Join:
    return Join(**{"left": left(), "parts": [], "labels": LabelPart(labels, offset=offset), "name": "j", **fields})


def test_labels_of_events_and_of_states_stand_in_their_order(adapter: Adapter) -> None:
    join = labelled([JoinPart(shelves()), JoinPart(sold("12h", "1d")), JoinPart(sold("1d", name="all", keys=()))])
    tables = {"left": asked(("pen", "2024-03-04 10:30"), ("ink", "2024-03-04 13:30"), ("pen", "2024-03-04 11:00"))}
    result = run(adapter, join, tables=tables, as_of="2024-04-01")
    assert result.columns[3:] == (
        "label_place_shelf",
        "label_sold_amount_sum_12h",
        "label_sold_amount_sum_1d",
        "label_all_amount_sum_1d",
    )
    assert [row[3:] for row in rows(result)] == [(4, None, None, None), (None, 8, 8, 12), (4, None, None, None)]


@pytest.mark.parametrize("order", [1, -1])
def test_the_least_end_of_all_label_sources_decides_maturity(adapter: Adapter, order: int) -> None:
    # Sales end at 11:00 of March 6, the stock with the end of March 5: rows of noon of the 4th and midnight of the 5th.
    times = ("2024-03-04 12:00", "2024-03-05", "2024-03-05 00:00:00.000001", "2024-03-05 11:00")
    join = labelled([JoinPart(shelves()), JoinPart(sold("1d"))][::order])
    tables = {"left": asked(*(("pen", time) for time in times))}
    assert [row[0] for row in rows(run(adapter, join, tables=tables))] == [0, 1]
    later = {"stock_log": STOCK_LOG.with_rows([*STOCK_LOG.rows, {**STOCK_LOG.rows[0], "changed": at("2024-03-09")}])}
    assert [row[0] for row in rows(run(adapter, join, tables=tables | later))] == [0, 1, 2, 3]


def test_one_group_by_may_be_feature_and_label_of_states_at_once(adapter: Adapter) -> None:
    tables = {"left": asked(("pen", "2024-03-04 10:30"), ("pen", "2024-03-05 10:30"))}
    join = labelled([JoinPart(shelves())], parts=[JoinPart(shelves())])
    result = run(adapter, join, tables=tables, as_of="2024-04-01")
    assert [row[3:] for row in rows(result)] == [(1, 4), (4, None)]


# Everything at once

BUREAU = ExternalSource(
    keys={"item": "STRING"},
    values={"amount_sum": "DOUBLE"},
    handler="http://bureau",
    offline=sold(name="twin"),
    name="random.bureau",
)
EVERYTHING = "id + all_amount_sum + place_shelf + extra + bureau_amount_sum"
CHAINED = "total * 2"
FUNCTIONS: Functions = {
    EVERYTHING: lambda row: _total(row, "id", "all_amount_sum", "place_shelf", "extra", "bureau_amount_sum"),
    CHAINED: lambda row: None if row["total"] is None else row["total"] * 2,
    "EXTRACT(HOUR FROM ts)": lambda row: row["ts"].hour,
}


def _total(row: dict[str, Any], *columns: str) -> Any:
    values = [row[column] for column in columns]
    return None if None in values else sum(values)


def test_derivations_see_every_column_so_far_of_every_kind(adapter: Adapter) -> None:
    join = Join(
        left=left(),
        row_id=["id"],
        parts=[JoinPart(sold(keys=(), name="all")), JoinPart(shelves()), JoinPart(BUREAU)],
        contextual=Contextual({"extra": "BIGINT"}),
        bootstrap=[BootstrapPart("served", columns=["extra", "place_shelf"])],
        derivations=[
            Derivation("total", EVERYTHING),
            Derivation("double", CHAINED),
            Derivation("hour", "EXTRACT(HOUR FROM ts)"),
        ],
        labels=LabelPart([JoinPart(shelves())], offset="1d"),
        name="j",
    )
    tables = {
        "left": asked(("pen", NOON), ("pen", NOON), ("ink", NOON)),
        "served": table("id BIGINT, extra BIGINT, place_shelf BIGINT", (1, 100, 1000), (2, 100, None)),
    }
    result = run(adapter, join, FUNCTIONS, tables=tables, as_of="2024-04-01")
    assert result.columns == (
        "id",
        "item",
        "ts",
        "all_amount_sum",
        "place_shelf",
        "bureau_amount_sum",
        "extra",
        "total",
        "double",
        "hour",
        "label_place_shelf",
    )
    assert [row[3:] for row in rows(result)] == [
        (7, 4, 7.0, None, None, None, 12, None),
        (7, 1000, 7.0, 100, 1115.0, 2230.0, 12, None),
        (7, None, None, 100, None, None, 12, None),
    ]


def test_external_parts_stand_in_the_order_of_parts(adapter: Adapter) -> None:
    join = Join(left=left(), parts=[JoinPart(BUREAU, prefix="own"), JoinPart(sold())], name="j")
    result = run(adapter, join, tables={"left": asked(("pen", NOON))})
    assert result.columns[3:] == ("own_bureau_amount_sum", "sold_amount_sum")
    assert [row[3:] for row in rows(result)] == [(7.0, 7)]


def test_features_stand_in_the_order_in_which_they_are_taken(adapter: Adapter) -> None:
    part = JoinPart(sold("1d", "7d", None), features=["amount_sum", "amount_sum_1d"])
    result = run(adapter, Join(left=left(), parts=[part], name="j"), tables={"left": asked(("pen", NOON))})
    assert result.columns[3:] == ("sold_amount_sum", "sold_amount_sum_1d")
    assert [row[3:] for row in rows(result)] == [(7, 4)]


def test_a_lookup_shares_a_column_with_a_label_of_the_same_table(adapter: Adapter) -> None:
    # The label needs rows and columns that the lookup does not, and the other way round.
    moves = table(
        "item STRING, shelf BIGINT, note STRING, t TIMESTAMP",
        ("pen", 7, "a", "2024-03-06 10:00"),
        ("ink", 8, "b", "2024-03-02 10:00"),
        ("ink", 9, "c", "2024-03-06 11:00"),
    )
    select = {"item": "item", "shelf": "shelf", "note": "note"}
    latest = GroupBy(keys=["item"], sources=[EventSource("moves", query=Query(select=select, time="t"))], name="latest")
    lowest = GroupBy(
        keys=["item"],
        sources=[EventSource("moves", query=Query(select={"item": "item", "shelf": "shelf"}, time="t"))],
        aggregations=[Aggregation("shelf", Operation.MIN, windows=["2d"])],
        name="lowest",
    )
    tables = {"moves": moves, "left": asked(("ink", NOON), ("pen", NOON))}
    join = labelled([JoinPart(lowest)], offset="2d", parts=[JoinPart(latest)])
    result = run(adapter, join, tables=tables, as_of="2024-04-01")
    assert [row[3:] for row in rows(result)] == [(8, "b", 9), (None, None, 7)]
