"""Keys of many rows as bytes, from their columns at once: the same that `zipline.stores.keys` writes of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline import byte_strings
from zipline.algebra.columnar.values import values_of
from zipline.arrow import to_arrow
from zipline.byte_strings import BYTES
from zipline.stores import keys
from zipline.types import BINARY, BOOLEAN, DATE, STRING, TIMESTAMP, DataType

Ints = NDArray[np.int64]

_FIRST_DAY = 719_163
"""The number of 1970-01-01 among the days of `date.toordinal`."""


def ordered_keys(columns: Sequence[pa.Array], types: Sequence[DataType], rows: int) -> tuple[list[bytes], Ints]:
    """(the distinct keys in ascending order, of each a row that has it); a row with a null part has no key."""
    if not columns:
        return [b"\0"][:rows], np.zeros(min(rows, 1), np.int64)
    parts = [part for column, dtype in zip(columns, types, strict=True) for part in _parts(column, dtype)]
    written = _fitted(byte_strings.joined(*parts))
    order = pc.array_sort_indices(written)[: len(written) - written.null_count]
    ordered = written.take(order)
    fresh = byte_strings.is_first(ordered)
    kept = pa.array(fresh)
    distinct = byte_strings.listed(ordered if fresh.all() else ordered.filter(kept))
    return distinct, order.filter(kept).to_numpy().astype(np.int64)


def _parts(column: pa.Array, dtype: DataType) -> list[pa.Array]:
    """A part of all keys, in pieces that make it up."""
    column = column.cast(to_arrow(dtype))
    if dtype in (STRING, BINARY):
        content = column.cast(BYTES)
        tag = keys.TEXT if dtype == STRING else keys.BYTES
        sizes = np.asarray(pc.fill_null(pc.binary_length(content), 0))
        return [_fixed(tag, sizes.astype(">u4"), None), content]
    if dtype == BOOLEAN:
        found = values_of(column, dtype)
        return [_fixed(np.where(found.data != 0, keys.TRUE, keys.FALSE), None, found.valid, len(column))]
    if dtype.is_float:
        found = values_of(column, dtype)
        return [_fixed(keys.FLOAT, (found.data + 0.0).astype(">f8"), found.valid)]
    if dtype.is_integer or dtype in (DATE, TIMESTAMP):
        found = values_of(column, dtype)
        tag, zero = _WORDS.get(dtype, (keys.INTEGER, keys.TURN))
        return [_fixed(tag, (found.data.astype(np.uint64) + np.uint64(zero)).astype(">u8"), found.valid)]
    write = keys.key_writer([dtype])
    return [pa.array([write([value]) for value in column.to_pylist()], BYTES)]


_WORDS = {DATE: (keys.DAY, _FIRST_DAY), TIMESTAMP: (keys.INSTANT, keys.TURN)}


def _fixed(tags: Any, content: Any, valid: NDArray[np.bool_] | None, rows: int = 0) -> pa.Array:
    """Bytes of one width in every row: its tag and its content."""
    rows = rows if content is None else len(content)
    width = 1 if content is None else 1 + content.dtype.itemsize
    found = np.empty((rows, width), np.uint8)
    found[:, 0] = tags
    if content is not None:
        found[:, 1:] = content.view(np.uint8).reshape(rows, width - 1)
    present = None if valid is None else pa.array(valid).buffers()[1]
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int64)
    return pa.Array.from_buffers(BYTES, rows, [present, pa.py_buffer(offsets), pa.py_buffer(found)])


def _fitted(written: pa.Array) -> pa.Array:
    longest = pc.max(pc.binary_length(written)).as_py() or 0
    if longest <= keys.LONGEST:
        return written
    return pa.array([None if key is None else keys.fitted(key) for key in written.to_pylist()], BYTES)


__all__ = ["ordered_keys"]
