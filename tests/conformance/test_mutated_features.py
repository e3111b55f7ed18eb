"""What is made of states that change: operations, shapes, lookups, several sources, joins and labels."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Aggregation, EntitySource, EventSource, GroupBy, Join, JoinPart, LabelPart, Operation, Query
from zipline.errors import DefinitionError

from .adapters import Adapter
from .changes import JAN, LATER, NEW, OLD, ONE, T, ask, dump, group_by, log, source
from .questions import NOON, SNAPSHOT, made, operation, queries
from .tables import AggregateCase, BackfillCase, Functions, Table, table

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
