"""Keys: left rows and events get the same dense code where their keys are equal by type and value.

Parts of a key are never joined as text nor compared by a hash alone; a null (or NaN) part is no key.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.values import clean_floats, whole

Ints = NDArray[np.int64]


class KeyIndex:
    """The distinct keys of the left rows, and the code of any row's key among them."""

    def __init__(self, columns: list[pa.Array], rows: int) -> None:
        self._types = [_widest(column.type) for column in columns]
        self._values: list[pa.Array] = []
        self._pairs: list[pa.Array] = []
        self.codes = self._build(columns, rows)
        self.count = int(self.codes.max()) + 1 if rows else 0

    def lookup(self, columns: list[pa.Array], rows: int) -> Ints:
        """The code of each row's key; -1 where no left row has it, or a part is null."""
        if not self._types:
            return np.zeros(rows, np.int64)
        codes = self._part(0, columns[0])
        for n in range(1, len(columns)):
            joined = _pair(codes, self._part(n, columns[n]), len(self._values[n]))
            codes = _position(joined, self._pairs[n - 1])
        return codes

    def _build(self, columns: list[pa.Array], rows: int) -> Ints:
        for n, column in enumerate(columns):
            prepared = _prepared(column, self._types[n])
            self._values.append(pc.drop_null(pc.unique(prepared)))
        if not columns:
            return np.zeros(rows, np.int64)
        codes = self._part(0, columns[0])
        for n in range(1, len(columns)):
            joined = _pair(codes, self._part(n, columns[n]), len(self._values[n]))
            self._pairs.append(pc.drop_null(pc.unique(joined)))
            codes = _position(joined, self._pairs[-1])
        return codes

    def _part(self, n: int, column: pa.Array) -> Ints:
        return _position(_prepared(column, self._types[n]), self._values[n])


def _widest(arrow: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(arrow):
        return pa.int64()
    return pa.float64() if pa.types.is_floating(arrow) else arrow


def _prepared(column: pa.Array, arrow: pa.DataType) -> pa.Array:
    if pa.types.is_null(column.type) or pa.types.is_null(arrow):
        return pa.nulls(len(column)).cast(arrow)
    return clean_floats(whole(column).cast(arrow))


def _position(column: pa.Array, values: pa.Array) -> Ints:
    found = pc.index_in(column, value_set=values)
    return np.asarray(pc.fill_null(found, -1).to_numpy()).astype(np.int64)


def _pair(left: Ints, right: Ints, size: int) -> pa.Array:
    """Two codes as one number, null where either is missing; dense codes keep the product within int64."""
    return pa.array(left * size + right, mask=(left < 0) | (right < 0))
