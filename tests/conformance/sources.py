"""Raw rows to events: what the oracle makes of a source's table, by DESIGN section 2's rules and nothing else.

Bounds and `where` filter rows, `select` shapes them, clocks are read, rows of one `event_id` become one event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .instants import micros
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


class Feed(Protocol):
    """One source, read."""

    @property
    def newest(self) -> int | None:
        """The instant to which the source reaches, before its `where`; None where it is empty."""
        ...

    def candidates(self, query: int, whole_days: bool) -> Sequence[Event]:
        """The rows that exist for a query at this time, before windows and the second clock are looked at.

        `whole_days` is SNAPSHOT accuracy, which sees no change between two days.
        """
        ...


@dataclass(frozen=True)
class EventFeed:
    events: tuple[Event, ...]
    newest: int | None

    def candidates(self, query: int, whole_days: bool) -> Sequence[Event]:
        return self.events


def evaluate(expression: str, row: Row, functions: Functions) -> Any:
    return functions[expression](row) if expression in functions else row[expression]


def is_missing(value: Any) -> bool:
    """True for null, and for NaN, which is null at the door."""
    return value is None or (isinstance(value, float) and value != value)


def read_events(query: Any, table: Table, functions: Functions, *, label: bool = False) -> EventFeed:
    """A table's rows as events. A label's count whether or not it is known when they were known."""
    rows = bounded(query, table)
    times = [clock(query.time, row, functions) for row in rows]
    kept = [row for row in rows if passes(query, row, functions)]
    events = [(row, made) for row in kept if (made := event(query, row, functions, label))]
    newest = max((time for time in times if time is not None), default=None)
    return EventFeed(tuple(_once(query, events, functions)), newest)


def partition(query: Any, row: Row) -> int:
    return micros(row[query.partition])


def bounded(query: Any, table: Table) -> list[Row]:
    """The rows of the partitions from `start` to `end`, both inclusive; all, where the table has no such column."""
    if query.partition not in table.schema:
        return list(table.rows)
    low = micros(str(query.start)) if query.start else None
    high = micros(str(query.end)) if query.end else None
    return [row for row in table.rows if _within(partition(query, row), low, high)]


def _within(midnight: int, low: int | None, high: int | None) -> bool:
    return (low is None or midnight >= low) and (high is None or midnight <= high)


def passes(query: Any, row: Row, functions: Functions) -> bool:
    return all(evaluate(condition, row, functions) is True for condition in query.where)


def clock(expression: str | None, row: Row, functions: Functions) -> int | None:
    value = evaluate(expression, row, functions) if expression else None
    return None if value is None else micros(value)


def event(query: Any, row: Row, functions: Functions, label: bool = False) -> Event | None:
    """The event of a row, or None: one without its time, or without a declared `known_at`, is never seen."""
    time = clock(query.time, row, functions)
    known = clock(query.known_at, row, functions)
    if time is None or (query.known_at and known is None and not label):
        return None
    return Event(time, known, selected(query, row, functions))


def selected(query: Any, row: Row, functions: Functions) -> Row:
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
