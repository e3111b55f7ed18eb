"""Keys: left rows and events get the same dense code where their keys are equal by type and value.

Parts of a key are never joined as text nor compared by a hash alone; a null (or NaN) part is no key.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar import hashing
from zipline.algebra.columnar.parallel import in_threads, slices
from zipline.algebra.columnar.values import clean_floats, integers, whole

Codes = NDArray[np.int32]
Column: TypeAlias = pa.Array | pa.ChunkedArray


class KeyIndex:
    """The distinct keys of the left rows, and the code of any row's key among them."""

    def __init__(self, columns: list[pa.Array], rows: int) -> None:
        self._parts: list[_Values] = []
        self._pairs: list[_Values] = []
        self.codes = self._build(columns, rows)
        self.count = int(self.codes.max()) + 1 if rows else 0

    def lookup(self, columns: list[Column], rows: int) -> Codes:
        """The code of each row's key; -1 where no left row has it, or a part is null."""
        if not self._parts:
            return np.full(rows, 0 if self.count else -1, np.int32)
        codes = self._parts[0].codes(columns[0])
        for n in range(1, len(columns)):
            joined = _pair(codes, self._parts[n].codes(columns[n]), self._parts[n].count)
            codes = self._pairs[n - 1].codes(joined)
        return codes

    def _build(self, columns: list[pa.Array], rows: int) -> Codes:
        codes = np.zeros(rows, np.int32)
        for n, column in enumerate(columns):
            part = _values_of(column)
            self._parts.append(part)
            if n == 0:
                codes = part.codes(column)
                continue
            joined = _pair(codes, part.codes(column), part.count)
            self._pairs.append(_values_of(joined))
            codes = self._pairs[-1].codes(joined)
        return codes


class _Values(Protocol):
    """Distinct values, numbered."""

    count: int

    def codes(self, column: Column) -> Codes:
        """The number of each row's value, -1 of null and of one that is not there."""
        ...


class _Integers:
    """Integers, in a hash table."""

    def __init__(self, column: pa.Array) -> None:
        self._table, self._numbers, self.count = hashing.build(*integers(column))

    def codes(self, column: Column) -> Codes:
        out = np.empty(len(column), np.int32)
        place = 0
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            find = partial(hashing.find, self._table, self._numbers, *integers(chunk), out[place : place + len(chunk)])
            in_threads(find, slices(len(chunk)))
            place += len(chunk)
        return out


class _Others:
    """Values of any type, compared by Arrow."""

    def __init__(self, column: pa.Array) -> None:
        self._type = _widest(column.type)
        self._values = pc.drop_null(pc.unique(self._prepared(column)))
        self.count = len(self._values)

    def codes(self, column: Column) -> Codes:
        found = pc.index_in(self._prepared(column), value_set=self._values)
        return np.asarray(pc.fill_null(found, -1).to_numpy())

    def _prepared(self, column: Column) -> pa.Array:
        if pa.types.is_null(column.type) or pa.types.is_null(self._type):
            return pa.nulls(len(column)).cast(self._type)
        return clean_floats(whole(column).cast(self._type))


_EVERY_DECIMAL = pa.decimal256(76, 38)


def _widest(arrow: pa.DataType) -> pa.DataType:
    """A type that holds every value of the kind, so that no other column's values are cut."""
    if pa.types.is_decimal(arrow):
        return _EVERY_DECIMAL
    return pa.float64() if pa.types.is_floating(arrow) else arrow


def _values_of(column: pa.Array) -> _Values:
    return _Integers(column) if pa.types.is_integer(column.type) else _Others(column)


def _pair(left: Codes, right: Codes, size: int) -> pa.Array:
    """Two codes as one number, null where either is missing; dense codes keep the product within int64."""
    return pa.array(left.astype(np.int64) * size + right, mask=(left < 0) | (right < 0))
