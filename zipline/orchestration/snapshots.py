"""Snapshots that go back in time, found from what is known of their files, before anything is read.

The newest row of a snapshot is as a rule no older than that of the snapshot before: where it is older, perhaps an old
dump lies under a new day. It may be right all the same (the newest rows were deleted), and what a query sees is defined
either way, so this is counted and reported, and refuses nothing. That single keys went back, only the rows can tell:
the engine's report counts these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zipline.clock import DAY, day_text, to_micros, to_text
from zipline.orchestration.extents import Extent, Extents
from zipline.plan.steps import ComputeParent, JoinPlan, PartPlan, Projection
from zipline.values import dataclass


@dataclass(frozen=True)
class Backwards:
    """The snapshot of the day `partition`, whose newest row is of `newest`: older than that of the one before it."""

    table: str
    partition: str
    newest: str
    previous: str
    previous_newest: str

    @property
    def message(self) -> str:
        return (
            f"{self.table}, snapshot {self.partition}: its newest row is of {self.newest}, older than that of the "
            f"snapshot before it ({self.previous}: {self.previous_newest}); is an old dump stored under this day?"
        )


def backwards(plan: JoinPlan, extents: Extents, days: Sequence[str], *, training: bool) -> tuple[Backwards, ...]:
    """Of the snapshots that the rows of these days see, and their parents' rows, those that go back in time."""
    if not days:
        return ()
    found: dict[tuple[str, str], Backwards] = {}
    for source, first, last in _seen(plan, to_micros(days[0]), to_micros(days[-1]) + DAY - 1, training=training):
        for each in _of(source, extents, first, last):
            found[each.table, each.partition] = each
    return tuple(found[key] for key in sorted(found))


def _seen(plan: JoinPlan, first: int, last: int, *, training: bool) -> Iterator[tuple[Projection, int | None, int]]:
    """The snapshots that are read, with the first and the last instant of queries (None: from the beginning)."""
    parts = (*plan.parts, *(plan.labels if training else ()))
    yield from _of_parts(parts, first, last)
    ahead = max((part.offset or 0 for part in parts), default=0)
    for step in plan.steps(training=training):
        if isinstance(step, ComputeParent):
            since = None if step.lookback is None else first - step.lookback
            yield from _of_parts(step.parent.parts, since, last + ahead)


def _of_parts(parts: Sequence[PartPlan], first: int | None, last: int) -> Iterator[tuple[Projection, int | None, int]]:
    for part in parts:
        offset = part.offset or 0
        for source in part.group_by.sources:
            if source.kind == "snapshots" and source.time is not None:
                yield source, None if first is None else first + offset, last + offset


def _of(source: Projection, extents: Extents, first: int | None, last: int) -> Iterator[Backwards]:
    """A query sees the newest snapshot before its day, so the first one asked for may be any number of days old."""
    newest = _newest_rows(extents.of(source))
    before = [day for day in newest if first is not None and day < first // DAY]
    for earlier, day in zip(newest, list(newest)[1:], strict=False):
        is_seen = day < last // DAY and (not before or day >= before[-1])
        if is_seen and newest[day] < newest[earlier]:
            yield Backwards(
                source.table,
                day_text(day * DAY),
                to_text(newest[day]),
                day_text(earlier * DAY),
                to_text(newest[earlier]),
            )


def _newest_rows(found: Sequence[Extent]) -> dict[int, int]:
    """Day of each snapshot that has a time -> its newest; in order."""
    newest: dict[int, int] = {}
    for extent in found:
        if extent.day is not None and extent.last is not None:
            newest[extent.day] = max(extent.last, newest.get(extent.day, extent.last))
    return dict(sorted(newest.items()))
