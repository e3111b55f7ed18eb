"""Values of any type between Arrow's `to_pylist` and the algebra: instants are microseconds, lists tuples, maps dicts.

`from_algebra(to_algebra(value, dtype), dtype)` is the value, but that maps become dicts.
"""

from __future__ import annotations

from typing import Any

from zipline.clock import to_datetime, to_micros
from zipline.types import TIMESTAMP, ArrayType, DataType, MapType, StructType


def to_algebra(value: Any, dtype: DataType) -> Any:
    """A value as Arrow gives it, as the codec of the algebra takes it."""
    if value is None:
        return None
    if dtype == TIMESTAMP:
        return to_micros(value)
    if isinstance(dtype, ArrayType):
        return tuple(to_algebra(each, dtype.element) for each in value)
    if isinstance(dtype, MapType):
        return {to_algebra(k, dtype.key): to_algebra(v, dtype.value) for k, v in dict(value).items()}
    if isinstance(dtype, StructType):
        return {name: to_algebra(value[name], field) for name, field in dtype.fields}
    return value


def from_algebra(value: Any, dtype: DataType) -> Any:
    """A value of the algebra as a caller sees it: instants as zoned datetimes, maps as dicts."""
    if value is None:
        return None
    if dtype == TIMESTAMP:
        return to_datetime(value)
    if isinstance(dtype, ArrayType):
        return [from_algebra(each, dtype.element) for each in value]
    if isinstance(dtype, MapType):
        return {from_algebra(k, dtype.key): from_algebra(v, dtype.value) for k, v in value.items()}
    if isinstance(dtype, StructType):
        return {name: from_algebra(value[name], field) for name, field in dtype.fields}
    return value
