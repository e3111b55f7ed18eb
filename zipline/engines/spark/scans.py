"""Tables as DataFrames, with exactly the columns and types of the table's schema.

Parquet and Delta are read by Spark: of the files, or the version, that the table had when it was opened. Formats whose
rules are the platform's own (CSV, JSON lines) are read file by file by tasks that run the table's own reader. Rows in
memory are sent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zipline.arrow import every_arrow_type, from_arrow, to_arrow
from zipline.engines.local.session import connect, query
from zipline.engines.spark.packing import spelled
from zipline.errors import UnsupportedError
from zipline.expressions.dialects import identifier, text_literal
from zipline.tables.columns import unfit_partition
from zipline.tables.contract import Partition, Statistics, Table, Unit
from zipline.tables.delta_source import DeltaSource
from zipline.tables.memory import MemoryTable
from zipline.tables.parquet import ParquetTable
from zipline.types import DATE, NULL, STRING, TIMESTAMP, DataType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

AT_ONCE = 10_000
"""Rows of a message."""
FILE, INDEX = "__zipline_file", "__zipline_index"
"""Where a numbered row stands: its file, and its place there; rows in memory have only a place."""


@dataclass(frozen=True)
class Scan:
    """Rows of a table; of numbered ones `order` names the columns that say where each stands; () is of no order.

    `files` are the paths of a table in its own order, where this is another than that of their names.
    """

    frame: DataFrame
    order: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Days:
    """The days `start`..`end` (both inclusive, None is open) of a column."""

    partition: str | None = None
    start: str | None = None
    end: str | None = None

    @property
    def is_bounded(self) -> bool:
        return self.partition is not None and (self.start, self.end) != (None, None)

    def condition(self, schema: Mapping[str, DataType]) -> str | None:
        """The Spark SQL that keeps their rows; None where all are kept."""
        if not self.is_bounded or self.partition is None or self.partition not in schema:
            return None
        dtype = schema[self.partition]
        if dtype not in (STRING, DATE, TIMESTAMP):
            raise unfit_partition(self.partition, dtype)
        name, bounds = identifier("spark", self.partition), []
        if self.start is not None:
            bounds.append(f"{name} >= {_bound(self.start, dtype)}")
        if self.end is not None:
            after = (dt.date.fromisoformat(self.end) + dt.timedelta(days=1)).isoformat()
            is_instant = dtype == TIMESTAMP
            bounds.append(f"{name} < {_bound(after, dtype)}" if is_instant else f"{name} <= {_bound(self.end, dtype)}")
        return " AND ".join(bounds)


def _bound(day: str, dtype: DataType) -> str:
    if dtype == TIMESTAMP:
        return f"TIMESTAMP '{day} 00:00:00Z'"
    return f"DATE '{day}'" if dtype == DATE else text_literal("spark", day)


EVER = Days()
SMALL = 1_000_000
"""Bytes of which one task is enough."""


def scan(spark: SparkSession, table: Table, days: Days = EVER, *, numbered: bool = False) -> Scan:
    """The table's rows of these days."""
    if isinstance(table, FrameTable):
        rows = table.frame.selectExpr(*in_types(table.schema, table.schema), *table.order)
        return _limited(Scan(rows, table.order, table.files), days, table.schema)
    if isinstance(table, MemoryTable):
        return _sent(spark, table, days, numbered=numbered)
    if isinstance(table, ParquetTable | DeltaSource) and _is_beyond_spark(table):
        return _by_file(spark, table, days)
    if isinstance(table, ParquetTable):
        return _parquet(spark, table, days, numbered=numbered)
    if isinstance(table, DeltaSource):
        return _delta(spark, table, days, numbered=numbered)
    return _by_file(spark, table, days)


def in_types(columns: Iterable[str], schema: Mapping[str, DataType]) -> list[str]:
    """The columns in the types of the schema."""
    return [_item(name, schema[name]) for name in columns]


def _limited(found: Scan, days: Days, schema: Mapping[str, DataType]) -> Scan:
    condition = days.condition(schema)
    return found if condition is None else replace(found, frame=found.frame.where(condition))


def _sent(spark: SparkSession, table: MemoryTable, days: Days, *, numbered: bool) -> Scan:
    rows = _rows(table, days, None)
    if numbered:
        rows = rows.append_column(INDEX, pa.array(range(rows.num_rows), pa.int64()))
    frame = sent(spark, rows)
    return Scan(frame.coalesce(1) if rows.nbytes < SMALL else frame, (INDEX,) if numbered else ())


def sent(spark: SparkSession, rows: pa.Table) -> DataFrame:
    """Rows of this process as a DataFrame. Of no rows Spark wants a piece of each column all the same."""
    if rows.num_rows == 0:
        rows = pa.table([pa.array([], field.type) for field in rows.schema], schema=rows.schema)
    if not any(_loses_nulls(field.type) for field in rows.schema):
        return spark.createDataFrame(rows)
    # As bytes, which tasks make rows of again.
    batches = [_written(batch) for batch in rows.to_batches(max_chunksize=AT_ONCE)]
    types = ((field.name, from_arrow(field.type, field.name)) for field in rows.schema)
    ddl = ", ".join(f"{identifier('spark', name)} {spelled(dtype)}" for name, dtype in types)
    return spark.createDataFrame(pa.table({"rows": pa.array(batches, pa.binary())})).mapInArrow(_read, ddl)


def _loses_nulls(stored: pa.DataType) -> bool:
    """Whether PySpark makes empty maps of null ones: with pyarrow below 17 it does where they hold instants, or values
    that are nested."""
    return any(
        pa.types.is_nested(inner) or pa.types.is_timestamp(inner)
        for each in every_arrow_type(stored)
        if pa.types.is_map(each)
        for inner in (each.key_type, each.item_type)
    )


def _written(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for written in batch.column(0):
            yield from pa.ipc.open_stream(written.as_buffer())


def _rows(table: Table, days: Days, unit: str | None) -> pa.Table:
    """The table's own rows, in its types."""
    connection = connect()
    try:
        units = None if unit is None else [unit]
        relation = table.relation(connection, partition=days.partition, start=days.start, end=days.end, units=units)
        items = ", ".join(identifier("duckdb", name) for name in table.schema)
        found = query(connection, f"SELECT {items} FROM {relation}", table.name, relation)
    finally:
        connection.close()
    return found.cast(pa.schema([(name, to_arrow(dtype)) for name, dtype in table.schema.items()]))


def _is_beyond_spark(table: ParquetTable | DeltaSource) -> bool:
    """Whether Spark's own reading would give something else: of nanoseconds within values, halves of floats, files that
    it takes for hidden, and folders whose names are encoded."""
    names = table.paths().values()
    if any("%" in name or name.rpartition("/")[2][:1] in ("_", ".") for name in names):
        return True
    if isinstance(table, DeltaSource):
        return False
    stored = [field.type for arrow, _ in table.alike(None, None, None) for field in arrow]
    return any(
        pa.types.is_float16(each) or (each != of and _is_nanos(each)) for of in stored for each in every_arrow_type(of)
    )


def _is_nanos(stored: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(stored) and stored.unit == "ns")


def _parquet(spark: SparkSession, table: ParquetTable, days: Days, *, numbered: bool) -> Scan:
    groups = table.alike(days.partition, days.start, days.end)
    order = (FILE, INDEX) if numbered else ()
    if not groups:
        return Scan(_empty(spark, table.schema, order), order)
    frames = []
    for arrow, files in groups:
        reader = spark.read.option("basePath", table.root) if table.keys else spark.read
        frame = reader.parquet(*(_url(file.path) for file in files))
        # Spark has nanoseconds as numbers, but not those of INT96, which are instants already.
        seen = {field.name: field.dataType.typeName() for field in frame.schema}
        numbers = {name for name in arrow.names if _is_nanos(arrow.field(name).type) and seen[name] == "long"}
        items = [_item(name, dtype, is_nanos=name in numbers) for name, dtype in table.schema.items()]
        frames.append(frame.selectExpr(*items, *_places(numbered)))
    return _limited(Scan(reduce(lambda one, other: one.unionAll(other), frames), order), days, table.schema)


def _url(path: str) -> str:
    """A path as Spark reads it: nothing in it is a pattern."""
    plain = path.replace("\\", "\\\\")
    return "".join(f"\\{letter}" if letter in "{}[]*?," else letter for letter in plain)


def _places(numbered: bool) -> list[str]:
    return [f"_metadata.file_path AS {FILE}", f"_metadata.row_index AS {INDEX}"] if numbered else []


def _item(name: str, dtype: DataType, *, is_nanos: bool = False) -> str:
    """A column of a file in the type of the schema; nanoseconds come as numbers, and are rounded down."""
    column = identifier("spark", name)
    if dtype == NULL:
        return f"NULL AS {column}"
    if is_nanos:
        return f"timestamp_micros(({column} - pmod({column}, 1000L)) div 1000L) AS {column}"
    return f"CAST({column} AS {spelled(dtype)}) AS {column}"


def _delta(spark: SparkSession, table: DeltaSource, days: Days, *, numbered: bool) -> Scan:
    """The files that make the version, which the log has told: Spark's own reading of a log is jobs of fifty tasks."""
    files = [file.path for file in table.files_within(days.partition, days.start, days.end)]
    order = (FILE, INDEX) if numbered else ()
    if not files:
        return Scan(_empty(spark, table.schema, order), order)
    types = ", ".join(f"{identifier('spark', name)} {spelled(dtype)}" for name, dtype in table.schema.items())
    frame = spark.read.schema(types).option("basePath", table.uri).parquet(*map(_url, files))
    found = frame.selectExpr(*(identifier("spark", name) for name in table.schema), *_places(numbered))
    return _limited(Scan(found, order, tuple(table.paths())), days, table.schema)


def _by_file(spark: SparkSession, table: Table, days: Days) -> Scan:
    """Each task reads a file by the table's own reader, and numbers its rows."""
    names = [unit.name for unit in table.units(None)]
    units = sent(spark, pa.table({"unit": pa.array(names, pa.string())})).repartition(max(1, len(names)))
    schema = ", ".join(f"{identifier('spark', n)} {spelled(d)}" for n, d in table.schema.items())
    frame = units.mapInArrow(FileReading(table, days), f"{schema}, {FILE} STRING, {INDEX} BIGINT")
    files = tuple(table.paths().values()) if isinstance(table, DeltaSource) else ()
    return Scan(frame, (FILE, INDEX), files)


@dataclass(frozen=True)
class FileReading:
    """Names of files -> their rows."""

    table: Table
    days: Days

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for name in (name for batch in batches for name in batch.column(0).to_pylist()):
            rows = _rows(self.table, self.days, name)
            rows = rows.append_column(FILE, pa.array([name] * rows.num_rows, pa.string()))
            rows = rows.append_column(INDEX, pa.array(range(rows.num_rows), pa.int64()))
            yield from rows.to_batches(max_chunksize=100_000)


def _empty(spark: SparkSession, schema: Mapping[str, DataType], order: Iterable[str]) -> DataFrame:
    own = {FILE: pa.string(), INDEX: pa.int64()}
    fields = [(name, to_arrow(dtype)) for name, dtype in schema.items()] + [(name, own[name]) for name in order]
    return sent(spark, pa.schema(fields).empty_table())


class FrameTable:
    """Rows that are a DataFrame already: the output of a join that others read, or what a caller gives as a table.

    Without an `order` they come in that in which Spark gives them when they are written down.
    """

    def __init__(
        self,
        name: str,
        frame: DataFrame,
        schema: Mapping[str, DataType],
        order: tuple[str, ...] = (),
        files: tuple[str, ...] = (),
        rows: int | None = None,
    ) -> None:
        self.name, self.frame, self.order, self.files = name, frame, order, files
        self._schema, self._rows = dict(schema), rows
        self.stands_for: Table | None = None

    @property
    def schema(self) -> dict[str, DataType]:
        return self._schema

    def statistics(self) -> Statistics:
        return Statistics(self._rows, None, 0)

    def partitions(self, column: str) -> list[Partition]:
        if column not in self._schema:
            return []
        day = f"CAST(CAST({identifier('spark', column)} AS DATE) AS STRING) AS day"
        found = self.frame.selectExpr(day).where("day IS NOT NULL").distinct().toArrow().column("day").to_pylist()
        return [Partition(day, None, None) for day in sorted(found)]

    def units(self, partition: str | None) -> list[Unit]:
        """What is computed for a run is known to that run alone."""
        del partition
        return []

    def relation(self, *_: Any, **__: Any) -> str:
        raise UnsupportedError(
            f"{self.name} is read by Spark alone: neither staging queries nor explanations can read it",
            hint=f"give it in memory, {self.name}.toArrow(), or where its files are",
        )
