"""Parquet files and folders of them, hive-partitioned (`key=value/`) or not.

The footer of every file is read when the table is opened: a file without one (a writer was killed) is an error, and so
is a column that is missing in some files or changes its type between them. A column that is nothing but null in a file
has any type there. Partition keys are whole numbers where all their values are, else text; `ds=2013-07-01` is text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from zipline.errors import TableError
from zipline.tables.columns import (
    checked_schema,
    duckdb_type,
    empty_relation,
    exposed,
    listed,
    literal,
    numbered,
    quoted,
    within,
)
from zipline.tables.contract import FILE, ROW_NUMBER, Partition, Statistics, Unit
from zipline.tables.days import (
    check_unchanged,
    files_within,
    is_named,
    partitions_of_files,
    partitions_of_rows,
    statistics_of,
    units_of_files,
)
from zipline.tables.folders import folder_keys, reader_options
from zipline.tables.footers import rows_by_day
from zipline.tables.storage import DataFile, Storage
from zipline.types import DATE, NULL, STRING, DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file and the schema in its footer."""

    file: DataFile
    arrow: pa.Schema


class ParquetTable:
    """One or more Parquet files of one schema. `declared` are types of folders' keys that somebody knows better."""

    def __init__(
        self,
        name: str,
        storage: Storage,
        files: Sequence[DataFile],
        declared: Mapping[str, DataType] | None = None,
    ) -> None:
        self.name = name
        self._storage = storage
        self._keys = {key: (declared or {}).get(key, dtype) for key, dtype in folder_keys(name, files).items()}
        self._stored = _read_footers(storage, files)
        self._columns = _common_schema(name, self._stored, self._keys)

    @cached_property
    def schema(self) -> dict[str, DataType]:
        return self._columns | self._keys

    def relation(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        partition: str | None = None,
        start: str | None = None,
        end: str | None = None,
        units: Collection[str] | None = None,
        rows: tuple[int, int] | None = None,
    ) -> str:
        self._storage.attach(connection)
        stored = [each for each in self._stored_within(partition, start, end) if is_named(each.file, units)]
        return self._query(stored, self._condition(partition, start, end), rows=rows)

    @property
    def has_row_numbers(self) -> bool:
        return ROW_NUMBER not in self.schema

    def alike(
        self, partition: str | None, start: str | None, end: str | None
    ) -> list[tuple[pa.Schema, list[DataFile]]]:
        """The files of these days in groups of one schema, which is without the keys of folders."""
        groups: dict[str, tuple[pa.Schema, list[DataFile]]] = {}
        for each in self._stored_within(partition, start, end):
            groups.setdefault(str(each.arrow), (each.arrow, []))[1].append(each.file)
        return list(groups.values())

    @property
    def root(self) -> str:
        return self._storage.location

    @property
    def keys(self) -> Mapping[str, DataType]:
        """The columns whose values folders name."""
        return self._keys

    def _stored_within(self, partition: str | None, start: str | None, end: str | None) -> Sequence[_Stored]:
        """The files of these days, as far as folders tell."""
        if partition not in self._keys or (start, end) == (None, None):
            return self._stored
        kept = {file.path for file in files_within(self._files, partition, start, end, f"table {self.name!r}")}
        return [each for each in self._stored if each.file.path in kept]

    def _condition(self, partition: str | None, start: str | None, end: str | None) -> str | None:
        """What keeps the rows of these days, where folders do not tell."""
        if partition not in self._columns or partition is None or (start, end) == (None, None):
            return None
        return within(partition, self._columns[partition], start, end)

    def relation_by_file(
        self, connection: duckdb.DuckDBPyConnection, files: Collection[str], columns: Collection[str] | None = None
    ) -> str:
        del columns
        self._storage.attach(connection)
        return self._query([each for each in self._stored if is_named(each.file, files)], None, with_file=True)

    def paths(self) -> Mapping[str, str]:
        return {file.path: file.name for file in self._files}

    def names(self) -> list[str]:
        """Files of which the same columns are read the same way come together."""
        alike: dict[str, list[str]] = {}
        for each in self._stored:
            alike.setdefault(self._items(each.arrow), []).append(each.file.name)
        return [name for names in alike.values() for name in names]

    def check_unchanged(self, units: Collection[str]) -> None:
        check_unchanged(self._storage, self._files, units, self.name)

    def units(self, partition: str | None) -> list[Unit]:
        return units_of_files(self._files, partition, f"table {self.name!r}")

    def partitions(self, column: str) -> list[Partition]:
        if column in self._keys:
            return partitions_of_files(self._files, column, f"table {self.name!r}")
        return partitions_of_rows(self, column, lambda: self._told(column))

    def _told(self, column: str) -> Mapping[str, int] | None:
        """The rows of each day, where the footers of local files tell them."""
        if self._storage.scheme is not None or self._columns[column] not in (STRING, DATE):
            return None
        return rows_by_day((pq.read_metadata(file.path) for file in self._files), column)

    def statistics(self) -> Statistics:
        return statistics_of(self._files)

    @property
    def _files(self) -> list[DataFile]:
        return [each.file for each in self._stored]

    def _query(
        self,
        stored: Sequence[_Stored],
        condition: str | None,
        *,
        with_file: bool = False,
        rows: tuple[int, int] | None = None,
    ) -> str:
        alike: dict[str, list[str]] = {}
        for each in stored:
            alike.setdefault(self._items(each.arrow), []).append(each.file.path)
        if not alike:
            return empty_relation(self.schema)
        named = f", {quoted(FILE)}" if with_file else ""
        those = f" WHERE {numbered(rows)}" if rows else ""
        options = {"with_file": with_file, "with_number": rows is not None}
        reads = [f"SELECT {items}{named} FROM {self._reader(p, **options)}{those}" for items, p in alike.items()]
        query = " UNION ALL ".join(reads)
        return f"(SELECT * FROM ({query}) WHERE {condition})" if condition else f"({query})"

    def _items(self, arrow: pa.Schema) -> str:
        types = dict(zip(arrow.names, arrow.types, strict=True))
        return ", ".join([_item(name, types[name], dtype) for name, dtype in self._columns.items()] + self._key_items)

    @property
    def _key_items(self) -> list[str]:
        return [quoted(key) for key in self._keys]

    def _reader(self, paths: Sequence[str], *, with_file: bool = False, with_number: bool = False) -> str:
        named = f", filename = {literal(FILE)}" if with_file else ""
        named += f", {ROW_NUMBER} = true" if with_number else ""
        return f"read_parquet({listed(paths)}, {reader_options(self._keys)}{named})"


def _item(name: str, stored: pa.DataType, dtype: DataType) -> str:
    if pa.types.is_null(stored) and dtype != NULL:
        return f"CAST(NULL AS {duckdb_type(dtype)}) AS {quoted(name)}"
    return exposed(name, stored)


def _read_footers(storage: Storage, files: Sequence[DataFile]) -> list[_Stored]:
    if storage.scheme is None or len(files) == 1:
        return [_read_footer(storage, file) for file in files]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda file: _read_footer(storage, file), files))


def _read_footer(storage: Storage, file: DataFile) -> _Stored:
    try:
        with storage.open(file.path) as opened:
            metadata = pq.read_metadata(opened)
            return _Stored(replace(file, rows=metadata.num_rows), metadata.schema.to_arrow_schema())
    except (pa.ArrowException, OSError) as wrong:
        raise TableError(
            f"{file.path} is not a complete Parquet file: {str(wrong).splitlines()[0]}",
            hint="a writer was perhaps killed while it wrote; remove the file or write it again",
        ) from None


def _common_schema(name: str, stored: Sequence[_Stored], keys: Mapping[str, DataType]) -> dict[str, DataType]:
    common: dict[str, DataType] = {}
    for place, each in enumerate(stored):
        found = checked_schema(each.arrow, each.file.path)
        found = {column: dtype for column, dtype in found.items() if column not in keys}
        if place:
            _check_alike(name, common, found, each.file.path, stored[0].file.path)
        common = {column: found[column] if dtype == NULL else dtype for column, dtype in (common or found).items()}
    return common


def _check_alike(
    name: str, common: Mapping[str, DataType], found: Mapping[str, DataType], path: str, first: str
) -> None:
    for column in [*common, *found]:
        if column not in found or column not in common:
            lacking, other = (path, first) if column not in found else (first, path)
            raise TableError(
                f"{lacking} has no column {column!r}, which {other} has",
                subject=f"table {name!r}",
                hint="write all files of the folder with the same columns",
            )
        if NULL not in (common[column], found[column]) and common[column] != found[column]:
            raise type_changed(name, column, path, found[column], common[column])


def type_changed(name: str, column: str, path: str, found: DataType, before: DataType) -> TableError:
    """The error that a file of a folder gives a column another type."""
    return TableError(
        f"{path}: the column {column!r} is {found}, in the files before it is {before}",
        subject=f"table {name!r}",
        hint="write all files of the folder with the same types",
    )
