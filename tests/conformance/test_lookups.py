"""State instead of events: DESIGN section 2, "Entities", as far as snapshots go, and lookups over events."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Accuracy, Derivation, EntitySource, EventSource, GroupBy, Join, JoinPart, Query

from .adapters import Adapter
from .questions import NOON, SNAPSHOT, operation, queries
from .tables import AggregateCase, BackfillCase, Functions, Table, table

USERS = table(
    "user STRING, plan STRING, level BIGINT, since TIMESTAMP, ds STRING",
    ("ann", "free", 1, "2024-01-01", "2024-03-02"),
    ("bob", "gold", 2, "2024-01-01", "2024-03-02"),
    ("ann", "gold", 3, "2024-03-04 10:00", "2024-03-04"),
    ("cat", None, None, "2024-03-04", "2024-03-04"),
    ("ann", "late", 9, "2024-03-05 10:00", "2024-03-05"),
)
SELECT = {"user": "user", "plan": "plan", "level": "level"}
BOTH = [Accuracy.TEMPORAL, SNAPSHOT]


def users(**fields: Any) -> GroupBy:
    query = {"select": SELECT, "time": "since", **fields.pop("query", {})}
    return GroupBy(
        **{"keys": ["user"], "sources": [EntitySource("users", query=Query(**query))], "name": "users", **fields}
    )


def looked_up(
    adapter: Adapter,
    group_by: GroupBy,
    time: str | None,
    user: str | None = "ann",
    rows: Table = USERS,
    functions: Functions | None = None,
) -> tuple[Any, ...]:
    result = adapter.run(AggregateCase(group_by, queries(time, user=user), {"users": rows}, functions or {}))
    return tuple(result.rows[0].values())[2:]


@pytest.mark.parametrize("accuracy", BOTH)
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2024-03-02 12:00", (None, None)),  # no snapshot has ended yet
        ("2024-03-03", ("free", 1)),  # March 2's ended this midnight
        ("2024-03-04 23:59:59.999999", ("free", 1)),  # there is none of March 3
        ("2024-03-05", ("gold", 3)),
        (NOON, ("gold", 3)),  # today's own snapshot has not ended
        ("2024-03-06", ("late", 9)),
        ("2025-01-01", ("late", 9)),
        (None, (None, None)),
    ],
)
def test_a_lookup_is_the_newest_snapshot_before_the_querys_day(
    adapter: Adapter, accuracy: Accuracy, time: str | None, expected: tuple[Any, ...]
) -> None:
    assert looked_up(adapter, users(accuracy=accuracy), time) == expected


def test_a_key_that_is_gone_from_the_newest_snapshot_has_no_state(adapter: Adapter) -> None:
    assert looked_up(adapter, users(), "2024-03-03", user="bob") == ("gold", 2)
    assert looked_up(adapter, users(), NOON, user="bob") == (None, None)


def test_null_columns_of_a_row_stay_null(adapter: Adapter) -> None:
    assert looked_up(adapter, users(), NOON, user="cat") == (None, None)


def test_a_null_key_is_never_looked_up(adapter: Adapter) -> None:
    rows = table(
        "user STRING, plan STRING, level BIGINT, since TIMESTAMP, ds STRING",
        (None, "gold", 1, "2024-01-01", "2024-03-01"),
    )
    assert looked_up(adapter, users(), NOON, user=None, rows=rows) == (None, None)


def test_partitions_exist_before_where_is_applied(adapter: Adapter) -> None:
    # March 4's snapshot is the newest, although its row of ann does not pass.
    group_by = users(query={"where": ["plan = 'free'"]})
    condition: Functions = {"plan = 'free'": lambda row: None if row["plan"] is None else row["plan"] == "free"}
    assert looked_up(adapter, group_by, NOON, functions=condition) == (None, None)
    assert looked_up(adapter, group_by, "2024-03-04", functions=condition) == ("free", 1)


def test_of_several_rows_the_latest_is_looked_up_ties_by_the_columns_own_order(adapter: Adapter) -> None:
    rows = table(
        "user STRING, plan STRING, level BIGINT, since TIMESTAMP, ds STRING",
        ("ann", "a", 9, "2024-03-01", "2024-03-04"),
        ("ann", "b", 5, "2024-03-02", "2024-03-04"),
        ("ann", "b", 7, "2024-03-02", "2024-03-04"),
        ("ann", "a", 8, "2024-03-02", "2024-03-04"),
    )
    # By plan first, as selected, then by level: the last of the four orders.
    assert looked_up(adapter, users(), NOON, rows=rows) == ("b", 7)


def test_the_order_of_the_selected_columns_decides_ties(adapter: Adapter) -> None:
    rows = table(
        "user STRING, plan STRING, level BIGINT, since TIMESTAMP, ds STRING",
        ("ann", "b", 5, "2024-03-02", "2024-03-04"),
        ("ann", "a", 8, "2024-03-02", "2024-03-04"),
    )
    group_by = users(query={"select": {"user": "user", "level": "level", "plan": "plan"}})
    assert looked_up(adapter, group_by, NOON, rows=rows) == (8, "a")


def test_a_lookup_needs_no_time(adapter: Adapter) -> None:
    group_by = users(query={"time": None})
    assert looked_up(adapter, group_by, NOON) == ("gold", 3)
    assert looked_up(adapter, group_by, "2024-03-05") == ("gold", 3)


def test_partitions_may_be_dates(adapter: Adapter) -> None:
    rows = table(
        "user STRING, plan STRING, level BIGINT, ds DATE", ("ann", "a", 1, "2024-03-03"), ("ann", "b", 2, "2024-03-05")
    )
    assert looked_up(adapter, users(query={"time": None}), NOON, rows=rows) == ("a", 1)


def test_the_partition_column_may_have_another_name(adapter: Adapter) -> None:
    rows = table(
        "user STRING, plan STRING, level BIGINT, day STRING",
        ("ann", "a", 1, "2024-03-03"),
        ("ann", "b", 2, "2024-03-05"),
    )
    assert looked_up(adapter, users(query={"time": None, "partition": "day"}), NOON, rows=rows) == ("a", 1)


def test_bounds_of_partitions_hold_for_snapshots(adapter: Adapter) -> None:
    assert looked_up(adapter, users(query={"end": "2024-03-03"}), NOON) == ("free", 1)
    assert looked_up(adapter, users(query={"start": "2024-03-04"}), "2024-03-04") == (None, None)


def test_looked_up_columns_are_prefixed_in_a_join(adapter: Adapter) -> None:
    left = table(
        "id BIGINT, buyer STRING, seller STRING, asked TIMESTAMP",
        (1, "ann", "bob", NOON),
        (2, "bob", "ann", "2024-03-03"),
    )
    join = Join(
        left=EventSource("left", query=Query(select={"id": "id", "buyer": "buyer", "seller": "seller"}, time="asked")),
        parts=[
            JoinPart(users(), key_map={"buyer": "user"}, prefix="buyer"),
            JoinPart(users(), key_map={"seller": "user"}, prefix="seller", features=["level"]),
        ],
        name="j",
    )
    result = adapter.run(BackfillCase(join, {"left": left, "users": USERS}))
    assert result.columns == (
        "id",
        "buyer",
        "seller",
        "ts",
        "buyer_users_plan",
        "buyer_users_level",
        "seller_users_level",
    )
    assert [tuple(row.values())[4:] for row in result.rows] == [("gold", 3, None), ("gold", 2, 1)]


def test_composite_keys_are_looked_up_by_all_parts(adapter: Adapter) -> None:
    rows = table(
        "a STRING, b STRING, plan STRING, ds STRING", ("a", "bc", "x", "2024-03-01"), ("ab", "c", "y", "2024-03-01")
    )
    select = {"a": "a", "b": "b", "plan": "plan"}
    group_by = GroupBy(keys=["a", "b"], sources=[EntitySource("users", query=Query(select=select))], name="pairs")
    asked = table("a STRING, b STRING, ts TIMESTAMP", ("a", "bc", NOON), ("ab", "c", NOON), ("abc", "", NOON))
    result = adapter.run(AggregateCase(group_by, asked, {"users": rows}))
    assert [row["plan"] for row in result.rows] == ["x", "y", None]


# Aggregations over snapshots

ORDERS = table(
    "user STRING, value BIGINT, ordered TIMESTAMP, ds STRING",
    ("ann", 1, "2024-03-01 10:00", "2024-03-03"),
    ("ann", 2, "2024-03-03 10:00", "2024-03-03"),
    ("ann", 1, "2024-03-01 10:00", "2024-03-04"),
    ("ann", 5, "2024-03-03 10:00", "2024-03-04"),  # corrected
    ("ann", 8, "2024-03-04 12:00", "2024-03-04"),
    ("bob", 16, "2024-03-04 12:00", "2024-03-04"),
)
orders_source = EntitySource("orders", query=Query(select={"user": "user", "value": "value"}, time="ordered"))


def totals(adapter: Adapter, windows: list[str | None], time: str, **fields: Any) -> list[Any]:
    aggregations = [operation("SUM", window) for window in windows]
    group_by = GroupBy(keys=["user"], sources=[orders_source], aggregations=aggregations, name="orders", **fields)
    result = adapter.run(AggregateCase(group_by, queries(time), {"orders": ORDERS}))
    return [result.rows[0][column] for column in result.columns[2:]]


def test_aggregations_see_the_rows_of_one_snapshot_by_the_rows_own_time(adapter: Adapter) -> None:
    # At noon of March 5 the day starts at noon of March 4, exactly at the 8.
    assert totals(adapter, ["1d", "3d", "7d", None], NOON) == [8, 13, 14, 14]
    assert totals(adapter, ["1d", "3d", "7d", None], "2024-03-04 12:00") == [None, 2, 3, 3]


def test_snapshot_accuracy_counts_whole_days_of_the_rows_own_time(adapter: Adapter) -> None:
    # Days before March 5: the 4th alone, and the 3rd with it.
    assert totals(adapter, ["1d", "2d", None], NOON, accuracy=SNAPSHOT) == [8, 13, 14]


def test_before_the_first_snapshot_there_is_nothing(adapter: Adapter) -> None:
    assert totals(adapter, ["7d", None], "2024-03-03 12:00") == [None, None]


# Lookups over events

MOVES = table(
    "user STRING, city STRING, floor BIGINT, t TIMESTAMP",
    ("ann", "rome", 1, "2024-03-01"),
    ("ann", "oslo", 2, "2024-03-05 11:00"),
    ("ann", "bern", 3, "2024-03-05 11:00"),
    ("ann", "paris", 4, NOON),
)


def test_a_lookup_over_events_is_the_latest_row_seen(adapter: Adapter) -> None:
    select = {"user": "user", "city": "city", "floor": "floor"}
    source = EventSource("moves", query=Query(select=select, time="t"))
    temporal = GroupBy(keys=["user"], sources=[source], name="moves")
    daily = GroupBy(keys=["user"], sources=[source], accuracy=SNAPSHOT, name="moves")
    cases = [(temporal, ("oslo", 2)), (daily, ("rome", 1))]
    for group_by, expected in cases:
        result = adapter.run(AggregateCase(group_by, queries(NOON), {"moves": MOVES}))
        assert tuple(result.rows[0].values())[2:] == expected


def test_derivations_see_looked_up_columns(adapter: Adapter) -> None:
    group_by = users(derivations=[Derivation("next", "level + 1")])
    functions: Functions = {"level + 1": lambda row: None if row["level"] is None else row["level"] + 1}
    assert looked_up(adapter, group_by, NOON, functions=functions) == ("gold", 3, 4)
