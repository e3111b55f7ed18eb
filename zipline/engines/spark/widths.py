"""What rows take: on their way through a shuffle, as Spark lays them out, and in columns, as files have them.

A row that is shuffled is four bytes that say how long it is, a bit for each field in words of eight bytes, a word for
each field, null or not, and behind them what does not fit a word: text, lists, maps. Spark compresses it (lz4); how
well depends on the values, so bytes are those before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp

import pyarrow as pa

from zipline.arrow import from_arrow
from zipline.engines.spark.bundles import BYTES, PIECE
from zipline.engines.spark.packing import ROWS, Packing
from zipline.plan.steps import PartPlan
from zipline.types import (
    BINARY,
    BOOLEAN,
    DATE,
    FLOAT,
    INT,
    NULL,
    SMALLINT,
    STRING,
    TINYINT,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
)

TEXT = 16
"""Letters of a text of which nothing is known."""
ENTRIES = 4
"""Of a list or map of which no definition says how long it is."""
DAY_LETTERS = 10
WORD = 8
WIDTHS: Mapping[DataType, int] = {BOOLEAN: 1, TINYINT: 1, SMALLINT: 2, INT: 4, FLOAT: 4, DATE: 4, NULL: 0}
"""Bytes of a value in a column, or in a list; all others of one length have 8."""
LONG = 18
"""Digits of a decimal beyond which it does not fit a word."""


def row_bytes(fields: int, beyond: int) -> int:
    """Of one row with so many fields, and so many bytes that do not fit their words."""
    return 4 + _bits(fields) + WORD * fields + beyond


def packed_bytes(packing: Packing, lane: int, own: Mapping[str, int], lengths: Mapping[str, int]) -> int:
    """Of one row of a lane, its partition and lane included.

    `own` are the letters of those of its own columns that are text, `lengths` the entries of lists and maps by column.
    """
    shape = packing.shapes[lane]
    fields = 2 + len(packing.own) + len(packing.slots)
    texts = sum(_padded(own.get(name, 0)) for name in shape.own)
    return row_bytes(fields, texts + sum(beyond(d, lengths.get(n, ENTRIES)) for n, d in shape.columns.items()))


def beyond(dtype: DataType, entries: int = ENTRIES) -> int:
    """Bytes of a value that do not fit its word."""
    if dtype in (STRING, BINARY):
        return _padded(TEXT)
    if isinstance(dtype, DecimalType):
        return 2 * WORD if dtype.precision > LONG else 0
    if isinstance(dtype, ArrayType):
        return _list(dtype.element, entries)
    if isinstance(dtype, MapType):
        return WORD + _list(dtype.key, entries) + _list(dtype.value, entries)
    if isinstance(dtype, StructType):
        return row_bytes(len(dtype.fields), sum(beyond(own) for _, own in dtype.fields)) - 4
    return 0


def _list(element: DataType, entries: int) -> int:
    inside = beyond(element)
    words = WORD if inside else WIDTHS.get(element, WORD)
    return WORD + _bits(entries) + _padded(words * entries) + inside * entries


def column_bytes(dtypes: Iterable[tuple[str, DataType]], lengths: Mapping[str, int]) -> int:
    """Of one row in columns, before they are encoded and compressed."""
    return sum(_value(dtype, lengths.get(name, ENTRIES)) for name, dtype in dtypes)


def _value(dtype: DataType, entries: int = ENTRIES) -> int:
    if dtype in (STRING, BINARY):
        return 4 + TEXT
    if isinstance(dtype, DecimalType):
        return 2 * WORD
    if isinstance(dtype, ArrayType):
        return 4 + entries * _value(dtype.element)
    if isinstance(dtype, MapType):
        return 4 + entries * (_value(dtype.key) + _value(dtype.value))
    if isinstance(dtype, StructType):
        return sum(_value(own) for _, own in dtype.fields)
    return WIDTHS.get(dtype, WORD)


def _bits(fields: int) -> int:
    return WORD * -(-fields // 64)


def _padded(size: int) -> int:
    return WORD * -(-size // WORD)


def bundled_bytes(
    schema: pa.Schema, rows: int, ends: int, fields: int, lengths: Mapping[str, int] | None = None
) -> int:
    """Of so many rows in bundles, in packed rows of so many fields, from so many `ends` (a stretch or a task, and a
    partition); `lengths` are the entries of lists and maps."""
    entries = lengths or {}
    widths = (
        4 + DAY_LETTERS if f.name == "__ds" else _value(from_arrow(f.type, f.name), entries.get(f.name, ENTRIES))
        for f in schema
    )
    width = 1 + sum(widths)
    of_an_end = rows / ends if ends else 0.0
    bundles = ends * max(1 - exp(-of_an_end), of_an_end * width / BYTES)
    around = row_bytes(fields, WORD + WORD // 2) + WORD + _empty(schema)
    return round(rows * width + bundles * around)


def _empty(schema: pa.Schema) -> int:
    """Of a bundle without rows, its count aside."""
    arrays = [pa.array([], field.type) for field in (*schema, pa.field(PIECE, pa.uint8()))]
    return int(pa.record_batch(arrays, names=[*schema.names, PIECE]).serialize().size)


def moved_bytes(
    packing: Packing,
    counts: Sequence[int],
    own: Mapping[str, int],
    lengths: Sequence[Mapping[str, int]] | None = None,
) -> int:
    """Bytes of so many rows of each lane but those in bundles."""
    given = lengths or [{}] * len(counts)
    rows = [(lane, count) for lane, count in enumerate(counts) if packing.shapes[lane].own != (ROWS,)]
    return sum(count * packed_bytes(packing, lane, own, given[lane]) for lane, count in rows)


def lengths_of(parts: Iterable[PartPlan]) -> dict[str, int]:
    """Output column -> the entries of its list or map, where a definition says it."""
    return {part.prefix + name: length for part in parts for name, length in _feature_lengths(part).items()}


def own_lengths_of(parts: Sequence[PartPlan]) -> dict[str, int]:
    """The same by the names that columns have between two shuffles."""
    return {
        f"p{number}_{n}": _feature_lengths(part).get(name, ENTRIES)
        for number, part in enumerate(parts)
        for n, (name, _) in enumerate(part.own_columns)
    }


def _feature_lengths(part: PartPlan) -> dict[str, int]:
    return {f.name: f.k or len(f.percentiles or ()) or ENTRIES for f in part.needed if f.bucket is None}
