"""From the order of the queries back to the left rows' order: which result each left row gets, if any."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import raw, validity

Ints = NDArray[np.int64]


class Places:
    """For each left row the place of its result; rows that saw nothing have none."""

    def __init__(self, rows: int, asked: Ints, filled: NDArray[np.bool_]) -> None:
        self._place = np.full(rows, -1)
        self._place[asked[filled]] = np.flatnonzero(filled)
        self._missing = self._place < 0
        self._has_missing = bool(self._missing.any())

    @classmethod
    def none(cls, rows: int) -> Places:
        """Of left rows of which none saw anything."""
        return cls(rows, np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def put(self, column: pa.Array, empty: pa.Array | None) -> pa.Array:
        """The results in left order, and `empty` (an array of one value; None is null) where there is none."""
        if len(column) and pa.types.is_primitive(column.type) and column.type.bit_width in _WORDS:
            return self._put_numbers(column, empty)
        if not self._has_missing:
            return column.take(pa.array(self._place))
        if empty is None:
            return column.take(pa.array(self._place, mask=self._missing))
        return pa.concat_arrays([column, empty]).take(pa.array(np.where(self._missing, len(column), self._place)))

    @cached_property
    def _source(self) -> Ints:
        return np.maximum(self._place, 0)

    def _put_numbers(self, column: pa.Array, empty: pa.Array | None) -> pa.Array:
        width = _WORDS[column.type.bit_width]
        data, present = raw(column, width)[self._source], validity(column)
        if present is not None:
            present = present[self._source]
        if self._has_missing and empty is not None:
            data[self._missing] = raw(empty, width)[0]
            present = None if present is None else present | self._missing
        elif self._has_missing:
            present = ~self._missing if present is None else present & ~self._missing
        return _column(column.type, data, present)


_WORDS = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}


def _column(arrow: pa.DataType, data: Any, present: NDArray[np.bool_] | None) -> pa.Array:
    bits = None if present is None else pa.array(present).buffers()[1]
    return pa.Array.from_buffers(arrow, len(data), [bits, pa.py_buffer(data)])
