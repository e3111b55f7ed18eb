"""What a run will cost on a cluster, before there is one: rows and bytes moved, rows sorted, tasks, bytes written.

It walks the steps of a run and asks the objects that the run itself would ask: the same lanes, packing, sizing and
ranges of times, so that what is predicted cannot drift from what is done. No session and no pyspark is needed. Sizes
of tables are given (`Amounts`); what is not known is at most: rows without a key are counted, days are whole, files are
before compression. Keys are taken to be even: a hot key adds tasks and rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from zipline.clock import days as days_between
from zipline.engines.spark.costs import Amounts, Estimate, StepEstimate
from zipline.engines.spark.expected import Expected, columns_of, days_of, times_of
from zipline.engines.spark.file_readings import LeftReading
from zipline.engines.spark.key_sets import KeySetRows, Seen
from zipline.engines.spark.left import left_days
from zipline.engines.spark.left_rows import NumberedLeft, are_times_needed
from zipline.engines.spark.moves import (
    bootstrap_lane,
    given_values,
    is_one_move,
    key_sets_of,
    left_of,
    outcome_rows,
    together,
)
from zipline.engines.spark.packing import ROW, Packing
from zipline.engines.spark.run import Run
from zipline.engines.spark.scans import FILE, INDEX, Days
from zipline.engines.spark.skew import Division
from zipline.engines.spark.splits import Sized, even_files, own_reading_tasks, path_letters, reading_tasks, tasks_of
from zipline.engines.spark.stretches import is_read_by_tasks
from zipline.engines.spark.tasks import LeftShape
from zipline.engines.spark.widths import (
    DAY_LETTERS,
    beyond,
    bundled_bytes,
    column_bytes,
    lengths_of,
    moved_bytes,
    own_lengths_of,
    row_bytes,
)
from zipline.plan.chaining import Span, days_span, parent_table, parents_of, wanted_parents
from zipline.plan.reads import read_key
from zipline.plan.steps import JoinPlan, PartPlan, Projection
from zipline.tables.memory import MemoryTable
from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.engines.spark.sizes import Sizing
    from zipline.tables.catalog import Catalog
    from zipline.tables.contract import Table

FACTS_LETTERS = 120
"""Of what a task counts."""


def estimate(
    plan: JoinPlan,
    catalog: Catalog,
    amounts: Amounts,
    sizing: Sizing,
    *,
    start: str | None = None,
    end: str | None = None,
    training: bool = True,
    supposed: Mapping[str, Sized] | None = None,
) -> Estimate:
    """The cost of one run: of the days `start`..`end`, which are written, or of the whole join in memory.

    `supposed` tables stand for those of the catalog.
    """
    run = Run(cast(Any, None), catalog, sizing, cast(Any, None), frames=dict(supposed or {}))
    course = _Course(run, Expected(run, amounts))
    course.join(plan, (start, end) if start and end else None, None, training=training, is_written=bool(start and end))
    return Estimate(
        tuple(course.steps), sizing.rows_per_task, sizing.cores, tuple(dict.fromkeys(course.expected.unknown))
    )


class _OnPaper(KeySetRows):
    """Keys that are even: nobody looks at them."""

    @cached_property
    def division(self) -> Division:
        return Division(self.ordinary)


@dataclass(eq=False)
class _LeftRows:
    """Left rows, the letters of their own columns that are text, and the tasks that read them (again)."""

    numbered: NumberedLeft
    own: Mapping[str, int]
    reading_tasks: int
    stretches: int = 0

    @property
    def rows(self) -> int:
        return self.numbered.rows or 0

    @property
    def shape(self) -> LeftShape:
        return self.numbered.shape


@dataclass(eq=False)
class _Course:
    """The walk, which goes as `Run.join` does."""

    run: Run
    expected: Expected
    steps: list[StepEstimate] = field(default_factory=list)
    parent: str = ""
    once: set[Hashable] = field(default_factory=set)
    """Rows of event ids that were numbered for a set of keys."""

    def add(self, title: str, **measures: float) -> None:
        whole = {name: round(measure) for name, measure in measures.items()}
        self.steps.append(StepEstimate(f"{self.parent}: {title}" if self.parent else title, **whole))

    def join(
        self,
        plan: JoinPlan,
        bounds: tuple[str, str] | None,
        span: Span | None,
        *,
        training: bool,
        is_written: bool,
    ) -> tuple[int, int]:
        """(rows, tasks) of the output."""
        parts = (*plan.parts, *(plan.labels if training else ()))
        if plan.left.parent is not None:
            self._parents(plan.left, parts, days_span(plan.left, *(bounds or (None, None))), to_newest=training)
        left = self._left(plan, bounds, span, parts)
        if plan.left.parent is None:
            low, high = left.numbered.first, left.numbered.last
            self._parents(None, parts, Span() if low is None or high is None else Span(low, high), to_newest=training)
        if training and plan.labels:
            self._label_end(plan.labels)
        return self._output(plan, parts, left, bounds, training=training, is_written=is_written)

    def _parents(self, left: Projection | None, parts: Sequence[PartPlan], span: Span, *, to_newest: bool) -> None:
        projections = [s for part in parts for s in part.group_by.sources] + ([left] if left is not None else [])
        names = [parent_table(parent) for parent in parents_of(projections)]
        given = [name for name in names if name in self.run.frames or self.run.catalog.is_given(name)]
        for name, wanted in wanted_parents(left, parts, span, to_newest=to_newest, given=given).items():
            inner = _Course(self.run, self.expected, self.steps, wanted.plan.name)
            rows, tasks = inner.join(wanted.plan, None, wanted.span, training=False, is_written=False)
            columns = dict(wanted.plan.scoring_columns)
            written = rows * column_bytes(columns.items(), lengths_of(wanted.plan.parts))
            self.steps[-1] = replace(self.steps[-1], bytes_scratch=round(written))
            inner.add("what tasks counted", reading_tasks=tasks_of(even_files(written, tasks), self.cores))
            self.run.frames[name] = Sized(name, columns, rows, written, files=tasks)

    @property
    def cores(self) -> int:
        return self.run.sizing.cores

    def _left(
        self, plan: JoinPlan, bounds: tuple[str, str] | None, span: Span | None, parts: Sequence[PartPlan]
    ) -> _LeftRows:
        read, table = plan.left, self.run.table(plan.left.table)
        amount = self.expected.amount(read, [read.where])
        low, high = bounds or days_of(span)
        rows, size = amount.within(low, high) if amount is not None else (0.0, 0.0)
        days = left_days(read, bounds, span)
        if read.event_id is None and is_read_by_tasks(table):
            left = self._left_by_tasks(read, table, days, bounds, round(rows))
        else:
            left = self._left_by_spark(read, table, days, bounds, round(rows))
        left.numbered.first, left.numbered.last = times_of(amount, low, high)
        left.own = {"__ds": DAY_LETTERS if bounds or span else 0, FILE: path_letters(table), "__facts": 0}
        self._numbered(read, read.table_columns)
        measures = {"rows": rows, "bytes_read": size * self.expected.share(read.table, read.table_columns)}
        is_written = left.numbered.reading is None and not isinstance(table, MemoryTable)
        if plan.bootstrap:
            left = self._bootstrapped(plan, left, table, measures)
        elif is_written:
            written = rows * (column_bytes(left.shape.packed.items(), {}) + 3 * 8)
            self.add("left rows", reading_tasks=left.reading_tasks, bytes_scratch=written, **measures)
            left.reading_tasks = tasks_of(even_files(written, left.reading_tasks), self.cores)
        if bounds is not None or are_times_needed(self.run, parts):
            own = measures if left.numbered.reading is not None else {"rows": rows, "tasks": 1}
            self.add("first and last query time", reading_tasks=left.reading_tasks, **own)
        return left

    def _left_by_tasks(
        self, read: Projection, table: Table, days: Days, bounds: tuple[str, str] | None, rows: int
    ) -> _LeftRows:
        tasks, count = own_reading_tasks(table, days, rows, self.cores)
        shape = LeftShape(dict(read.column_types), {}, True, (ROW,), (), bounds is not None)
        reading = LeftReading(table, read, (), days, bounds, None, tuple(read.column_types))
        return _LeftRows(NumberedLeft(cast(Any, None), shape, rows, reading=reading), {}, tasks, count)

    def _left_by_spark(
        self, read: Projection, table: Table, days: Days, bounds: tuple[str, str] | None, rows: int
    ) -> _LeftRows:
        order = (INDEX,) if isinstance(table, MemoryTable) else (FILE, INDEX)
        shape = LeftShape(dict(read.column_types), {}, True, order, (), bounds is not None)
        return _LeftRows(NumberedLeft(cast(Any, None), shape, rows), {}, reading_tasks(table, days, self.cores))

    def _bootstrapped(self, plan: JoinPlan, left: _LeftRows, table: Table, of_left: Mapping[str, float]) -> _LeftRows:
        lanes = [bootstrap_lane(read) for read in plan.bootstrap]
        packing = Packing((left.shape.shape, *(lane.shape for lane in lanes)))
        partitions = self.run.sizing.partitions([table.statistics().rows, *map(self.run.rows, lanes)])
        readings = [self.expected.reading(lane, Seen()) for lane in lanes]
        counts = [left.rows, *(each.rows for each in readings)]
        result = given_values(plan.bootstrap, left.shape)
        written = left.rows * (column_bytes(result.packed.items(), {}) + 3 * 8)
        again = tasks_of(even_files(written, partitions), self.cores)
        self.add(
            "left rows with given values",
            rows=sum(counts),
            reading_tasks=left.reading_tasks + sum(each.tasks for each in readings) + again,
            tasks=partitions,
            shuffles=1,
            rows_shuffled=sum(counts),
            bytes_shuffled=moved_bytes(packing, counts, left.own),
            rows_sorted=sum(counts),
            bytes_read=of_left["bytes_read"] + sum(each.size for each in readings),
            bytes_scratch=written,
        )
        return _LeftRows(replace(left.numbered, shape=result, reading=None), left.own, again)

    def _label_end(self, parts: Sequence[PartPlan]) -> None:
        for source in dict.fromkeys(source for part in parts for source in part.group_by.sources):
            read = source.mutations if source.kind == "snapshots" else source
            if read is None or read.parent is not None or (read.mutation_time or read.time) is None:
                continue
            clock = read.mutation_time or read.time
            amount = self.expected.amount(read, [read.where])
            rows, size = amount.within(None, None) if amount is not None else (0.0, 0.0)
            tasks = reading_tasks(self.run.table(read.table), Days(read.partition, read.start, read.end), self.cores)
            share = self.expected.share(read.table, clock.columns if clock is not None else ())
            self.add(
                f"the end of the labels in {read.table}",
                rows=rows,
                reading_tasks=tasks,
                tasks=1,
                bytes_read=size * share,
            )

    def _output(
        self,
        plan: JoinPlan,
        parts: Sequence[PartPlan],
        left: _LeftRows,
        bounds: tuple[str, str] | None,
        *,
        training: bool,
        is_written: bool,
    ) -> tuple[int, int]:
        columns = dict(plan.columns if training and plan.labels else plan.scoring_columns)
        made = left.rows * column_bytes(columns.items(), lengths_of(parts)) if is_written else 0
        key_sets = key_sets_of(parts)
        days = days_between(*bounds) if is_written and bounds is not None else []
        ordinary = _OnPaper(self.run, parts, left.numbered, left.shape).ordinary if len(key_sets) == 1 else 0
        if is_one_move(key_sets, len(days), ordinary):
            return left.rows, self._key_set(parts, left, left.shape, made)
        tasks = [self._key_set(sharing, left, left_of(sharing, left.shape), 0) for sharing in key_sets]
        reading = left.numbered.reading
        packing = together(key_sets, left.shape, is_left_bundled=reading is not None)
        fields = 2 + len(packing.own) + len(packing.slots)
        partitions = self.run.sizing.partitions([left.rows] * (1 + len(key_sets)))
        bundled = (
            0 if reading is None else bundled_bytes(reading.schema, left.rows, left.stretches * partitions, fields)
        )
        for sharing, of_tasks in zip(key_sets, tasks, strict=True):
            schema, entries = outcome_rows(sharing, has_day=bool(days)), own_lengths_of(sharing)
            bundled += bundled_bytes(schema, left.rows, of_tasks * partitions, fields, entries)
        facts = sum(min(number, left.rows) for number in tasks)
        told = facts * (row_bytes(fields, FACTS_LETTERS))
        moved = left.rows * (1 + len(key_sets)) + facts
        self.add(
            "bringing together",
            rows=moved,
            reading_tasks=left.reading_tasks,
            tasks=partitions,
            shuffles=1,
            rows_shuffled=moved,
            bytes_shuffled=bundled + told + moved_bytes(packing, [left.rows] + [0] * len(key_sets), left.own),
            bytes_bundled=bundled,
            rows_sorted=moved,
            bytes_output=made,
        )
        return left.rows, partitions

    def _key_set(self, parts: Sequence[PartPlan], left: _LeftRows, shape: LeftShape, made: float) -> int:
        """The tasks of one shuffle."""
        rows = _OnPaper(self.run, parts, left.numbered, shape)
        keys = ", ".join(parts[0].left_keys) or "no key"
        is_looked_at = self.run.sizing.most_of_a_key(rows.counts) is not None
        again: set[int] = set()
        for number, lane in enumerate(rows.lanes.values()):
            columns = columns_of(lane)
            if is_looked_at:
                self._numbered(lane.first, columns)
            # Of the same rows by other keys Spark takes the shuffle that is there, for the plan is one.
            is_there = lane.first.event_id is not None and (read_key(lane.first), columns) in self.once
            again |= {number} if is_there else set()
            self.once.add((read_key(lane.first), columns))
            self._numbered(lane.first, columns, is_there=is_there)
        listed = enumerate(zip(rows.lanes.values(), rows.seen, strict=True), 1)
        readings = [self.expected.reading(lane, seen, by_tasks=n in rows.bundled) for n, (lane, seen) in listed]
        counts = [left.rows, *(each.rows for each in readings)]
        reading = left.reading_tasks + sum(each.tasks for each in readings)
        if is_looked_at:
            lanes = zip(rows.lanes.values(), readings, strict=True)
            looked = sum(each.size * self.expected.key_share(lane) for lane, each in lanes)
            self.add(f"looking for hot keys of {keys}", rows=sum(counts), reading_tasks=reading, bytes_read=looked)
        partitions, fields = rows.division.partitions, 2 + len(rows.packing.own) + len(rows.packing.slots)
        ends = [count * partitions for count in (left.stretches, *(each.stretches for each in readings))]
        bundled = sum(bundled_bytes(r.schema, counts[n], ends[n], fields) for n, r in rows.bundled.items())
        self.add(
            f"{len(parts)} {'part' if len(parts) == 1 else 'parts'} by {keys}",
            rows=sum(counts),
            reading_tasks=reading - sum(readings[number].tasks for number in again),
            tasks=partitions,
            shuffles=1,
            rows_shuffled=sum(counts),
            bytes_shuffled=bundled + moved_bytes(rows.packing, counts, left.own),
            bytes_bundled=bundled,
            rows_sorted=sum(counts),
            bytes_read=sum(each.size for number, each in enumerate(readings) if number not in again),
            bytes_output=made,
        )
        return partitions

    def _numbered(self, read: Projection, columns: Iterable[str], *, is_there: bool = False) -> None:
        """Of several rows with one event id one is taken: a shuffle of Spark's own, by the id, unless it `is_there`."""
        if read.event_id is None:
            return
        amount, schema = self.expected.amount(read, [read.where]), self.run.table(read.table).schema
        rows = amount.within(None, None)[0] if amount is not None else 0.0
        types = [schema[name] for name in columns if name in schema]
        self.add(
            f"one row of each event id of {read.title}",
            rows=rows,
            tasks=self.cores,
            shuffles=0 if is_there else 1,
            rows_shuffled=0 if is_there else rows,
            bytes_shuffled=0 if is_there else rows * row_bytes(len(types), sum(map(beyond, types))),
            rows_sorted=rows,
        )
