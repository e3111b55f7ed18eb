"""The left rows of a run: numbered once, with the values that tables give them, bounded in time.

Where tasks can read a table they number its rows the same however often they read them. What only Spark can read is
numbered as it comes, and written down before any part reads it a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import micros, whole
from zipline.arrow import from_arrow
from zipline.engines.spark.bundles import DDL as BUNDLES
from zipline.engines.spark.bundles import Bundling, RowHome
from zipline.engines.spark.failures import reading_of_left
from zipline.engines.spark.file_readings import BOUNDS_DDL, Bounding, LeftReading, Listing, by_tasks
from zipline.engines.spark.key_sets import EVERYTHING
from zipline.engines.spark.left import left_days, left_frame
from zipline.engines.spark.moves import bootstrap_lane, given_values
from zipline.engines.spark.outputs import Schema, typed
from zipline.engines.spark.packing import PART, ROW, Packing
from zipline.engines.spark.scans import INDEX, Days, Scan, scan, sent
from zipline.engines.spark.skew import Division
from zipline.engines.spark.statements import home
from zipline.engines.spark.stretches import is_read_by_tasks, stretches
from zipline.engines.spark.tasks import Bootstrapping, LeftShape
from zipline.plan.chaining import Span
from zipline.plan.steps import JoinPlan, PartPlan, Projection
from zipline.tables.contract import Table
from zipline.tables.memory import MemoryTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from zipline.engines.spark.run import Run


@dataclass
class NumberedLeft:
    """The left rows of a run. `first`, `last` bound the query times (None: not asked), both inclusive.

    With a `reading` tasks read them, and number them the same however often they do.
    """

    frame: DataFrame
    shape: LeftShape
    rows: int | None = None
    first: int | None = None
    last: int | None = None
    reading: LeftReading | None = None

    @property
    def times(self) -> Any:
        """Query times that stand for all of them."""
        if self.first is None or self.last is None:
            return np.zeros(0, np.int64)
        return np.array([self.first, self.last])

    @property
    def span(self) -> Span:
        return Span(0, 0) if self.first is None or self.last is None else Span(self.first, self.last)

    def sent_to(self, home: RowHome, run: Run) -> DataFrame:
        """The rows, those that tasks read bundled for where they are to be."""
        if self.reading is None:
            return self.frame
        return by_tasks(run.spark, self.reading, Bundling(self.reading, home), BUNDLES, run.sizing.cores)


def of_queries(spark: SparkSession, part: PartPlan, queries: pa.Table) -> NumberedLeft:
    """Queries in memory, in their order: the part's left keys and their times."""
    types = {name: from_arrow(queries.column(name).type, name) for name in part.left_keys}
    columns = {f"l:{name}": typed(queries.column(name), dtype) for name, dtype in types.items()}
    times = queries.column("ts")
    columns |= {"__t": times, ROW: pa.array(range(queries.num_rows), pa.int64())}
    left = NumberedLeft(sent(spark, pa.table(columns)), LeftShape(types), queries.num_rows)
    asked = micros(whole(times.drop_null()))
    if len(asked):
        left.first, left.last = int(asked.min()), int(asked.max())
    return left


def left_rows(
    run: Run, plan: JoinPlan, bounds: tuple[str, str] | None, span: Span | None, parts: Sequence[PartPlan]
) -> NumberedLeft:
    """Those of the days `bounds`, or with query times in `span`; without either all. `parts` are what they ask."""
    return _Reading(run, plan, bounds, span).numbered(parts)


def are_times_needed(run: Run, parts: Sequence[PartPlan]) -> bool:
    """Whether knowing the query times saves reading: not where all is in memory anyway."""
    sources = [source for part in parts for source in part.projections]
    return any(source.parent is not None or not isinstance(run.table(source.table), MemoryTable) for source in sources)


@dataclass(frozen=True)
class _Reading:
    run: Run
    plan: JoinPlan
    bounds: tuple[str, str] | None
    span: Span | None

    def numbered(self, parts: Sequence[PartPlan]) -> NumberedLeft:
        read = self.plan.left
        self.run.at("left rows")
        table = self.run.table(read.table)
        days = left_days(read, self.bounds, self.span)
        if read.event_id is None and is_read_by_tasks(table):
            left = self._by_tasks(table, days)
        else:
            left = self._by_spark(table, days)
        if self.plan.bootstrap:
            left = self._bootstrapped(left)
        if self.bounds is not None or are_times_needed(self.run, parts):
            self._bound(left)
        if self.bounds is not None:
            left.frame = left.frame.where("__ds IS NOT NULL")
            left.reading = left.reading and replace(left.reading, is_dated=True)
        return left

    def _by_tasks(self, table: Table, days: Days) -> NumberedLeft:
        read, cores = self.plan.left, self.run.sizing.cores
        listed = stretches(table, days, cores)
        reading = LeftReading(table, read, listed, days, self.bounds, self.span, tuple(read.column_types))
        shape = LeftShape(dict(read.column_types), {}, True, (ROW,), (), self.bounds is not None)
        frame = by_tasks(self.run.spark, reading, Listing(reading), reading.ddl, cores)
        return NumberedLeft(frame, shape, table.statistics().rows, reading=reading)

    def _by_spark(self, table: Table, days: Days) -> NumberedLeft:
        read, run = self.plan.left, self.run
        with run.steps.reading(read.table):
            found = scan(run.spark, table, days, numbered=True) if table.schema else self._nothing(read)
        run.steps.readings.append(reading_of_left(found.frame, read))
        types = dict(read.column_types)
        shape = LeftShape(types, {}, True, found.order or (INDEX,), found.files, self.bounds is not None)
        left = NumberedLeft(left_frame(found, read, self.bounds, self.span), shape, table.statistics().rows)
        if not found.order or not (self.plan.bootstrap or isinstance(table, MemoryTable)):
            left.frame = run.sizing.materialised(left.frame, "left")
        return left

    def _nothing(self, left: Projection) -> Scan:
        """No rows, of a table of which no column is known."""
        names = {column for _, expression in left.select for column in expression.columns} | left.table_columns
        fields = [*((name, pa.string()) for name in sorted(names)), (INDEX, pa.int64())]
        return Scan(sent(self.run.spark, pa.schema(fields).empty_table()), (INDEX,))

    def _bound(self, left: NumberedLeft) -> None:
        if left.reading is not None:
            task = Bounding(left.reading)
            found = by_tasks(self.run.spark, left.reading, task, BOUNDS_DDL, self.run.sizing.cores).toArrow()
            folds = (pc.min, pc.max, pc.sum, pc.sum)
            left.first, left.last, rows, undated = (f(c).as_py() for f, c in zip(folds, found.columns, strict=True))
            left.rows, undated = rows or 0, undated or 0
        else:
            asked = ("unix_micros(min(__t))", "unix_micros(max(__t))", "count(*)", "count_if(__ds IS NULL)")
            row = left.frame.selectExpr(*(f"{sql} AS n{number}" for number, sql in enumerate(asked))).toArrow()
            left.first, left.last, left.rows, undated = (column[0].as_py() for column in row.columns)
        if left.shape.is_of_days:
            self.run.report.undated = undated

    def _bootstrapped(self, left: NumberedLeft) -> NumberedLeft:
        """One shuffle by row id: rows with the values that tables give them."""
        run, parts = self.run, self.plan.bootstrap
        run.at("left rows with given values")
        lanes = [bootstrap_lane(read) for read in parts]
        result = given_values(parts, left.shape)
        packing = Packing((left.shape.shape, *(lane.shape for lane in lanes)))
        partitions = run.sizing.partitions([left.rows, *map(run.rows, lanes)])
        keys = left.shape.keys(parts[0].row_id)
        frames = [run.source_frame(lane, EVERYTHING) for lane in lanes]
        frame, of_left = Division(partitions).left(left.frame, keys)
        packed = packing.pack([frame, *frames], [of_left, *(home(lane.typed_keys, partitions) for lane in lanes)])
        schema = Schema(result.packed, tuple(name for name in result.shape.own))
        task = Bootstrapping(parts, tuple(lanes), packing, left.shape, result, schema.arrow, run.sizing.most)
        frame = packed.repartitionById(partitions, PART).mapInArrow(task, schema.ddl)
        return NumberedLeft(run.sizing.checked(frame, run.report), result)
