"""What a join's output looks like: DESIGN section 2, "Values" (the result), "Names" and "Derivations"."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Aggregation, Derivation, EntitySource, EventSource, GroupBy, Join, JoinPart, Operation, Query
from zipline.errors import DefinitionError

from .adapters import Adapter, Arrow
from .instants import at
from .oracle import Result
from .questions import NOON, SNAPSHOT, events, group_by_of, operation, queries
from .tables import AggregateCase, BackfillCase, Functions, Table, table

SPENDING = table(
    "user STRING, amount DOUBLE, t TIMESTAMP",
    ("ann", 2.0, "2024-03-04 10:00"),
    ("ann", 3.0, "2024-03-05 11:00"),
    ("bob", 7.0, "2024-03-05 11:30"),
)
VISITS = table(
    "city STRING, value BIGINT, t TIMESTAMP", ("rome", 1, "2024-03-05 09:00"), ("oslo", 5, "2024-03-05 10:00")
)
LEFT = table(
    "id BIGINT, user STRING, home STRING, away STRING, asked TIMESTAMP",
    (1, "ann", "rome", "oslo", NOON),
    (2, "bob", "oslo", None, NOON),
    (3, "ann", "rome", "bern", "2024-03-05 10:30"),
)
LEFT_COLUMNS = {"id": "id", "user": "user", "home": "home", "away": "away"}

spending = GroupBy(
    keys=["user"],
    sources=[EventSource("spending", query=Query(select={"user": "user", "amount": "amount"}, time="t"))],
    aggregations=[
        Aggregation("amount", Operation.SUM, windows=["1d", "7d"]),
        Aggregation("amount", Operation.COUNT, windows=["1d"]),
    ],
    name="shop.users.spending",
)
visits = GroupBy(
    keys=["city"],
    sources=[EventSource("visits", query=Query(select={"city": "city", "value": "value"}, time="t"))],
    aggregations=[Aggregation("value", Operation.SUM)],
    name="shop.cities.visits",
)


def left(**query: Any) -> EventSource:
    return EventSource("left", query=Query(**{"select": LEFT_COLUMNS, "time": "asked", **query}))


def backfill(adapter: Adapter, join: Join, rows: Table = LEFT, functions: Functions | None = None) -> Result:
    tables = {"left": rows, "spending": SPENDING, "visits": VISITS}
    return adapter.run(BackfillCase(join, tables, functions=functions or {}))


def column(result: Result, name: str) -> list[Any]:
    return [row[name] for row in result.rows]


def test_left_columns_then_ts_then_features_by_part(adapter: Adapter) -> None:
    join = Join(left=left(), parts=[JoinPart(spending), JoinPart(visits, key_map={"home": "city"})], name="j")
    result = backfill(adapter, join)
    assert result.columns == (
        "id",
        "user",
        "home",
        "away",
        "ts",
        "spending_amount_sum_1d",
        "spending_amount_sum_7d",
        "spending_amount_count_1d",
        "visits_value_sum",
    )
    assert [tuple(row.values()) for row in result.rows] == [
        (1, "ann", "rome", "oslo", at(NOON), 3.0, 5.0, 1, 1),
        (2, "bob", "oslo", None, at(NOON), 7.0, 7.0, 1, 5),
        (3, "ann", "rome", "bern", at("2024-03-05 10:30"), 2.0, 2.0, 1, 1),
    ]


def test_parts_keep_their_order(adapter: Adapter) -> None:
    join = Join(left=left(), parts=[JoinPart(visits, key_map={"home": "city"}), JoinPart(spending)], name="j")
    assert backfill(adapter, join).columns[5:7] == ("visits_value_sum", "spending_amount_sum_1d")


def test_one_group_by_may_be_joined_twice_by_prefix_and_key_map(adapter: Adapter) -> None:
    parts = [JoinPart(visits, key_map={name: "city"}, prefix=name) for name in ("home", "away")]
    result = backfill(adapter, Join(left=left(), parts=parts, name="j"))
    assert result.columns[5:] == ("home_visits_value_sum", "away_visits_value_sum")
    assert column(result, "home_visits_value_sum") == [1, 5, 1]
    assert column(result, "away_visits_value_sum") == [5, None, None]


def test_a_part_may_take_some_features_only(adapter: Adapter) -> None:
    join = Join(left=left(), parts=[JoinPart(spending, features=["amount_sum_7d"])], name="j")
    result = backfill(adapter, join)
    assert result.columns[5:] == ("spending_amount_sum_7d",)
    assert column(result, "spending_amount_sum_7d") == [5.0, 7.0, 2.0]


def test_left_rows_keep_their_order_and_duplicates(adapter: Adapter) -> None:
    rows = LEFT.with_rows([*reversed(LEFT.rows), LEFT.rows[0], LEFT.rows[0]])
    result = backfill(adapter, Join(left=left(), parts=[JoinPart(spending)], name="j"), rows)
    assert column(result, "id") == [3, 2, 1, 1, 1]
    assert column(result, "spending_amount_sum_7d") == [2.0, 7.0, 5.0, 5.0, 5.0]


def test_left_rows_without_a_time_or_a_key_stay(adapter: Adapter) -> None:
    rows = table(
        "id BIGINT, user STRING, home STRING, away STRING, asked TIMESTAMP",
        (1, None, None, None, NOON),
        (2, "ann", "rome", "rome", None),
        (None, None, None, None, None),
    )
    result = backfill(adapter, Join(left=left(), parts=[JoinPart(spending)], name="j"), rows)
    assert column(result, "ts") == [at(NOON), None, None]
    assert column(result, "spending_amount_sum_1d") == [None, None, None]
    assert column(result, "spending_amount_count_1d") == [0, 0, 0]


def test_an_empty_left_gives_no_rows_but_every_column(adapter: Adapter) -> None:
    result = backfill(adapter, Join(left=left(), parts=[JoinPart(spending)], name="j"), LEFT.with_rows([]))
    assert result.rows == ()
    assert result.columns[3:6] == ("away", "ts", "spending_amount_sum_1d")


def test_a_join_without_parts_is_its_left(adapter: Adapter) -> None:
    result = backfill(adapter, Join(left=left(select={"id": "id"}), parts=[], name="j"))
    assert result.columns == ("id", "ts")
    assert column(result, "id") == [1, 2, 3]


def test_a_selected_ts_that_is_the_query_time_stays_where_it_is(adapter: Adapter) -> None:
    select = {"user": "user", "ts": "asked", "id": "id"}
    result = backfill(adapter, Join(left=left(select=select), parts=[JoinPart(spending)], name="j"))
    assert result.columns[:4] == ("user", "ts", "id", "spending_amount_sum_1d")
    assert column(result, "ts") == [at(NOON), at(NOON), at("2024-03-05 10:30")]


def test_a_selected_ts_that_is_not_the_query_time_is_refused(engine: Arrow) -> None:
    with pytest.raises(DefinitionError, match="ts"):
        backfill(engine, Join(left=left(select={"user": "user", "ts": "id"}), parts=[JoinPart(spending)], name="j"))


def test_the_left_may_be_filtered(adapter: Adapter) -> None:
    functions: Functions = {"home = 'rome'": lambda row: row["home"] == "rome"}
    result = backfill(
        adapter, Join(left=left(where=["home = 'rome'"]), parts=[JoinPart(spending)], name="j"), functions=functions
    )
    assert column(result, "id") == [1, 3]


def test_left_columns_may_be_expressions(adapter: Adapter) -> None:
    functions: Functions = {
        "UPPER(home)": lambda row: row["home"].upper(),
        "LOWER(user)": lambda row: row["user"].lower(),
    }
    rows = LEFT.with_rows([row | {"user": row["user"].upper()} for row in LEFT.rows])
    select = {"shout": "UPPER(home)", "user": "LOWER(user)"}
    result = backfill(adapter, Join(left=left(select=select), parts=[JoinPart(spending)], name="j"), rows, functions)
    assert column(result, "shout") == ["ROME", "OSLO", "ROME"]
    assert column(result, "spending_amount_sum_7d") == [5.0, 7.0, 2.0]


def test_an_entity_as_left_gives_one_row_per_snapshot_row_queried_at_the_end_of_its_day(adapter: Adapter) -> None:
    users = table("user STRING, ds STRING", ("ann", "2024-03-04"), ("bob", "2024-03-04"), ("ann", "2024-03-05"))
    join = Join(left=EntitySource("users", query=Query(select={"user": "user"})), parts=[JoinPart(spending)], name="j")
    result = adapter.run(BackfillCase(join, {"users": users, "spending": SPENDING}))
    assert result.columns[:3] == ("user", "ts", "spending_amount_sum_1d")
    # Midnight after March 4 sees that day only; midnight after March 5 sees that day only.
    assert [(row["user"], row["ts"], row["spending_amount_sum_1d"]) for row in result.rows] == [
        ("ann", at("2024-03-05"), 2.0),
        ("bob", at("2024-03-05"), None),
        ("ann", at("2024-03-06"), 3.0),
    ]


def test_parts_of_both_accuracies_stand_side_by_side(adapter: Adapter) -> None:
    daily = GroupBy(
        keys=["user"],
        sources=spending.sources,
        aggregations=[Aggregation("amount", Operation.SUM)],
        accuracy=SNAPSHOT,
        name="daily",
    )
    result = backfill(adapter, Join(left=left(), parts=[JoinPart(daily), JoinPart(spending)], name="j"))
    assert column(result, "daily_amount_sum") == [2.0, None, 2.0]
    assert column(result, "spending_amount_sum_7d") == [5.0, 7.0, 2.0]


# aggregate


def test_aggregate_keeps_the_queries_columns_as_they_stand_and_adds_unprefixed_features(adapter: Adapter) -> None:
    asked = table(
        "note STRING, ts TIMESTAMP, user STRING, more DOUBLE", ("x", NOON, "ann", 0.5), (None, NOON, "bob", None)
    )
    result = adapter.run(AggregateCase(spending, asked, {"spending": SPENDING}))
    assert result.columns == ("note", "ts", "user", "more", "amount_sum_1d", "amount_sum_7d", "amount_count_1d")
    assert [tuple(row.values()) for row in result.rows] == [
        ("x", at(NOON), "ann", 0.5, 3.0, 5.0, 1),
        (None, at(NOON), "bob", None, 7.0, 7.0, 1),
    ]


# Names


@pytest.mark.parametrize(
    ("aggregation", "name"),
    [
        (Aggregation("arr_delay", Operation.AVERAGE, windows=["7d"]), "arr_delay_average_7d"),
        (Aggregation("dest", Operation.TOP_K, k=3, windows=["30d"]), "dest_top_k3_30d"),
        (Aggregation("late", Operation.SUM), "late_sum"),
        (Aggregation("amount", Operation.SUM, windows=["1d"], buckets=["channel"]), "amount_sum_1d_by_channel"),
        (
            Aggregation("delay", Operation.APPROX_PERCENTILE, percentiles=[0.5, 0.999], windows=["30d"]),
            "delay_approx_percentile_p50_p99_9_30d",
        ),
        (Aggregation("dest", Operation.BOUNDED_UNIQUE_COUNT, windows=["7d"]), "dest_bounded_unique_count8_7d"),
        (Aggregation("dest", Operation.BOUNDED_UNIQUE_COUNT, k=5), "dest_bounded_unique_count5"),
        (Aggregation("dest", Operation.FIRST_K, k=2, windows=["36h"]), "dest_first_k2_36h"),
        (Aggregation("dest", Operation.APPROX_HISTOGRAM_K, k=10), "dest_approx_histogram_k10"),
        (Aggregation("dest", Operation.APPROX_UNIQUE_COUNT, windows=["90m"]), "dest_approx_unique_count_90m"),
        (
            Aggregation("delay", Operation.APPROX_PERCENTILE, percentiles=[0.29, 1, 0]),
            "delay_approx_percentile_p29_p100_p0",
        ),
        (Aggregation("late", Operation.COUNT, buckets=["channel"], default={"web": 0}), "late_count_by_channel"),
    ],
)
def test_feature_names(adapter: Adapter, aggregation: Aggregation, name: str) -> None:
    kinds = {
        "arr_delay": "DOUBLE",
        "dest": "STRING",
        "late": "BIGINT",
        "amount": "DOUBLE",
        "delay": "DOUBLE",
        "channel": "STRING",
    }
    rows = table("user STRING, t TIMESTAMP, " + ", ".join(f"{column} {kind}" for column, kind in kinds.items()))
    result = adapter.run(AggregateCase(group_by_of(rows, aggregation), queries(NOON), {"events": rows}))
    assert result.columns == ("user", "ts", name)


def test_features_stand_in_the_order_of_aggregations_windows_and_buckets(adapter: Adapter) -> None:
    rows = table("user STRING, value BIGINT, channel STRING, t TIMESTAMP")
    aggregations = [
        Aggregation("value", Operation.SUM, windows=["7d", "1d"], buckets=["channel", "value"]),
        Aggregation("value", Operation.COUNT, windows=[None, "1h"]),
    ]
    result = adapter.run(AggregateCase(group_by_of(rows, *aggregations), queries(NOON), {"events": rows}))
    assert result.columns[2:] == (
        "value_sum_7d_by_channel",
        "value_sum_7d_by_value",
        "value_sum_1d_by_channel",
        "value_sum_1d_by_value",
        "value_count",
        "value_count_1h",
    )


def test_columns_that_would_collide_are_a_compile_error_with_the_remedy(engine: Arrow) -> None:
    rows = table("user STRING, value BIGINT, t TIMESTAMP")
    with pytest.raises(DefinitionError, match="value_sum_1d"):
        group_by_of(rows, operation("SUM", "1d"), operation("SUM", "24h"))
    twice = [JoinPart(spending), JoinPart(spending)]
    with pytest.raises(DefinitionError, match="spending_amount_sum_1d") as raised:
        backfill(engine, Join(left=left(), parts=twice, name="j"))
    assert "prefix" in str(raised.value)


def test_a_feature_that_collides_with_a_left_column_is_a_compile_error(engine: Arrow) -> None:
    select = {"user": "user", "spending_amount_sum_1d": "id"}
    with pytest.raises(DefinitionError, match="spending_amount_sum_1d"):
        backfill(engine, Join(left=left(select=select), parts=[JoinPart(spending)], name="j"))


# Derivations

TREND = "amount_sum_7d - amount_sum_1d"
TWICE = "trend * 2"
FUNCTIONS: Functions = {
    TREND: lambda row: None if row["amount_sum_7d"] is None else row["amount_sum_7d"] - row["amount_sum_1d"],
    TWICE: lambda row: None if row["trend"] is None else row["trend"] * 2,
    "UPPER(user)": lambda row: None if row["user"] is None else row["user"].upper(),
}
derived = GroupBy(
    keys=["user"],
    sources=spending.sources,
    aggregations=[Aggregation("amount", Operation.SUM, windows=["1d", "7d"])],
    derivations=[Derivation("trend", TREND), Derivation("twice", TWICE), Derivation("shout", "UPPER(user)")],
    name="derived",
)


def test_derivations_of_a_group_by_add_columns_in_order_and_see_keys_and_features(adapter: Adapter) -> None:
    result = adapter.run(AggregateCase(derived, queries(NOON), {"spending": SPENDING}, FUNCTIONS))
    assert result.columns[2:] == ("amount_sum_1d", "amount_sum_7d", "trend", "twice", "shout")
    assert tuple(result.rows[0].values())[2:] == (3.0, 5.0, 2.0, 4.0, "ANN")


def test_derivations_see_null_features_as_null(adapter: Adapter) -> None:
    result = adapter.run(AggregateCase(derived, queries(NOON, user="eve"), {"spending": SPENDING}, FUNCTIONS))
    assert tuple(result.rows[0].values())[2:] == (None, None, None, None, "EVE")


def test_in_a_join_derived_features_are_prefixed_and_may_be_the_only_ones_taken(adapter: Adapter) -> None:
    join = Join(left=left(), parts=[JoinPart(derived, features=["trend"], prefix="x")], name="j")
    result = backfill(adapter, join, functions=FUNCTIONS)
    assert result.columns[5:] == ("x_derived_trend",)
    # At 10:30 the one-day window starts at 10:00 of the day before, exactly at the first event: 2 - 2.
    assert column(result, "x_derived_trend") == [2.0, 0.0, 0.0]


def test_derivations_of_a_join_see_every_column_so_far(adapter: Adapter) -> None:
    expressions = {
        "share": "spending_amount_sum_1d / spending_amount_sum_7d",
        "share_and_id": "share + id",
        "place": "CONCAT(home, '!')",
    }
    functions: Functions = {
        expressions["share"]: lambda row: row["spending_amount_sum_1d"] / row["spending_amount_sum_7d"],
        expressions["share_and_id"]: lambda row: row["share"] + row["id"],
        expressions["place"]: lambda row: row["home"] + "!",
    }
    join = Join(
        left=left(), parts=[JoinPart(spending)], derivations=[Derivation(*one) for one in expressions.items()], name="j"
    )
    result = backfill(adapter, join, functions=functions)
    assert result.columns[-3:] == ("share", "share_and_id", "place")
    assert column(result, "share_and_id") == [1.6, 3.0, 4.0]
    assert column(result, "place") == ["rome!", "oslo!", "rome!"]


def test_events_of_several_group_bys_may_come_from_one_table(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 10:00", 1), ("2024-03-05 11:00", 2))
    group_bys = [
        group_by_of(rows, operation("SUM"), name="all"),
        group_by_of(rows, operation("SUM"), name="large", query={"where": ["value > 1"]}),
    ]
    join = Join(
        left=EventSource("left", query=Query(select={"user": "user"}, time="asked")),
        parts=[JoinPart(group_by) for group_by in group_bys],
        name="j",
    )
    functions: Functions = {"value > 1": lambda row: row["value"] > 1}
    result = adapter.run(BackfillCase(join, {"left": LEFT, "events": rows}, functions=functions))
    assert [tuple(row.values())[2:] for row in result.rows] == [(3, 2), (None, None), (1, None)]
