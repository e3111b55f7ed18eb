"""Bundles: rows that go to the same partition, as one value of a packed row.

A shuffle of Spark's moves rows one by one; a bundle is a few thousand of them, in columns, on their way from the task
that read them to the task of their keys. It is a count of its rows, eight bytes, and a record batch in Arrow's format
without its schema, which both ends know. `__piece` says of each row to which of `PIECES` pieces of its partition it
belongs, should the partition be too large to be held at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.values import whole
from zipline.engines.spark.file_readings import Clock, Reading, key_hashes, numbers_in
from zipline.engines.spark.packing import LANE, PART, ROW, ROWS
from zipline.engines.spark.skew import BEGINNING, FOREVER, Span
from zipline.engines.spark.statements import PIECES
from zipline.values import dataclass

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Batches = Iterable[pa.RecordBatch]

HOME, PIECE = "__home", "__piece"
DDL = f"{HOME} INT, {ROWS} BINARY"
BYTES, AT_A_TIME = 128 * 1024, 1_000
"""Of a bundle, and bundles of a batch: Spark holds so many in memory to hand them to Python."""
SENT = 16 * 1024**2
"""Bytes of the bundles that a task hands over at a time."""
SORTED = 256 * 1024**2
"""Bytes of rows that are put in the order of their partitions at a time."""
_COUNT = np.dtype("<i8")


class Home(Protocol):
    """Where rows go: of so many partitions."""

    @property
    def partitions(self) -> int: ...

    def routed(self, rows: pa.Table) -> tuple[pa.Table, Ints]:
        """The rows, each as often as it goes somewhere, and the partition of each plus a multiple of `partitions` for
        its piece."""
        ...


@dataclass(frozen=True)
class Route:
    """A range of a hot key: rows of this hash go to its partition that `span` holds."""

    hash: int
    partition: int
    span: Span

    def holds(self, hashes: Ints, clock: Clock, available: Clock) -> Bools:
        """As `skew._routed` says it to Spark."""
        low, high = self.span.bounds
        found: Bools = hashes == self.hash
        if clock is not None:
            times, is_known = clock
            found &= is_known & (times >= (BEGINNING if low is None else low))
            found &= times < (FOREVER if high is None else high)
            if self.span.sure is not None and available is not None:
                is_raw = available[1] & (available[0] >= (BEGINNING if self.span.cut is None else self.span.cut))
                found &= (times >= self.span.sure) | is_raw
        return found


@dataclass(frozen=True)
class KeyHome:
    """By key, as `statements.home` says it to Spark: among the first `ordinary` of all partitions.

    A left row without a key has nothing to see: it may go anywhere. Rows of hot keys go where `routes` say, and nowhere
    where none holds them; `reading` knows their times.
    """

    reading: Reading
    partitions: int
    ordinary: int
    routes: tuple[Route, ...] = ()

    def routed(self, rows: pa.Table) -> tuple[pa.Table, Ints]:
        hashes, has_key = key_hashes(rows, self.reading.keys)
        if not self.reading.keys:
            places = hashes.copy()
        else:
            places = np.mod(hashes, self.ordinary * PIECES)
            places = places % self.ordinary + places // self.ordinary * self.partitions
        if not has_key.all():
            places[~has_key] = np.asarray(rows.column(ROW))[~has_key] % self.ordinary
        is_hot = _are_hot(self.routes, hashes, has_key)
        if not is_hot.any():
            return rows, places
        ordinary = np.flatnonzero(~is_hot)
        hot, where = _ranged(self.reading, rows, hashes, np.flatnonzero(is_hot), self.routes)
        return rows.take(pa.array(np.concatenate([ordinary, hot]))), np.concatenate([places[ordinary], where])


@dataclass(frozen=True)
class HotHome:
    """Where `routes` say; rows that none holds go nowhere."""

    reading: Reading
    partitions: int
    routes: tuple[Route, ...]

    def routed(self, rows: pa.Table) -> tuple[pa.Table, Ints]:
        hashes, has_key = key_hashes(rows, self.reading.keys)
        is_hot = _are_hot(self.routes, hashes, has_key)
        hot, where = _ranged(self.reading, rows, hashes, np.flatnonzero(is_hot), self.routes)
        return rows.take(pa.array(hot)), where


def _are_hot(routes: Sequence[Route], hashes: Ints, has_key: Bools) -> Bools:
    return has_key & np.isin(hashes, [route.hash for route in routes])


def _ranged(reading: Reading, rows: pa.Table, hashes: Ints, hot: Ints, routes: Sequence[Route]) -> tuple[Ints, Ints]:
    """(rows, the partition of each) of these rows that routes hold, each as often as they do."""
    clock, available = reading.clocks(rows)
    hashes, clock, available = hashes[hot], _taken(clock, hot), _taken(available, hot)
    found, where = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for route in routes:
        found.append(hot[route.holds(hashes, clock, available)])
        where.append(np.full(len(found[-1]), route.partition, np.int64))
    return np.concatenate(found), np.concatenate(where)


def _taken(clock: Clock, places: Ints) -> Clock:
    return None if clock is None else (clock[0][places], clock[1][places])


@dataclass(frozen=True)
class RowHome:
    """By the row's number; where it is written by day, by these, and of each day by number as partitions allow."""

    partitions: int
    days: tuple[str, ...] = ()

    @property
    def _pieces(self) -> int:
        return max(1, self.partitions // len(self.days))

    @property
    def sql(self) -> str:
        """The same for Spark. A row of facts has neither day nor number: it goes with the first rows."""
        if not self.days:
            return f"CAST(pmod(coalesce({ROW}, 0), {self.partitions * PIECES}) AS INT)"
        day = f"coalesce(datediff(CAST(__ds AS DATE), DATE '{self.days[0]}'), 0)"
        number = f"{day} * {self._pieces} + pmod(coalesce({ROW}, 0), {self._pieces})"
        return f"CAST(pmod({number}, {self.partitions}) AS INT)"

    def routed(self, rows: pa.Table) -> tuple[pa.Table, Ints]:
        return rows, self._places(rows)

    def _places(self, rows: pa.Table) -> Ints:
        numbers = np.asarray(whole(rows.column(ROW)))
        if not self.days:
            return np.mod(numbers, self.partitions * PIECES)
        days = whole(rows.column("__ds")).cast(pa.date32()).cast(pa.int32())
        since = np.asarray(days).astype(np.int64) - np.datetime64(self.days[0], "D").astype(np.int64)
        return np.mod(since * self._pieces + numbers % self._pieces, self.partitions)


@dataclass(frozen=True, eq=False)
class Bundling:
    """Numbers of stretches -> bundles of the reading's rows."""

    reading: Reading
    home: Home

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        for number in numbers_in(batches):
            yield from bundles_of(self.reading.read(number), self.home)


def bundles_of(rows: pa.Table, home: Home) -> Iterator[pa.RecordBatch]:
    """Batches of the bundles of all rows, with the partition of each."""
    most = max(1, SORTED * rows.num_rows // max(1, rows.nbytes))
    for first in range(0, rows.num_rows, most):
        some, places = home.routed(rows.slice(first, most))
        if some.num_rows:
            yield from _bundles(some, places, home.partitions)


def _bundles(rows: pa.Table, places: Ints, partitions: int) -> Iterator[pa.RecordBatch]:
    homes = (places % partitions).astype(np.int16 if partitions < 1 << 15 else np.int32)
    pieces = pa.array((places // partitions).astype(np.uint8))
    table = pa.table([*(whole(column) for column in rows.columns), pieces], names=[*rows.column_names, PIECE])
    batch = table.take(pa.array(np.argsort(homes, kind="stable"))).combine_chunks().to_batches()[0]
    most = max(1, BYTES * batch.num_rows // max(1, batch.nbytes))
    ends = np.cumsum(np.bincount(homes, minlength=partitions))
    some, begin = _Some(), 0
    for home, end in enumerate(ends.tolist()):
        for first in range(begin, end, most):
            some.add(home, batch.slice(first, min(most, end - first)))
            if some.size >= SENT:
                yield some.batch()
                some = _Some()
        begin = end
    yield some.batch()


class _Some:
    """A few bundles, written one behind the other."""

    def __init__(self) -> None:
        self._homes: list[int] = []
        self._ends = [0]
        self._stream = pa.BufferOutputStream()

    @property
    def size(self) -> int:
        return self._ends[-1]

    def add(self, home: int, rows: pa.RecordBatch) -> None:
        self._stream.write(np.array(rows.num_rows, _COUNT).tobytes())
        self._stream.write(rows.serialize())
        self._homes.append(home)
        self._ends.append(self._stream.tell())

    def texts(self) -> pa.Array:
        ends = pa.py_buffer(np.array(self._ends, np.int32))
        return pa.BinaryArray.from_buffers(pa.binary(), len(self._homes), [None, ends, self._stream.getvalue()])

    def batch(self) -> pa.RecordBatch:
        return pa.record_batch({HOME: pa.array(self._homes, pa.int32()), ROWS: self.texts()})


def opened(column: pa.ChunkedArray, schema: pa.Schema) -> pa.Table:
    """The rows of bundles, which have this schema, in memory."""
    own = schema.append(pa.field(PIECE, pa.uint8()))
    found = [_decoded(value, own) for chunk in column.chunks for value in chunk if value.is_valid]
    return pa.Table.from_batches(found, own).drop_columns([PIECE])


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


def divided(batch: pa.RecordBatch, schemas: Mapping[int, pa.Schema], partitions: int) -> pa.RecordBatch:
    """Packed rows whose bundles are of one piece each, which `__part` says; `schemas` are those of lanes of bundles.

    The bundles of a lane are laid together, so that there are few for each piece.
    """
    if ROWS not in batch.schema.names:
        return batch
    place = batch.schema.get_field_index(ROWS)
    is_bundle = pc.is_valid(batch.column(place))
    bundles = batch.filter(is_bundle)
    if not bundles.num_rows:
        return batch
    at: list[int] = []
    parts = _Some()
    lanes, homes = (np.asarray(bundles.column(bundles.schema.get_field_index(name))) for name in (LANE, PART))
    for lane, home in sorted(set(zip(lanes.tolist(), homes.tolist(), strict=True))):
        own = np.flatnonzero((lanes == lane) & (homes == home))
        schema = schemas[lane].append(pa.field(PIECE, pa.uint8()))
        rows = pa.Table.from_batches([_decoded(bundles.column(place)[int(n)], schema) for n in own], schema)
        pieces = np.asarray(rows.column(PIECE))
        ordered = rows.take(pa.array(np.argsort(pieces, kind="stable"))).combine_chunks().to_batches()[0]
        ends = np.cumsum(np.bincount(pieces))
        for piece in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            begin = int(ends[piece - 1]) if piece else 0
            at.append(int(own[0]))
            parts.add(home + piece * partitions, ordered.slice(begin, int(ends[piece]) - begin))
    taken = bundles.take(pa.array(at, pa.int64()))
    columns = dict(zip(taken.schema.names, taken.columns, strict=True))
    columns |= dict(zip((PART, ROWS), parts.batch().columns, strict=True))
    of_one_piece = pa.record_batch(list(columns.values()), schema=batch.schema)
    return pa.Table.from_batches([batch.filter(pc.invert(is_bundle)), of_one_piece]).combine_chunks().to_batches()[0]
