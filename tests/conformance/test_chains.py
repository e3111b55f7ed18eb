"""The output of a join as the source of a group-by or as the left of a join: DESIGN section 3, `JoinSource`."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import (
    Aggregation,
    Derivation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
)
from zipline.errors import DefinitionError

from .adapters import Adapter, Arrow
from .instants import at
from .oracle import Result
from .questions import NOON, SNAPSHOT, queries
from .tables import AggregateCase, BackfillCase, Functions, Table, table

ORDERS = table(
    "id BIGINT, user STRING, item STRING, ordered TIMESTAMP",
    (1, "ann", "pen", "2024-03-04 10:00"),
    (2, "bob", "pen", "2024-03-05 10:00"),
    (3, "ann", "ink", NOON),
    (4, "ann", "pen", None),
)
PRICES = table(
    "item STRING, price BIGINT, t TIMESTAMP",
    ("pen", 1, "2024-03-01"),
    ("ink", 2, "2024-03-01"),
    ("pen", 5, "2024-03-04 12:00"),
    ("ink", 9, NOON),
)
prices = GroupBy(
    keys=["item"],
    sources=[EventSource("prices", query=Query(select={"item": "item", "price": "price"}, time="t"))],
    aggregations=[Aggregation("price", Operation.LAST, windows=[None])],
    name="prices",
)
PRICE = "prices_price_last"
TWICE = f"{PRICE} * 2"
priced = Join(
    left=EventSource("orders", query=Query(select={"id": "id", "user": "user", "item": "item"}, time="ordered")),
    parts=[JoinPart(prices)],
    derivations=[Derivation("twice", TWICE)],
    name="priced",
)
"""Orders with their prices: 1 pays 1, 2 pays 5, 3 pays 2, and 4 was ordered at no time."""
TABLES = {"orders": ORDERS, "prices": PRICES}
FUNCTIONS: Functions = {
    TWICE: lambda row: None if row[PRICE] is None else row[PRICE] * 2,
    "ts + INTERVAL '1' DAY": lambda row: (
        None if row["ts"] is None else row["ts"] + (at("2024-01-02") - at("2024-01-01"))
    ),
    "twice > 2": lambda row: None if row["twice"] is None else row["twice"] > 2,
    "spent_paid_sum + 1": lambda row: None if row["spent_paid_sum"] is None else row["spent_paid_sum"] + 1,
}
SPENT = {"user": "user", "paid": PRICE}


def spent(*aggregations: Aggregation, query: dict[str, Any] | None = None, **fields: Any) -> GroupBy:
    """What users paid, from the orders with their prices."""
    given = {
        "keys": ["user"],
        "sources": [JoinSource(priced, query=Query(**{"select": SPENT, **(query or {})}))],
        "aggregations": aggregations or [Aggregation("paid", Operation.SUM)],
        "name": "spent",
    }
    return GroupBy(**{**given, **fields})


def ask(adapter: Adapter, group_by: GroupBy, *times: str | None, user: str | None = "ann") -> list[Any]:
    """The first feature of one user, at each time."""
    case = AggregateCase(group_by, queries(*times, user=user), TABLES, FUNCTIONS)
    result = adapter.run(case)
    return [row[result.columns[2]] for row in result.rows]


def rows(result: Result, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in result.rows]


# As a source


def test_features_of_the_parent_are_inputs_at_its_query_times(adapter: Adapter) -> None:
    # The parent's row at exactly q is not seen; one a microsecond earlier is.
    times = ("2024-03-04 10:00", "2024-03-04 10:00:00.000001", NOON, "2024-03-05 12:00:00.000001", None)
    assert ask(adapter, spent(), *times) == [None, 1, 1, 3, None]


def test_the_parent_keeps_what_it_saw_at_its_own_times(adapter: Adapter) -> None:
    # Order 1 paid 1, though a pen costs 5 by the time of the query; order 3 does not see the 9 of its own time.
    assert ask(adapter, spent(), "2024-04-01") == [3]
    assert ask(adapter, spent(), "2024-04-01", user="bob") == [5]


def test_derivations_and_left_columns_of_the_parent_are_inputs_too(adapter: Adapter) -> None:
    select = {"user": "user", "twice": "twice", "id": "id", "item": "item"}
    aggregations = [
        Aggregation("twice", Operation.SUM),
        Aggregation("id", Operation.LAST_K, k=5),
        Aggregation("twice", Operation.MAX, buckets=["item"]),
    ]
    group_by = spent(*aggregations, query={"select": select})
    result = adapter.run(AggregateCase(group_by, queries("2024-04-01"), TABLES, FUNCTIONS))
    assert tuple(result.rows[0].values())[2:] == (6, [3, 1], {"pen": 2, "ink": 4})


def test_windows_are_over_the_parents_query_times(adapter: Adapter) -> None:
    sums = [Aggregation("paid", Operation.SUM, windows=["1d", "2d"])]
    assert ask(adapter, spent(*sums), "2024-03-05 10:05", "2024-03-05 11:00") == [1, None]
    snapshots = [Aggregation("paid", Operation.SUM, windows=["1d"])]
    assert ask(adapter, spent(*snapshots, accuracy=SNAPSHOT), NOON, "2024-03-06") == [1, 2]


def test_the_query_may_say_another_time_and_a_second_clock(adapter: Adapter) -> None:
    later = spent(query={"time": "ts + INTERVAL '1' DAY"})
    assert ask(adapter, later, "2024-03-05 10:00", "2024-03-05 10:00:00.000001", "2024-04-01") == [None, 1, 3]
    known = spent(query={"time": "ts", "known_at": "ts + INTERVAL '1' DAY"})
    assert ask(adapter, known, "2024-03-05 10:00", "2024-03-05 10:00:00.000001", "2024-04-01") == [None, 1, 3]


def test_the_query_may_filter_by_the_parents_columns(adapter: Adapter) -> None:
    assert ask(adapter, spent(query={"where": ["twice > 2"]}), "2024-04-01") == [2]


def test_bounds_are_days_of_the_parents_output(adapter: Adapter) -> None:
    # The day of a row of a join is the partition of its left row, or else the day of its query time.
    for bounds, expected in (({"start": "2024-03-05"}, 2), ({"end": "2024-03-04"}, 1), ({"start": "2024-03-06"}, None)):
        assert ask(adapter, spent(query=bounds), "2024-04-01") == [expected]
    days = ("2024-03-06", "2024-03-06", "2024-03-04", "2024-03-05")
    stored = [row | {"ds": day} for row, day in zip(ORDERS.rows, days, strict=True)]
    tables = {**TABLES, "orders": Table({**ORDERS.schema, "ds": "STRING"}, tuple(stored))}
    for bounds, expected in (({"start": "2024-03-05"}, 1), ({"end": "2024-03-04"}, 2), ({"start": "2024-03-06"}, 1)):
        case = AggregateCase(spent(query=bounds), queries("2024-04-01"), tables, FUNCTIONS)
        assert adapter.run(case).rows[0]["paid_sum"] == expected
    left = JoinSource(priced, query=Query(select={"id": "id"}, start="2024-03-05"))
    join = Join(left=left, parts=[], name="j")
    assert rows(adapter.run(BackfillCase(join, TABLES, functions=FUNCTIONS)), "id") == [(2,), (3,)]
    assert rows(adapter.run(BackfillCase(join, tables, functions=FUNCTIONS)), "id") == [(1,), (2,), (4,)]


def test_a_lookup_over_a_join_is_its_latest_row(adapter: Adapter) -> None:
    select = {"user": "user", "item": "item", "paid": PRICE}
    group_by = GroupBy(keys=["user"], sources=[JoinSource(priced, query=Query(select=select))], name="last_order")
    result = adapter.run(AggregateCase(group_by, queries(NOON, "2024-04-01"), TABLES, FUNCTIONS))
    assert rows(result, "item", "paid") == [("pen", 1), ("ink", 2)]


def test_a_join_and_a_table_may_be_sources_of_one_group_by(adapter: Adapter) -> None:
    table_source = EventSource("gifts", query=Query(select={"user": "user", "paid": "paid"}, time="t"))
    gifts = table("user STRING, paid BIGINT, t TIMESTAMP", ("ann", 100, "2024-03-04 11:00"), ("ann", 1000, NOON))
    both = spent(sources=[*spent().sources, table_source])
    result = adapter.run(AggregateCase(both, queries(NOON), {**TABLES, "gifts": gifts}, FUNCTIONS))
    assert result.rows[0]["paid_sum"] == 101


def test_repeated_rows_of_the_parent_count_as_often(adapter: Adapter) -> None:
    twice = {**TABLES, "orders": ORDERS.with_rows(ORDERS.rows * 2)}
    result = adapter.run(AggregateCase(spent(), queries("2024-04-01"), twice, FUNCTIONS))
    assert result.rows[0]["paid_sum"] == 6


def test_an_empty_parent_gives_empty_windows(adapter: Adapter) -> None:
    empty = {**TABLES, "orders": ORDERS.with_rows([])}
    result = adapter.run(AggregateCase(spent(), queries(NOON), empty, FUNCTIONS))
    assert result.rows[0]["paid_sum"] is None


# Labels stay behind

OUTCOME = GroupBy(
    keys=["user"],
    sources=[EventSource("orders", query=Query(select={"user": "user", "id": "id"}, time="ordered"))],
    aggregations=[Aggregation("id", Operation.COUNT, windows=["1d"])],
    name="outcome",
)
labelled = Join(
    left=priced.left, parts=priced.parts, labels=LabelPart([JoinPart(OUTCOME)], offset="30d"), name="labelled"
)


def test_rows_of_a_labelled_parent_do_not_wait_for_its_labels(adapter: Adapter) -> None:
    # No row's label is mature by then; for scoring all are there.
    source = JoinSource(labelled, query=Query(select=SPENT))
    assert ask(adapter, spent(sources=[source]), "2024-04-01") == [3]


def test_labels_of_the_parent_cannot_be_inputs(engine: Arrow) -> None:
    source = JoinSource(labelled, query=Query(select={"user": "user", "paid": "label_outcome_id_count_1d"}))
    with pytest.raises(DefinitionError, match="label_outcome_id_count_1d"):
        ask(engine, spent(sources=[source]), NOON)


def test_a_label_may_be_of_a_join(adapter: Adapter) -> None:
    left = EventSource("left", query=Query(select={"user": "user"}, time="asked"))
    label = spent(Aggregation("paid", Operation.SUM, windows=["1d"]))
    join = Join(left=left, parts=[], labels=LabelPart([JoinPart(label)], offset="1d"), name="j")
    asked = table(
        "user STRING, asked TIMESTAMP",
        ("ann", "2024-03-04 09:00"),
        ("ann", "2024-03-04 10:00"),
        ("bob", "2024-03-04 12:00"),
        ("ann", "2024-03-04 12:00:00.000001"),
    )
    # Label data end with the newest order, at noon of March 5: the last row is immature.
    result = adapter.run(BackfillCase(join, {**TABLES, "left": asked}, functions=FUNCTIONS))
    assert [row["label_spent_paid_sum_1d"] for row in result.rows] == [1, 1, 5]


# As the left


def test_a_join_as_left_gives_its_rows_at_their_times(adapter: Adapter) -> None:
    join = Join(left=JoinSource(priced), parts=[JoinPart(spent())], name="j")
    result = adapter.run(BackfillCase(join, TABLES, functions=FUNCTIONS))
    assert result.columns == ("id", "user", "item", "ts", PRICE, "twice", "spent_paid_sum")
    assert [tuple(row.values()) for row in result.rows] == [
        (1, "ann", "pen", at("2024-03-04 10:00"), 1, 2, None),
        (2, "bob", "pen", at("2024-03-05 10:00"), 5, 10, None),
        (3, "ann", "ink", at(NOON), 2, 4, 1),
        (4, "ann", "pen", None, None, None, None),
    ]


def test_the_left_query_selects_filters_and_may_say_another_time(adapter: Adapter) -> None:
    query = Query(select={"user": "user", "cost": "twice"}, where=["twice > 2"], time="ts + INTERVAL '1' DAY")
    join = Join(left=JoinSource(priced, query=query), parts=[JoinPart(spent())], name="j")
    result = adapter.run(BackfillCase(join, TABLES, functions=FUNCTIONS))
    assert [tuple(row.values()) for row in result.rows] == [
        ("bob", 10, at("2024-03-06 10:00"), 5),
        ("ann", 4, at("2024-03-06 12:00"), 3),
    ]


def test_a_join_as_left_keeps_rows_that_wait_for_labels(adapter: Adapter) -> None:
    join = Join(left=JoinSource(labelled, query=Query(select={"id": "id"})), parts=[], name="j")
    result = adapter.run(BackfillCase(join, TABLES, functions=FUNCTIONS))
    assert rows(result, "id") == [(1,), (2,), (3,), (4,)]


def test_an_entitys_join_is_asked_about_at_the_end_of_days(adapter: Adapter) -> None:
    stock = table("item STRING, ds STRING", ("pen", "2024-03-04"), ("pen", "2024-03-05"), ("ink", "2024-03-05"))
    entity = EntitySource("stock", query=Query(select={"item": "item"}))
    daily = Join(left=entity, parts=[JoinPart(prices)], name="daily")
    history = GroupBy(
        keys=["item"],
        sources=[JoinSource(daily, query=Query(select={"item": "item", "price": PRICE}))],
        aggregations=[Aggregation("price", Operation.LAST_K, k=9)],
        name="history",
    )
    asked = table("item STRING, ts TIMESTAMP", ("pen", "2024-03-05"), ("pen", "2024-03-06 00:00:01"), ("ink", NOON))
    result = adapter.run(AggregateCase(history, asked, {**TABLES, "stock": stock}))
    assert rows(result, "price_last_k9") == [(None,), ([5, 5],), (None,)]


# Depth


def test_chains_of_three_joins(adapter: Adapter) -> None:
    # What each order's user had spent before, then the sum of that, then a join on top: three joins deep.
    second = Join(
        left=priced.left,
        parts=[JoinPart(spent())],
        derivations=[Derivation("more", "spent_paid_sum + 1")],
        name="second",
    )
    before = GroupBy(
        keys=["user"],
        sources=[JoinSource(second, query=Query(select={"user": "user", "more": "more", "id": "id"}))],
        aggregations=[Aggregation("more", Operation.SUM), Aggregation("id", Operation.COUNT)],
        name="before",
    )
    third = Join(left=JoinSource(second), parts=[JoinPart(before)], name="third")
    top = GroupBy(
        keys=["user"],
        sources=[JoinSource(third, query=Query(select={"user": "user", "count": "before_id_count"}))],
        aggregations=[Aggregation("count", Operation.SUM)],
        name="top",
    )
    orders = ORDERS.with_rows([*ORDERS.rows, {"id": 5, "user": "ann", "item": "pen", "ordered": at("2024-03-06")}])
    tables = {**TABLES, "orders": orders}
    middle = adapter.run(BackfillCase(third, tables, functions=FUNCTIONS))
    assert middle.columns[-4:] == ("spent_paid_sum", "more", "before_more_sum", "before_id_count")
    assert [tuple(row.values())[-4:] for row in middle.rows] == [
        (None, None, None, 0),
        (None, None, None, 0),
        (1, 2, None, 1),
        (None, None, None, 0),
        (3, 4, 2, 2),
    ]
    result = adapter.run(AggregateCase(top, queries("2024-04-01"), tables, FUNCTIONS))
    assert result.rows[0]["count_sum"] == 3


def test_a_parent_may_feed_several_group_bys_of_one_join(adapter: Adapter) -> None:
    by_item = GroupBy(
        keys=["item"],
        sources=[JoinSource(priced, query=Query(select={"item": "item", "paid": PRICE}))],
        aggregations=[Aggregation("paid", Operation.MAX)],
        name="by_item",
    )
    total = GroupBy(
        keys=[],
        sources=[JoinSource(priced, query=Query(select={"paid": PRICE}))],
        aggregations=[Aggregation("paid", Operation.SUM)],
        name="total",
    )
    join = Join(left=JoinSource(priced), parts=[JoinPart(spent()), JoinPart(by_item), JoinPart(total)], name="j")
    result = adapter.run(BackfillCase(join, TABLES, functions=FUNCTIONS))
    columns = ("spent_paid_sum", "by_item_paid_max", "total_paid_sum")
    assert rows(result, *columns) == [(None, None, None), (None, 1, 1), (1, None, 6), (None, None, None)]


def test_a_parents_column_that_does_not_exist_is_a_compile_error(engine: Arrow) -> None:
    source = JoinSource(priced, query=Query(select={"user": "user", "paid": "price_last"}))
    with pytest.raises(DefinitionError, match="price_last"):
        ask(engine, spent(sources=[source]), NOON)
