"""CSV files and folders of them, plain or compressed.

The first line names the columns. A column's type is what all of its values are, in the whole file: BIGINT, DOUBLE,
BOOLEAN (true, false), DATE (2013-07-01), TIMESTAMP (2013-07-01 06:30, with or without seconds and zone; without zone
it is UTC), else STRING. Numbers with leading zeros and whole numbers beyond 64 bits are text. `null_values` are the
texts that mean null, by default the empty one alone. Files of a folder agree in names and types; BIGINT here and DOUBLE
there is DOUBLE, DATE and TIMESTAMP is TIMESTAMP. What folders name (`ds=2013-07-01/`) is a column too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zipline.errors import TableError
from zipline.tables.columns import check_names, duckdb_type, empty_relation, known_null, listed, literal, quoted, within
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
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, NULL, STRING, TIMESTAMP, DataType, common_type

if TYPE_CHECKING:
    import duckdb

_DATE = r"\d{4}-\d{2}-\d{2}"
_ZONE = r"( ?(Z|[+-]\d{2}(:?\d{2})?))?"
_FORMS = {
    BOOLEAN: r"(?i)true|false",
    BIGINT: r"[+-]?(0|[1-9][0-9]*)",
    DOUBLE: r"(?i)[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|infinity)|nan",
    DATE: _DATE,
    TIMESTAMP: rf"{_DATE}([ T]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?{_ZONE})?",
}
_ORDER = (BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP, STRING)
_SAMPLE = 1000


class CsvTable:
    """One or more CSV files of one header."""

    def __init__(
        self,
        name: str,
        storage: Storage,
        files: Sequence[DataFile],
        null_values: Sequence[str] = ("",),
        delimiter: str | None = None,
    ) -> None:
        self.name = name
        self._storage = storage
        self._files = files
        self._null_values = tuple(null_values)
        self._delimiter = delimiter or ("\t" if ".tsv" in files[0].path.lower() else ",")
        self._keys = folder_keys(name, files)
        self._headers = {file.path: self._header(file.path) for file in files}
        self._schema = self._sniff() | self._keys
        check_names(self._schema, files[0].path)

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
        alike: dict[tuple[str, ...], list[str]] = {}
        for file in files_of_days(self._files, self._keys, partition, (start, end), self.name):
            if is_named(file, units):
                alike.setdefault(self._headers[file.path], []).append(file.path)
        if not alike:
            return empty_relation(self._schema)
        items = ", ".join(known_null(column, dtype) for column, dtype in self._schema.items())
        reads = [f"SELECT {items} FROM {self._reader(paths, self._schema)}" for paths in alike.values()]
        query = " UNION ALL ".join(reads)
        if partition in self._own and partition is not None and (start, end) != (None, None):
            query = f"SELECT * FROM ({query}) WHERE {within(partition, self._schema[partition], start, end)}"
        return f"({query})"

    def names(self) -> list[str]:
        return [file.name for file in self._files]

    def check_unchanged(self, units: Collection[str]) -> None:
        check_unchanged(self._storage, self._files, units, self.name)

    def units(self, partition: str | None) -> list[Unit]:
        """What is read is another thing, too, where it is read in another way."""
        way = f"{self._null_values!r}-{self._delimiter!r}"
        units = units_of_files(self._files, partition, f"table {self.name!r}")
        return [replace(unit, token=f"{unit.token}-{way}") for unit in units]

    @property
    def _own(self) -> Mapping[str, DataType]:
        """The columns that the files hold."""
        return {column: dtype for column, dtype in self._schema.items() if column not in self._keys}

    def partitions(self, column: str) -> list[Partition]:
        if column in self._keys:
            return partitions_of_files(self._files, column, f"table {self.name!r}")
        return partitions_of_rows(self, column)

    def statistics(self) -> Statistics:
        return statistics_of(self._files)

    def _header(self, path: str) -> tuple[str, ...]:
        compression = "gzip" if path.lower().endswith(".gz") else "zstd" if path.lower().endswith(".zst") else None
        try:
            with self._opened(path, compression) as opened:
                text = io.TextIOWrapper(opened, encoding="utf-8-sig", newline="")
                names = next(csv.reader(text, delimiter=self._delimiter), None)
        except (OSError, EOFError, ValueError, csv.Error) as wrong:
            why = getattr(wrong, "strerror", None) or wrong
            hint = "CSV is text in UTF-8 that this user may read"
            raise TableError(f"{path} cannot be read: {why}", subject=f"table {self.name!r}", hint=hint) from None
        if not names:
            raise TableError(f"{path} is empty: its first line must name the columns", subject=f"table {self.name!r}")
        check_names(names, path)
        return tuple(names)

    def _opened(self, path: str, compression: str | None) -> Any:
        if compression is None:
            return self._storage.open(path)
        return self._storage.files.open(path, "rb", compression=compression)

    def _reader(self, paths: Sequence[str], types: Mapping[str, DataType]) -> str:
        header = self._headers[paths[0]]
        # Columns are told apart by their place, so one that a folder names too may be called anything here.
        names = [f"__{name} of the file" if name in self._keys else name for name in header]
        read = zip(names, (_read_as(types.get(name, STRING)) for name in header), strict=True)
        columns = ", ".join(f"{literal(name)}: {literal(dtype)}" for name, dtype in read)
        return (
            f"read_csv({listed(paths)}, auto_detect = false, header = true, delim = {literal(self._delimiter)}, "
            f"quote = '\"', escape = '\"', nullstr = {listed(self._null_values)}, columns = {{{columns}}}, "
            f"{reader_options(self._keys)})"
        )

    def _sniff(self) -> dict[str, DataType]:
        common: dict[str, DataType] = {}
        for place, file in enumerate(self._files):
            found = self._sniff_file(file.path)
            if place:
                self._check_names_alike(common, found, file.path)
            common = {
                column: self._common(column, common.get(column, NULL), found[column], file.path)
                for column in common or found
            }
        return common

    def _check_names_alike(self, common: Mapping[str, DataType], found: Mapping[str, DataType], path: str) -> None:
        for column in {**common, **found}:
            if (column in common) != (column in found):
                lacking, other = (path, self._files[0].path) if column in common else (self._files[0].path, path)
                raise TableError(
                    f"{lacking} has no column {column!r}, which {other} has",
                    subject=f"table {self.name!r}",
                    hint="write all files of the folder with the same columns",
                )

    def _common(self, column: str, before: DataType, found: DataType, path: str) -> DataType:
        common = common_type(before, found)
        if common is None:
            raise type_changed(self.name, column, path, found, before)
        return common

    def _sniff_file(self, path: str) -> dict[str, DataType]:
        """The types of a file: guessed from its first rows, then held against all of them until they hold."""
        header = [name for name in self._headers[path] if name not in self._keys]
        if not header:
            return {}
        with connect() as connection:
            self._storage.attach(connection)
            rows = self._reader([path], {})
            guessed = self._fitting(
                connection, f"(FROM {rows} LIMIT {_SAMPLE})", header, dict.fromkeys(header, _ORDER[:-1])
            )
            while True:
                kept: dict[str, Sequence[DataType]] = {
                    name: (dtype,) for name, dtype in guessed.items() if dtype not in (STRING, NULL)
                }
                unseen: dict[str, Sequence[DataType]] = {
                    name: _ORDER[:-1] for name, dtype in guessed.items() if dtype == NULL
                }
                found = self._fitting(connection, rows, header, kept | unseen)
                if all(found[name] == guessed[name] for name in kept):
                    return {name: found[name] if name in unseen else guessed[name] for name in header}
                guessed = {name: self._next(guessed[name], found[name], name in unseen) for name in header}

    def _next(self, guessed: DataType, found: DataType, was_unseen: bool) -> DataType:
        if was_unseen or found == guessed or guessed == STRING:
            return found if was_unseen else guessed
        return {BIGINT: DOUBLE, DATE: TIMESTAMP}.get(guessed, STRING)

    def _fitting(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: str,
        header: Sequence[str],
        candidates: Mapping[str, Sequence[DataType]],
    ) -> dict[str, DataType]:
        """The first candidate that all values of a column are; NULL where it has no value, STRING where none fits."""
        asked = [(name, dtype) for name in header for dtype in candidates.get(name, ())]
        counts = [f"count({quoted(name)})" for name in header]
        misfits = [f"count({quoted(name)}) FILTER (NOT {_fits(quoted(name), dtype)})" for name, dtype in asked]
        answer = execute(connection, f"SELECT {', '.join(counts + misfits)} FROM {rows}", self.name).fetchone()
        assert answer is not None
        values = dict(zip(header, answer[: len(header)], strict=True))
        fitting: dict[str, DataType] = {}
        for (name, dtype), misfit in zip(asked, answer[len(header) :], strict=True):
            if not misfit:
                fitting.setdefault(name, dtype)
        return {name: NULL if not values[name] else fitting.get(name, STRING) for name in header}


def _fits(column: str, dtype: DataType) -> str:
    form = f"regexp_full_match({column}, {literal(_FORMS[dtype])})"
    if dtype in (BIGINT, DATE, TIMESTAMP):
        return f"({form} AND TRY_CAST({column} AS {duckdb_type(dtype)}) IS NOT NULL)"
    if dtype == DOUBLE:
        whole = f"regexp_full_match({column}, {literal(_FORMS[BIGINT])})"
        return f"({form} AND (NOT {whole} OR TRY_CAST({column} AS BIGINT) IS NOT NULL))"
    return form


def _read_as(dtype: DataType) -> str:
    return "VARCHAR" if dtype == NULL else duckdb_type(dtype)
