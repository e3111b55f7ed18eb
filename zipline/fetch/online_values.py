"""From what is stored to the values that a caller sees: those that Arrow's `to_pylist` gives of a training set."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np

from zipline.clock import to_datetime, to_micros
from zipline.types import BOOLEAN, DATE, TIMESTAMP, DataType

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


_READERS: dict[DataType, Callable[[Any], Any]] = {BOOLEAN: bool, DATE: _date, TIMESTAMP: to_datetime}
