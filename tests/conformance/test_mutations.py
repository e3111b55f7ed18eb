"""Which rows a state has between its snapshots: DESIGN section 2, "Entities"."""

from __future__ import annotations

from typing import Any

import pytest

from .adapters import Adapter
from .changes import JAN, LATER, NEW, OLD, ONE, T, ask, dump, group_by, log, values
from .questions import NOON, SNAPSHOT, operation
from .tables import AggregateCase, Functions, Table, table

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
