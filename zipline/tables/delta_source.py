"""Delta tables as sources."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from zipline.arrow import schema_of
from zipline.errors import TableError
from zipline.tables.columns import check_names, duckdb_type, empty_relation, listed, literal, numbered, quoted, within
from zipline.tables.contract import FILE, ROW_NUMBER, Partition, Statistics, Unit
from zipline.tables.days import (
    files_within,
    gone,
    is_named,
    partitions_of_files,
    partitions_of_rows,
    statistics_of,
    units_of_files,
)
from zipline.tables.delta_log import arrow_schema, live_files, open_log
from zipline.tables.storage import DataFile, Storage
from zipline.types import DATE, STRING, DataType

if TYPE_CHECKING:
    import duckdb


class DeltaSource:
    """A Delta table, at its newest version when it was opened."""

    def __init__(self, name: str, uri: str, options: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._storage = Storage(uri, options)
        log = open_log(uri, options)
        if log is None:
            raise TableError(f"there is no Delta table {uri}", subject=f"table {name!r}")
        self._keys = log.metadata().partition_columns
        self._files = live_files(log)
        arrow = arrow_schema(log)
        check_names(arrow.names, uri)
        self._schema = schema_of(arrow)

    @property
    def schema(self) -> dict[str, DataType]:
        return self._schema

    @property
    def uri(self) -> str:
        return self._storage.location

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
        files = [file for file in self.files_within(partition, start, end) if is_named(file, units)]
        return self._query(files, self._condition(partition, start, end), rows=rows)

    def _condition(self, partition: str | None, start: str | None, end: str | None) -> str | None:
        """What keeps the rows of these days, where the log does not tell."""
        is_limited = partition in self._schema and (start, end) != (None, None)
        if not is_limited or partition is None or self._is_told_by_log(partition):
            return None
        return within(partition, self._schema[partition], start, end)

    @property
    def has_row_numbers(self) -> bool:
        return ROW_NUMBER not in self._schema

    def files_within(self, partition: str | None, start: str | None, end: str | None) -> Sequence[DataFile]:
        """The files of these days, as far as the log tells."""
        if partition is None or (start, end) == (None, None) or not self._is_told_by_log(partition):
            return self._files
        return files_within(self._files, partition, start, end, f"table {self.name!r}")

    def _is_told_by_log(self, partition: str) -> bool:
        return partition in self._keys and self._schema[partition] in (STRING, DATE)

    def relation_by_file(
        self, connection: duckdb.DuckDBPyConnection, files: Collection[str], columns: Collection[str] | None = None
    ) -> str:
        del columns
        self._storage.attach(connection)
        return self._query([file for file in self._files if is_named(file, files)], None, with_file=True)

    def paths(self) -> Mapping[str, str]:
        return {file.path: file.name for file in self._files}

    def names(self) -> list[str]:
        return [file.name for file in self._files]

    def check_unchanged(self, units: Collection[str]) -> None:
        """Files of a log may go, when a table is vacuumed; others are never written in their place."""
        for file in self._files:
            if file.name in units and not self._storage.exists(file.path):
                raise gone(file, self.name)

    def units(self, partition: str | None) -> list[Unit]:
        return units_of_files(self._files, partition, f"table {self.name!r}")

    def partitions(self, column: str) -> list[Partition]:
        if column in self._keys:
            return partitions_of_files(self._files, column, f"table {self.name!r}")
        return partitions_of_rows(self, column)

    def statistics(self) -> Statistics:
        return statistics_of(self._files)

    def _query(
        self,
        files: Sequence[DataFile],
        condition: str | None,
        *,
        with_file: bool = False,
        rows: tuple[int, int] | None = None,
    ) -> str:
        """Files may lack columns that were added later: the empty relation gives them, as nulls."""
        if not files:
            return empty_relation(self._schema)
        items = ", ".join(
            f"CAST({quoted(name)} AS {duckdb_type(dtype)}) AS {quoted(name)}" for name, dtype in self._schema.items()
        )
        items += f", {quoted(FILE)}" if with_file else ""
        reader = self._reader(files, with_file=with_file, with_number=rows is not None)
        those = f" WHERE {numbered(rows)}" if rows else ""
        query = f"SELECT * FROM {reader}{those} UNION ALL BY NAME SELECT * FROM {empty_relation(self._schema)}"
        return f"(SELECT {items} FROM ({query}){f' WHERE {condition}' if condition else ''})"

    def _reader(self, files: Sequence[DataFile], *, with_file: bool = False, with_number: bool = False) -> str:
        paths = listed(file.path for file in files)
        options = "union_by_name = true" + (f", filename = {literal(FILE)}" if with_file else "")
        options += f", {ROW_NUMBER} = true" if with_number else ""
        if not self._keys:
            return f"read_parquet({paths}, {options}, hive_partitioning = false)"
        types = ", ".join(f"{quoted(key)}: {literal(duckdb_type(self._schema[key]))}" for key in self._keys)
        return f"read_parquet({paths}, {options}, hive_partitioning = true, hive_types = {{{types}}})"
