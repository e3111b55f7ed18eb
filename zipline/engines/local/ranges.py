"""How far readings go: the times and snapshots that queries can see, and where the data of labels end."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

import duckdb
import numpy as np
from numpy.typing import NDArray

from zipline.clock import DAY, FIRST_INSTANT, LAST_INSTANT
from zipline.engines.local.left import newest_event, newest_query_time
from zipline.plan.chaining import newest_left
from zipline.plan.reads import lookback, read_key
from zipline.plan.steps import PartPlan, Projection, SourceRead
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table

Ints = NDArray[np.int64]


def time_range(times: Ints, parts: Sequence[PartPlan]) -> tuple[int | None, int | None]:
    """The times that any query of the parts can see."""
    if not len(times):
        return None, None
    first, last = int(times.min()), int(times.max())
    backs = [lookback(part) for part in parts]
    low = None if None in backs else first - max(back for back in backs if back is not None)
    high = last + max(part.offset or 0 for part in parts)
    low = None if low is None or low < FIRST_INSTANT else min(low, LAST_INSTANT)
    return low, None if high > LAST_INSTANT else high


class Tables(Protocol):
    """Where tables are found by their names."""

    def table(self, name: str) -> Table: ...


def change_range(
    catalog: Tables, times: Ints, changes: Projection, parts: Sequence[PartPlan]
) -> tuple[int | None, int | None]:
    """The times of the changes that any query can see: from the end of the oldest snapshot's day that one sees."""
    if not len(times):
        return None, None
    first = int(times.min())
    lows: list[int] = []
    for part in parts:
        for source in part.group_by.sources:
            if source.mutations is None or read_key(source.mutations) != read_key(changes):
                continue
            days = snapshot_days(catalog.table(source.table), source)
            before = days[days < (first + (part.offset or 0)) // DAY]
            lows += [(int(before[-1]) + 1) * DAY] if len(before) else [FIRST_INSTANT]
    low = min(lows)
    return low if low > FIRST_INSTANT else None, time_range(times, parts)[1]


def snapshot_days(table: Table, first: Projection) -> Ints:
    """The days of the snapshots that a source sees, sorted."""
    if first.kind != "snapshots" or first.partition is None:
        return np.zeros(0, np.int64)
    days = [p.day for p in table.partitions(first.partition) if _inside(p.day, first.start, first.end)]
    return np.array(days, "datetime64[D]").astype(np.int64)


def snapshot_range(times: Ints, days: Ints, source: SourceRead) -> tuple[str, str] | None:
    """Of snapshots, the days that the queries ask for: each the newest before its day."""
    if not len(days) or not len(times):
        return None
    low, high = int(times.min()) // DAY, (int(times.max()) + source.lookahead) // DAY
    before = [int(n) for n in days if n < low]
    chosen = [int(n) for n in days if (before and n == before[-1]) or low <= n < high]
    if not chosen:
        return _day_text(days[0]), _day_text(days[0])
    return _day_text(min(chosen)), _day_text(max(chosen))


def _day_text(day: int) -> str:
    return str(np.datetime64(int(day), "D"))


def _inside(day: str, start: str | None, end: str | None) -> bool:
    return (start is None or day >= start) and (end is None or day <= end)


def label_end(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, parts: Sequence[PartPlan], computed: Container[str]
) -> int | None:
    """The newest time in the sources of labels, the least over several; None where one has no end.

    Of parents that are `computed`, where only what queries see is there, it is that of their left rows.
    """
    ends = []
    for source in dict.fromkeys(source for part in parts for source in part.group_by.sources):
        newest_of = newest_left(source) if source.table in computed else None
        if newest_of is not None:
            ends.append(newest_query_time(connection, catalog.table(newest_of.table), newest_of))
            continue
        table = catalog.table(source.table)
        if source.kind == "events":
            ends.append(newest_event(connection, table, source))
            continue
        partitions = table.partitions(source.partition) if source.partition and table.schema else []
        days = [p.day for p in partitions if _inside(p.day, source.start, source.end)]
        end = (int(np.datetime64(days[-1], "D").astype(np.int64)) + 1) * DAY if days else None
        changes = source.mutations
        newest = newest_event(connection, catalog.table(changes.table), changes) if changes else None
        ends.append(max((each for each in (end, newest) if each is not None), default=None))
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None
