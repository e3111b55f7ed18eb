"""Running a plan on Spark: walks its steps and leaves one DataFrame to be computed, the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zipline.algebra.columnar.values import micros, whole
from zipline.arrow import from_arrow
from zipline.clock import days as days_between
from zipline.engines.contract import Report, Result
from zipline.engines.local.ranges import change_range, snapshot_days, snapshot_range, time_range
from zipline.engines.local.statements import within
from zipline.engines.spark.labels import label_end
from zipline.engines.spark.lanes import Lane, lanes_of
from zipline.engines.spark.left import left_days, left_frame
from zipline.engines.spark.outputs import Output, Schema, collected, part_schema, typed
from zipline.engines.spark.packing import PART, ROW, Packing
from zipline.engines.spark.scans import INDEX, Days, FrameTable, Scan, scan
from zipline.engines.spark.session import configured
from zipline.engines.spark.sizes import Sizing
from zipline.engines.spark.statements import home, is_no_key
from zipline.engines.spark.tasks import Assembly, Bootstrapping, KeySetTask, LeftShape, PuttingTogether
from zipline.engines.spark.writing import FILES, Writing
from zipline.engines.spark.written import WrittenResult
from zipline.plan.chaining import DAY_COLUMN, Span, days_span, parent_table, parents_of, wanted_parents
from zipline.plan.steps import BootstrapRead, GroupByPlan, JoinPlan, PartPlan, Projection, SourceRead
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.tables.delta import DeltaOutput
from zipline.tables.memory import MemoryTable
from zipline.types import STRING, DataType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MOST_FILES = 64
"""Of a run of one set of keys, so many files are written by day and task; more, and days are brought together first."""


def run_join(
    plan: JoinPlan,
    catalog: Catalog,
    *,
    spark: SparkSession,
    start: str | None = None,
    end: str | None = None,
    training: bool = True,
    as_of: int | None = None,
    sizing: Sizing | None = None,
) -> Result:
    """As the local engine's `run_join`: one row per left row, in left order, in memory."""
    with configured(spark):
        run = Run(spark, catalog, sizing or Sizing.of(spark))
        output = run.join(plan, start=start, end=end, training=training, as_of=as_of)
        return Result(output.table(), output.report)


def run_days(
    plan: JoinPlan,
    catalog: Catalog,
    *,
    spark: SparkSession,
    output: DeltaOutput,
    start: str,
    end: str,
    training: bool = True,
    as_of: int | None = None,
    sizing: Sizing | None = None,
) -> WrittenResult:
    """The rows of these days, written into the folder of an output and not published."""
    with configured(spark):
        run = Run(spark, catalog, sizing or Sizing.of(spark))
        writing = Writing(output.uri, output.storage_options)
        done = run.join(plan, start=start, end=end, training=training, as_of=as_of, writing=writing)
        return WrittenResult(output, done.columns, done.files_written(), done.report)


def run_group_by(
    plan: GroupByPlan, queries: pa.Table, catalog: Catalog, *, spark: SparkSession, sizing: Sizing | None = None
) -> Result:
    """As the local engine's `run_group_by`: the queries' columns as they stand and the group-by's features."""
    part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", tuple(name for name, _ in plan.columns))
    with configured(spark):
        run = Run(spark, catalog, sizing or Sizing.of(spark))
        features, report = run.features(part, queries)
    table = queries
    for name, dtype in part.own_columns:
        table = table.append_column(name, typed(features.column(name), dtype))
    report.rows = table.num_rows
    return Result(table, report)


@dataclass
class _Left:
    """The left rows of a run. `first`, `last` bound the query times (None: not asked), both inclusive."""

    frame: DataFrame
    shape: LeftShape
    rows: int | None = None
    first: int | None = None
    last: int | None = None

    @property
    def times(self) -> Any:
        """Query times that stand for all of them."""
        if self.first is None or self.last is None:
            return np.zeros(0, np.int64)
        return np.array([self.first, self.last])


@dataclass
class Run:
    """One run in one session: tables by name, and what is computed for the tables of others."""

    spark: SparkSession
    catalog: Catalog
    sizing: Sizing
    report: Report = field(default_factory=Report)
    frames: dict[str, FrameTable] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        return self.frames.get(name) or self.catalog.table(name)

    def join(
        self,
        plan: JoinPlan,
        *,
        start: str | None = None,
        end: str | None = None,
        training: bool = True,
        as_of: int | None = None,
        span: Span | None = None,
        writing: Writing | None = None,
    ) -> Output:
        parts = (*plan.parts, *(plan.labels if training else ()))
        bounds = (start, end) if start and end else None
        to_newest = training and as_of is None
        if plan.left.parent is not None:
            self._parents(plan.left, parts, days_span(plan.left, start, end), to_newest=to_newest)
        left = self._left(plan, bounds, span, parts)
        if plan.left.parent is None:
            self._parents(None, parts, _span(left), to_newest=to_newest)
        mature_until = None
        if training and plan.labels:
            mature_until = as_of if as_of is not None else label_end(self, plan.labels)
        has_day = bounds is not None or (span is not None and DAY_COLUMN not in dict(plan.scoring_columns))
        assembly = Assembly(plan, training and bool(plan.labels), mature_until, has_day, writing)
        return self._output(plan, parts, left, assembly, bounds)

    def features(self, part: PartPlan, queries: pa.Table) -> tuple[pa.Table, Report]:
        """The part's columns for queries in memory, in their order."""
        left = self._queries(part, queries)
        self._parents(None, (part,), _span(left), to_newest=False)
        found = collected(self._key_set((part,), left, left.shape, (None, part_schema((part,)))), (ROW,), self.report)
        columns = [typed(found.column(f"p0_{n}"), dtype) for n, (_, dtype) in enumerate(part.own_columns)]
        return pa.table(columns, names=[name for name, _ in part.own_columns]), self.report

    def _queries(self, part: PartPlan, queries: pa.Table) -> _Left:
        types = {name: from_arrow(queries.column(name).type, name) for name in part.left_keys}
        columns = {f"l:{name}": typed(queries.column(name), dtype) for name, dtype in types.items()}
        times = queries.column("ts")
        columns |= {"__t": times, ROW: pa.array(range(queries.num_rows), pa.int64())}
        left = _Left(self.spark.createDataFrame(pa.table(columns)), LeftShape(types), queries.num_rows)
        asked = micros(whole(times.drop_null()))
        if len(asked):
            left.first, left.last = int(asked.min()), int(asked.max())
        self.report.null_times = times.null_count
        return left

    def _parents(self, left: Projection | None, parts: Sequence[PartPlan], span: Span, *, to_newest: bool) -> None:
        """Computes the joins whose output is read, deepest first, as far as it is read."""
        projections = [s for part in parts for s in part.group_by.sources] + ([left] if left is not None else [])
        parents = parents_of(projections)
        given = [name for name in map(parent_table, parents) if name in self.frames or self.catalog.is_given(name)]
        for name, wanted in wanted_parents(left, parts, span, to_newest=to_newest, given=given).items():
            inner = Run(self.spark, self.catalog, self.sizing, frames=self.frames)
            output = inner.join(wanted.plan, training=False, span=wanted.span)
            self.frames[name] = self.sizing.keep(name, output)
            self.report.add_parent(output.report)

    def _left(
        self, plan: JoinPlan, bounds: tuple[str, str] | None, span: Span | None, parts: Sequence[PartPlan]
    ) -> _Left:
        table = self.table(plan.left.table)
        days = left_days(plan.left, bounds, span)
        found = scan(self.spark, table, days, numbered=True) if table.schema else self._nothing(plan.left)
        types = dict(plan.left.column_types)
        shape = LeftShape(types, {}, True, found.order, found.files, bounds is not None)
        left = _Left(left_frame(found, plan.left, bounds, span), shape, table.statistics().rows)
        if plan.bootstrap:
            left = self._bootstrapped(plan, left)
        if not isinstance(table, MemoryTable):
            left.frame = self.sizing.materialised(left.frame, "left")
        if bounds is not None or self._are_times_needed(parts):
            self._bound(left)
        if bounds is not None:
            left.frame = left.frame.where("__ds IS NOT NULL")
        return left

    def _nothing(self, left: Projection) -> Scan:
        """No rows, of a table of which no column is known."""
        names = {column for _, expression in left.select for column in expression.columns} | left.table_columns
        fields = [*((name, pa.string()) for name in sorted(names)), (INDEX, pa.int64())]
        return Scan(self.spark.createDataFrame(pa.schema(fields).empty_table()), (INDEX,))

    def _are_times_needed(self, parts: Sequence[PartPlan]) -> bool:
        """Whether knowing the query times saves reading: not where all is in memory anyway."""
        sources = [source for part in parts for source in part.projections]
        return any(
            source.parent is not None or not isinstance(self.table(source.table), MemoryTable) for source in sources
        )

    def _bound(self, left: _Left) -> None:
        asked = ("unix_micros(min(__t))", "unix_micros(max(__t))", "count(*)", "count_if(__ds IS NULL)")
        row = left.frame.selectExpr(*(f"{sql} AS n{number}" for number, sql in enumerate(asked))).toArrow()
        left.first, left.last, left.rows, undated = (column[0].as_py() for column in row.columns)
        if left.shape.is_of_days:
            self.report.undated = undated

    def _bootstrapped(self, plan: JoinPlan, left: _Left) -> _Left:
        """One shuffle by row id: rows with the values that tables give them."""
        lanes = [_bootstrap_lane(read) for read in plan.bootstrap]
        given: dict[str, DataType] = {}
        for read in plan.bootstrap:
            given |= {name: given.get(name, dtype) for name, dtype in read.columns}
        result = replace(left.shape, given=given)
        packing = Packing((left.shape.shape, *(lane.shape for lane in lanes)))
        partitions = self.sizing.partitions([left.rows, *map(self._rows, lanes)])
        keys = left.shape.keys(plan.bootstrap[0].row_id)
        frames = [self._source_frame(lane, (None, None), None) for lane in lanes]
        homes = [_left_home(keys, partitions), *(home(lane.typed_keys, partitions) for lane in lanes)]
        packed = packing.pack([left.frame, *frames], homes)
        schema = Schema(result.packed, tuple(name for name in result.shape.own))
        task = Bootstrapping(plan.bootstrap, tuple(lanes), packing, left.shape, result, schema.arrow)
        frame = packed.repartitionById(partitions, PART).mapInArrow(task, schema.ddl)
        return _Left(self.sizing.checked(frame, self.report), result)

    def _output(
        self,
        plan: JoinPlan,
        parts: Sequence[PartPlan],
        left: _Left,
        assembly: Assembly,
        bounds: tuple[str, str] | None,
    ) -> Output:
        columns = _output_columns(plan, assembly)
        schema = Schema(columns, left.shape.order) if assembly.writing is None else Schema(FILES, ())
        by_keys: dict[tuple[str, ...], list[PartPlan]] = {}
        for part in parts:
            by_keys.setdefault(part.left_keys, []).append(part)
        listed = [] if assembly.writing is None or bounds is None else days_between(*bounds)
        if len(by_keys) == 1 and len(listed) * self._partitions(parts, left) <= MOST_FILES:
            frame = self._key_set(parts, left, left.shape, (assembly, schema))
        else:
            key_sets = [tuple(sharing) for sharing in by_keys.values()]
            frame = self._together(key_sets, left, assembly, schema, listed)
        return Output(frame, columns, schema.own, left.shape.files, self.report)

    def _key_set(
        self, parts: Sequence[PartPlan], left: _Left, shape: LeftShape, then: tuple[Assembly | None, Schema]
    ) -> DataFrame:
        """One shuffle: the columns of parts that share their left keys; with an assembly the output."""
        names = parts[0].left_keys
        lanes = lanes_of(parts)
        packing = Packing((shape.shape, *(lane.shape for lane in lanes.values())))
        partitions = self._partitions(parts, left)
        frames = [self._lane_frame(lane, left) for lane in lanes.values()]
        keys = shape.keys(names)
        homes = [_left_home(keys, partitions), *(home(lane.typed_keys, partitions) for lane in lanes.values())]
        packed = packing.pack([left.frame, *frames], homes)
        assembly, schema = then
        days = {key[0]: self._days(lane) for key, lane in lanes.items()}
        task = KeySetTask(tuple(parts), lanes, packing, shape, days, schema.arrow, assembly)
        return packed.repartitionById(partitions, PART).mapInArrow(task, schema.ddl)

    def _together(
        self,
        key_sets: Sequence[tuple[PartPlan, ...]],
        left: _Left,
        assembly: Assembly,
        schema: Schema,
        days: Sequence[str],
    ) -> DataFrame:
        """The output from left rows and the outcomes of all sets of keys, by the number of the row, or by its day."""
        frames, shapes = [left.frame], [left.shape.shape]
        for parts in key_sets:
            given = [column for part in parts for column, _ in part.columns]
            of_parts = part_schema(parts, has_day=bool(days))
            frames.append(self._key_set(parts, left, left.shape.of(parts[0].left_keys, given), (None, of_parts)))
            shapes.append(of_parts.shape)
        packing = Packing(tuple(shapes))
        partitions = self.sizing.partitions([left.rows] * len(frames))
        packed = packing.pack(frames, [_row_home(partitions, days)] * len(frames))
        task = PuttingTogether(tuple(key_sets), packing, left.shape, assembly, schema.arrow)
        return packed.repartitionById(partitions, PART).mapInArrow(task, schema.ddl)

    def _partitions(self, parts: Sequence[PartPlan], left: _Left) -> int:
        """One where there are no keys: then all rows see each other."""
        lanes = lanes_of(parts).values()
        return self.sizing.partitions([left.rows, *map(self._rows, lanes)]) if parts[0].left_keys else 1

    def _rows(self, lane: Lane) -> int | None:
        """How many the table has, as far as that is known without reading it."""
        table = self.table(lane.first.table)
        return table.statistics().rows if table.schema else 0

    def _days(self, lane: Lane) -> Any:
        table = self.table(lane.first.table)
        return (
            snapshot_days(table, lane.first)
            if lane.first.kind == "snapshots" and table.schema
            else np.zeros(0, np.int64)
        )

    def _lane_frame(self, lane: Lane, left: _Left) -> DataFrame:
        first, times = lane.first, left.times
        is_change = first.kind == "mutations"
        bounds = change_range(self, times, first, lane.parts) if is_change else time_range(times, lane.parts)
        days = None
        if first.kind == "snapshots" and len(times):
            offset = max(part.offset or 0 for part in lane.parts)
            days = snapshot_range(times, self._days(lane), SourceRead((first,), (), None, offset))
        return self._source_frame(lane, bounds, days)

    def _source_frame(
        self, lane: Lane, bounds: tuple[int | None, int | None], days: tuple[str, str] | None
    ) -> DataFrame:
        table, first = self.table(lane.first.table), lane.first
        if not table.schema:
            return self.spark.createDataFrame(lane.empty())
        low, high = within(first, days)
        return lane.frame(scan(self.spark, table, Days(first.partition, low, high)).frame, *bounds)


def _span(left: _Left) -> Span:
    return Span(0, 0) if left.first is None or left.last is None else Span(left.first, left.last)


def _left_home(keys: Sequence[tuple[str, DataType]], partitions: int) -> str:
    """A row without a key has nothing to see: it may go anywhere."""
    if not keys or partitions == 1:
        return "0"
    anywhere = " OR ".join(is_no_key(*key) for key in keys)
    return f"CASE WHEN {anywhere} THEN CAST(pmod({ROW}, {partitions}) AS INT) ELSE {home(keys, partitions)} END"


def _row_home(partitions: int, days: Sequence[str]) -> str:
    """By the row's number; with days by these, and of each day's rows by number where there are partitions enough.

    A row of facts has neither: it goes with the first rows.
    """
    if not days:
        return f"CAST(pmod(coalesce({ROW}, 0), {partitions}) AS INT)"
    pieces = max(1, partitions // len(days))
    day = f"coalesce(datediff(CAST(__ds AS DATE), DATE '{days[0]}'), 0)"
    return f"CAST(pmod({day} * {pieces} + pmod(coalesce({ROW}, 0), {pieces}), {partitions}) AS INT)"


def _bootstrap_lane(read: BootstrapRead) -> Lane:
    lane = Lane(read.source)
    lane.keys = tuple(lane.take(read.source, read.row_id))
    lane.take(read.source, [name for name, _ in read.columns if name not in read.row_id])
    return lane


def _output_columns(plan: JoinPlan, assembly: Assembly) -> dict[str, DataType]:
    columns = dict(plan.columns if assembly.training else plan.scoring_columns)
    if assembly.has_day:
        columns.pop(DAY_COLUMN, None)
        columns[DAY_COLUMN] = STRING
    return columns
