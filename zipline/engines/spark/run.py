"""Running a plan on Spark: walks its steps and leaves one DataFrame to be computed, the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from zipline.clock import days as days_between
from zipline.engines.contract import Report, Result
from zipline.engines.local.statements import within
from zipline.engines.local.substitutes import Substitute
from zipline.engines.spark.bundles import AT_A_TIME, HOME, RowHome
from zipline.engines.spark.condensing import else_from_rows
from zipline.engines.spark.failures import reading_of_lane
from zipline.engines.spark.key_sets import KeySetRows, Seen
from zipline.engines.spark.labels import label_end
from zipline.engines.spark.lanes import Lane
from zipline.engines.spark.left_rows import NumberedLeft, left_rows, of_queries
from zipline.engines.spark.moves import (
    is_one_move,
    key_sets_of,
    left_of,
    outcome_rows,
    together,
)
from zipline.engines.spark.outputs import Output, Schema, collected, part_schema, typed
from zipline.engines.spark.packing import PART, ROW
from zipline.engines.spark.progress import Steps, Telling, course, named
from zipline.engines.spark.scans import Days, FrameTable, scan, sent
from zipline.engines.spark.session import AT_ONCE
from zipline.engines.spark.sizes import Sizing
from zipline.engines.spark.stored_partials import substituted
from zipline.engines.spark.tasks import (
    Assembly,
    Bundled,
    Giving,
    KeySetTask,
    LeftShape,
    PuttingTogether,
    Rowwise,
)
from zipline.engines.spark.writing import FILES, Writing
from zipline.engines.spark.written import WrittenResult, visible
from zipline.plan.chaining import DAY_COLUMN, Span, days_span, parent_table, parents_of, wanted_parents
from zipline.plan.steps import GroupByPlan, JoinPlan, PartPlan, Projection
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.tables.delta import DeltaOutput
from zipline.tables.partials import PartialStore
from zipline.types import STRING, DataType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


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
    with course(spark, plan.name) as steps:

        def computed(own: Sizing) -> Result:
            run = Run(spark, catalog, own, steps)
            output = run.join(plan, start=start, end=end, training=training, as_of=as_of)
            return Result(output.table(), output.report)

        return else_from_rows(computed, sizing or Sizing.of(spark))


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
    tell: Telling | None = None,
    partials: PartialStore | None = None,
) -> WrittenResult:
    """The rows of these days, written into the folder of an output and not published. `tell` hears of the steps.

    From `partials`, which executors must see, what can be is computed, and there what is missing is kept.
    """
    with course(spark, f"{plan.name} {start}..{end}", tell) as steps:
        writing = Writing(output.uri, output.storage_options)

        def computed(own: Sizing) -> WrittenResult:
            run = Run(spark, catalog, own, steps, partials=partials if own.condenses else None)
            done = run.join(plan, start=start, end=end, training=training, as_of=as_of, writing=writing)
            return WrittenResult(output, done.columns, visible(output, done.files_written()), done.report)

        return else_from_rows(computed, sizing or Sizing.of(spark))


def run_group_by(
    plan: GroupByPlan, queries: pa.Table, catalog: Catalog, *, spark: SparkSession, sizing: Sizing | None = None
) -> Result:
    """As the local engine's `run_group_by`: the queries' columns as they stand and the group-by's features."""
    part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", tuple(name for name, _ in plan.columns))
    with course(spark, plan.name) as steps:
        features, report = else_from_rows(
            lambda own: Run(spark, catalog, own, steps).features(part, queries), sizing or Sizing.of(spark)
        )
    table = queries
    for name, dtype in part.own_columns:
        table = table.append_column(name, typed(features.column(name), dtype))
    report.rows = table.num_rows
    return Result(table, report)


@dataclass
class Run:
    """One run in one session: tables by name, and what is computed for the tables of others."""

    spark: SparkSession
    catalog: Catalog
    sizing: Sizing
    steps: Steps
    report: Report = field(default_factory=Report)
    frames: dict[str, FrameTable] = field(default_factory=dict)
    parent: str = ""
    partials: PartialStore | None = None
    substitutes: dict[int, Substitute] = field(default_factory=dict)

    def at(self, step: str) -> None:
        self.steps.at(f"{self.parent}: {step}" if self.parent else step)

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
        left = left_rows(self, plan, bounds, span, parts)
        if plan.left.parent is None:
            self._parents(None, parts, left.span, to_newest=to_newest)
        if self.partials is not None:
            self.substitutes |= substituted(self, parts, left, self.partials)
        mature_until = None
        if training and plan.labels:
            self.at("the end of the labels")
            mature_until = as_of if as_of is not None else label_end(self, plan.labels)
        has_day = bounds is not None or (span is not None and DAY_COLUMN not in dict(plan.scoring_columns))
        assembly = Assembly(plan, training and bool(plan.labels), mature_until, has_day, writing)
        return self._output(plan, parts, left, assembly, bounds)

    def features(self, part: PartPlan, queries: pa.Table) -> tuple[pa.Table, Report]:
        """The part's columns for queries in memory, in their order."""
        left = of_queries(self.spark, part, queries)
        self.report.null_times = queries.column("ts").null_count
        self._parents(None, (part,), left.span, to_newest=False)
        schema = part_schema((part,))
        frame = self._key_set((part,), left, left.shape, Rowwise(schema.arrow), schema.ddl)
        found = collected(frame, (ROW,), self.report)
        columns = [typed(found.column(f"p0_{n}"), dtype) for n, (_, dtype) in enumerate(part.own_columns)]
        return pa.table(columns, names=[name for name, _ in part.own_columns]), self.report

    def _parents(self, left: Projection | None, parts: Sequence[PartPlan], span: Span, *, to_newest: bool) -> None:
        """Computes the joins whose output is read, deepest first, as far as it is read."""
        projections = [s for part in parts for s in part.group_by.sources] + ([left] if left is not None else [])
        parents = parents_of(projections)
        given = [name for name in map(parent_table, parents) if name in self.frames or self.catalog.is_given(name)]
        for name, wanted in wanted_parents(left, parts, span, to_newest=to_newest, given=given).items():
            inner = Run(self.spark, self.catalog, self.sizing, self.steps, frames=self.frames, parent=name)
            output = inner.join(wanted.plan, training=False, span=wanted.span)
            self.frames[name] = self.sizing.keep(name, output)
            self.report.add_parent(output.report)

    def _output(
        self,
        plan: JoinPlan,
        parts: Sequence[PartPlan],
        left: NumberedLeft,
        assembly: Assembly,
        bounds: tuple[str, str] | None,
    ) -> Output:
        columns = _output_columns(plan, assembly)
        schema = Schema(columns, left.shape.order) if assembly.writing is None else Schema(FILES, ())
        key_sets = key_sets_of(parts)
        self.at("; ".join(map(named, key_sets)) or "the output")
        listed = [] if assembly.writing is None or bounds is None else days_between(*bounds)
        partitions = KeySetRows(self, parts, left, left.shape).ordinary if len(key_sets) == 1 else 0
        if is_one_move(key_sets, len(listed), partitions):
            frame = self._key_set(parts, left, left.shape, Rowwise(schema.arrow), schema.ddl, assembly)
        else:
            frame = self._together(key_sets, left, assembly, schema, listed)
        return Output(frame, columns, schema.own, left.shape.files, self.report)

    def _key_set(
        self,
        parts: Sequence[PartPlan],
        left: NumberedLeft,
        shape: LeftShape,
        giving: Giving,
        ddl: str,
        assembly: Assembly | None = None,
    ) -> DataFrame:
        """One shuffle: the columns of parts that share their left keys; with an assembly the output."""
        rows = KeySetRows(self, parts, left, shape)
        task = KeySetTask(
            tuple(parts),
            rows.lanes,
            rows.packing,
            shape,
            rows.days,
            giving,
            self.sizing.most,
            assembly,
            {each.partition: each.hash for each in rows.division.ranges},
            rows.cuts,
            rows.condensed,
            tuple(self.substitutes[id(part)] for part in parts if id(part) in self.substitutes),
            {number: reading.schema for number, reading in rows.bundled.items()},
            rows.division.partitions,
        )
        if rows.bundled:
            self.take_few_at_a_time()
        return rows.packed().repartitionById(rows.division.partitions, PART).mapInArrow(task, ddl)

    def take_few_at_a_time(self) -> None:
        """From now on, for there are bundles among the rows."""
        self.spark.conf.set(AT_ONCE, str(AT_A_TIME))

    def _together(
        self,
        key_sets: Sequence[tuple[PartPlan, ...]],
        left: NumberedLeft,
        assembly: Assembly,
        schema: Schema,
        days: Sequence[str],
    ) -> DataFrame:
        """The output from left rows and the outcomes of all sets of keys, by the number of the row, or by its day."""
        home = RowHome(self.sizing.partitions([left.rows] * (1 + len(key_sets))), tuple(days))
        frames, bundled = [left.sent_to(home, self)], {}
        if left.reading is not None:
            bundled[0] = left.reading.schema
        for number, parts in enumerate(key_sets, 1):
            bundled[number] = outcome_rows(parts, has_day=bool(days))
            giving = Bundled(bundled[number], home)
            frames.append(self._key_set(parts, left, left_of(parts, left.shape), giving, giving.ddl))
        packing = together(key_sets, left.shape, is_left_bundled=left.reading is not None)
        packed = packing.pack(frames, [HOME if lane in bundled else home.sql for lane in range(len(frames))])
        most, partitions = self.sizing.most, home.partitions
        task = PuttingTogether(tuple(key_sets), packing, left.shape, assembly, schema.arrow, most, bundled, partitions)
        self.take_few_at_a_time()
        return packed.repartitionById(partitions, PART).mapInArrow(task, schema.ddl)

    def rows(self, lane: Lane) -> int | None:
        """How many the table has, as far as that is known without reading it."""
        table = self.table(lane.first.table)
        return table.statistics().rows if table.schema else 0

    def source_frame(self, lane: Lane, seen: Seen) -> DataFrame:
        """The rows of a lane that queries can see."""
        table, first = self.table(lane.first.table), lane.first
        if not table.schema:
            return sent(self.spark, lane.empty())
        low, high = within(first, seen.days)
        with self.steps.reading(first.table):
            rows = scan(self.spark, table, Days(first.partition, low, high)).frame
        self.steps.readings.append(reading_of_lane(rows, lane))
        return lane.frame(rows, seen.low, seen.high)


def _output_columns(plan: JoinPlan, assembly: Assembly) -> dict[str, DataType]:
    columns = dict(plan.columns if assembly.training else plan.scoring_columns)
    if assembly.has_day:
        columns.pop(DAY_COLUMN, None)
        columns[DAY_COLUMN] = STRING
    return columns
