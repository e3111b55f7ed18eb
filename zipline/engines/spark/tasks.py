"""What runs on the executors: each a value that is sent with all it needs, and called with the batches of a partition.

Python of one task takes one core: the cores belong to the tasks beside it. Each takes its partition in pieces of at
most `most` rows, as far as these are of several keys (`spill`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import micros, validity, whole
from zipline.arrow import to_arrow
from zipline.clock import monotonic
from zipline.engines.contract import Report
from zipline.engines.local.assembly import KeySet, LeftRows, are_mature, beside
from zipline.engines.local.bootstrap import given_by
from zipline.engines.local.demands import Given, demands_of, derive_uncovered, in_type
from zipline.engines.local.group_by import Readings
from zipline.engines.local.left import DAY, TIME
from zipline.engines.local.output import finish, with_day
from zipline.engines.local.read import Rows
from zipline.engines.local.reported import count_orphans, count_strange_snapshots
from zipline.engines.local.substitutes import Substitute
from zipline.engines.spark.bundles import DDL as BUNDLES
from zipline.engines.spark.bundles import HOME, RowHome, bundles_of, divided, opened, rows_in
from zipline.engines.spark.condensing import Condensed, Halves
from zipline.engines.spark.facts import FACTS, add, counted, failed, only_facts, typed, with_facts
from zipline.engines.spark.lanes import Lane, LaneKey, apart
from zipline.engines.spark.packing import PART, ROW, ROWS, Packing, Shape
from zipline.engines.spark.spill import pieces
from zipline.engines.spark.workers import one_core
from zipline.engines.spark.writing import Writing
from zipline.errors import ZiplineError
from zipline.expressions.dialects import identifier
from zipline.plan.steps import BootstrapRead, JoinPlan, PartPlan
from zipline.types import BOOLEAN, NULL, DataType
from zipline.values import dataclass

Batches = Iterable[pa.RecordBatch]
Ints = Any


@dataclass(frozen=True)
class LeftShape:
    """Left rows on their way: `l:` their own columns, `g:` values they are given, `c:` which of these they have."""

    columns: Mapping[str, DataType]
    given: Mapping[str, DataType] = field(default_factory=dict)
    has_day: bool = False
    order: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    is_of_days: bool = False

    @property
    def packed(self) -> dict[str, DataType]:
        own = {f"l:{name}": dtype for name, dtype in self.columns.items()}
        values = {f"g:{name}": dtype for name, dtype in self.given.items()}
        return own | values | {f"c:{name}": BOOLEAN for name in self.given}

    @property
    def shape(self) -> Shape:
        day = ("__ds",) if self.has_day else ()
        return Shape(tuple(dict.fromkeys((ROW, "__t", *day, *self.order))), self.packed)

    def keys(self, names: Iterable[str]) -> list[tuple[str, DataType]]:
        """(SQL, type) of left columns. Frames that tasks read have no columns of no type."""
        named = [(identifier("spark", f"l:{name}"), self.columns[name]) for name in names]
        return [("NULL" if dtype == NULL else sql, dtype) for sql, dtype in named]

    def of(self, columns: Iterable[str], given: Iterable[str]) -> LeftShape:
        """With these columns only."""
        return LeftShape(
            {name: self.columns[name] for name in dict.fromkeys(columns)},
            {name: self.given[name] for name in dict.fromkeys(given) if name in self.given},
            self.has_day,
        )

    def rows(self, table: pa.Table) -> LeftRows:
        """The rows as the local engine has them."""
        columns: dict[str, Any] = {name: _column(table, f"l:{name}", dtype) for name, dtype in self.columns.items()}
        columns[TIME] = table.column("__t")
        columns[DAY] = table.column("__ds") if self.has_day else pa.nulls(table.num_rows, pa.string())
        times = whole(columns[TIME])
        valid = validity(times)
        given = {
            name: Given(whole(_column(table, f"g:{name}", dtype)), _flags(table.column(f"c:{name}")))
            for name, dtype in self.given.items()
        }
        timed = np.ones(table.num_rows, np.bool_) if valid is None else valid
        return LeftRows(pa.table(columns), micros(times), timed, given)


def _column(table: pa.Table, name: str, dtype: DataType) -> pa.ChunkedArray:
    if dtype == NULL:
        return pa.chunked_array([pa.nulls(table.num_rows)])
    column = table.column(name)
    arrow = to_arrow(dtype)
    return column if column.type == arrow else column.cast(arrow)


def _flags(column: pa.ChunkedArray) -> Any:
    return np.asarray(whole(column).to_numpy(zero_copy_only=False)).astype(np.bool_)


@dataclass(frozen=True)
class Outcome:
    """What a task gives: a table, and what it counted."""

    table: pa.Table
    report: Report
    range_of: int | None = None


Giving = Callable[[pa.Table | None, Sequence[str]], Iterator[pa.RecordBatch]]
"""How a task gives rows (None: there are none) and facts."""


def answered(giving: Giving, work: Callable[[], Outcome | None]) -> Iterator[pa.RecordBatch]:
    """The batches of an outcome; an error in the data is a fact, which no second attempt would change."""
    began = monotonic()
    try:
        outcome = work()
    except ZiplineError as error:
        yield from giving(None, [failed(error)])
        return
    if outcome is not None:
        outcome.report.seconds["tasks"] = monotonic() - began
        yield from giving(outcome.table, [counted(outcome.report, outcome.range_of)])


@dataclass(frozen=True, eq=False)
class Rowwise:
    """Rows in the types of the schema, and facts as rows of their own."""

    schema: pa.Schema

    def __call__(self, table: pa.Table | None, facts: Sequence[str]) -> Iterator[pa.RecordBatch]:
        rows = self.schema.empty_table().drop_columns([FACTS]) if table is None else table
        return with_facts(rows, self.schema, facts)


@dataclass(frozen=True, eq=False)
class Bundled:
    """The same rows in bundles for their next partitions."""

    schema: pa.Schema
    home: RowHome

    @property
    def ddl(self) -> str:
        return f"{BUNDLES}, {FACTS} STRING"

    def __call__(self, table: pa.Table | None, facts: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in () if table is None else bundles_of(typed(table, self.schema), self.home):
            yield batch.append_column(FACTS, pa.nulls(batch.num_rows, pa.string()))
        own = pa.schema([(HOME, pa.int32()), (ROWS, pa.binary()), (FACTS, pa.string())])
        for batch in only_facts(own, facts):
            yield batch.set_column(0, HOME, pa.array(np.zeros(batch.num_rows, np.int32)))


@dataclass(frozen=True, eq=False)
class Bootstrapping:
    """Left rows (lane 0) and, in a lane each, the tables of given values -> left rows with what they are given."""

    reads: tuple[BootstrapRead, ...]
    lanes: tuple[Lane, ...]
    packing: Packing
    left: LeftShape
    result: LeftShape
    schema: pa.Schema
    most: int

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for piece in pieces(batches, self.most):
            yield from answered(Rowwise(self.schema), partial(self._outcome, piece))

    def _outcome(self, batches: list[pa.RecordBatch]) -> Outcome | None:
        tables = self.packing.unpack(batches)
        if not tables:
            return None
        one_core()
        rows = self.left.rows(tables[0]).table
        of_read = {id(r): lane.rows(t) for r, lane, t in zip(self.reads, self.lanes, tables[1:], strict=True)}
        given, counts = given_by(self.reads, rows, lambda read: of_read[id(read)])
        table = tables[0]
        for name in self.result.given:
            table = table.append_column(f"g:{name}", given[name].values)
            table = table.append_column(f"c:{name}", pa.array(given[name].covered))
        return Outcome(table, Report(bootstrapped=counts))


@dataclass(frozen=True, eq=False)
class KeySetTask:
    """Left rows (lane 0) and every row that their keys can see, in a lane each -> the columns of all parts.

    `days` are those of the snapshots that exist, by reading. With an `assembly` the outcome is the output's rows.
    `hot` are the partitions that are ranges of a hot key, with its hash; `cuts` says from when on rows are there as
    they are, and not condensed for a part, in lanes after the others. Of lanes that come in bundles, by number,
    `bundled` are the schemas.
    """

    parts: tuple[PartPlan, ...]
    lanes: Mapping[LaneKey, Lane]
    packing: Packing
    left: LeftShape
    days: Mapping[Any, Ints]
    giving: Giving
    most: int
    assembly: Assembly | None = None
    hot: Mapping[int, int] = field(default_factory=dict)
    cuts: Mapping[int, int] = field(default_factory=dict)
    condensed: tuple[Condensed, ...] = ()
    substitutes: tuple[Substitute, ...] = ()
    bundled: Mapping[int, pa.Schema] = field(default_factory=dict)
    partitions: int = 1

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        divide = partial(divided, schemas=self.bundled, partitions=self.partitions)
        for piece in pieces(batches, self.most, rows_in, divide):
            yield from answered(self.giving, partial(self._outcome, piece))

    def _outcome(self, batches: list[pa.RecordBatch]) -> Outcome | None:
        tables = self.packing.unpack(batches)
        if not tables or not tables[0].num_rows:
            return None
        tables = [opened(t.column(ROWS), self.bundled[n]) if n in self.bundled else t for n, t in enumerate(tables)]
        connection, pool = one_core()
        report = Report()
        partition = batches[0].column(PART)[0].as_py()
        range_of = self.hot.get(partition)
        rows = self.left.rows(tables[0])
        readings = self._readings(tables[1 : 1 + len(self.lanes)])
        laid: dict[int, Rows] = {}
        if range_of is not None:
            earlier = zip(self.condensed, tables[1 + len(self.lanes) :], strict=True)
            laid = {id(each.part): each.laid_together(readings, rows, self.cuts[partition]) for each, rows in earlier}
        computed = self._compute(rows, readings, laid, connection, pool, report)
        if self.assembly is not None:
            order = {name: tables[0].column(name) for name in self.left.order}
            return replace(self.assembly.outcome(rows, order, computed, connection, report), range_of=range_of)
        kept = [name for name in (ROW, "__ds") if name in self.left.shape.own]
        columns: dict[str, Any] = {name: tables[0].column(name) for name in kept}
        for number, part in enumerate(self.parts):
            for n, (name, dtype) in enumerate(part.own_columns):
                columns[f"p{number}_{n}"] = in_type(name, computed[id(part)].column(n), dtype)
        return Outcome(pa.table(columns), report, range_of)

    def _compute(
        self,
        rows: LeftRows,
        readings: Mapping[LaneKey, Rows],
        laid: Mapping[int, Rows],
        connection: duckdb.DuckDBPyConnection,
        pool: ThreadPoolExecutor,
        report: Report,
    ) -> dict[int, pa.Table]:
        stead = {id(each.part): each for each in self.substitutes}
        demands = {id(part): demands_of(part, rows.given, len(rows.times)) for part in self.parts}
        asked = {part: found for part, found in demands.items() if found is not None}
        computed: dict[int, pa.Table] = {}
        for parts, lanes in apart(self.parts, stead):
            own: Readings = {read: readings[lane] for read, lane in lanes.items()}
            key_set = KeySet(parts, {id(part): asked[id(part)] for part in parts if id(part) in asked})
            condensed = {id(each.part): each for each in self.condensed} if laid else {}
            halves = Halves(own, condensed, laid, stead, pool)
            computed |= key_set.compute(rows, own, halves.aggregate, connection, pool)
            count_orphans(report, own, parts)
            count_strange_snapshots(report, own, parts)
        nulls = KeySet(self.parts, {}).null_keys(rows)
        if nulls:
            report.null_keys[", ".join(self.parts[0].left_keys)] = nulls
        return computed

    def _readings(self, tables: Sequence[pa.Table]) -> dict[LaneKey, Rows]:
        found = {}
        for (key, lane), table in zip(self.lanes.items(), tables, strict=True):
            rows = lane.rows(table)
            rows.partitions = self.days.get(key[0], rows.partitions)
            found[key] = rows
        return found


@dataclass(frozen=True, eq=False)
class Assembly:
    """Left rows and the columns of all parts -> rows of the output, derived, of mature labels, with their day."""

    plan: JoinPlan
    training: bool
    label_end: int | None
    has_day: bool
    writing: Writing | None = None

    def outcome(
        self,
        rows: LeftRows,
        order: Mapping[str, Any],
        computed: Mapping[int, pa.Table],
        connection: duckdb.DuckDBPyConnection,
        report: Report,
    ) -> Outcome:
        plan = self.plan
        output = beside(plan, rows.table, computed, rows.given)
        output = derive_uncovered(connection, output, plan.derivations, rows.given)
        labels = [(part, computed[id(part)]) for part in plan.labels] if self.training else []
        kept = None
        if labels:
            kept = self._mature(rows, report)
            output = output.filter(kept)
            labels = [(part, table.filter(kept)) for part, table in labels]
        output = finish(plan, output, labels)
        days = rows.table.column(DAY)
        if self.has_day:
            output = with_day(plan, output, days if kept is None else days.filter(kept))
        report.rows = output.num_rows
        report.null_times = int((~rows.timed).sum())
        places = {name: column if kept is None else column.filter(kept) for name, column in order.items()}
        if self.writing is not None:
            return Outcome(self.writing.files(output, places), report)
        for name, column in places.items():
            output = output.append_column(name, column)
        return Outcome(output, report)

    def _mature(self, rows: LeftRows, report: Report) -> pa.Array:
        offset = self.plan.labels[0].offset or 0
        mature = are_mature(rows, offset, self.label_end)
        report.immature = int((~mature).sum())
        waiting = rows.table.column(DAY).filter(pa.array(~mature & rows.timed))
        report.waiting = tuple(sorted(waiting.drop_null().unique().to_pylist()))
        return pa.array(mature)


@dataclass(frozen=True, eq=False)
class PuttingTogether:
    """Left rows (lane 0) and the outcome of every set of left keys, in a lane each -> rows of the output."""

    key_sets: tuple[tuple[PartPlan, ...], ...]
    packing: Packing
    left: LeftShape
    assembly: Assembly
    schema: pa.Schema
    most: int
    bundled: Mapping[int, pa.Schema] = field(default_factory=dict)
    partitions: int = 1

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        divide = partial(divided, schemas=self.bundled, partitions=self.partitions)
        for piece in pieces(batches, self.most, rows_in, divide):
            yield from answered(Rowwise(self.schema), partial(self._outcome, piece))

    def _outcome(self, batches: list[pa.RecordBatch]) -> Outcome | None:
        tables = self.packing.unpack(batches)
        if not tables:
            return None
        connection, _ = one_core()
        report = Report()
        for table in tables[1:]:
            add(report, table.column(FACTS).drop_null().to_pylist())
        ordered = [self._rows(number, table) for number, table in enumerate(tables)]
        ordered = [table.take(pc.sort_indices(table.column(ROW))) for table in ordered]
        numbers = ordered[0].column(ROW)
        computed: dict[int, pa.Table] = {}
        for parts, table in zip(self.key_sets, ordered[1:], strict=True):
            assert table.column(ROW).equals(numbers)
            computed |= {id(part): _part_columns(part, number, table) for number, part in enumerate(parts)}
        rows = self.left.rows(ordered[0])
        order = {name: ordered[0].column(name) for name in self.left.order}
        return self.assembly.outcome(rows, order, computed, connection, report)

    def _rows(self, number: int, table: pa.Table) -> pa.Table:
        """Of a lane, without facts."""
        if number in self.bundled:
            return opened(table.column(ROWS), self.bundled[number])
        return table.filter(pc.is_null(table.column(FACTS))) if number else table


def _part_columns(part: PartPlan, number: int, table: pa.Table) -> pa.Table:
    columns = [_column(table, f"p{number}_{n}", dtype) for n, (_, dtype) in enumerate(part.own_columns)]
    return pa.table(columns, names=[name for name, _ in part.own_columns])
