"""Running a plan: walks its steps in order and assembles the output."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros, validity, whole
from zipline.arrow import TIMESTAMP_ARROW, to_arrow
from zipline.clock import DAY, monotonic, to_micros
from zipline.engines.contract import Report, Result
from zipline.engines.local import read
from zipline.engines.local.derive import derive
from zipline.engines.local.group_by import Left, aggregate, needed_columns
from zipline.errors import DataError
from zipline.plan.reads import lookback, read_key
from zipline.plan.steps import (
    Aggregate,
    Derive,
    GroupByPlan,
    JoinPlan,
    KeepMature,
    PartPlan,
    Projection,
    ReadLeft,
    ReadSource,
    SourceRead,
)
from zipline.tables.catalog import Catalog

THREADS = os.cpu_count() or 1
FIRST_INSTANT, LAST_INSTANT = to_micros("0001-01-01"), to_micros("9999-12-31T23:59:59.999999")


@dataclass
class _State:
    """What the steps so far have made."""

    catalog: Catalog
    connection: duckdb.DuckDBPyConnection
    pool: ThreadPoolExecutor
    report: Report
    parts: tuple[PartPlan, ...]
    left: pa.Table = field(default_factory=lambda: pa.table({}))
    times: Any = None
    timed: Any = None
    readings: dict[tuple[Any, ...], read.Rows] = field(default_factory=dict)
    computed: dict[int, pa.Table] = field(default_factory=dict)
    output: pa.Table | None = None


def run_join(
    plan: JoinPlan,
    catalog: Catalog,
    *,
    start: str | None = None,
    end: str | None = None,
    training: bool = True,
    as_of: int | None = None,
) -> Result:
    """One row per left row (of the days start..end, both inclusive), in left order.

    With a range the table has one column more, the last: `ds`, the row's partition. `training` adds labels and leaves
    out the rows whose labels are not complete at `as_of` (microseconds; by default where the label data end).
    """
    parts = (*plan.parts, *(plan.labels if training else ()))
    with ThreadPoolExecutor(THREADS) as pool:
        state = _State(catalog, read.connect(), pool, Report(), parts)
        try:
            for step in plan.steps(training=training):
                began = monotonic()
                _execute(plan, state, step, start, end, as_of)
                seconds = state.report.seconds
                seconds[step.title] = seconds.get(step.title, 0.0) + monotonic() - began
        finally:
            state.connection.close()
    output = state.output if state.output is not None else _assemble(plan, state)
    labels = [(part, state.computed[id(part)]) for part in plan.labels] if training else []
    output = _finish(plan, state, output, labels, with_day=start is not None and end is not None)
    state.report.rows = output.num_rows
    return Result(output, state.report)


def run_group_by(plan: GroupByPlan, queries: pa.Table, catalog: Catalog, *, offset: int | None = None) -> Result:
    """The queries' columns as they stand and the group-by's features; `ts` is the query time.

    With an offset (microseconds) the features are those of a label.
    """
    part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", tuple(name for name, _ in plan.columns), offset)
    with ThreadPoolExecutor(THREADS) as pool:
        state = _State(catalog, read.connect(), pool, Report(), (part,))
        try:
            _set_left(state, queries, queries.column("ts"))
            for source in _reads(part):
                _read(state, source)
            _aggregate(state, (part,))
        finally:
            state.connection.close()
    table = queries
    for name, column in zip(part.chosen, state.computed[id(part)].columns, strict=True):
        table = table.append_column(name, column)
    state.report.rows = table.num_rows
    return Result(table, state.report)


def _reads(part: PartPlan) -> tuple[SourceRead, ...]:
    from zipline.plan.reads import shared_reads

    return shared_reads((part,))


def _execute(plan: JoinPlan, state: _State, step: Any, start: str | None, end: str | None, as_of: int | None) -> None:
    match step:
        case ReadLeft(left):
            table = state.catalog.table(left.table)
            rows = read.read_left(state.connection, table, left, start=start, end=end)
            rows = _of_days(state, rows) if start and end else rows
            _set_left(state, rows, rows.column(read.TIME))
        case ReadSource(source):
            _read(state, source)
        case Aggregate(_, parts):
            _aggregate(state, parts)
        case Derive(derivations):
            state.output = derive(state.connection, _assemble(plan, state), derivations)
        case KeepMature(parts, offset):
            _keep_mature(plan, state, parts, offset, as_of)


def _of_days(state: _State, rows: pa.Table) -> pa.Table:
    """Leaves out and counts the rows that no day holds, because they have no time."""
    state.report.undated = rows.column(read.DAY).null_count
    return rows.filter(pc.is_valid(rows.column(read.DAY))) if state.report.undated else rows


def _set_left(state: _State, rows: pa.Table, ts: pa.ChunkedArray) -> None:
    times = whole(ts)
    valid = validity(times)
    state.left = rows
    state.times = micros(times)
    state.timed = np.ones(rows.num_rows, np.bool_) if valid is None else valid
    state.report.null_times = int((~state.timed).sum())


def _read(state: _State, source: SourceRead) -> None:
    first = source.first
    table = state.catalog.table(first.table)
    sharing = [(part, s) for part in state.parts for s in part.group_by.sources if read_key(s) == read_key(first)]
    needed: dict[Projection, frozenset[str]] = {}
    for part, projection in sharing:
        needed[projection] = needed.get(projection, frozenset()) | needed_columns(part, projection)
    if not table.schema:
        rows = read.empty_rows(source)
    else:
        low, high = _time_range(state, [part for part, _ in sharing])
        days = _partitions(table, first)
        rows = read.read_source(
            state.connection,
            table,
            source,
            needed=needed,
            low=low,
            high=high,
            partitions=_partition_range(state, days, source),
        )
        rows.partitions = days
    state.readings[read_key(first)] = rows
    state.report.rows_read[first.table] = state.report.rows_read.get(first.table, 0) + rows.rows
    if rows.seen is not None:
        hidden = int((~rows.seen).sum())
        state.report.without_time[first.table] = state.report.without_time.get(first.table, 0) + hidden


def _time_range(state: _State, parts: list[PartPlan]) -> tuple[int | None, int | None]:
    """The times that any query of the parts can see."""
    if not state.timed.any():
        return None, None
    times = state.times[state.timed]
    first, last = int(times.min()), int(times.max())
    backs = [lookback(part) for part in parts]
    low = None if None in backs else first - max(back for back in backs if back is not None)
    high = last + max(part.offset or 0 for part in parts)
    low = None if low is None or low < FIRST_INSTANT else min(low, LAST_INSTANT)
    return low, None if high > LAST_INSTANT else high


def _partitions(table: Any, first: Projection) -> NDArray[np.int64]:
    """The days of the snapshots that a source sees, sorted."""
    if first.kind != "snapshots" or first.partition is None:
        return np.zeros(0, np.int64)
    days = [p.day for p in table.partitions(first.partition) if _inside(p.day, first.start, first.end)]
    return np.array(days, "datetime64[D]").astype(np.int64)


def _partition_range(state: _State, days: NDArray[np.int64], source: SourceRead) -> tuple[str, str] | None:
    """Of snapshots, the days that the queries ask for: each the newest before its day."""
    if not len(days) or not state.timed.any():
        return None
    times = state.times[state.timed]
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


def _aggregate(state: _State, parts: tuple[PartPlan, ...]) -> None:
    names = parts[0].left_keys
    by_types: dict[tuple[str, ...], list[PartPlan]] = {}
    for part in parts:
        by_types.setdefault(part.left_keys, []).append(part)
    keys = [whole(state.left.column(name)) for name in names]
    left = Left(keys, state.times, state.timed)
    label = ", ".join(names)
    if keys:
        null = np.zeros(left.rows, np.bool_)
        for key in keys:
            valid = validity(key)
            null |= np.zeros(left.rows, np.bool_) if valid is None else ~valid
        if null.any():
            state.report.null_keys[label] = int(null.sum())
    for part, features in zip(parts, aggregate(left, parts, state.readings, state.pool), strict=True):
        state.computed[id(part)] = _derived(state, part, features)


def _derived(state: _State, part: PartPlan, features: pa.Table) -> pa.Table:
    """The part's chosen columns, derivations evaluated over its keys and features."""
    if not part.needed_derivations:
        return features.select(list(part.chosen))
    table = features
    for (key, _), column in zip(part.group_by.keys, part.left_keys, strict=True):
        table = table.append_column(key, state.left.column(column))
    table = derive(state.connection, table, part.needed_derivations)
    return table.select(list(part.chosen))


def _assemble(plan: JoinPlan, state: _State) -> pa.Table:
    """Left columns, `ts`, parts."""
    names = [name for name, _ in plan.left_columns]
    columns = [state.left.column(name) for name in names]
    if "ts" not in names:
        names.append("ts")
        columns.append(state.left.column(read.TIME).cast(TIMESTAMP_ARROW))
    for part in plan.parts:
        names += [name for name, _ in part.columns]
        columns += state.computed[id(part)].columns
    if not names:
        return pa.table({"__row": pa.nulls(state.left.num_rows, pa.int8())}).select([])
    return pa.table(columns, names=names)


def _keep_mature(plan: JoinPlan, state: _State, parts: tuple[PartPlan, ...], offset: int, as_of: int | None) -> None:
    """Leaves out rows whose label ends after the label data do."""
    end = as_of if as_of is not None else _label_end(state, parts)
    mature = state.timed & (state.times + offset <= end) if end is not None else np.zeros(len(state.timed), np.bool_)
    output = state.output if state.output is not None else _assemble(plan, state)
    state.report.immature = int((~mature).sum())
    waiting = state.left.column(read.DAY).filter(pa.array(~mature & state.timed))
    state.report.waiting = tuple(sorted(waiting.drop_null().unique().to_pylist()))
    kept = pa.array(mature)
    state.output = output.filter(kept)
    state.left = state.left.filter(kept)
    for part in parts:
        state.computed[id(part)] = state.computed[id(part)].filter(kept)


def _label_end(state: _State, parts: tuple[PartPlan, ...]) -> int | None:
    ends = []
    for source in dict.fromkeys(source for part in parts for source in part.group_by.sources):
        table = state.catalog.table(source.table)
        if source.kind == "events":
            ends.append(read.newest_event(state.connection, table, source))
            continue
        partitions = table.partitions(source.partition) if source.partition and table.schema else []
        days = [p.day for p in partitions if _inside(p.day, source.start, source.end)]
        ends.append((int(np.datetime64(days[-1], "D").astype(np.int64)) + 1) * DAY if days else None)
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None


def _finish(
    plan: JoinPlan, state: _State, output: pa.Table, labels: list[tuple[PartPlan, pa.Table]], *, with_day: bool
) -> pa.Table:
    for part, features in labels:
        for (name, _), column in zip(part.columns, features.columns, strict=True):
            output = output.append_column(name, column)
    types = dict(plan.columns)
    fields = [
        pa.field(name, to_arrow(types[name])) if name in types else output.schema.field(name)
        for name in output.column_names
    ]
    output = output.cast(pa.schema(fields))
    return _with_day(plan, output, state.left.column(read.DAY)) if with_day else output


def _with_day(plan: JoinPlan, output: pa.Table, days: pa.ChunkedArray) -> pa.Table:
    """The output and `ds`, the day; a left that selects its partition column by that name has it already."""
    if "ds" in output.column_names:
        own = plan.left.columns.get("ds")
        if own is None or plan.left.partition is None or own.columns != {plan.left.partition}:
            raise DataError(
                "two columns would be named 'ds': the day of each row, and one of the output",
                subject=plan.name,
                hint="over a range of days the output has the day of each row as ds; give the other another name",
            )
        output = output.drop_columns(["ds"])
    return output.append_column("ds", days)
