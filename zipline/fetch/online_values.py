"""From what is stored to the values that a caller sees: those that Arrow's `to_pylist` gives of a training set."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.clock import to_datetime
from zipline.plan.steps import Feature
from zipline.types import BOOLEAN, DATE, TIMESTAMP, ArrayType, DataType, MapType, StructType

_FIRST_DAY = dt.date(1970, 1, 1).toordinal()


def from_words(feature: Feature, words: NDArray[np.int64], flags: NDArray[np.int8]) -> list[Any]:
    """The values that a kernel wrote; None where it wrote none."""
    dtype = feature.type
    if dtype.is_float:
        floats: list[Any] = np.ascontiguousarray(words).view(np.float64).tolist()
        return _flagged(floats, flags)
    found: list[Any] = words.tolist()
    if dtype == BOOLEAN:
        found = [word != 0 for word in found]
    elif dtype == DATE:
        found = [
            dt.date.fromordinal(word + _FIRST_DAY) if flag else None for word, flag in zip(found, flags, strict=True)
        ]
    elif dtype == TIMESTAMP:
        found = [to_datetime(word) for word in found]
    return _flagged(found, flags)


def _flagged(values: list[Any], flags: NDArray[np.int8]) -> list[Any]:
    if (flags == 1).all():
        return values
    return [value if flag == 1 else None for value, flag in zip(values, flags.tolist(), strict=True)]


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
