"""Running a plan: walks its steps in order and assembles the output."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import micros, validity, whole
from zipline.clock import monotonic
from zipline.engines.contract import Report, Result
from zipline.engines.local import read
from zipline.engines.local.assembly import KeySet, LeftRows, are_mature, beside
from zipline.engines.local.bootstrap import read_given
from zipline.engines.local.demands import Demand, Given, demands_of, derive_uncovered
from zipline.engines.local.group_by import Left, aggregate, needed_columns
from zipline.engines.local.left import DAY as ROW_DAY
from zipline.engines.local.left import TIME, read_left
from zipline.engines.local.output import finish, with_day
from zipline.engines.local.partials import Partials
from zipline.engines.local.ranges import change_range, label_end, snapshot_days, snapshot_range, time_range
from zipline.engines.local.reported import count_orphans, count_strange_snapshots
from zipline.engines.local.session import connect
from zipline.engines.local.substitutes import NotCondensable
from zipline.errors import DataError
from zipline.plan.chaining import (
    DAY_COLUMN,
    Span,
    Wanted,
    compute_parents,
    days_span,
    parent_table,
    parents_of,
    wanted_parents,
)
from zipline.plan.reads import read_key, shared_reads
from zipline.plan.steps import (
    Aggregate,
    Bootstrap,
    ComputeParent,
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
from zipline.tables.partials import PartialStore
from zipline.values import dataclass

THREADS = os.cpu_count() or 1


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
    asked: Any = None
    readings: dict[tuple[Any, ...], read.Rows] = field(default_factory=dict)
    computed: dict[int, pa.Table] = field(default_factory=dict)
    output: pa.Table | None = None
    wanted: dict[str, Wanted] = field(default_factory=dict)
    given: dict[str, Given] = field(default_factory=dict)
    demands: dict[int, list[Demand]] = field(default_factory=dict)
    store: PartialStore | None = None
    partials: Partials | None = None
    from_rows: tuple[PartPlan, ...] | None = None


def run_join(
    plan: JoinPlan,
    catalog: Catalog,
    *,
    start: str | None = None,
    end: str | None = None,
    training: bool = True,
    as_of: int | None = None,
    span: Span | None = None,
    partials: PartialStore | None = None,
) -> Result:
    """One row per left row (of the days start..end, both inclusive), in left order.

    With a range the table has one column more, the last: `ds`, the row's partition. `training` adds labels and leaves
    out the rows whose labels are not complete at `as_of` (microseconds; by default where the label data end). With a
    span only the rows are there whose query time is in it, or null, and `ds` too: what others read of a parent.
    With a store of `partials` the result is the same; what has a condensed form is read from there where it pays.
    """
    parts = (*plan.parts, *(plan.labels if training else ()))
    with ThreadPoolExecutor(THREADS) as pool:
        state = _State(catalog, connect(), pool, Report(), parts, store=partials)
        try:
            if plan.left.parent is not None:
                _see_parents(state, plan.left, days_span(plan.left, start, end), to_newest=training and as_of is None)
            for step in plan.steps(training=training):
                began = monotonic()
                _execute(plan, state, step, (start, end), span, as_of, training=training)
                seconds = state.report.seconds
                seconds[step.title] = seconds.get(step.title, 0.0) + monotonic() - began
        finally:
            state.connection.close()
    output = state.output if state.output is not None else _assemble(plan, state)
    labels = [(part, state.computed[id(part)]) for part in plan.labels] if training else []
    output = finish(plan, output, labels)
    if start is not None and end is not None:
        output = with_day(plan, output, state.left.column(ROW_DAY))
    elif span is not None and DAY_COLUMN not in output.column_names:
        output = output.append_column(DAY_COLUMN, state.left.column(ROW_DAY))
    state.report.rows = output.num_rows
    return Result(output, state.report)


def run_group_by(plan: GroupByPlan, queries: pa.Table, catalog: Catalog, *, offset: int | None = None) -> Result:
    """The queries' columns as they stand and the group-by's features; `ts` is the query time.

    With an offset (microseconds) the features are those of a label.
    """
    part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", tuple(name for name, _ in plan.columns), offset)
    with ThreadPoolExecutor(THREADS) as pool:
        state = _State(catalog, connect(), pool, Report(), (part,))
        try:
            _set_left(state, queries, queries.column("ts"))
            _see_parents(state, None, _asked_span(state), to_newest=False)
            for step in compute_parents(None, (part,)):
                _compute_parent(state, step.parent)
            for source in shared_reads((part,)):
                _read(state, source)
            _aggregate(state, (part,))
        finally:
            state.connection.close()
    table = queries
    for name, column in zip(part.chosen, state.computed[id(part)].columns, strict=True):
        table = table.append_column(name, column)
    state.report.rows = table.num_rows
    return Result(table, state.report)


def _execute(
    plan: JoinPlan,
    state: _State,
    step: Any,
    days: tuple[str | None, str | None],
    span: Span | None,
    as_of: int | None,
    *,
    training: bool,
) -> None:
    match step:
        case ReadLeft(left):
            table = state.catalog.table(left.table)
            rows = read_left(state.connection, table, left, start=days[0], end=days[1], span=span)
            rows = _of_days(state, rows) if all(days) else rows
            _set_left(state, rows, rows.column(TIME))
            if left.parent is None and not plan.bootstrap:
                _see_parents(state, None, _asked_span(state), to_newest=training and as_of is None)
        case Bootstrap(reads):
            state.given, state.report.bootstrapped = read_given(state.connection, state.catalog, reads, state.left)
            _demand(plan, state)
            if plan.left.parent is None:
                _see_parents(state, None, _asked_span(state), to_newest=training and as_of is None)
        case ComputeParent(parent):
            _compute_parent(state, parent)
        case ReadSource(source):
            _read(state, source)
        case Aggregate(_, parts):
            _aggregate(state, parts)
        case Derive(derivations):
            state.output = derive_uncovered(state.connection, _assemble(plan, state), derivations, state.given)
        case KeepMature(parts, offset):
            _keep_mature(plan, state, parts, offset, as_of)


def _asked_span(state: _State) -> Span:
    """The query times for which something is to compute."""
    times = state.times[state.asked]
    return Span(int(times.min()), int(times.max())) if len(times) else Span(0, 0)


def _see_parents(state: _State, left: Projection | None, span: Span, *, to_newest: bool) -> None:
    """Settles how much of each parent is computed; those that the catalog was given are not."""
    projections = [s for part in state.parts for s in part.group_by.sources] + ([left] if left is not None else [])
    given = [name for name in map(parent_table, parents_of(projections)) if state.catalog.is_given(name)]
    state.wanted = wanted_parents(left, state.parts, span, to_newest=to_newest, given=given)


def _compute_parent(state: _State, parent: JoinPlan) -> None:
    """Its rows and columns that something reads, as a table in memory."""
    name = parent_table(parent)
    if name not in state.wanted or state.catalog.is_given(name):
        return
    wanted = state.wanted[name]
    computed = run_join(wanted.plan, state.catalog, training=False, span=wanted.span, partials=state.store)
    state.catalog = state.catalog.with_tables({name: computed.table})
    state.report.add_parent(computed.report)


def _demand(plan: JoinPlan, state: _State) -> None:
    """Of parts whose columns are given to some rows, only what is missing is read and computed."""
    rows = state.left.num_rows
    found = {id(part): demands_of(part, state.given, rows) for part in plan.parts}
    state.demands = {part: demands for part, demands in found.items() if demands is not None}
    missing = [demand for demands in state.demands.values() for demand in demands]
    untouched = tuple(part for part in state.parts if id(part) not in state.demands)
    state.parts = (*untouched, *(demand.part for demand in missing))
    if not untouched:
        state.asked = state.timed & np.logical_or.reduce([np.zeros(rows, np.bool_), *(d.rows for d in missing)])


def _of_days(state: _State, rows: pa.Table) -> pa.Table:
    """Leaves out and counts the rows that no day holds, because they have no time."""
    state.report.undated = rows.column(ROW_DAY).null_count
    return rows.filter(pc.is_valid(rows.column(ROW_DAY))) if state.report.undated else rows


def _set_left(state: _State, rows: pa.Table, ts: pa.ChunkedArray) -> None:
    times = whole(ts)
    valid = validity(times)
    state.left = rows
    state.times = micros(times)
    state.timed = np.ones(rows.num_rows, np.bool_) if valid is None else valid
    state.asked = state.timed
    state.report.null_times = int((~state.timed).sum())


def _read(state: _State, source: SourceRead) -> None:
    first = source.first
    sharing = [(part, s) for part in _from_rows(state) for s in part.projections if read_key(s) == read_key(first)]
    if not sharing:
        return
    table = state.catalog.table(first.table)
    needed: dict[Projection, frozenset[str]] = {}
    for part, projection in sharing:
        needed[projection] = needed.get(projection, frozenset()) | needed_columns(part, projection)
    source = replace(source, projections=tuple(needed))
    if not table.schema:
        rows = read.empty_rows(source)
    else:
        sharers = [part for part, _ in sharing]
        changes = first.kind == "mutations"
        asked, timed = state.times[state.asked], state.times[state.timed]
        ranged = change_range(state.catalog, timed, first, sharers) if changes else time_range(asked, sharers)
        days = snapshot_days(table, first)
        rows = read.read_source(
            state.connection,
            table,
            source,
            needed=needed,
            low=ranged[0],
            high=ranged[1],
            partitions=snapshot_range(timed, days, source),
            deferred=_deferred(source, sharing),
        )
        rows.partitions = days
    state.readings[read_key(first)] = rows
    state.report.rows_read[first.title] = state.report.rows_read.get(first.title, 0) + rows.rows
    if rows.seen is not None:
        hidden = int((~rows.seen).sum())
        state.report.without_time[first.title] = state.report.without_time.get(first.title, 0) + hidden


def _deferred(source: SourceRead, sharing: list[tuple[PartPlan, Projection]]) -> dict[Projection, frozenset[str]]:
    """What only lookups over events read: the columns beside the keys, of which the picked rows are all they need."""
    if source.first.kind != "events":
        return {}
    keys: dict[Projection, frozenset[str]] = {}
    for part, projection in sharing:
        at_once = frozenset(key for key, _ in part.group_by.keys)
        keys[projection] = keys.get(projection, frozenset()) | (
            at_once if part.group_by.lookup else needed_columns(part, projection)
        )
    return {projection: frozenset(projection.columns) - needed for projection, needed in keys.items()}


def _from_rows(state: _State) -> tuple[PartPlan, ...]:
    """The parts that are computed from rows, or what partials leave of them; settled when first asked for."""
    if state.from_rows is None:
        state.from_rows = state.parts
        if state.store is not None:
            demanded = tuple(demand.part for demands in state.demands.values() for demand in demands)
            whole_parts = [part for part in state.parts if not any(part is each for each in demanded)]
            partials = Partials(state.store, state.catalog, state.connection, state.report, state.pool)
            # What a file holds beyond the queries' reach must not stop them: from rows it is never looked at.
            try:
                state.from_rows = (*partials.substitute(whole_parts, state.times[state.asked]), *demanded)
                state.partials = partials
            except DataError as wrong:
                partials.give_up(wrong)
    return state.from_rows


def _features(state: _State, left: Left, parts: tuple[PartPlan, ...]) -> list[pa.Table]:
    """Features from condensed rows where they serve, else, and where only rows can tell the value, from rows."""
    _from_rows(state)
    if state.partials is not None:
        try:
            return state.partials.aggregate(left, parts, state.readings, state.pool)
        except (NotCondensable, DataError) as wrong:
            again = state.partials.give_up(wrong)
            state.partials, state.from_rows = None, state.parts
            for source in shared_reads(part for part in state.parts if id(part) in again):
                _read(state, source)
    return aggregate(left, parts, state.readings, state.pool)


def _aggregate(state: _State, parts: tuple[PartPlan, ...]) -> None:
    rows = LeftRows(state.left, state.times, state.timed, state.given)
    key_set = KeySet(parts, state.demands)
    nulls = key_set.null_keys(rows)
    if nulls:
        state.report.null_keys[", ".join(key_set.names)] = nulls
    features = partial(_features, state)
    state.computed |= key_set.compute(rows, state.readings, features, state.connection, state.pool)
    count_orphans(state.report, state.readings, parts)
    count_strange_snapshots(state.report, state.readings, parts)


def _assemble(plan: JoinPlan, state: _State) -> pa.Table:
    return beside(plan, state.left, state.computed, state.given)


def _keep_mature(plan: JoinPlan, state: _State, parts: tuple[PartPlan, ...], offset: int, as_of: int | None) -> None:
    """Leaves out rows whose label ends after the label data do."""
    end = as_of if as_of is not None else label_end(state.connection, state.catalog, parts, state.wanted)
    mature = are_mature(LeftRows(state.left, state.times, state.timed, state.given), offset, end)
    output = state.output if state.output is not None else _assemble(plan, state)
    state.report.immature = int((~mature).sum())
    waiting = state.left.column(ROW_DAY).filter(pa.array(~mature & state.timed))
    state.report.waiting = tuple(sorted(waiting.drop_null().unique().to_pylist()))
    kept = pa.array(mature)
    state.output = output.filter(kept)
    state.left = state.left.filter(kept)
    for part in parts:
        state.computed[id(part)] = state.computed[id(part)].filter(kept)
