"""Whose features are asked: the keys of a request's rows, as the store knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from zipline.errors import DataError
from zipline.fetch.results import Status
from zipline.stores.contract import Generation
from zipline.stores.keys import key_writer
from zipline.types import DataType

Row: TypeAlias = Mapping[str, Any]
Answered: TypeAlias = "Sequence[Sequence[Any]] | None"
"""What the store gave for each place that was asked for a part; None where something of it could not be read."""


class RowKeys(NamedTuple):
    """Keys of rows: `some` has each once; `at` is, of every row, the place of its key among them, -1 without a key.
    `lacking` are the rows that have not all columns of the key."""

    some: list[bytes]
    at: list[int]
    lacking: Sequence[int] = ()


class Asked(NamedTuple):
    """One half of a fetch of a part: whose keys, from which upload (None: there is none), and the rows whose keys
    could not be read while others could."""

    keys: RowKeys
    generation: Generation | None
    unread: Sequence[int] = ()

    def withheld(self) -> Iterator[tuple[Sequence[int], Status]]:
        """Rows that get no value, and the status of all features of the part there."""
        if self.unread:
            yield self.unread, "unavailable"
        if self.keys.lacking:
            yield self.keys.lacking, "error"


class Keys:
    """Takes the keys of all parts that have them from the same columns, as the same types."""

    def __init__(self, columns: Sequence[str], types: Sequence[DataType]) -> None:
        self._columns, self._parts_of, self._write = columns, _parts_of(columns), key_writer(types)
        self._types = types

    def of(self, rows: Sequence[Row]) -> RowKeys:
        """DataError says which value is of another type."""
        try:
            return self._read(rows)
        except DataError as wrong:
            raise self._placed(rows) or wrong from None

    def _placed(self, rows: Sequence[Row]) -> DataError | None:
        """The error of the first value that is none of its type, with its place."""
        writers = [(name, key_writer([dtype])) for name, dtype in zip(self._columns, self._types, strict=True)]
        for number, row in enumerate(rows):
            for name, write in writers:
                try:
                    write((row.get(name),))
                except DataError as wrong:
                    return DataError(wrong.what, subject=f"rows[{number}].{name}")
        return None

    def _read(self, rows: Sequence[Row]) -> RowKeys:
        write, parts_of = self._write, self._parts_of
        lacking: list[int] = []
        try:
            keys = [write(parts_of(row)) for row in rows]
        except KeyError:
            is_whole = [all(name in row for name in self._columns) for row in rows]
            lacking = [number for number, whole in enumerate(is_whole) if not whole]
            keys = [write(parts_of(row)) if whole else None for row, whole in zip(rows, is_whole, strict=True)]
        places: dict[bytes, int] = {}
        at = [-1 if key is None else places.setdefault(key, len(places)) for key in keys]
        return RowKeys(list(places), at, lacking)


def _parts_of(names: Sequence[str]) -> Callable[[Row], Sequence[Any]]:
    if len(names) == 1:
        name = names[0]
        return lambda row: (row[name],)
    return itemgetter(*names) if names else _no_parts


def _no_parts(_: Row) -> Sequence[Any]:
    return ()
