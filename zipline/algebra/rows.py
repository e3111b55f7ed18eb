"""Whole rows as values: what a lookup takes the latest of.

Rows are compared as lookups order them: column by column, null (and NaN) before all else, nested values by their parts
in turn. So a row is kept in a form in which Python's own order is that one, and which gives the values back: null is
(), a value is a tuple of one, which for nested ones is the tuple of their parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from zipline.algebra.contract import Aggregator, At, Operation
from zipline.algebra.extremes import Last
from zipline.algebra.signed import Recomputed
from zipline.algebra.values import door
from zipline.types import ArrayType, DataType, MapType, StructType

Form: TypeAlias = tuple[Any, ...]


class Latest(Aggregator):
    """The latest row, as the tuple of its columns; None where there is none.

    A value is the tuple of the columns as Arrow gives them, of a single column that column's value. It is LAST over
    rows: the IR is (t, known_at, row) of the latest, or with `signed` the signed multiset of all.
    """

    def __init__(self, columns: Sequence[DataType], *, signed: bool = False) -> None:
        self._columns = tuple(columns)
        self._forms = tuple(map(_former, columns))
        self._operation: Operation = Recomputed(Last()) if signed else Last()
        self.invertible = signed

    def empty(self) -> Any:
        return self._operation.empty()

    def update(self, ir: Any, value: Any, at: At) -> Any:
        return self._operation.update(ir, self._row(value), at)

    def remove(self, ir: Any, value: Any, at: At) -> Any:
        return self._operation.remove(ir, self._row(value), at)

    def merge(self, a: Any, b: Any) -> Any:
        return self._operation.merge(a, b)

    def finalize(self, ir: Any) -> tuple[Any, ...] | None:
        found = self._operation.finalize(ir)
        return None if found is None else tuple(map(_restored, found, self._columns))

    def orphans(self, ir: Any) -> int:
        return self._operation.orphans(ir)

    def stored(self, ir: Any) -> Any:
        return self._operation.stored(ir)

    def _row(self, value: Any) -> Form:
        row = value if len(self._columns) > 1 else (value,)
        return tuple([form(each) for form, each in zip(self._forms, row, strict=True)])


def _former(dtype: DataType) -> Callable[[Any], Form]:
    """From a value as Arrow gives it to the form that is compared."""
    convert = _converter(dtype)

    def form(value: Any) -> Form:
        found = None if value is None else convert(value)
        return () if found is None else (found,)

    return form


def _converter(dtype: DataType) -> Callable[[Any], Any]:
    if isinstance(dtype, ArrayType):
        element = _former(dtype.element)
        return lambda values: tuple([element(each) for each in values])
    if isinstance(dtype, MapType):
        key, item = _former(dtype.key), _former(dtype.value)
        return lambda pairs: tuple([(key(k), item(v)) for k, v in dict(pairs).items()])
    if isinstance(dtype, StructType):
        fields = [(name, _former(field)) for name, field in dtype.fields]
        return lambda value: tuple([form(value[name]) for name, form in fields])
    return door(dtype)


def _restored(form: Form, dtype: DataType) -> Any:
    """The value, as the algebra has it (`zipline.algebra.nested`)."""
    if not form:
        return None
    (parts,) = form
    if isinstance(dtype, ArrayType):
        return tuple([_restored(each, dtype.element) for each in parts])
    if isinstance(dtype, MapType):
        return {_restored(key, dtype.key): _restored(item, dtype.value) for key, item in parts}
    if isinstance(dtype, StructType):
        return {name: _restored(each, field) for each, (name, field) in zip(parts, dtype.fields, strict=True)}
    return parts
