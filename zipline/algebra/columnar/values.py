"""Arrow columns as arrays that kernels can compare: every ordered value has an int64 of the same order.

Integers, times and booleans are themselves, floats their bits in order, all else the rank in the column's sorted
dictionary. Floats are carried as they are and turned into integers where an order is needed. This is also the door at
which NaN becomes null and -0.0 becomes 0.0, the latter when values are put in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.order import frozen, gather
from zipline.algebra.states import StateType
from zipline.arrow import to_arrow
from zipline.types import BOOLEAN, DATE, NULL, TIMESTAMP, DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TURN = np.int64(0x7FFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Values:
    """A column: `data` are floats as they are, of all else ordinals; `valid` (None: all); `restore` back to Arrow."""

    type: DataType
    data: Ints | Floats
    valid: Bools | None
    restore: Callable[[Any], pa.Array]

    @property
    def ordinals(self) -> Ints:
        """Integers in the values' own order."""
        return ordinals_of(self.data + 0.0) if self.type.is_float else self.data  # type: ignore[return-value]

    def at(self, places: Ints) -> Ints | Floats:
        """The data at these places, no zero negative."""
        found = gather(self.data, places)
        if self.type.is_float:
            found += 0.0
        return found  # type: ignore[no-any-return]


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def validity(column: pa.Array | pa.ChunkedArray) -> Bools | None:
    """True where not null; None where nothing is."""
    if column.null_count == 0:
        return None
    return np.asarray(pc.is_valid(whole(column)).to_numpy(zero_copy_only=False), dtype=np.bool_)


def clean_floats(column: pa.Array) -> pa.Array:
    """Floats with NaN as null and no negative zero, within lists, structs and the values of maps too; all else as it
    is."""
    kind = column.type
    if pa.types.is_floating(kind):
        return _clean(column)
    if not _has_floats(kind):
        return column
    if pa.types.is_struct(kind):
        parts = [clean_floats(column.field(number)) for number in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=pc.is_null(column))
    entries = column.values
    if pa.types.is_map(kind):
        entries = pa.StructArray.from_arrays(
            [entries.field(0), clean_floats(entries.field(1))], fields=[kind.key_field, kind.item_field]
        )
    else:
        entries = clean_floats(entries)
    return pa.Array.from_buffers(kind, len(column), column.buffers()[:2], offset=column.offset, children=[entries])


def _has_floats(kind: pa.DataType) -> bool:
    """Whether a nested type has floats that `clean_floats` looks at."""
    if pa.types.is_struct(kind):
        return any(_has_floats(field.type) for field in kind)
    if pa.types.is_map(kind):
        return _has_floats(kind.item_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _has_floats(kind.value_type)
    return bool(pa.types.is_floating(kind))


def _clean(column: pa.Array) -> pa.Array:
    raw = np.asarray(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)) + column.type.to_pandas_dtype()(0.0)
    absent = np.isnan(raw)
    valid = validity(column)
    if valid is not None:
        absent |= ~valid
    return pa.array(raw, type=column.type, mask=absent) if absent.any() else pa.array(raw, type=column.type)


def values_of(column: pa.Array | pa.ChunkedArray, dtype: DataType) -> Values:
    """The column's values; what lies where they are not valid is undefined."""
    array = whole(column)
    if dtype == NULL:
        return Values(dtype, np.zeros(len(array), np.int64), np.zeros(len(array), np.bool_), _nulls)
    if dtype.is_float:
        return _float_values(array, dtype)
    if dtype.is_integer or dtype in (TIMESTAMP, DATE, BOOLEAN):
        return Values(dtype, _integers(array, dtype), validity(array), lambda codes: _restored(codes, dtype))
    if isinstance(dtype, StateType):
        return _states(array, dtype)
    if not dtype.is_ordered:
        return Values(dtype, np.zeros(len(array), np.int64), validity(array), _nulls)
    return _dictionary(array, dtype)


def _float_values(array: pa.Array, dtype: DataType) -> Values:
    array = array.cast(pa.float64())
    data, valid = raw(array, np.float64), validity(array)
    if len(data) and np.isnan(data.min()):
        valid = ~np.isnan(data) if valid is None else valid & ~np.isnan(data)
    return Values(dtype, data, valid, lambda floats: pa.array(floats).cast(to_arrow(dtype)))


def raw(array: pa.Array, dtype: Any) -> Any:
    """The values of a column of fixed width without a copy; where it is null, whatever lies there."""
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array)]


def integers(column: pa.Array) -> tuple[Ints, Bools]:
    """(values, where they are not null) of a column of integers; the second is empty where none is null."""
    wide = column.cast(pa.int64())
    valid = validity(wide)
    return frozen(raw(wide, np.int64)), frozen(np.zeros(0, np.bool_) if valid is None else valid)


def ordinals_of(floats: Floats) -> Ints:
    """Floats as int64 of the same order."""
    bits = floats.view(np.int64)
    return np.where(bits < 0, bits ^ _TURN, bits)


def floats_of(ordinals: Ints) -> Floats:
    """The inverse of `ordinals_of`."""
    bits = np.where(ordinals < 0, ordinals ^ _TURN, ordinals)
    return bits.view(np.float64)


def micros(column: pa.Array | pa.ChunkedArray) -> Ints:
    """A timestamp column as int64 microseconds; nulls are 0."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if len(chunks) == 1:
        found: Ints = _filled(chunks[0].view(pa.int64()), 0)
        return found
    out = np.empty(len(column), np.int64)
    place = 0
    for chunk in chunks:
        out[place : place + len(chunk)] = _filled(chunk.view(pa.int64()), 0)
        place += len(chunk)
    return out


def _nulls(codes: Ints) -> pa.Array:
    return pa.nulls(len(codes))


def _filled(array: pa.Array, value: float) -> Any:
    filled = pc.fill_null(array, value) if array.null_count else array
    return np.asarray(filled.to_numpy(zero_copy_only=False))


def _integers(array: pa.Array, dtype: DataType) -> Ints:
    if dtype == TIMESTAMP:
        return micros(array)
    if dtype == DATE:
        array = array.cast(pa.date32()).view(pa.int32())
    if dtype == BOOLEAN:
        array = array.cast(pa.int8())
    found: Ints = _filled(array.cast(pa.int64()), 0)
    return found


def _restored(codes: Ints, dtype: DataType) -> pa.Array:
    if dtype == TIMESTAMP:
        return pa.array(codes).view(to_arrow(dtype))
    if dtype == DATE:
        return pa.array(codes.astype(np.int32)).view(pa.date32())
    return pa.array(codes != 0) if dtype == BOOLEAN else pa.array(codes).cast(to_arrow(dtype))


def _dictionary(array: pa.Array, dtype: DataType) -> Values:
    valid = validity(array)
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    ordered = encoded.dictionary.take(order).cast(to_arrow(dtype))
    indices = _filled(encoded.indices.cast(pa.int64()), 0)
    ordinals = rank[indices] if len(rank) else np.zeros(len(array), np.int64)
    return Values(dtype, ordinals, valid, lambda codes: ordered.take(pa.array(codes)))


def _states(array: pa.Array, dtype: StateType) -> Values:
    """States by their places in the order of the first two fields."""
    fields = [pc.struct_field(array, [place]) for place in (0, 1)]
    ordinals = [values_of(field, kind).ordinals for field, (_, kind) in zip(fields, dtype.fields, strict=False)]
    order = np.lexsort(ordinals[::-1])
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    ordered = array.take(pa.array(order))
    return Values(dtype, places, validity(array), lambda codes: ordered.take(pa.array(codes)))
