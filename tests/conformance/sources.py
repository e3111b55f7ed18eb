"""Raw rows to events: what the oracle makes of a source's table, by DESIGN section 2's rules and nothing else.

Bounds and `where` filter rows, `select` shapes them, clocks are read, rows of one `event_id` become one event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .instants import DAY, day_of, micros
from .tables import Functions, Row, Table

Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Event:
    """A row as a query may see it. `known` is None where the source declares no second clock."""

    time: int
    known: int | None
    row: Row

    @property
    def available(self) -> int:
        return self.time if self.known is None else max(self.time, self.known)

    @property
    def known_order(self) -> int:
        """What ties in time are ordered by: without a second clock an event is known at its time."""
        return self.time if self.known is None else self.known


@dataclass(frozen=True)
class Feed:
    """One source, read. `snapshots` is None for events, else the rows of each partition (keyed by its midnight)."""

    events: tuple[Event, ...]
    snapshots: Mapping[int, tuple[Event, ...]] | None
    newest: int | None
    """The newest time in the source before its `where`; for an entity the end of its newest snapshot."""

    def candidates(self, query: int) -> tuple[Event, ...]:
        """The rows that exist for a query at this time, before windows and the second clock are looked at."""
        if self.snapshots is None:
            return self.events
        before = [midnight for midnight in self.snapshots if midnight < day_of(query)]
        return self.snapshots[max(before)] if before else ()


def evaluate(expression: str, row: Row, functions: Functions) -> Any:
    return functions[expression](row) if expression in functions else row[expression]


def is_missing(value: Any) -> bool:
    """True for null, and for NaN, which is null at the door."""
    return value is None or (isinstance(value, float) and value != value)


def read(source: Any, tables: Tables, functions: Functions, *, label: bool = False) -> Feed:
    """A source's rows as events (an EventSource) or as daily states (an EntitySource).

    A label's events count whether or not it is known when they were known.
    """
    if hasattr(source, "snapshots"):
        return _read_entity(source, tables, functions)
    rows = _bounded(source.query, tables[source.table])
    times = [_clock(source.query.time, row, functions) for row in rows]
    kept = [row for row in rows if _passes(source.query, row, functions)]
    events = [(row, event) for row in kept if (event := _event(source.query, row, functions, label))]
    newest = max((time for time in times if time is not None), default=None)
    return Feed(tuple(_once(source.query, events, functions)), None, newest)


def _read_entity(source: Any, tables: Tables, functions: Functions) -> Feed:
    if source.mutations is not None:
        raise NotImplementedError("the oracle does not cover mutations yet")
    rows = _bounded(source.query, tables[source.snapshots])
    snapshots: dict[int, tuple[Event, ...]] = {_partition(source.query, row): () for row in rows}
    for row in rows:
        event = _entity_row(source.query, row, functions) if _passes(source.query, row, functions) else None
        if event:
            snapshots[_partition(source.query, row)] += (event,)
    return Feed((), snapshots, max(snapshots) + DAY if snapshots else None)


def _partition(query: Any, row: Row) -> int:
    return micros(row[query.partition])


def _bounded(query: Any, table: Table) -> list[Row]:
    """The rows of the partitions from `start` to `end`, both inclusive; all, where the table has no such column."""
    if query.partition not in table.schema:
        return list(table.rows)
    low = micros(str(query.start)) if query.start else None
    high = micros(str(query.end)) if query.end else None
    return [row for row in table.rows if _within(_partition(query, row), low, high)]


def _within(midnight: int, low: int | None, high: int | None) -> bool:
    return (low is None or midnight >= low) and (high is None or midnight <= high)


def _passes(query: Any, row: Row, functions: Functions) -> bool:
    return all(evaluate(condition, row, functions) is True for condition in query.where)


def _clock(expression: str | None, row: Row, functions: Functions) -> int | None:
    value = evaluate(expression, row, functions) if expression else None
    return None if value is None else micros(value)


def _event(query: Any, row: Row, functions: Functions, label: bool = False) -> Event | None:
    """The event of a row, or None: one without its time, or without a declared `known_at`, is never seen."""
    time = _clock(query.time, row, functions)
    known = _clock(query.known_at, row, functions)
    if time is None or (query.known_at and known is None and not label):
        return None
    return Event(time, known, _selected(query, row, functions))


def _entity_row(query: Any, row: Row, functions: Functions) -> Event | None:
    """A row of a snapshot; without a clock of its own it counts as of the start of its day."""
    if query.time is None:
        return Event(_partition(query, row), None, _selected(query, row, functions))
    return _event(query, row, functions)


def _selected(query: Any, row: Row, functions: Functions) -> Row:
    if query.select is None:
        return dict(row)
    return {name: evaluate(expression, row, functions) for name, expression in dict(query.select).items()}


def _once(query: Any, events: list[tuple[Row, Event]], functions: Functions) -> list[Event]:
    """Rows with one `event_id` are one event, the least by (availability, t, values); null is no identity."""
    if query.event_id is None:
        return [event for _, event in events]
    chosen: dict[Any, Event] = {}
    for number, (row, event) in enumerate(events):
        own = evaluate(query.event_id, row, functions)
        identity = ("row", number) if own is None else ("id", own)
        chosen[identity] = min(chosen.get(identity, event), event, key=_identity_order)
    return list(chosen.values())


def _identity_order(event: Event) -> tuple[Any, ...]:
    return event.available, event.time, tuple(event.row.values())
