"""What a plan reads for a range of days, before anything runs: partitions present and missing, rows and bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace

from zipline.clock import DAY, day_text, days, to_micros
from zipline.plan.reads import read_key
from zipline.plan.steps import ComputeParent, JoinPlan, Projection, SourceRead
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Partition, Table
from zipline.values import dataclass


@dataclass(frozen=True)
class Coverage:
    """One reading of a table. `first` and `last` are the days needed (`first` None: from the beginning).

    `present` and `missing` count among the days needed and are empty where the table has no partitions: then it is
    read whole. `rows` and `bytes` are at most what is read, None where only reading would tell. Of kind `computed` is
    the output of another join: nothing is read of it, and what it is made from has entries of its own.
    """

    table: str
    kind: str
    used_by: tuple[str, ...]
    partition: str | None
    first: str | None
    last: str | None
    present: tuple[str, ...]
    missing: tuple[str, ...]
    rows: int | None
    bytes: int | None


def survey(plan: JoinPlan, catalog: Catalog, start: str, end: str, *, training: bool = True) -> tuple[Coverage, ...]:
    """One entry for the left and one for each source read, for query times in the days `start`..`end`.

    Behind them stand those of the joins that are computed for it, over their longer ranges, used by `join: what`.
    """
    return tuple(_survey(plan, catalog, start, end, training))


def _survey(plan: JoinPlan, catalog: Catalog, start: str, end: str, training: bool) -> Iterator[Coverage]:
    reads = plan.reads(training=training)
    yield from _survey_own(plan, catalog, (start, end), reads, training=training)
    if any(read.parent is not None for read in (plan.left, *(each.first for each in reads))):
        yield from _survey_parents(plan, catalog, start, end, training)


def _survey_own(
    plan: JoinPlan,
    catalog: Catalog,
    asked: tuple[str | None, str],
    reads: Sequence[SourceRead],
    *,
    training: bool,
    user: str = "",
) -> Iterator[Coverage]:
    """The left and the sources of one join; asked from the beginning where `asked` has no first day."""
    start, end = asked
    yield _cover(catalog, plan.left, "left", (f"{user}left",), start, end)
    for given in plan.bootstrap:
        yield _whole(catalog.table(given.source.table), given.source, "bootstrap", (f"{user}bootstrap",), None, end)
    for read in reads:
        used_by = tuple(f"{user}{name}" for name in read.used_by)
        last = day_text(to_micros(end) + DAY - 1 + read.lookahead)
        if read.first.kind in ("snapshots", "mutations") and start is None:
            yield _whole(catalog.table(read.first.table), read.first, read.first.kind, used_by, None, last)
        elif read.first.kind == "snapshots" and start is not None:
            yield _cover_snapshots(catalog, read.first, used_by, start, last)
        elif read.first.kind == "mutations" and start is not None:
            yield replace(_cover_mutations(plan, catalog, read, start, last, training=training), used_by=used_by)
        else:
            back = None if start is None or read.lookback is None else _before(start, read.lookback)
            yield _cover(catalog, read.first, "events", used_by, back, last)


def _survey_parents(plan: JoinPlan, catalog: Catalog, start: str, end: str, training: bool) -> Iterator[Coverage]:
    ahead = max((read.lookahead for read in plan.reads(training=training)), default=0)
    last = to_micros(end) + DAY - 1 + ahead
    for step in plan.steps(training=training):
        if isinstance(step, ComputeParent):
            first = None if step.lookback is None else _before(start, step.lookback)
            reads, user = step.parent.reads(training=False), f"{step.parent.name}: "
            asked = first, day_text(last)
            own = _survey_own(step.parent, catalog, asked, reads, training=False, user=user)
            yield from (each for each in own if each.kind != "computed")


def _before(day: str, micros: int) -> str | None:
    """The day that so long before it falls on; None before the calendar begins."""
    instant = to_micros(day) - micros
    return day_text(instant) if instant >= to_micros("0001-01-01") else None


def _cover(
    catalog: Catalog, read: Projection, kind: str, used_by: tuple[str, ...], first: str | None, last: str
) -> Coverage:
    if read.parent is not None:
        rows = _cover(catalog, read.parent.left, kind, used_by, first, last).rows
        return Coverage(read.title, "computed", used_by, None, first, last, (), (), rows, 0)
    table = catalog.table(read.table)
    partitions = _partitions(table, read)
    if partitions is None:
        return _whole(table, read, kind, used_by, first, last)
    first, last = max(filter(None, (first, read.start)), default=None), min(filter(None, (last, read.end)))
    needed = _from(first, partitions, last)
    chosen = [p for p in partitions if p.day <= last and (first is None or first <= p.day)]
    present = {p.day for p in chosen}
    missing = tuple(day for day in needed if day not in present)
    return _coverage(read, kind, used_by, (first, last), chosen, missing)


def _cover_snapshots(catalog: Catalog, read: Projection, used_by: tuple[str, ...], first: str, last: str) -> Coverage:
    """A query needs the newest snapshot before its day: days with none before them are missing theirs."""
    table = catalog.table(read.table)
    partitions = _partitions(table, read)
    if partitions is None:
        return _whole(table, read, "snapshots", used_by, first, last)
    asked = days(first, last)
    newest = [next((p for p in reversed(partitions) if p.day < day), None) for day in asked]
    chosen = [p for p in partitions if p in newest]
    missing = tuple(_day_before(day) for day, found in zip(asked, newest, strict=True) if found is None)
    return _coverage(read, "snapshots", used_by, (_day_before(first), _day_before(last)), chosen, missing)


def _cover_mutations(
    plan: JoinPlan, catalog: Catalog, read: SourceRead, start: str, last: str, *, training: bool
) -> Coverage:
    """The changes since the snapshots that the first day sees; in which partition a change lies nothing says."""
    beginnings = list(_first_changes(plan, catalog, read.first, start, training))
    first = None if None in beginnings else min(filter(None, beginnings))
    return _whole(catalog.table(read.first.table), read.first, "mutations", read.used_by, first, last)


def _first_changes(
    plan: JoinPlan, catalog: Catalog, changes: Projection, start: str, training: bool
) -> Iterator[str | None]:
    """Per snapshots that the changes go with, the day after the one that the first day sees (None: there is none)."""
    for part in (*plan.parts, *(plan.labels if training else ())):
        asked = day_text(to_micros(start) + (part.offset or 0))
        for source in part.group_by.sources:
            if part.sees_mutations and source.mutations and read_key(source.mutations) == read_key(changes):
                before = [p.day for p in _partitions(catalog.table(source.table), source) or [] if p.day < asked]
                yield day_text(to_micros(max(before)) + DAY) if before else None


def _partitions(table: Table, read: Projection) -> list[Partition] | None:
    """The partitions within the bounds of the query; None where the table has none at all."""
    partitions = table.partitions(read.partition) if read.partition else []
    if not partitions:
        return None
    return [p for p in partitions if (read.start or p.day) <= p.day <= (read.end or p.day)]


def _from(first: str | None, partitions: Sequence[Partition], last: str) -> list[str]:
    return days(first or min((p.day for p in partitions), default=last), last)


def _coverage(
    read: Projection,
    kind: str,
    used_by: tuple[str, ...],
    needed: tuple[str | None, str],
    chosen: Sequence[Partition],
    missing: tuple[str, ...],
) -> Coverage:
    return Coverage(
        table=read.table,
        kind=kind,
        used_by=used_by,
        partition=read.partition,
        first=needed[0],
        last=needed[1],
        present=tuple(p.day for p in chosen),
        missing=missing,
        rows=_total([p.rows for p in chosen]),
        bytes=_total([p.bytes for p in chosen]),
    )


def _whole(
    table: Table, read: Projection, kind: str, used_by: tuple[str, ...], first: str | None, last: str
) -> Coverage:
    size = table.statistics()
    return Coverage(read.table, kind, used_by, None, first, last, (), (), size.rows, size.bytes)


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _day_before(day: str) -> str:
    return (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()


def steps_of(listed: Sequence[str], most: int) -> Iterator[list[str]]:
    """Sorted days in unbroken runs of at most `most`."""
    for first, last in as_ranges(listed):
        run = days(first, last)
        for place in range(0, len(run), most):
            yield run[place : place + most]


def as_ranges(listed: Sequence[str]) -> list[tuple[str, str]]:
    """Sorted days as (first, last) of each unbroken run."""
    runs: list[tuple[str, str]] = []
    for day in listed:
        if runs and _day_before(day) == runs[-1][1]:
            runs[-1] = runs[-1][0], day
        else:
            runs.append((day, day))
    return runs
