"""States with the changes between their snapshots: DESIGN section 2, "Entities"."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Aggregation, EntitySource, EventSource, GroupBy, Join, JoinPart, LabelPart, Operation, Query
from zipline.errors import DefinitionError

from .adapters import Adapter
from .questions import NOON, SNAPSHOT, made, operation, queries
from .tables import AggregateCase, BackfillCase, Functions, Table, table

OLD, NEW = True, False
JAN = "2024-01-01"


def dump(*rows: tuple[Any, ...]) -> Table:
    """Snapshots of "ann": (day, value, time of the row)."""
    return table("user STRING, value BIGINT, t TIMESTAMP, ds STRING", *(("ann", v, t, ds) for ds, v, t in rows))


def log(*rows: tuple[Any, ...]) -> Table:
    """Changes of "ann": (when, whether it is the row before, value, time of the row)."""
    schema = "user STRING, value BIGINT, t TIMESTAMP, changed TIMESTAMP, before BOOLEAN"
    return table(schema, *(("ann", v, t, changed, before) for changed, before, v, t in rows))


def source(**query: Any) -> EntitySource:
    columns = {"user": "user", "value": "value"}
    clocks = {"time": "t", "mutation_time": "changed", "is_before": "before"}
    return EntitySource("dump", mutations="log", query=Query(**{"select": columns, **clocks, **query}))


def group_by(*aggregations: Aggregation, query: dict[str, Any] | None = None, **fields: Any) -> GroupBy:
    given = {"keys": ["user"], "sources": [source(**(query or {}))], "aggregations": aggregations, "name": "state"}
    return GroupBy(**{**given, **fields})


def ask(
    adapter: Adapter,
    snapshots: Table,
    changes: Table,
    *aggregations: Aggregation,
    at: str | None = NOON,
    functions: Functions | None = None,
    **fields: Any,
) -> list[Any]:
    """The features of "ann" at one time."""
    tables = {"dump": snapshots, "log": changes}
    case = AggregateCase(group_by(*aggregations, **fields), queries(at), tables, functions or {})
    result = adapter.run(case)
    return [result.rows[0][column] for column in result.columns[2:]]


def values(adapter: Adapter, snapshots: Table, changes: Table, at: str = NOON, **fields: Any) -> list[Any]:
    """All values of the state at one time, ascending."""
    only = ask(adapter, snapshots, changes, operation("BOTTOM_K", k=99), at=at, **fields)[0]
    return only or []


# Which changes are seen

STEPS = (
    dump(("2024-03-02", 1, JAN), ("2024-03-04", 32, JAN)),
    log(
        ("2024-03-02 23:59:59.999999", NEW, 100, JAN),  # in the snapshot of its day, or gone by then
        ("2024-03-03", NEW, 2, JAN),
        ("2024-03-03 10:00", NEW, 4, JAN),
        ("2024-03-04 10:00", NEW, 8, JAN),  # the snapshot of March 4 does not have it: that is its business
        ("2024-03-05", NEW, 16, JAN),
        (None, NEW, 1000, JAN),
    ),
)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2024-03-02 23:59:59.999999", []),  # no snapshot yet, and the first change is made right now
        ("2024-03-03", [1]),  # a change at exactly q is not seen, though it is one at exactly the midnight after s
        ("2024-03-03 00:00:00.000001", [1, 2]),
        ("2024-03-03 10:00", [1, 2]),
        ("2024-03-03 10:00:00.000001", [1, 2, 4]),
        ("2024-03-04", [1, 2, 4]),  # there is no snapshot of March 3: both days' changes stand on that of March 2
        ("2024-03-04 12:00", [1, 2, 4, 8]),
        ("2024-03-05", [32]),  # the new snapshot replaces everything
        ("2024-03-05 00:00:00.000001", [16, 32]),
        ("2024-04-01", [16, 32]),
    ],
)
def test_a_query_sees_the_newest_snapshot_before_its_day_and_the_changes_since(
    adapter: Adapter, at: str, expected: list[int]
) -> None:
    assert values(adapter, *STEPS, at=at) == expected


def test_without_a_snapshot_before_the_querys_day_changes_count_from_the_first(adapter: Adapter) -> None:
    rows = dump(("2024-03-05", 1, JAN))
    changes = log(("2023-07-01", NEW, 2, JAN), ("2024-03-05 10:00", NEW, 4, JAN))
    assert values(adapter, rows, changes) == [2, 4]
    assert values(adapter, rows, changes, at="2024-03-06") == [1]


@pytest.mark.parametrize("rows", [dump(), dump(("2024-03-04", 1, JAN))], ids=["none", "one"])
@pytest.mark.parametrize("changes", [log(), log(("2024-03-05", NEW, 2, JAN))], ids=["none", "one"])
def test_either_table_may_be_empty(adapter: Adapter, rows: Table, changes: Table) -> None:
    assert values(adapter, rows, changes) == [row["value"] for row in (*rows.rows, *changes.rows)]


def test_a_null_query_time_or_key_has_no_state(adapter: Adapter) -> None:
    assert ask(adapter, *STEPS, operation("COUNT"), at=None) == [0]
    rows = table("user STRING, value BIGINT, t TIMESTAMP, ds STRING", (None, 1, JAN, "2024-03-02"))
    changes = table(
        "user STRING, value BIGINT, t TIMESTAMP, changed TIMESTAMP, before BOOLEAN", (None, 1, JAN, "2024-03-03", NEW)
    )
    asked = table("user STRING, ts TIMESTAMP", (None, NOON), ("ann", NOON))
    result = adapter.run(AggregateCase(group_by(operation("COUNT")), asked, {"dump": rows, "log": changes}))
    assert [row["value_count"] for row in result.rows] == [0, 0]


def test_snapshot_accuracy_sees_no_changes(adapter: Adapter) -> None:
    assert values(adapter, *STEPS, at="2024-03-04 12:00", accuracy=SNAPSHOT) == [1]
    assert values(adapter, *STEPS, at="2024-03-05", accuracy=SNAPSHOT) == [32]
    assert values(adapter, *STEPS, at="2024-03-02 12:00", accuracy=SNAPSHOT) == []


def test_partitions_exist_before_where_is_applied(adapter: Adapter) -> None:
    # March 4's snapshot is the newest although none of its rows passes: the changes of March 3 are behind it.
    rows = dump(("2024-03-02", 1, JAN), ("2024-03-04", 2, JAN))
    changes = log(("2024-03-03 10:00", NEW, 1, JAN), ("2024-03-05 10:00", NEW, 1, JAN))
    condition: Functions = {"value = 1": lambda row: row["value"] == 1}
    query = {"where": ["value = 1"]}
    assert values(adapter, rows, changes, query=query, functions=condition) == [1]
    assert values(adapter, rows, changes, at="2024-03-04", query=query, functions=condition) == [1, 1]


def test_bounds_of_partitions_hold_for_snapshots(adapter: Adapter) -> None:
    assert values(adapter, *STEPS, query={"end": "2024-03-03"}) == [1, 2, 4, 8, 16]
    assert values(adapter, *STEPS, at="2024-03-04 12:00", query={"start": "2024-03-03"}) == [2, 4, 8, 100]


# Reversals

ONE = dump(("2024-03-04", 1, JAN))
T = "2024-03-05 10:00"
LATER = "2024-03-05 11:00"


def test_an_update_is_a_reversal_and_a_new_row_whichever_comes_first(adapter: Adapter) -> None:
    update = [(T, OLD, 1, JAN), (T, NEW, 2, JAN)]
    assert values(adapter, ONE, log(*update)) == [2]
    assert values(adapter, ONE, log(*update[::-1])) == [2]
    assert values(adapter, ONE, log(*update), at=T) == [1]


def test_a_delete_is_a_reversal_and_a_row_may_come_back(adapter: Adapter) -> None:
    changes = log((T, OLD, 1, JAN), (LATER, NEW, 1, JAN))
    assert values(adapter, ONE, changes, at="2024-03-05 10:30") == []
    assert values(adapter, ONE, changes) == [1]


def test_a_chain_of_updates_within_one_instant_leaves_the_last_row(adapter: Adapter) -> None:
    steps = [(T, NEW, 3, JAN), (T, OLD, 2, JAN), (T, OLD, 1, JAN), (T, NEW, 2, JAN)]
    assert values(adapter, ONE, log(*steps)) == [3]
    assert values(adapter, ONE, log(*steps[::-1])) == [3]


def test_of_equal_rows_a_reversal_removes_one(adapter: Adapter) -> None:
    rows = dump(("2024-03-04", 1, JAN), ("2024-03-04", 1, JAN))
    assert values(adapter, rows, log((T, OLD, 1, JAN))) == [1]
    assert values(adapter, rows, log((T, OLD, 1, JAN), (T, OLD, 1, JAN))) == []
    assert values(adapter, rows, log((T, NEW, 1, JAN), (LATER, OLD, 1, JAN))) == [1, 1]


def test_a_reversal_of_a_row_that_is_not_there_takes_nothing_else_away(adapter: Adapter) -> None:
    assert values(adapter, ONE, log((T, OLD, 7, JAN))) == [1]
    assert values(adapter, ONE, log((T, OLD, 1, JAN), (T, OLD, 1, JAN))) == []
    assert ask(adapter, dump(), log((T, OLD, 1, JAN)), *map(operation, ("COUNT", "SUM"))) == [0, None]


def test_rows_are_counted_inserts_minus_reversals_in_whatever_order_they_come(adapter: Adapter) -> None:
    # The reversal comes first and finds nothing; the insert that follows makes a net of none, the second one of one.
    early = log((T, OLD, 2, JAN), (LATER, NEW, 2, JAN), ("2024-03-05 11:30", NEW, 2, JAN))
    assert values(adapter, ONE, early, at="2024-03-05 11:15") == [1]
    assert values(adapter, ONE, early) == [1, 2]
    twice = log((T, OLD, 1, JAN), (T, OLD, 1, JAN), (LATER, NEW, 1, JAN))
    assert values(adapter, ONE, twice) == []


def test_a_new_snapshot_forgets_reversals_that_found_nothing(adapter: Adapter) -> None:
    changes = log(("2024-03-03 10:00", OLD, 1, JAN), ("2024-03-04 10:00", OLD, 1, JAN))
    assert values(adapter, ONE, changes) == [1]


def test_a_reversal_is_of_the_row_with_the_same_time(adapter: Adapter) -> None:
    changes = log((T, OLD, 1, "2024-01-01 00:00:00.000001"))
    assert values(adapter, ONE, changes) == [1]


def test_rows_without_a_time_are_never_seen_nor_is_what_takes_them_away(adapter: Adapter) -> None:
    changes = log((T, OLD, 1, None), (T, NEW, 4, None))
    assert values(adapter, ONE, changes) == [1]


WIDE = "user STRING, value BIGINT, word STRING, note STRING, t TIMESTAMP"


def wide(before: tuple[Any, ...], reversal: tuple[Any, ...]) -> tuple[Table, Table]:
    """One row of a snapshot with more columns, and one reversal."""
    return (
        table(f"{WIDE}, ds STRING", ("ann", *before, JAN, "2024-03-04")),
        table(f"{WIDE}, changed TIMESTAMP, before BOOLEAN", ("ann", *reversal, JAN, T, OLD)),
    )


@pytest.mark.parametrize(
    ("before", "reversal", "left"),
    [
        ((1, "a", "x"), (1, "a", "x"), 0),
        ((1, "a", "x"), (1, "b", "x"), 1),  # a selected column differs, though no aggregation looks at it
        ((1, "a", "x"), (2, "a", "x"), 1),
        ((1, "a", "x"), (1, None, "x"), 1),
        ((1, None, "x"), (1, None, "x"), 0),  # null is equal to null
        ((1, "a", "x"), (1, "a", "y"), 0),  # `note` is not selected
    ],
)
def test_a_reversal_is_of_a_row_equal_in_every_selected_column(
    adapter: Adapter, before: tuple[Any, ...], reversal: tuple[Any, ...], left: int
) -> None:
    select = {"user": "user", "value": "value", "word": "word"}
    assert ask(adapter, *wide(before, reversal), operation("COUNT"), query={"select": select}) == [left]


def test_columns_are_equal_as_selected(adapter: Adapter) -> None:
    select = {"user": "user", "value": "value * 0"}
    functions: Functions = {"value * 0": lambda row: row["value"] * 0}
    changes = log((T, OLD, 5, JAN))
    assert ask(adapter, ONE, changes, operation("COUNT"), query={"select": select}, functions=functions) == [0]


def test_a_row_that_moves_to_another_key_leaves_the_first(adapter: Adapter) -> None:
    changes = table(
        "user STRING, value BIGINT, t TIMESTAMP, changed TIMESTAMP, before BOOLEAN",
        ("ann", 1, JAN, T, OLD),
        ("bob", 1, JAN, T, NEW),
        (None, 1, JAN, LATER, NEW),
        ("bob", 1, JAN, LATER, OLD),
    )
    asked = table(
        "user STRING, ts TIMESTAMP", ("ann", T), ("bob", T), ("ann", LATER), ("bob", LATER), ("bob", NOON), (None, NOON)
    )
    result = adapter.run(AggregateCase(group_by(operation("COUNT")), asked, {"dump": ONE, "log": changes}))
    assert [row["value_count"] for row in result.rows] == [1, 0, 0, 1, 0, 0]


def test_a_row_that_moves_out_of_where_leaves_and_one_that_moves_in_comes(adapter: Adapter) -> None:
    query = {"where": ["value < 5"]}
    functions: Functions = {"value < 5": lambda row: row["value"] < 5}
    changes = log((T, OLD, 1, JAN), (T, NEW, 9, JAN), (LATER, OLD, 9, JAN), (LATER, NEW, 3, JAN))
    assert values(adapter, ONE, changes, at=LATER, query=query, functions=functions) == []
    assert values(adapter, ONE, changes, query=query, functions=functions) == [3]


def test_clocks_of_changes_may_be_expressions(adapter: Adapter) -> None:
    query = {"mutation_time": "COALESCE(changed, t)", "is_before": "NOT after"}
    functions: Functions = {
        "COALESCE(changed, t)": lambda row: row["changed"] or row["t"],
        "NOT after": lambda row: not row["after"],
    }
    changes = table(
        "user STRING, value BIGINT, t TIMESTAMP, changed TIMESTAMP, after BOOLEAN",
        ("ann", 1, JAN, T, False),
        ("ann", 2, T, None, True),
    )
    assert values(adapter, ONE, changes, query=query, functions=functions) == [2]


# Windows

TIMED = dump(("2024-03-04", 1, "2024-03-04 11:59:59.999999"), ("2024-03-04", 2, "2024-03-04 12:00"))


def test_windows_apply_to_the_rows_own_time(adapter: Adapter) -> None:
    changes = log(
        (T, NEW, 4, "2024-03-01"),  # made today, of an old row
        (T, NEW, 8, "2024-03-05 11:59:59.999999"),  # made before the row's own time
        (T, NEW, 16, NOON),  # of a time that is not yet over
        (T, OLD, 1, "2024-03-04 11:59:59.999999"),
    )
    windows = ["5m", "1d", "2d", None]
    sums = [operation("SUM", window) for window in windows]
    assert ask(adapter, TIMED, changes, *sums) == [8, 10, 10, 14]
    assert ask(adapter, TIMED, changes, *sums, at=T) == [None, 3, 3, 3]
    assert ask(adapter, TIMED, changes, *sums, at="2024-03-05 12:00:00.000001") == [24, 26, 26, 30]


def test_starts_of_windows_are_floored_to_hops(adapter: Adapter) -> None:
    # At 12:34 the day starts at 12:00 of the day before.
    sums = [operation("SUM", "1d")]
    assert ask(adapter, TIMED, log(), *sums, at="2024-03-05 12:34") == [2]
    assert ask(adapter, TIMED, log((T, OLD, 2, "2024-03-04 12:00")), *sums, at="2024-03-05 12:34") == [None]


def test_a_reversal_outside_every_window_does_not_reach_into_them(adapter: Adapter) -> None:
    rows = dump(("2024-03-04", 1, "2024-02-01"), ("2024-03-04", 1, "2024-03-04 13:00"))
    changes = log((T, OLD, 1, "2024-02-01"))
    assert ask(adapter, rows, changes, operation("SUM", "1d"), operation("SUM")) == [1, 1]


# Operations

GIVEN = [1, 2, 2, 5, 8, 7]
"""One an hour; the second 2 and the 7 are reversed."""
REMAINING: dict[str, Any] = {
    "COUNT": 4,
    "SUM": 16,
    "AVERAGE": 4.0,
    "VARIANCE": 7.5,
    "SKEW": 7.5**-0.5,
    "KURTOSIS": 88.5 / 7.5**2 - 3,
    "MIN": 1,
    "MAX": 8,
    "FIRST": 1,
    "LAST": 8,
    "FIRST_K": [1, 2],
    "LAST_K": [8, 5],
    "TOP_K": [8, 5],
    "BOTTOM_K": [1, 2],
    "UNIQUE_COUNT": 4,
    "BOUNDED_UNIQUE_COUNT": 4,
    "HISTOGRAM": {1: 1, 2: 1, 5: 1, 8: 1},
}


def test_every_exact_operation_is_here() -> None:
    assert set(REMAINING) == {name for name in Operation.__members__ if not name.startswith("APPROX_")}


@pytest.mark.parametrize("name", REMAINING)
@pytest.mark.parametrize("where", ["snapshot", "changes"])
def test_a_reversed_row_leaves_every_exact_operation(adapter: Adapter, name: str, where: str) -> None:
    times = [f"2024-03-01 0{number}:00" for number in range(len(GIVEN))]
    kept = list(zip(GIVEN, times, strict=True))
    rows = dump(*(("2024-03-04", *one) for one in kept)) if where == "snapshot" else dump()
    inserts = [] if where == "snapshot" else [("2024-03-05 01:00", NEW, *one) for one in kept]
    reversals = [(T, OLD, 7, times[5]), (T, OLD, 2, times[2])]
    assert ask(adapter, rows, log(*reversals, *inserts), made(name)) == [pytest.approx(REMAINING[name], rel=1e-9)]


@pytest.mark.parametrize("name", REMAINING)
def test_what_is_left_when_all_rows_are_reversed_is_an_empty_window(adapter: Adapter, name: str) -> None:
    empty = 0 if name.endswith("COUNT") else None
    assert ask(adapter, ONE, log((T, OLD, 1, JAN)), made(name), made(name, "30d")) == [empty, empty]


def test_approximate_operations_over_mutations_are_a_compile_error() -> None:
    for name in ("APPROX_UNIQUE_COUNT", "APPROX_PERCENTILE", "APPROX_HISTOGRAM_K"):
        with pytest.raises(DefinitionError, match=name):
            group_by(made(name))


def test_a_huge_value_that_is_reversed_leaves_no_trace(adapter: Adapter) -> None:
    schema = "user STRING, value DOUBLE, t TIMESTAMP"
    rows = table(f"{schema}, ds STRING", ("ann", 0.1, JAN, "2024-03-04"), ("ann", 1e16, JAN, "2024-03-04"))
    changes = table(
        f"{schema}, changed TIMESTAMP, before BOOLEAN", ("ann", 1e16, JAN, T, OLD), ("ann", 0.2, JAN, T, NEW)
    )
    total, average = ask(adapter, rows, changes, operation("SUM"), operation("AVERAGE"))
    assert total == pytest.approx(0.3, rel=1e-9)
    assert average == pytest.approx(0.15, rel=1e-9)


def test_an_infinity_or_nan_that_is_reversed_leaves_no_trace(adapter: Adapter) -> None:
    schema = "user STRING, value DOUBLE, t TIMESTAMP"
    given = [1.0, float("inf"), float("nan")]
    rows = table(f"{schema}, ds STRING", *(("ann", value, JAN, "2024-03-04") for value in given))
    changes = table(
        f"{schema}, changed TIMESTAMP, before BOOLEAN", *(("ann", value, JAN, T, OLD) for value in given[1:])
    )
    assert ask(adapter, rows, changes, *map(operation, ("SUM", "VARIANCE", "MAX", "COUNT"))) == [1.0, 0.0, 1.0, 1]


def test_ties_in_time_are_ordered_by_value(adapter: Adapter) -> None:
    changes = log((T, NEW, 3, JAN), (LATER, NEW, 2, JAN), (T, OLD, 1, JAN))
    assert ask(adapter, ONE, changes, operation("FIRST"), made("LAST_K")) == [2, [3, 2]]


# Lists, buckets and keys

SHAPES = "user STRING, item BIGINT, value ARRAY<BIGINT>, channel STRING, t TIMESTAMP"
SHAPED = (
    table(
        f"{SHAPES}, ds STRING",
        ("ann", 1, [1, 2], "web", JAN, "2024-03-04"),
        ("ann", 2, [2, None], "shop", JAN, "2024-03-04"),
        ("bob", 1, [], "web", JAN, "2024-03-04"),
    ),
    table(
        f"{SHAPES}, changed TIMESTAMP, before BOOLEAN",
        ("ann", 1, [1, 2], "web", JAN, T, OLD),
        ("ann", 1, [4, 4], "web", JAN, T, NEW),
        ("ann", 2, [None, 2], "shop", JAN, T, OLD),  # another list: of no row that is there
        ("bob", 1, [], "web", JAN, T, OLD),
        ("bob", 1, [8], None, JAN, T, NEW),
    ),
)


def shaped(adapter: Adapter, keys: list[str], *aggregations: Aggregation, asked: Table) -> list[tuple[Any, ...]]:
    names = ("user", "item", "value", "channel")
    made = group_by(*aggregations, query={"select": {name: name for name in names}}, keys=keys)
    result = adapter.run(AggregateCase(made, asked, dict(zip(("dump", "log"), SHAPED, strict=True))))
    return [tuple(row.values())[len(keys) + 1 :] for row in result.rows]


def test_list_inputs_lose_the_elements_of_a_reversed_row(adapter: Adapter) -> None:
    asked = table("user STRING, ts TIMESTAMP", ("ann", NOON), ("bob", NOON))
    found = shaped(adapter, ["user"], operation("SUM"), operation("HISTOGRAM"), asked=asked)
    assert found == [(10, {4: 2, 2: 1}), (8, {8: 1})]


def test_buckets_lose_a_reversed_row_and_then_themselves(adapter: Adapter) -> None:
    asked = table("user STRING, ts TIMESTAMP", ("ann", T), ("ann", NOON), ("bob", NOON))
    found = shaped(adapter, ["user"], Aggregation("item", Operation.SUM, buckets=["channel"]), asked=asked)
    assert found == [({"web": 1, "shop": 2},), ({"web": 1, "shop": 2},), (None,)]
    gone = table("user STRING, ts TIMESTAMP", ("bob", T), ("bob", NOON))
    assert shaped(adapter, ["user"], Aggregation("item", Operation.COUNT, buckets=["channel"]), asked=gone) == [
        ({"web": 1},),
        (None,),
    ]


def test_composite_keys_and_no_key_at_all(adapter: Adapter) -> None:
    asked = table("user STRING, item BIGINT, ts TIMESTAMP", ("ann", 1, NOON), ("ann", 2, NOON), ("bob", 2, NOON))
    assert shaped(adapter, ["user", "item"], operation("SUM"), asked=asked) == [(8,), (2,), (None,)]
    everything = table("ts TIMESTAMP", (T,), (NOON,))
    assert shaped(adapter, [], operation("SUM"), asked=everything) == [(5,), (18,)]


# Lookups

PLANS = "user STRING, plan STRING, level BIGINT, t TIMESTAMP"
DUMPED = table(f"{PLANS}, ds STRING", ("ann", "free", 1, JAN, "2024-03-04"))
LOGGED = table(
    f"{PLANS}, changed TIMESTAMP, before BOOLEAN",
    ("ann", "free", 1, JAN, T, OLD),
    ("ann", "gold", 2, "2024-03-05 09:00", T, NEW),
    ("ann", "gold", 2, "2024-03-05 09:00", LATER, OLD),
)
LOOKUP = {"select": {"user": "user", "plan": "plan", "level": "level"}}


def test_a_lookup_is_the_row_that_is_left(adapter: Adapter) -> None:
    assert ask(adapter, DUMPED, LOGGED, query=LOOKUP, at=T) == ["free", 1]
    assert ask(adapter, DUMPED, LOGGED, query=LOOKUP, at=LATER) == ["gold", 2]
    assert ask(adapter, DUMPED, LOGGED, query=LOOKUP) == [None, None]


def test_a_lookup_is_of_the_latest_row_by_its_own_time_not_by_its_change(adapter: Adapter) -> None:
    changes = table(
        f"{PLANS}, changed TIMESTAMP, before BOOLEAN",
        ("ann", "late", 3, "2024-03-02", T, NEW),
        ("ann", "early", 4, "2024-03-01", LATER, NEW),
        ("ann", "future", 5, NOON, LATER, NEW),
    )
    assert ask(adapter, DUMPED, changes, query=LOOKUP) == ["late", 3]


def test_reversing_the_latest_row_brings_the_one_before_it_back(adapter: Adapter) -> None:
    changes = table(
        f"{PLANS}, changed TIMESTAMP, before BOOLEAN",
        ("ann", "gold", 2, "2024-03-01", T, NEW),
        ("ann", "gold", 2, "2024-03-01", LATER, OLD),
    )
    assert ask(adapter, DUMPED, changes, query=LOOKUP, at=LATER) == ["gold", 2]
    assert ask(adapter, DUMPED, changes, query=LOOKUP) == ["free", 1]


def test_ties_of_a_lookup_are_ordered_by_its_columns(adapter: Adapter) -> None:
    changes = table(
        f"{PLANS}, changed TIMESTAMP, before BOOLEAN", ("ann", "free", 9, JAN, T, NEW), ("ann", "a", 99, JAN, T, NEW)
    )
    assert ask(adapter, DUMPED, changes, query=LOOKUP) == ["free", 9]


def test_snapshot_accuracy_looks_up_the_snapshot(adapter: Adapter) -> None:
    assert ask(adapter, DUMPED, LOGGED, query=LOOKUP, at="2024-03-06", accuracy=SNAPSHOT) == ["free", 1]


def test_a_lookup_without_a_time_is_of_the_row_that_is_left(adapter: Adapter) -> None:
    changes = table(
        "user STRING, plan STRING, level BIGINT, changed TIMESTAMP, before BOOLEAN",
        ("ann", "free", 1, T, OLD),
        ("ann", "early", 2, T, NEW),
        ("ann", "early", 2, LATER, OLD),
        ("ann", "a", 3, LATER, NEW),
    )
    rows = table("user STRING, plan STRING, level BIGINT, ds STRING", ("ann", "free", 1, "2024-03-04"))
    query = {**LOOKUP, "time": None}
    found = [ask(adapter, rows, changes, query=query, at=at) for at in (T, LATER, NOON)]
    assert found == [["free", 1], ["early", 2], ["a", 3]]


# Several sources


def test_sources_keep_their_own_snapshots_and_reversals(adapter: Adapter) -> None:
    # The second source's newest snapshot is of March 2, so its change of March 3 counts; its reversal of a 1 finds no
    # row of its own and leaves the first source's alone.
    other = dump(("2024-03-02", 10, JAN))
    changes = log(("2024-03-03 10:00", NEW, 20, JAN), (T, OLD, 1, JAN))
    second = EntitySource("other", mutations="other_log", query=source().query)
    made = group_by(operation("BOTTOM_K", k=9), sources=[source(), second])
    tables = {
        "dump": ONE,
        "log": log(("2024-03-03 10:00", NEW, 100, JAN), (T, NEW, 2, JAN)),
        "other": other,
        "other_log": changes,
    }
    result = adapter.run(AggregateCase(made, queries(NOON), tables))
    assert result.rows[0]["value_bottom_k9"] == [1, 2, 10, 20]


def test_an_entity_with_changes_beside_one_without(adapter: Adapter) -> None:
    plain = EntitySource("plain", query=Query(select={"user": "user", "value": "value"}, time="t"))
    tables = {"dump": ONE, "log": log((T, OLD, 1, JAN), (T, NEW, 2, JAN)), "plain": dump(("2024-03-03", 4, JAN))}
    made = group_by(operation("BOTTOM_K", k=9), sources=[source(), plain])
    result = adapter.run(AggregateCase(made, queries(NOON), tables))
    assert result.rows[0]["value_bottom_k9"] == [2, 4]


# In joins


def join_of(part: GroupBy, offset: str | None = None, **fields: Any) -> Join:
    left = EventSource("left", query=Query(select={"user": "user"}, time="asked"))
    labels = LabelPart([JoinPart(part)], offset=offset) if offset else None
    return Join(**{"left": left, "parts": [] if offset else [JoinPart(part)], "labels": labels, "name": "j", **fields})


def asked(*times: str | None) -> Table:
    return table("user STRING, asked TIMESTAMP", *(("ann", time) for time in times))


def test_states_stand_in_a_join(adapter: Adapter) -> None:
    tables = {"left": asked(T, LATER, NOON, None), "dump": DUMPED, "log": LOGGED}
    result = adapter.run(BackfillCase(join_of(group_by(query=LOOKUP)), tables))
    assert result.columns == ("user", "ts", "state_plan", "state_level")
    assert [row["state_plan"] for row in result.rows] == ["free", "gold", None, None]


def test_a_label_is_the_state_as_of_q_plus_o(adapter: Adapter) -> None:
    times = ("2024-03-03 10:00", "2024-03-03 10:00:00.000001", "2024-03-03 12:00", "2024-03-02 12:00")
    tables = {"left": asked(*times), "dump": DUMPED, "log": LOGGED}
    result = adapter.run(BackfillCase(join_of(group_by(query=LOOKUP), "2d"), tables, as_of="2024-04-01"))
    assert result.columns == ("user", "ts", "label_state_plan", "label_state_level")
    assert [row["label_state_level"] for row in result.rows] == [1, 2, None, None]


def test_accuracy_does_not_filter_labels(adapter: Adapter) -> None:
    tables = {"left": asked("2024-03-03 10:30"), "dump": DUMPED, "log": LOGGED}
    label = group_by(query=LOOKUP, accuracy=SNAPSHOT)
    result = adapter.run(BackfillCase(join_of(label, "2d"), tables, as_of="2024-04-01"))
    assert result.rows[0]["label_state_plan"] == "gold"


def test_a_labels_window_is_over_the_rows_own_time_and_not_floored(adapter: Adapter) -> None:
    changes = log((T, NEW, 4, "2024-03-04 10:20"), (T, NEW, 8, "2024-03-05 10:20"), (LATER, NEW, 16, T))
    tables = {"left": asked("2024-03-03 10:20", "2024-03-03 10:20:00.000001"), "dump": ONE, "log": changes}
    label = group_by(operation("SUM", "1d"))
    result = adapter.run(BackfillCase(join_of(label, "2d"), tables, as_of="2024-04-01"))
    assert [row["label_state_value_sum_1d"] for row in result.rows] == [4, 8]


def test_a_label_sees_no_row_of_a_later_time(adapter: Adapter) -> None:
    changes = table(f"{PLANS}, changed TIMESTAMP, before BOOLEAN", ("ann", "future", 5, "2024-03-09", T, NEW))
    tables = {"left": asked("2024-03-03 12:00"), "dump": DUMPED, "log": changes}
    result = adapter.run(BackfillCase(join_of(group_by(query=LOOKUP), "2d"), tables, as_of="2024-04-01"))
    assert result.rows[0]["label_state_plan"] == "free"


@pytest.mark.parametrize(
    ("snapshots", "changes", "mature"),
    [
        (("2024-03-04",), ("2024-03-05 10:00",), 2),  # the newest mutation
        (("2024-03-05",), ("2024-03-05 10:00",), 3),  # the end of the newest snapshot
        (("2024-03-04",), (), 1),
        ((), ("2024-03-05 10:00", None), 2),
        ((), (), 0),
    ],
)
def test_label_data_end_with_the_newest_mutation_or_snapshot_whichever_is_later(
    adapter: Adapter, snapshots: tuple[str, ...], changes: tuple[str | None, ...], mature: int
) -> None:
    # q + 2 d: midnight and 10:00 of March 5, midnight of March 6, a microsecond later.
    times = ("2024-03-03", "2024-03-03 10:00", "2024-03-04", "2024-03-04 00:00:00.000001")
    tables = {
        "left": asked(*times),
        "dump": dump(*((day, 1, JAN) for day in snapshots)),
        "log": log(*((time, NEW, 0, JAN) for time in changes)),
    }
    label = group_by(operation("SUM", "1d"), query={"where": ["value > 5"]})
    functions: Functions = {"value > 5": lambda row: row["value"] > 5}
    result = adapter.run(BackfillCase(join_of(label, "2d"), tables, functions=functions))
    assert len(result.rows) == mature
