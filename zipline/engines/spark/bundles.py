"""Bundles: rows that go to the same partition, as one value of a packed row.

A shuffle of Spark's moves rows one by one; a bundle is a few thousand of them, in columns, on their way from the task
that read them to the task of their keys. It is a count of its rows, eight bytes, and a record batch in Arrow's format
without its schema, which both ends know. `__piece` says of each row to which of `PIECES` pieces of its partition it
belongs, should the partition be too large to be held at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.values import whole
from zipline.algebra.columnar.xxhash import hashes
from zipline.engines.local.session import query
from zipline.engines.local.statements import tried
from zipline.engines.spark.lanes import Lane
from zipline.engines.spark.packing import LANE, PART, ROWS
from zipline.engines.spark.scans import Days
from zipline.engines.spark.statements import PIECES
from zipline.engines.spark.stretches import Stretch
from zipline.engines.spark.workers import one_core
from zipline.tables.contract import ByRow, Table
from zipline.types import BINARY, BOOLEAN, DATE, NULL, STRING, TIMESTAMP, DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Batches = Iterable[pa.RecordBatch]

HOME, PIECE = "__home", "__piece"
DDL = f"{HOME} INT, {ROWS} BINARY"
BYTES, AT_A_TIME = 128 * 1024, 1_000
"""Of a bundle, and bundles of a batch: Spark holds so many in memory to hand them to Python."""
_COUNT = np.dtype("<i8")


def can_be_hashed(dtype: DataType) -> bool:
    """Whether keys of the type are hashed here as in Spark, which takes decimals as doubles that it rounds itself."""
    return dtype.is_integer or dtype.is_float or dtype in (STRING, BINARY, BOOLEAN, DATE, TIMESTAMP)


def schema_of(lane: Lane) -> pa.Schema:
    """Of the rows in a lane's bundles."""
    fields = [field for field in lane.schema if lane.types.get(field.name) != NULL]
    return pa.schema([*fields, (PIECE, pa.uint8())])


@dataclass(frozen=True, eq=False)
class Bundling:
    """Numbers of stretches -> bundles of what queries can see of a lane between `low` and `high`."""

    table: Table
    lane: Lane
    stretches: tuple[Stretch, ...]
    days: Days
    low: int | None
    high: int | None
    partitions: int

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                rows = self._read(self.stretches[number])
                yield from _batches(bundled(rows, places(rows, self.lane.typed_keys, self.partitions), self.partitions))

    def _read(self, stretch: Stretch) -> pa.Table:
        connection, _ = one_core()
        try:
            relation = self._relation(connection, stretch)
            needed = {source: frozenset(n for s, n in self.lane.aliases if s == source) for source in self._sources}
            sql = self.lane.statement(relation, self.low, self.high)
            found = query(connection, sql, self.table.name, relation, tried(self._sources, needed))
        finally:
            connection.close()
        fields = [field for field in schema_of(self.lane) if field.name != PIECE]
        columns = [found.column(field.name).cast(field.type) for field in fields]
        return pa.table(columns, schema=pa.schema(fields))

    @property
    def _sources(self) -> Sequence[Any]:
        return self.lane.projections

    def _relation(self, connection: Any, stretch: Stretch) -> str:
        limits: dict[str, Any] = {
            "partition": self.days.partition,
            "start": self.days.start,
            "end": self.days.end,
        }
        if stretch.rows is None:
            return self.table.relation(connection, units=stretch.units, **limits)
        assert isinstance(self.table, ByRow)
        return self.table.relation_of_rows(connection, stretch.units[0], stretch.rows, **limits)


def places(rows: pa.Table, keys: Sequence[tuple[str, DataType]], partitions: int) -> Ints:
    """What `statements.home` is to Spark: of each row its partition plus a multiple of `partitions` for its piece."""
    if not keys:
        return np.zeros(rows.num_rows, np.int64)
    found = hashes([_hashed(whole(rows.column(name)), dtype) for name, dtype in keys], rows.num_rows)
    return np.mod(found, partitions * PIECES)


def _hashed(column: pa.Array, dtype: DataType) -> pa.Array:
    if dtype.is_integer:
        return column.cast(pa.int64())
    if dtype.is_float:
        return pc.add(column.cast(pa.float64()), 0.0)
    return column


def bundled(rows: pa.Table, where: Ints, partitions: int) -> Iterator[tuple[int, bytes]]:
    """(partition, bundle) of all rows."""
    if not rows.num_rows:
        return
    homes = (where % partitions).astype(np.int16 if partitions < 1 << 15 else np.int32)
    pieces = pa.array((where // partitions).astype(np.uint8))
    table = pa.table([*(whole(c) for c in rows.columns), pieces], names=[*rows.column_names, PIECE])
    ordered = table.take(pa.array(np.argsort(homes, kind="stable"))).combine_chunks()
    counts = np.bincount(homes, minlength=partitions)
    most = max(1, BYTES * rows.num_rows // max(1, ordered.nbytes))
    begin = 0
    batch = ordered.to_batches()[0]
    for home in np.flatnonzero(counts):
        end = begin + int(counts[home])
        for first in range(begin, end, most):
            yield int(home), encoded(batch.slice(first, min(most, end - first)))
        begin = end


def encoded(batch: pa.RecordBatch) -> bytes:
    """A bundle."""
    return bytes(np.array(batch.num_rows, _COUNT).tobytes() + batch.serialize().to_pybytes())


def _batches(found: Iterable[tuple[int, bytes]]) -> Iterator[pa.RecordBatch]:
    some: list[tuple[int, bytes]] = []
    for each in found:
        some.append(each)
        if len(some) * BYTES >= 1 << 24:
            yield _batch(some)
            some = []
    if some:
        yield _batch(some)


def _batch(some: Sequence[tuple[int, bytes]]) -> pa.RecordBatch:
    homes, texts = zip(*some, strict=True)
    return pa.record_batch({HOME: pa.array(homes, pa.int32()), ROWS: pa.array(texts, pa.binary())})


def opened(column: pa.ChunkedArray, schema: pa.Schema) -> pa.Table:
    """The rows of bundles."""
    found = [_decoded(value, schema) for chunk in column.chunks for value in chunk if value.is_valid]
    return pa.Table.from_batches(found, schema).drop_columns([PIECE])


def _decoded(value: pa.BinaryScalar, schema: pa.Schema) -> pa.RecordBatch:
    # A copy, for a value lies anywhere, and arrays are to begin where the processor likes it.
    text: bytes = value.as_py()
    return pa.ipc.read_record_batch(pa.py_buffer(text).slice(_COUNT.itemsize), schema)


def rows_in(batch: pa.RecordBatch) -> int:
    """Of packed rows how many they stand for."""
    if ROWS not in batch.schema.names:
        return int(batch.num_rows)
    column = batch.column(batch.schema.get_field_index(ROWS))
    return int(column.null_count) + sum(map(_count, column.drop_null()))


def _count(value: pa.BinaryScalar) -> int:
    return int(np.frombuffer(value.as_buffer(), _COUNT, 1)[0])


def unbundled(batch: pa.RecordBatch, schemas: Mapping[int, pa.Schema], partitions: int) -> pa.RecordBatch:
    """Packed rows whose bundles are of one piece each: `__part` says which."""
    if ROWS not in batch.schema.names:
        return batch
    place = batch.schema.get_field_index(ROWS)
    column = batch.column(place)
    if column.null_count == len(column):
        return batch
    plain = batch.filter(pc.is_null(column))
    bundles = batch.filter(pc.is_valid(column))
    at, parts, texts = [], [], []
    lanes, homes = (bundles.column(bundles.schema.get_field_index(name)).to_pylist() for name in (LANE, PART))
    for number, (lane, home, value) in enumerate(zip(lanes, homes, bundles.column(place), strict=True)):
        rows = _decoded(value, schemas[lane])
        pieces = np.asarray(rows.column(rows.num_columns - 1))
        for piece in np.unique(pieces):
            at.append(number)
            parts.append(home + int(piece) * partitions)
            texts.append(encoded(rows.filter(pa.array(pieces == piece))))
    divided = bundles.take(pa.array(at, pa.int64()))
    columns = dict(zip(divided.schema.names, divided.columns, strict=True))
    columns |= {PART: pa.array(parts, pa.int32()), ROWS: pa.array(texts, pa.binary())}
    of_bundles = pa.record_batch(list(columns.values()), schema=batch.schema)
    return pa.Table.from_batches([plain, of_bundles]).combine_chunks().to_batches()[0]
