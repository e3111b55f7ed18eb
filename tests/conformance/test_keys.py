"""Which events belong to which key, and which rows are one event: DESIGN section 2, "Values" (keys) and section 3."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zipline import Aggregation, EventSource, GroupBy, Operation, Query
from zipline.errors import DefinitionError

from .adapters import Adapter, Arrow
from .oracle import Result
from .questions import NOON, events, feature, group_by_of, operation, queries
from .tables import AggregateCase, Table, table

T = "2024-03-05 11:00"


def ask(adapter: Adapter, keys: list[str], rows: Table, asked: Table, **fields: Any) -> Result:
    """SUM and COUNT of `value` by `keys`."""
    aggregations = [operation("SUM"), operation("COUNT")]
    group_by = group_by_of(rows, *aggregations, **{"keys": keys, **fields})
    return adapter.run(AggregateCase(group_by, asked, {"events": rows}))


def sums(result: Result) -> list[Any]:
    return [row["value_sum"] for row in result.rows]


def test_composite_keys_are_never_concatenated(adapter: Adapter) -> None:
    rows = table(
        "a STRING, b STRING, value BIGINT, t TIMESTAMP", ("a", "bc", 1, T), ("ab", "c", 2, T), ("", "abc", 4, T)
    )
    asked = table(
        "a STRING, b STRING, ts TIMESTAMP", ("a", "bc", NOON), ("ab", "c", NOON), ("abc", "", NOON), ("", "abc", NOON)
    )
    assert sums(ask(adapter, ["a", "b"], rows, asked)) == [1, 2, None, 4]


def test_separators_inside_keys_do_not_matter(adapter: Adapter) -> None:
    pairs = [
        ("a|b", "c"),
        ("a", "b|c"),
        ("a\x1f", "b"),
        ("a", "\x1fb"),
        ("a,", "b"),
        ("a", ",b"),
        ("1", "2"),
        ("12", ""),
    ]
    rows = table("a STRING, b STRING, value BIGINT, t TIMESTAMP", *((*pair, 1 << n, T) for n, pair in enumerate(pairs)))
    asked = table("a STRING, b STRING, ts TIMESTAMP", *((*pair, NOON) for pair in pairs))
    assert sums(ask(adapter, ["a", "b"], rows, asked)) == [1 << n for n in range(len(pairs))]


def test_unicode_keys_are_compared_as_they_are(adapter: Adapter) -> None:
    # The same letter composed and decomposed, upper and lower case, with a space: all are different keys.
    names = ["é", "e\u0301", "É", "é ", "日本", "\U0001f6eb"]
    rows = table("user STRING, value BIGINT, t TIMESTAMP", *((name, 1 << n, T) for n, name in enumerate(names)))
    asked = table("user STRING, ts TIMESTAMP", *((name, NOON) for name in names))
    assert sums(ask(adapter, ["user"], rows, asked)) == [1, 2, 4, 8, 16, 32]


def test_a_key_with_a_null_part_gets_the_empty_values_never_another_keys(adapter: Adapter) -> None:
    rows = table(
        "a STRING, b BIGINT, value BIGINT, t TIMESTAMP",
        ("x", None, 1, T),
        (None, 1, 2, T),
        (None, None, 4, T),
        ("x", 1, 8, T),
        ("x", 0, 16, T),
        ("", 1, 32, T),
    )
    parts = [("x", None), (None, 1), (None, None), ("x", 1)]
    result = ask(
        adapter, ["a", "b"], rows, table("a STRING, b BIGINT, ts TIMESTAMP", *((*pair, NOON) for pair in parts))
    )
    assert sums(result) == [None, None, None, 8]
    assert [row["value_count"] for row in result.rows] == [0, 0, 0, 1]


def test_a_key_that_is_nan_gets_the_empty_values(adapter: Adapter) -> None:
    rows = table("user DOUBLE, value BIGINT, t TIMESTAMP", (math.nan, 1, T), (1.5, 2, T), (None, 4, T))
    asked = table("user DOUBLE, ts TIMESTAMP", (math.nan, NOON), (1.5, NOON), (None, NOON))
    result = ask(adapter, ["user"], rows, asked)
    assert sums(result) == [None, 2, None]
    assert math.isnan(result.rows[0]["user"])


def test_a_null_query_time_gets_the_empty_values(adapter: Adapter) -> None:
    rows = events("BIGINT", (T, 1))
    result = ask(adapter, ["user"], rows, queries(None, NOON))
    assert [(row["value_sum"], row["value_count"]) for row in result.rows] == [(None, 0), (1, 1)]


def test_both_zeros_are_one_key_and_infinities_are_keys(adapter: Adapter) -> None:
    rows = table(
        "user DOUBLE, value BIGINT, t TIMESTAMP", (0.0, 1, T), (-0.0, 2, T), (math.inf, 4, T), (-math.inf, 8, T)
    )
    asked = table("user DOUBLE, ts TIMESTAMP", (0.0, NOON), (-0.0, NOON), (math.inf, NOON), (-math.inf, NOON))
    assert sums(ask(adapter, ["user"], rows, asked)) == [3, 3, 4, 8]


@pytest.mark.parametrize(
    ("left", "right"), [("INT", "BIGINT"), ("BIGINT", "INT"), ("TINYINT", "BIGINT"), ("FLOAT", "DOUBLE")]
)
def test_integers_of_all_widths_are_equal_and_floats_too(adapter: Adapter, left: str, right: str) -> None:
    rows = table(f"user {right}, value BIGINT, t TIMESTAMP", (1, 1, T), (2, 2, T))
    rows = rows.with_rows([row | {"user": _as(right, row["user"])} for row in rows.rows])
    asked = table(f"user {left}, ts TIMESTAMP", (_as(left, 1), NOON), (_as(left, 3), NOON))
    assert sums(ask(adapter, ["user"], rows, asked)) == [1, None]


def _as(kind: str, number: int) -> Any:
    return float(number) if kind in ("FLOAT", "DOUBLE") else number


def test_a_wide_key_is_not_truncated_to_a_narrow_one(adapter: Adapter) -> None:
    rows = table(
        "user BIGINT, value BIGINT, t TIMESTAMP", (2**32 + 1, 1, T), (1, 2, T), (2**53 + 1, 4, T), (2**53, 8, T)
    )
    narrow = table("user INT, ts TIMESTAMP", (1, NOON))
    wide = table("user BIGINT, ts TIMESTAMP", (2**53, NOON), (2**53 + 1, NOON))
    assert sums(ask(adapter, ["user"], rows, narrow)) == [2]
    assert sums(ask(adapter, ["user"], rows, wide)) == [8, 4]


@pytest.mark.parametrize("kind", ["LARGE_STRING", "DICTIONARY"])
def test_text_keys_are_equal_whatever_their_arrow_layout(adapter: Adapter, kind: str) -> None:
    rows = table(f"user {kind}, value BIGINT, t TIMESTAMP", ("ann", 1, T), ("bob", 2, T), (None, 4, T))
    assert sums(ask(adapter, ["user"], rows, queries(NOON))) == [1]
    plain = table("user STRING, value BIGINT, t TIMESTAMP", ("ann", 1, T))
    asked = table(f"user {kind}, ts TIMESTAMP", ("ann", NOON), (None, NOON))
    assert sums(ask(adapter, ["user"], plain, asked)) == [1, None]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("STRING", "BIGINT"),
        ("BIGINT", "STRING"),
        ("BIGINT", "DOUBLE"),
        ("DOUBLE", "INT"),
        ("BOOLEAN", "BIGINT"),
        ("DATE", "STRING"),
    ],
)
def test_keys_of_different_kinds_are_a_compile_error(engine: Arrow, left: str, right: str) -> None:
    rows = table(f"user {right}, value BIGINT, t TIMESTAMP")
    with pytest.raises(DefinitionError, match="user"):
        ask(engine, ["user"], rows, table(f"user {left}, ts TIMESTAMP"))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("BOOLEAN", (True, False)),
        ("DATE", ("2024-03-01", "1969-12-31")),
        ("TIMESTAMP", ("2024-03-01 00:00:00.000001", "2024-03-01")),
        ("BIGINT", (2**63 - 1, -(2**63))),
        ("TINYINT", (-128, 127)),
        ("BINARY", (b"\x00\x01", b"\x00")),
    ],
)
def test_keys_may_be_of_any_scalar_type(adapter: Adapter, kind: str, keys: tuple[Any, Any]) -> None:
    rows = table(f"user {kind}, value BIGINT, t TIMESTAMP", (keys[0], 1, T), (keys[1], 2, T), (None, 4, T))
    asked = table(f"user {kind}, ts TIMESTAMP", (keys[1], NOON), (keys[0], NOON), (None, NOON))
    assert sums(ask(adapter, ["user"], rows, asked)) == [2, 1, None]


def test_no_keys_are_one_global_key(adapter: Adapter) -> None:
    rows = events("BIGINT", (T, 1), ("2024-03-05 11:30", 2))
    asked = table("ts TIMESTAMP, note STRING", (NOON, "a"), ("2024-03-05 11:10", None), (None, "c"))
    result = ask(adapter, [], rows, asked)
    assert result.columns == ("ts", "note", "value_sum", "value_count")
    assert sums(result) == [3, 1, None]


def test_an_unknown_key_gets_the_empty_values(adapter: Adapter) -> None:
    result = ask(adapter, ["user"], events("BIGINT", (T, 1)), queries(NOON, user="bob"))
    assert [(row["value_sum"], row["value_count"]) for row in result.rows] == [(None, 0)]


def test_an_empty_table_of_events_gives_the_empty_values(adapter: Adapter) -> None:
    result = ask(adapter, ["user"], events("BIGINT"), queries(NOON, None))
    assert [(row["value_sum"], row["value_count"]) for row in result.rows] == [(None, 0), (None, 0)]


def test_no_queries_give_no_rows_but_every_column(adapter: Adapter) -> None:
    result = ask(adapter, ["user"], events("BIGINT", (T, 1)), queries())
    assert result == Result(("user", "ts", "value_sum", "value_count"), ())


# Sources of one group-by


def test_several_sources_are_one_stream_of_events(adapter: Adapter) -> None:
    select = {"user": "user", "value": "value"}
    sources = [EventSource(name, query=Query(select=select, time="t")) for name in ("web", "shop")]
    group_by = GroupBy(
        keys=["user"], sources=sources, aggregations=[operation("SUM"), operation("LAST_K", k=5)], name="small"
    )
    tables = {
        "web": events("BIGINT", ("2024-03-05 11:00", 1), ("2024-03-05 11:20", 4)),
        "shop": events("BIGINT", ("2024-03-05 11:10", 2), ("2024-03-05 11:20", 3), ("2024-03-05 12:00", 8)),
    }
    row = adapter.run(AggregateCase(group_by, queries(NOON), tables)).rows[0]
    # At 11:20 the values' own order decides, whichever source they came from.
    assert (row["value_sum"], row["value_last_k5"]) == (10, [4, 3, 2, 1])


def test_sources_may_name_their_columns_differently(adapter: Adapter) -> None:
    web = table("who STRING, paid BIGINT, at TIMESTAMP", ("ann", 1, T))
    shop = table("customer STRING, total BIGINT, sold TIMESTAMP", ("ann", 2, T))
    sources = [
        EventSource("web", query=Query(select={"user": "who", "value": "paid"}, time="at")),
        EventSource("shop", query=Query(select={"value": "total", "user": "customer"}, time="sold")),
    ]
    group_by = GroupBy(keys=["user"], sources=sources, aggregations=[operation("SUM")], name="small")
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"web": web, "shop": shop}))
    assert sums(result) == [3]


def test_where_conditions_must_all_hold_and_null_does_not_hold(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, kind STRING, t TIMESTAMP",
        ("ann", 1, "sale", T),
        ("ann", 2, "sale", T),
        ("ann", 4, None, T),
        ("ann", 8, "gift", T),
        ("ann", None, "sale", T),
    )
    where = ["value > 1", "kind = 'sale'"]
    functions = {
        "value > 1": lambda row: None if row["value"] is None else row["value"] > 1,
        "kind = 'sale'": lambda row: None if row["kind"] is None else row["kind"] == "sale",
    }
    group_by = group_by_of(rows, operation("SUM"), query={"where": where, "select": {"user": "user", "value": "value"}})
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}, functions))
    assert sums(result) == [2]


def test_partitions_from_start_to_end_are_read_both_inclusive(adapter: Adapter) -> None:
    days = ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"]
    rows = table(
        "user STRING, value BIGINT, ds STRING, t TIMESTAMP", *(("ann", 1 << n, day, day) for n, day in enumerate(days))
    )
    bounds = {"start": "2024-03-02", "end": "2024-03-03", "select": {"user": "user", "value": "value"}}
    group_by = group_by_of(rows, operation("SUM"), query=bounds)
    assert sums(adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))) == [6]


def test_selecting_everything_is_the_default(adapter: Adapter) -> None:
    source = EventSource("events", query=Query(time="t"))
    group_by = GroupBy(keys=["user"], sources=[source], aggregations=[operation("SUM")], name="small")
    assert sums(adapter.run(AggregateCase(group_by, queries(NOON), {"events": events("BIGINT", (T, 5))}))) == [5]


# Duplicates


def test_equal_rows_are_several_events(adapter: Adapter) -> None:
    assert feature(adapter, events("BIGINT", (T, 1), (T, 1), (T, 1)), operation("COUNT")) == 3


def test_rows_of_one_event_id_are_one_event(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, id STRING, t TIMESTAMP",
        ("ann", 1, "x", T),
        ("ann", 1, "x", T),
        ("ann", 2, "y", T),
        ("ann", 1, "z", T),
    )
    group_by = group_by_of(rows, operation("SUM"), operation("COUNT"), query={"event_id": "id"})
    row = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows})).rows[0]
    assert (row["value_sum"], row["value_count"]) == (4, 3)


def test_of_one_event_id_the_first_available_counts_even_where_it_is_out_of_the_window(adapter: Adapter) -> None:
    schema = "user STRING, value BIGINT, id BIGINT, t TIMESTAMP, known TIMESTAMP"
    rows = table(
        schema,
        ("ann", 1, 7, "2024-03-05 11:30", "2024-03-05 11:50"),
        ("ann", 2, 7, "2024-03-05 10:30", "2024-03-05 11:45"),  # available first, but older than an hour
        ("ann", 4, 8, "2024-03-05 11:30", "2024-03-05 11:40"),
        ("ann", 8, 8, "2024-03-05 11:20", "2024-03-05 11:40"),  # available together: the earlier t
        ("ann", 32, 9, "2024-03-05 11:30", "2024-03-05 11:30"),
        ("ann", 16, 9, "2024-03-05 11:30", "2024-03-05 11:30"),  # all equal: the smaller value
    )
    aggregations = [operation("SUM", "1h"), operation("SUM")]
    select = {"user": "user", "value": "value"}
    group_by = group_by_of(rows, *aggregations, query={"event_id": "id", "select": select})
    row = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows})).rows[0]
    assert (row["value_sum_1h"], row["value_sum"]) == (24, 26)


@pytest.mark.parametrize("select", [None, {"b": "b", "user": "user", "a": "a"}])
def test_which_row_of_an_event_id_is_the_event_does_not_depend_on_what_is_aggregated(
    adapter: Adapter, select: dict[str, str] | None
) -> None:
    rows = table(
        "b BIGINT, user STRING, a BIGINT, id STRING, t TIMESTAMP", (1, "ann", 20, "x", T), (2, "ann", 10, "x", T)
    )
    for inputs in (("a",), ("b",), ("a", "b")):
        aggregations = [Aggregation(name, Operation.SUM) for name in inputs]
        group_by = group_by_of(rows, *aggregations, query={"event_id": "id", "select": select})
        row = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows})).rows[0]
        assert {name: row[f"{name}_sum"] for name in inputs} == {n: v for n, v in (("a", 20), ("b", 1)) if n in inputs}


def test_rows_of_one_event_id_are_one_event_whatever_their_keys(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, id STRING, t TIMESTAMP",
        ("bob", 1, "x", "2024-03-05 10:00"),
        ("ann", 2, "x", T),
        ("ann", 4, "y", T),
        ("ann", 8, "z", None),  # without a time it never happened, so the next is the event
        ("ann", 16, "z", T),
    )
    group_by = group_by_of(rows, operation("SUM"), query={"event_id": "id"})
    assert sums(adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))) == [20]


def test_rows_without_an_event_id_are_events_of_their_own(adapter: Adapter) -> None:
    rows = table("user STRING, value BIGINT, id STRING, t TIMESTAMP", ("ann", 1, None, T), ("ann", 2, None, T))
    group_by = group_by_of(rows, operation("SUM"), query={"event_id": "id"})
    assert sums(adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))) == [3]


def test_availability_is_the_later_of_time_and_known_at(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, id BIGINT, t TIMESTAMP, known TIMESTAMP",
        ("ann", 1, 7, "2024-03-05 11:30", "2024-03-05 10:00"),  # known before it happened: available 11:30
        ("ann", 2, 7, "2024-03-05 11:00", "2024-03-05 11:10"),
    )
    query = {"event_id": "id", "select": {"user": "user", "value": "value"}}
    group_by = group_by_of(rows, operation("SUM"), query=query)
    assert sums(adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))) == [2]


def test_features_beside_each_other_do_not_change_each_other(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-04", 2), ("2024-03-05 11:00", 3), ("2024-03-05 11:30", None))
    alone = feature(adapter, rows, operation("AVERAGE", "7d"))
    others = [
        Aggregation("value", Operation[name], windows=["1h", "30d", None]) for name in ("MAX", "SUM", "UNIQUE_COUNT")
    ]
    group_by = group_by_of(rows, *others, operation("AVERAGE", "7d"))
    row = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows})).rows[0]
    assert (alone, row["value_average_7d"]) == (2.5, 2.5)
