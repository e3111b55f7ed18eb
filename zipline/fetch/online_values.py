"""From what is stored to the values that a caller sees: those that Arrow's `to_pylist` gives of a training set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np

from zipline.clock import to_datetime, to_micros
from zipline.types import BOOLEAN, DATE, TIMESTAMP, ArrayType, DataType, MapType, StructType

_FIRST_DAY = dt.date(1970, 1, 1).toordinal()


def reader_of(dtype: DataType) -> Callable[[Any], Any] | None:
    """From a word (or a double) to the value; None where it is the value."""
    return _READERS.get(dtype)


def _date(word: int) -> dt.date:
    return dt.date.fromordinal(word + _FIRST_DAY)


def to_word(value: Any, dtype: DataType) -> int:
    """A value as the word that a kernel gives for it."""
    if dtype.is_float:
        return int(np.float64(value).view(np.int64))
    if dtype == DATE:
        return int(value.toordinal()) - _FIRST_DAY
    return to_micros(value) if dtype == TIMESTAMP else int(value)


def from_algebra(value: Any, dtype: DataType) -> Any:
    """A value of the algebra: instants as zoned datetimes, maps as dicts."""
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


_READERS: dict[DataType, Callable[[Any], Any]] = {BOOLEAN: bool, DATE: _date, TIMESTAMP: to_datetime}
