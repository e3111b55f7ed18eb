"""What a plan reads for a range of days, before anything runs: partitions present and missing, rows and bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zipline.clock import DAY, day_text, days, to_micros
from zipline.plan.steps import JoinPlan, Projection
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Partition, Table


@dataclass(frozen=True)
class Coverage:
    """One reading of a table. `first` and `last` are the days needed (`first` None: from the beginning).

    `present` and `missing` count among the days needed and are empty where the table has no partitions: then it is
    read whole. `rows` and `bytes` are at most what is read, None where only reading would tell.
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
    """One entry for the left and one for each source read, for query times in the days `start`..`end`."""
    return tuple(_survey(plan, catalog, start, end, training))


def _survey(plan: JoinPlan, catalog: Catalog, start: str, end: str, training: bool) -> Iterator[Coverage]:
    yield _cover(catalog, plan.left, "left", ("left",), start, end)
    for read in plan.reads(training=training):
        last = day_text(to_micros(end) + DAY - 1 + read.lookahead)
        if read.first.kind == "snapshots":
            yield _cover_snapshots(catalog, read.first, read.used_by, start, last)
        else:
            first = None if read.lookback is None else day_text(to_micros(start) - read.lookback)
            yield _cover(catalog, read.first, "events", read.used_by, first, last)


def _cover(
    catalog: Catalog, read: Projection, kind: str, used_by: tuple[str, ...], first: str | None, last: str
) -> Coverage:
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


def as_ranges(listed: Sequence[str]) -> list[tuple[str, str]]:
    """Sorted days as (first, last) of each unbroken run."""
    runs: list[tuple[str, str]] = []
    for day in listed:
        if runs and _day_before(day) == runs[-1][1]:
            runs[-1] = runs[-1][0], day
        else:
            runs.append((day, day))
    return runs
