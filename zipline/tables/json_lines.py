"""JSON-lines files and folders of them, plain or compressed: one object a line.

Types are what JSON says: text is STRING (also where it spells a date), numbers are BIGINT where all of a column are
whole, else DOUBLE, objects are STRUCT, arrays ARRAY, found in the whole file. A key that is missing is null, and files
of a folder may lack keys that others have. A column of several kinds is an error that names the file. What folders name
(`ds=2013-07-01/`) is a column too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from zipline.errors import TableError
from zipline.tables.columns import check_names, duckdb_type, empty_relation, known_null, listed, literal, within
from zipline.tables.contract import Partition, Statistics, Unit
from zipline.tables.days import (
    check_unchanged,
    connect,
    execute,
    is_named,
    partitions_of_files,
    partitions_of_rows,
    statistics_of,
    units_of_files,
)
from zipline.tables.folders import files_of_days, folder_keys, reader_options
from zipline.tables.parquet import type_changed
from zipline.tables.storage import DataFile, Storage
from zipline.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    NULL,
    STRING,
    ArrayType,
    DataType,
    StructType,
    array,
    common_type,
)

if TYPE_CHECKING:
    import duckdb

_KINDS = {
    "VARCHAR": STRING,
    "UBIGINT": BIGINT,
    "BIGINT": BIGINT,
    "HUGEINT": BIGINT,
    "DOUBLE": DOUBLE,
    "BOOLEAN": BOOLEAN,
    "NULL": NULL,
}


class JsonTable:
    """One or more files of JSON objects, a line each."""

    def __init__(self, name: str, storage: Storage, files: Sequence[DataFile]) -> None:
        self.name = name
        self._storage = storage
        self._files = files
        self._keys = folder_keys(name, files)
        self._own = self._sniff()
        self._schema = self._own | self._keys if self._own else {}
        check_names(self._schema, files[0].path)
        self._check_readable()

    @property
    def schema(self) -> dict[str, DataType]:
        return self._schema

    def relation(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        partition: str | None = None,
        start: str | None = None,
        end: str | None = None,
        units: Collection[str] | None = None,
    ) -> str:
        self._storage.attach(connection)
        found = files_of_days(self._files, self._keys, partition, (start, end), self.name)
        files = [file for file in found if is_named(file, units)]
        if not self._schema or not files:
            return empty_relation(self._schema)
        query = f"SELECT {', '.join(known_null(*each) for each in self._schema.items())} FROM {self._reader(files)}"
        if partition in self._own and partition is not None and (start, end) != (None, None):
            query += f" WHERE {within(partition, self._schema[partition], start, end)}"
        return f"({query})"

    def names(self) -> list[str]:
        return [file.name for file in self._files]

    def check_unchanged(self, units: Collection[str]) -> None:
        check_unchanged(self._storage, self._files, units, self.name)

    def units(self, partition: str | None) -> list[Unit]:
        return units_of_files(self._files, partition, f"table {self.name!r}")

    def partitions(self, column: str) -> list[Partition]:
        if column in self._keys:
            return partitions_of_files(self._files, column, f"table {self.name!r}")
        return partitions_of_rows(self, column)

    def statistics(self) -> Statistics:
        return statistics_of(self._files)

    def _reader(self, files: Sequence[DataFile]) -> str:
        columns = ", ".join(
            f"{literal(name)}: {literal(duckdb_type(_readable(dtype)))}" for name, dtype in self._own.items()
        )
        read = f"format = 'newline_delimited', auto_detect = false, columns = {{{columns}}}"
        return f"read_json({listed(file.path for file in files)}, {read}, {reader_options(self._keys)})"

    def _sniff(self) -> dict[str, DataType]:
        common: dict[str, DataType] = {}
        with connect() as connection:
            self._storage.attach(connection)
            for file in self._files:
                found = self._sniff_file(connection, file.path)
                check_names([*common, *(name for name in found if name not in common)], file.path)
                for column, dtype in found.items():
                    if column in self._keys:
                        continue
                    common[column] = self._common(column, common.get(column, NULL), dtype, file.path)
        return common

    def _sniff_file(self, connection: duckdb.DuckDBPyConnection, path: str) -> dict[str, DataType]:
        rows = f"read_json_objects({literal(path)}, format = 'newline_delimited')"
        answer = execute(connection, f"SELECT json_group_structure(json) FROM {rows}", self.name).fetchone()
        structure = json.loads(answer[0]) if answer and answer[0] else {}
        if not isinstance(structure, dict):
            raise TableError(
                f"{path} does not hold one JSON object a line",
                subject=f"table {self.name!r}",
                hint="write each row as an object on a line of its own, without a list around them",
            )
        return {column: self._dtype(kind, column, path) for column, kind in structure.items()}

    def _dtype(self, kind: Any, column: str, path: str) -> DataType:
        if isinstance(kind, dict):
            return StructType(fields=tuple((name, self._dtype(each, column, path)) for name, each in kind.items()))
        if isinstance(kind, list):
            return array(self._dtype(kind[0], column, path) if kind else NULL)
        if kind not in _KINDS:
            raise TableError(
                f"{path}: the column {column!r} holds values of several kinds",
                subject=f"table {self.name!r}",
                hint="write text, numbers, booleans, lists and objects in columns of their own",
            )
        return _KINDS[kind]

    def _common(self, column: str, before: DataType, found: DataType, path: str) -> DataType:
        common = _common_nested(before, found)
        if common is None:
            raise type_changed(self.name, column, path, found, before)
        return common

    def _check_readable(self) -> None:
        with connect() as connection:
            execute(connection, f"SELECT count(COLUMNS(*)) FROM {self.relation(connection)}", self.name)


def _common_nested(before: DataType, found: DataType) -> DataType | None:
    if isinstance(before, StructType) and isinstance(found, StructType):
        names = dict.fromkeys([name for name, _ in (*before.fields, *found.fields)])
        fields = [(name, _common_nested(before.field(name) or NULL, found.field(name) or NULL)) for name in names]
        known = tuple((name, dtype) for name, dtype in fields if dtype is not None)
        return StructType(fields=known) if len(known) == len(fields) else None
    if isinstance(before, ArrayType) and isinstance(found, ArrayType):
        element = _common_nested(before.element, found.element)
        return None if element is None else array(element)
    return common_type(before, found)


def _readable(dtype: DataType) -> DataType:
    """The type to read a column as: DuckDB's reader wants a type where nothing but null is known."""
    if isinstance(dtype, ArrayType):
        return array(_readable(dtype.element))
    if isinstance(dtype, StructType):
        return StructType(fields=tuple((name, _readable(field)) for name, field in dtype.fields))
    return STRING if dtype == NULL else dtype
