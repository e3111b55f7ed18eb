"""States that change: what the oracle makes of daily snapshots and the mutations between them, by DESIGN section 2.

A state is rebuilt from nothing for every query: the newest snapshot that had ended, the changes since, row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .instants import DAY, day_of, micros
from .sources import Event, Tables, bounded, clock, evaluate, event, is_missing, partition, passes, selected
from .tables import Functions, Row

UNTIMED = micros("0001-01-02")
"""The time of the rows of an entity without a clock: before every query, so that all of them count and all tie."""


@dataclass(frozen=True)
class Mutation:
    """One changed row: taken away where `is_reversal`, else added. One without `made` was never made."""

    made: int
    is_reversal: bool
    event: Event


@dataclass(frozen=True)
class EntityFeed:
    """An entity, read. `snapshots` holds the rows of every partition there is, by its midnight."""

    snapshots: Mapping[int, tuple[Event, ...]]
    mutations: tuple[Mutation, ...]
    newest: int | None

    def candidates(self, query: int, whole_days: bool) -> Sequence[Event]:
        """The state at a query: the newest snapshot of a day before its day, and the changes after that day."""
        last = newest_snapshot(self.snapshots, query)
        rows = () if last is None else self.snapshots[last]
        if whole_days:
            return rows
        return state(rows, [one for one in self.mutations if is_seen(one.made, last, query)])


def newest_snapshot(midnights: Mapping[int, Any], query: int) -> int | None:
    """The newest partition that had ended when the query's day began."""
    return max((midnight for midnight in midnights if midnight < day_of(query)), default=None)


def is_seen(made: int, snapshot: int | None, query: int) -> bool:
    """Whether a change belongs on top of a snapshot; without one every change counts, from the first."""
    return made < query and (snapshot is None or snapshot + DAY <= made)


def state(snapshot: Sequence[Event], mutations: Sequence[Mutation]) -> list[Event]:
    """The rows that are there: of each, its copies in the snapshot and the inserted ones, less the reversed ones."""
    counts: Counter[Hashable] = Counter()
    rows: dict[Hashable, Event] = {}
    for row in snapshot:
        counts[identity(row)] += 1
        rows[identity(row)] = row
    for mutation in mutations:
        counts[identity(mutation.event)] += -1 if mutation.is_reversal else 1
        rows[identity(mutation.event)] = mutation.event
    return [row for name, row in rows.items() for _ in range(counts[name])]


def identity(row: Event) -> Hashable:
    """What makes two rows the same one: time and every selected column, keys among them; null is equal to null."""
    return row.time, tuple((name, _comparable(value)) for name, value in sorted(row.row.items()))


def _comparable(value: Any) -> Hashable:
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return None if is_missing(value) else value


def read_entity(source: Any, tables: Tables, functions: Functions) -> EntityFeed:
    """A source's snapshots and mutations; partitions and the newest change exist before `where` is applied."""
    query = source.query
    dumped = bounded(query, tables[source.snapshots])
    changed = bounded(query, tables[source.mutations]) if source.mutations else []
    snapshots: dict[int, tuple[Event, ...]] = {partition(query, row): () for row in dumped}
    for row in dumped:
        made = _row(query, row, functions)
        if made:
            snapshots[partition(query, row)] += (made,)
    mutations = [one for row in changed if (one := _mutation(query, row, functions))]
    ends = [midnight + DAY for midnight in snapshots]
    ends += [time for row in changed if (time := clock(query.mutation_time, row, functions)) is not None]
    return EntityFeed(snapshots, tuple(mutations), max(ends, default=None))


def _row(query: Any, row: Row, functions: Functions) -> Event | None:
    if not passes(query, row, functions):
        return None
    if query.time is None:
        return Event(UNTIMED, None, selected(query, row, functions))
    return event(query, row, functions)


def _mutation(query: Any, row: Row, functions: Functions) -> Mutation | None:
    made = clock(query.mutation_time, row, functions)
    changed = _row(query, row, functions)
    if made is None or changed is None:
        return None
    return Mutation(made, evaluate(query.is_before, row, functions) is True, changed)
