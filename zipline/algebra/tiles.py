"""Partials of one key: IRs by hop of event time and day of availability, and their merges.

A partial is keyed by (start of the hop of t, UTC midnight of the day of availability), availability being
max(t, known_at), or the mutation time. So what was available at the end of any day is a union of partials, and so is
what became available since, however late: merging partials of whole hops and days equals replaying their events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from zipline.algebra.contract import Aggregator, At
from zipline.algebra.windows import floor
from zipline.clock import DAY
from zipline.errors import UsageError
from zipline.values import dataclass

PartialKey: TypeAlias = tuple[int, int]
Partials: TypeAlias = dict[PartialKey, list[Any]]
"""(hop start, midnight of the day of availability) -> one IR per aggregator"""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one key: a value per aggregator, for bucketed ones the pair (bucket, value)."""

    t: int
    values: tuple[Any, ...]
    known_at: int | None = None
    mutation_time: int | None = None
    is_reversal: bool = False

    @property
    def at(self) -> At:
        return self.t, self.known_at

    @property
    def availability(self) -> int:
        if self.mutation_time is not None:
            return self.mutation_time
        return self.t if self.known_at is None else max(self.t, self.known_at)


def partials(events: Iterable[Event], aggregators: Sequence[Aggregator], hop: int) -> Partials:
    """The partials of the events, in hops of `hop` microseconds."""
    found: Partials = {}
    for event in events:
        key = floor(event.t, hop), floor(event.availability, DAY)
        irs = found.get(key)
        if irs is None:
            irs = found[key] = empty(aggregators)
        take(irs, event, aggregators)
    return found


def empty(aggregators: Sequence[Aggregator]) -> list[Any]:
    """The IRs of no events."""
    return [aggregator.empty() for aggregator in aggregators]


def take(irs: list[Any], event: Event, aggregators: Sequence[Aggregator]) -> None:
    """Take one event into `irs`, in place."""
    for i, (aggregator, value) in enumerate(zip(aggregators, event.values, strict=True)):
        change = aggregator.remove if event.is_reversal else aggregator.update
        irs[i] = change(irs[i], value, event.at)


def merge(groups: Iterable[Sequence[Any]], aggregators: Sequence[Aggregator]) -> list[Any]:
    """One IR per aggregator from any number of lists of them, none of which is altered."""
    total = empty(aggregators)
    for irs in groups:
        total = [aggregator.merge(a, b) for aggregator, a, b in zip(aggregators, total, irs, strict=True)]
    return total


def merge_up(found: Mapping[PartialKey, Sequence[Any]], aggregators: Sequence[Aggregator], coarser: int) -> Partials:
    """The same partials in hops of `coarser` microseconds, a multiple of theirs."""
    groups: dict[PartialKey, list[Sequence[Any]]] = {}
    for (start, day), irs in sorted(found.items(), key=lambda item: item[0]):
        groups.setdefault((floor(start, coarser), day), []).append(irs)
    return {key: merge(group, aggregators) for key, group in groups.items()}


def seen(
    found: Mapping[PartialKey, Sequence[Any]],
    aggregators: Sequence[Aggregator],
    start: int | None,
    end: int,
    *,
    available_from: int | None = None,
    available_before: int,
) -> list[Any]:
    """The IRs of the hops that begin in [start, end), of what became available on the days in the given span.

    `start`, `end` lie on hops, the bounds of availability on midnights. An upload at midnight m is everything
    available before m; a fetch adds what is available from m.
    """
    if any(midnight is not None and midnight % DAY for midnight in (available_from, available_before)):
        raise UsageError("partials are told apart by the day of their availability: bound it by midnights")
    chosen = (
        irs
        for (hop_start, day), irs in sorted(found.items(), key=lambda item: item[0])
        if (start is None or hop_start >= start)
        and hop_start < end
        and (available_from is None or day >= available_from)
        and day < available_before
    )
    return merge(chosen, aggregators)
