"""Readings of tables that are files: by tasks, with the local engine's own statements, a stretch of files at a time.

A reading gives the same rows however often, and wherever, a stretch of it is read. So left rows need not be written
down to be numbered: the number of a row is that of its stretch and its place there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros, whole
from zipline.algebra.columnar.xxhash import hashes
from zipline.arrow import to_arrow
from zipline.clock import DAY as MICROS_PER_DAY
from zipline.engines.local.left import DAY, TIME, left_rows
from zipline.engines.local.session import query
from zipline.engines.local.statements import tried
from zipline.engines.spark.lanes import Lane
from zipline.engines.spark.packing import OWN, OWN_ARROW, ROW, spelled
from zipline.engines.spark.scans import Days
from zipline.engines.spark.stretches import Stretch, tasks_for
from zipline.engines.spark.workers import one_core
from zipline.expressions.dialects import identifier
from zipline.plan.chaining import Span
from zipline.plan.steps import Projection
from zipline.tables.contract import ByRow, Files, Table
from zipline.types import BINARY, BOOLEAN, DATE, NULL, STRING, TIMESTAMP, DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import DataFrame, SparkSession

Ints = NDArray[np.int64]
Batches = Iterable[pa.RecordBatch]
Task = Callable[[Batches], Iterator[pa.RecordBatch]]
EVER_BEFORE = -(1 << 63)
"""The query time of a left row that has none, where rows are sent by time."""
STRETCH_SHIFT = 40
"""More rows than 2 to the power of this are in no stretch."""


Clock = tuple[Ints, NDArray[np.bool_]] | None
"""Numbers that bounds refer to, and which rows have one; None: all rows are always seen."""


class Reading(Protocol):
    """What tasks read: `keys` are (column, type) of those that decide where a row goes."""

    @property
    def stretches(self) -> tuple[Stretch, ...]: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def keys(self) -> Sequence[tuple[str, DataType]]: ...

    def read(self, number: int) -> pa.Table:
        """The rows of a stretch."""
        ...

    def keys_and_times(self, number: int) -> tuple[pa.Table, pa.Array]:
        """The keys of a stretch's rows, and when in microseconds each asks or is first seen; null: no time."""
        ...

    def clocks(self, rows: pa.Table) -> tuple[Clock, Clock]:
        """Of rows that were read what decides, with the times of queries, who sees them, and when each came."""
        ...


def by_tasks(spark: SparkSession, reading: Reading, task: Task, ddl: str, cores: int) -> DataFrame:
    """What tasks make of the numbers of all stretches."""
    count = len(reading.stretches)
    return spark.range(0, count, 1, max(1, tasks_for(count, cores))).mapInArrow(task, ddl)


def numbers_in(batches: Batches) -> Iterator[int]:
    """The stretches that are asked for."""
    return (number for batch in batches for number in batch.column(0).to_pylist())


@contextmanager
def opened(table: Table, stretch: Stretch) -> Iterator[duckdb.DuckDBPyConnection]:
    """What reads a stretch. What several tasks read is to be of the same files: else it is an error, after all."""
    connection, _ = one_core()
    try:
        yield connection
    finally:
        connection.close()
        if isinstance(table, Files):
            table.check_unchanged(frozenset(stretch.units))


def relation(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    days: Days,
    units: Sequence[str],
    rows: tuple[int, int] | None,
) -> str:
    """Of these files' rows of these days."""
    wanted = frozenset(units)
    if rows is None:
        return table.relation(connection, partition=days.partition, start=days.start, end=days.end, units=wanted)
    assert isinstance(table, ByRow)
    return table.relation(connection, partition=days.partition, start=days.start, end=days.end, units=wanted, rows=rows)


def _clock(column: pa.ChunkedArray) -> tuple[Ints, NDArray[np.bool_]]:
    array = whole(column)
    days = pa.types.is_date(array.type)
    numbers = (array.cast(pa.int32()) if days else array).cast(pa.int64())
    return np.asarray(pc.fill_null(numbers, 0)), np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False))


@dataclass(frozen=True, eq=False)
class LaneReading:
    """What queries can see of a lane between `low` and `high`."""

    table: Table
    lane: Lane
    stretches: tuple[Stretch, ...]
    days: Days
    low: int | None
    high: int | None

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([field for field in self.lane.schema if self.lane.types.get(field.name) != NULL])

    @property
    def keys(self) -> Sequence[tuple[str, DataType]]:
        return self.lane.typed_keys

    def read(self, number: int) -> pa.Table:
        return self._read(number, self.schema, only_keys=False)

    def keys_and_times(self, number: int) -> tuple[pa.Table, pa.Array]:
        clock = self.lane.seeing
        fields = [field for field in self.schema if field.name in (*self.lane.keys, clock)]
        found = self._read(number, pa.schema(fields), only_keys=True)
        if clock is None:
            return found, pa.nulls(found.num_rows, pa.int64())
        offset = max((part.offset or 0 for part in self.lane.parts), default=0)
        if self.lane.first.kind == "snapshots":
            days = whole(found.column(clock)).cast(pa.int32()).cast(pa.int64())
            return found, pc.subtract(pc.multiply(pc.add(days, 1), MICROS_PER_DAY), offset)
        return found, pc.subtract(whole(found.column(clock)).cast(pa.int64()), offset)

    def clocks(self, rows: pa.Table) -> tuple[Clock, Clock]:
        names = set(rows.column_names)
        seeing = None if self.lane.seeing is None else _clock(rows.column(self.lane.seeing))
        if self.lane.available is None:
            return seeing, None
        came = _clock(rows.column("__t"))
        if "__known" in names:
            known = _clock(rows.column("__known"))
            # As `greatest` has it, of two that are there the later, else the one.
            both = np.where(known[1] & came[1], np.maximum(known[0], came[0]), np.where(known[1], known[0], came[0]))
            came = (both, known[1] | came[1])
        return seeing, came

    def _read(self, number: int, schema: pa.Schema, *, only_keys: bool) -> pa.Table:
        stretch, sources = self.stretches[number], self.lane.projections
        needed = {source: frozenset(name for own, name in self.lane.aliases if own == source) for source in sources}
        with opened(self.table, stretch) as connection:
            rows = relation(connection, self.table, self.days, stretch.units, stretch.rows)
            sql = self.lane.statement(rows, self.low, self.high, only_keys=only_keys)
            found = query(connection, sql, self.table.name, rows, tried(sources, needed))
        return pa.table([found.column(field.name).cast(field.type) for field in schema], schema=schema)


_ROW = "__zipline_row"


@dataclass(frozen=True, eq=False)
class LeftReading:
    """Left rows as `LeftShape` packs them, with these columns; those of no day only where `is_dated` is False."""

    table: Table
    left: Projection
    stretches: tuple[Stretch, ...]
    days: Days
    bounds: tuple[str, str] | None
    span: Span | None
    names: tuple[str, ...]
    key_names: tuple[str, ...] = ()
    is_dated: bool = False

    @property
    def types(self) -> dict[str, DataType]:
        """Of the columns; those of no type are left out."""
        own = self.left.column_types
        return {name: own[name] for name in self.names if own[name] != NULL}

    @property
    def schema(self) -> pa.Schema:
        own = [(name, OWN_ARROW[OWN[name]]) for name in (ROW, "__t", "__ds")]
        return pa.schema([*own, *((f"l:{name}", to_arrow(dtype)) for name, dtype in self.types.items())])

    @property
    def ddl(self) -> str:
        own = [f"{name} {OWN[name]}" for name in (ROW, "__t", "__ds")]
        columns = [f"{identifier('spark', f'l:{name}')} {spelled(dtype)}" for name, dtype in self.types.items()]
        return ", ".join([*own, *columns])

    @property
    def keys(self) -> Sequence[tuple[str, DataType]]:
        return [(f"l:{name}", self.left.column_types[name]) for name in self.key_names]

    def read(self, number: int) -> pa.Table:
        found = self.plain(number, self.names)
        rows = pa.array(np.arange(found.num_rows, dtype=np.int64) + (number << STRETCH_SHIFT))
        found = self._dated(found.append_column(_ROW, rows))  # a column may be called as ROW is
        columns = {ROW: found.column(_ROW), "__t": found.column(TIME), "__ds": found.column(DAY)}
        columns |= {f"l:{name}": found.column(name) for name in self.types}
        return pa.table([columns[field.name].cast(field.type) for field in self.schema], schema=self.schema)

    def keys_and_times(self, number: int) -> tuple[pa.Table, pa.Array]:
        found = self._dated(self.plain(number, self.key_names))
        times = whole(found.column(TIME)).cast(pa.int64())
        return pa.table({f"l:{name}": found.column(name) for name in self.key_names}), times

    def clocks(self, rows: pa.Table) -> tuple[Clock, Clock]:
        times, is_timed = _clock(rows.column("__t"))
        return (np.where(is_timed, times, EVER_BEFORE), np.ones(len(times), np.bool_)), None

    def _dated(self, rows: pa.Table) -> pa.Table:
        return rows.filter(pc.is_valid(rows.column(DAY))) if self.is_dated else rows

    def plain(self, number: int, names: Sequence[str]) -> pa.Table:
        """These columns, TIME and DAY, of all rows. Files are read one by one: together they may come in another
        order."""
        stretch = self.stretches[number]
        found = []
        with opened(self.table, stretch) as connection:
            for unit in stretch.units:
                rows = relation(connection, self.table, self.days, [unit], stretch.rows)
                found.append(left_rows(connection, rows, self.left, bounds=self.bounds, span=self.span, names=names))
        return pa.concat_tables(found)


@dataclass(frozen=True, eq=False)
class Listing:
    """Numbers of stretches -> left rows."""

    reading: LeftReading

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for number in numbers_in(batches):
            yield from self.reading.read(number).to_batches(max_chunksize=100_000)


FIRST, LAST, COUNT, UNDATED = "first", "last", "rows", "undated"
BOUNDS_DDL = f"{FIRST} BIGINT, {LAST} BIGINT, {COUNT} BIGINT, {UNDATED} BIGINT"


@dataclass(frozen=True, eq=False)
class Bounding:
    """Numbers of stretches -> the first and the last query time of each in microseconds, its rows, those of no day."""

    reading: LeftReading

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for number in numbers_in(batches):
            found = self.reading.plain(number, ())
            times = micros(whole(found.column(TIME).drop_null()))
            first, last = (int(times.min()), int(times.max())) if len(times) else (None, None)
            told = {FIRST: first, LAST: last, COUNT: found.num_rows, UNDATED: found.column(DAY).null_count}
            yield pa.record_batch({name: pa.array([fact], pa.int64()) for name, fact in told.items()})


def can_be_hashed(dtype: DataType) -> bool:
    """Whether keys of the type are hashed here as in Spark, which takes decimals as doubles that it rounds itself."""
    return dtype.is_integer or dtype.is_float or dtype in (STRING, BINARY, BOOLEAN, DATE, TIMESTAMP)


def key_hashes(rows: pa.Table, keys: Sequence[tuple[str, DataType]]) -> tuple[Ints, NDArray[np.bool_]]:
    """What `statements.key_hash` is to Spark, and whether each row has a key; without keys 0 and that it has."""
    has_key = np.ones(rows.num_rows, np.bool_)
    if not keys:
        return np.zeros(rows.num_rows, np.int64), has_key
    columns = []
    for name, dtype in keys:
        column = whole(rows.column(name))
        absent = pc.is_null(column, nan_is_null=True)
        if pc.any(absent).as_py():
            has_key &= ~np.asarray(absent.to_numpy(zero_copy_only=False))
            column = _without_nulls(column)
        columns.append(_hashed(column, dtype))
    return hashes(columns, rows.num_rows), has_key


def _without_nulls(column: pa.Array) -> pa.Array:
    """Whatever in their place, for their rows have no key; of numbers what lies there will do."""
    instead = {pa.bool_(): False, pa.string(): "", pa.binary(): b""}.get(column.type)
    return column if instead is None else pc.fill_null(column, instead)


def _hashed(column: pa.Array, dtype: DataType) -> pa.Array:
    if dtype.is_integer:
        return column.cast(pa.int64())
    if dtype.is_float:
        return pc.add(column.cast(pa.float64()), 0.0)
    return column
