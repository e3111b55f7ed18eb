"""Random differential tests of states that change, and the mistakes that they must tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from zipline import Operation

from . import entities, oracle
from .adapters import Adapter
from .comparison import assert_all_agree, differences
from .entities import UNTIMED, EntityFeed, Mutation
from .generate_entities import STATE_MODES, STATE_THEMES, StateScenario, state_scenarios
from .instants import DAY, day_of, instant
from .sources import Event
from .tables import AggregateCase
from .tallies import TALLIES
from .tallies_of_states import STATE_KINDS, tally_states

CASES = 9
SCENARIOS = state_scenarios()


@cache
def cases_of(scenario: StateScenario) -> list[AggregateCase]:
    return scenario.cases(CASES)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_engines_agree_with_the_oracle(engine: Adapter, scenario: StateScenario) -> None:
    cases = cases_of(scenario)
    assert_all_agree(cases, engine.run_batch(cases))


@pytest.mark.parametrize("scenario", SCENARIOS[::9], ids=lambda scenario: scenario.name)
def test_cases_run_as_one_job_give_what_they_give_alone(adapter: Adapter, scenario: StateScenario) -> None:
    cases = cases_of(scenario)[:4]
    assert_all_agree(cases, [adapter.run(case) for case in cases])
    assert_all_agree(cases, adapter.run_batch(cases))


def test_every_exact_operation_is_drawn() -> None:
    exact = {name for name in Operation.__members__ if not name.startswith("APPROX_")}
    assert {name for choices in STATE_THEMES.values() for name, _, _ in choices} == exact


def test_every_awkward_kind_of_change_is_at_least_one_in_a_hundred() -> None:
    counts = tally_states(case for scenario in SCENARIOS for case in cases_of(scenario))
    shown = ("cases", "queries", "rows of snapshots", "changes", *STATE_KINDS)
    TALLIES["changes of random states"] = {kind: counts[kind] for kind in shown}
    assert [kind for kind in STATE_KINDS if counts[kind] * 100 < counts["changes"]] == []


def test_most_windows_hold_something() -> None:
    """A generator of empty answers would agree with anything."""
    made = [oracle.run(case) for scenario in SCENARIOS for case in cases_of(scenario)[:3]]
    evidence = [one for result in made for one in result.evidence.values()]
    filled = sum(bool(one.seen) for one in evidence)
    TALLIES["windows of random states"] = {"windows": len(evidence), "filled": filled}
    assert filled * 4 > len(evidence)


# Mistakes


def seen(wrong: Callable[[int, int | None, int], bool]) -> tuple[Any, str, Any]:
    """Changes seen by another rule; a change is as good as any later one on which the rules agree."""
    return entities, "is_seen", wrong


def after(snapshot: int | None) -> int:
    return -(10**18) if snapshot is None else snapshot + DAY


def newest(edge: Callable[[int], int]) -> tuple[Any, str, Any]:
    def wrong(midnights: dict[int, Any], query: int) -> int | None:
        return max((midnight for midnight in midnights if midnight < edge(query)), default=None)

    return entities, "newest_snapshot", wrong


def states(wrong: Callable[[list[Event], list[Mutation]], list[Event]]) -> tuple[Any, str, Any]:
    return entities, "state", wrong


def without_reversals(rows: list[Event], mutations: list[Mutation]) -> list[Event]:
    return [*rows, *(one.event for one in mutations if not one.is_reversal)]


def one_by_one(rows: list[Event], mutations: list[Mutation]) -> list[Event]:
    """In order of time, where a reversal that finds nothing is forgotten."""
    left = list(rows)
    for mutation in sorted(mutations, key=lambda one: (one.made, not one.is_reversal)):
        same = [row for row in left if entities.identity(row) == entities.identity(mutation.event)]
        if not mutation.is_reversal:
            left.append(mutation.event)
        elif same:
            left.remove(same[0])
    return left


def all_copies(rows: list[Event], mutations: list[Mutation]) -> list[Event]:
    gone = {entities.identity(one.event) for one in mutations if one.is_reversal}
    return [row for row in without_reversals(rows, mutations) if entities.identity(row) not in gone]


def by_key_alone(rows: list[Event], mutations: list[Mutation]) -> list[Event]:
    """A reversal takes away whatever its key has."""
    gone = {str(one.event.row.get("user")) for one in mutations if one.is_reversal}
    return [row for row in rows if str(row.row.get("user")) not in gone] + without_reversals([], mutations)


def never_of_the_snapshot(rows: list[Event], mutations: list[Mutation]) -> list[Event]:
    return [*rows, *RIGHT_STATE([], mutations)]


def values_alone(row: Event) -> Any:
    return RIGHT_IDENTITY(dataclasses.replace(row, time=0))


def nulls_differ(value: Any) -> Any:
    return object() if value is None else RIGHT_COMPARABLE(value)


def filtered_partitions(source: Any, tables: Any, functions: Any) -> EntityFeed:
    """Partitions of which no row passes `where` are not there."""
    feed = RIGHT_READ(source, tables, functions)
    return dataclasses.replace(feed, snapshots={day: rows for day, rows in feed.snapshots.items() if rows})


def times_of_changes(source: Any, tables: Any, functions: Any) -> EntityFeed:
    """Windows over when a row changed."""
    feed = RIGHT_READ(source, tables, functions)
    return dataclasses.replace(feed, mutations=tuple(map(timed_by_change, feed.mutations)))


def timed_by_change(mutation: Mutation) -> Mutation:
    return dataclasses.replace(mutation, event=dataclasses.replace(mutation.event, time=mutation.made))


def where_for_dumps_alone(query: Any, row: Any, functions: Any) -> Mutation | None:
    return RIGHT_MUTATION(dataclasses.replace(query, where=()), row, functions)


def snapshots_of_temporal(feed: EntityFeed, query: int, whole_days: bool) -> Any:
    return RIGHT_CANDIDATES(feed, query, True)


def changes_of_snapshot(feed: EntityFeed, query: int, whole_days: bool) -> Any:
    return RIGHT_CANDIDATES(feed, query, False)


def never_made(query: Any, row: Any, functions: Any) -> Mutation | None:
    """A change without a time was made in the beginning."""
    return RIGHT_MUTATION(query, row | {"changed": row["changed"] or instant(UNTIMED)}, functions)


RIGHT_STATE, RIGHT_IDENTITY, RIGHT_COMPARABLE = entities.state, entities.identity, entities._comparable
RIGHT_READ, RIGHT_CANDIDATES, RIGHT_MUTATION = entities.read_entity, EntityFeed.candidates, entities._mutation
TEMPORAL, WHERE, SNAPSHOT, UNION = STATE_MODES
PLAIN, FILTERED, DAILY = (StateScenario("totals", mode, "text") for mode in (TEMPORAL, WHERE, SNAPSHOT))
MISTAKES: dict[str, tuple[StateScenario, tuple[Any, str, Any]]] = {
    "a change at exactly q is seen": (PLAIN, seen(lambda made, s, q: after(s) <= made <= q)),
    "a change at exactly the midnight after s is not": (PLAIN, seen(lambda made, s, q: after(s) < made < q)),
    "changes of the snapshot's own day count again": (PLAIN, seen(lambda made, s, q: after(s) - DAY <= made < q)),
    "changes end with the day before": (PLAIN, seen(lambda made, s, q: after(s) <= made < day_of(q))),
    "changes of the query's day alone are seen": (PLAIN, seen(lambda made, s, q: max(after(s), day_of(q)) <= made < q)),
    "without a snapshot there is nothing": (PLAIN, seen(lambda made, s, q: s is not None and after(s) <= made < q)),
    "the snapshot of the query's own day is used": (PLAIN, newest(lambda query: day_of(query) + 1)),
    "the snapshot of the day before has not ended": (PLAIN, newest(lambda query: day_of(query) - DAY)),
    "at midnight the day before has not ended": (PLAIN, newest(lambda query: day_of(query - 1))),
    "reversals are ignored": (PLAIN, states(without_reversals)),
    "reversals that find nothing are forgotten": (PLAIN, states(one_by_one)),
    "equal rows are removed together": (PLAIN, states(all_copies)),
    "a reversal removes every row of its key": (PLAIN, states(by_key_alone)),
    "rows of the snapshot cannot be reversed": (PLAIN, states(never_of_the_snapshot)),
    "a reversal need not have the row's time": (PLAIN, (entities, "identity", values_alone)),
    "null differs from null": (PLAIN, (entities, "_comparable", nulls_differ)),
    "windows are over the times of changes": (PLAIN, (oracle, "read_entity", times_of_changes)),
    "partitions exist after where": (FILTERED, (oracle, "read_entity", filtered_partitions)),
    "where does not hold for changes": (FILTERED, (entities, "_mutation", where_for_dumps_alone)),
    "a change without a time was always there": (PLAIN, (entities, "_mutation", never_made)),
    "changes are not seen": (PLAIN, (EntityFeed, "candidates", snapshots_of_temporal)),
    "SNAPSHOT sees changes": (DAILY, (EntityFeed, "candidates", changes_of_snapshot)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_random_states_tell(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, (owner, name, wrong) = MISTAKES[mistake]
    assert any(_told(scenario.cases(40), owner, name, wrong, monkeypatch))


def _told(cases: Any, owner: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    for case in cases:
        right = oracle.run(case)
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, wrong)
            mistaken = oracle.run(case)
        yield bool(differences(right, mistaken))
