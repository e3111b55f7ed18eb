"""Tables of a session: DataFrames that are given, and those of its catalog (a Hive metastore, or any other it has).

Where a table of the catalog is Parquet or Delta its files are opened as those of a path: Spark is asked which files the
table has, so partitions that the catalog does not know are left out. Anything else (ORC, text, views) Spark itself
reads, and so a Parquet table whose files say other columns than the catalog does, or of which some lie elsewhere.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote
from weakref import finalize

from zipline.engines.spark.failures import translated
from zipline.engines.spark.scans import Days, FrameTable, in_types
from zipline.engines.spark.session import configured, scratch_of, session_of
from zipline.errors import TableError, UsageError
from zipline.expressions.dialects import identifier, text_literal
from zipline.project import Project
from zipline.tables.catalog import Opener
from zipline.tables.columns import checked_schema, empty_relation, listed, quoted
from zipline.tables.contract import FILE, Partition, Statistics, Table, Unit
from zipline.tables.days import partitions_of_files, statistics_of, units_of_files
from zipline.tables.delta_source import DeltaSource
from zipline.tables.parquet import ParquetTable
from zipline.tables.storage import DataFile, Storage, normalised
from zipline.types import DATE, STRING, DataType

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_DETAILS = "# Detailed Table Information"
_FORMATS = {"ParquetHiveSerDe": "parquet", "OrcSerde": "orc"}
_BY_FILE = ("parquet", "orc", "csv", "json", "text", "avro", "hive")


def opener(project: Project) -> Opener:
    """Opens tables in the session of the project, which is made when the first is asked for."""
    return lambda name, known_as: open_table(session_of(project), name, known_as, project.storage_options)


def open_table(spark: SparkSession, name: str, known_as: str, options: Mapping[str, str] | None = None) -> Table:
    """The table that the session's catalog knows by that name, as it is now. TableError where there is none."""
    spelled = ".".join(identifier("spark", part) for part in known_as.split("."))
    with translated(f"table {name!r}"):
        spark.catalog.refreshTable(spelled)
        frame, entry = spark.table(spelled), entry_of(spark, spelled)
        if entry.format == "delta" and entry.location:
            return DeltaSource(name, entry.location, options)
        files, why = _files(frame, entry, options)
        own = CatalogFrame(name, known_as, frame, files, why)
        return _as_parquet(own, entry, files, options) or own


def given_frame(name: str, frame: DataFrame) -> FrameTable:
    """A DataFrame as a table. UsageError where its rows never end."""
    if frame.isStreaming:
        raise UsageError(f"the table {name!r} is a stream", hint="give a DataFrame that Spark reads to its end")
    return FrameTable(name, frame, schema_of_frame(frame, name))


def brought(name: str, frame: DataFrame) -> pa.Table:
    """All rows of a DataFrame, in the order in which Spark gives them."""
    given = given_frame(name, frame)
    with translated(f"table {name!r}"):
        return given.frame.toArrow()


def schema_of_frame(frame: DataFrame, name: str) -> dict[str, DataType]:
    """Column -> type of what Spark knows."""
    with translated(f"table {name!r}"):
        return checked_schema(frame.limit(0).toArrow().schema, f"table {name!r}")


@dataclass(frozen=True)
class Entry:
    """What the catalog says of a table; nothing of a view that the session made for itself."""

    kind: str
    format: str
    location: str
    is_partitioned: bool


def entry_of(spark: SparkSession, spelled: str) -> Entry:
    """What the catalog says of the table of that name, in quotes."""
    rows = [(row[0], row[1]) for row in spark.sql(f"DESCRIBE TABLE EXTENDED {spelled}").collect()]
    names = [name for name, _ in rows]
    facts = dict(rows[names.index(_DETAILS) :]) if _DETAILS in names else {}
    provider = (facts.get("Provider") or "").lower()
    serde = (facts.get("Serde Library") or "").rsplit(".", 1)[-1]
    location = facts.get("Location") or ""
    if location.startswith("file:"):
        location = "/" + location.removeprefix("file:").lstrip("/")
    return Entry(
        facts.get("Type") or "VIEW",
        _FORMATS.get(serde, provider) if provider == "hive" else provider,
        normalised(location) if location else "",
        any(name.startswith(("# Partition Information", "# Partitioning")) for name in names),
    )


def _files(frame: DataFrame, entry: Entry, options: Mapping[str, str] | None) -> tuple[Sequence[DataFile] | None, str]:
    """The files that the table is made of now; None where that cannot be told, and why."""
    if entry.kind == "VIEW":
        return None, "it is a view"
    if entry.format not in _BY_FILE or not entry.location:
        return None, f"its rows are kept by {entry.format or 'another system'}"
    there = {_plain(file.path): file for file in Storage(entry.location, options).data_files(entry.location)}
    known = {_plain(path) for path in frame.inputFiles()}
    if known == {_plain(entry.location)} and not entry.is_partitioned:
        return list(there.values()), ""
    if not known <= there.keys():
        return None, f"not all of its files are told, or they lie outside of {entry.location}"
    return [there[path] for path in there if path in known], ""


def _plain(path: str) -> str:
    """A path without its scheme, as Spark and as storage spell it."""
    scheme, mark, rest = path.partition(":")
    return "/" + (unquote(rest) if mark and "/" not in scheme else path).strip("/")


def _as_parquet(
    own: CatalogFrame, entry: Entry, files: Sequence[DataFile] | None, options: Mapping[str, str] | None
) -> ParquetTable | None:
    """The same rows read as files; None where their columns are not exactly those of the catalog."""
    if entry.format != "parquet" or not files:
        return None
    try:
        declared = {key: dtype for key, dtype in own.schema.items() if dtype in (STRING, DATE) or dtype.is_integer}
        table = ParquetTable(own.name, Storage(entry.location, options), files, declared)
    except TableError:
        return None
    return table if table.schema == own.schema else None


class CatalogFrame(FrameTable):
    """A table of the catalog that Spark reads.

    What is asked of its rows without Spark (when they happened, to find the days that a changed file touches) is asked
    of a copy, which Spark writes of the partitions and columns in question and which is gone with the table.
    """

    def __init__(
        self, name: str, known_as: str, frame: DataFrame, files: Sequence[DataFile] | None, why: str = ""
    ) -> None:
        super().__init__(name, frame, schema_of_frame(frame, name))
        self._known_as, self._of_files, self._why = known_as, files, why
        self._paths: dict[str, str] = {}

    @property
    def _own_files(self) -> Sequence[DataFile]:
        if self._of_files is None:
            raise TableError(
                f"a stored backfill must see which files of {self._known_as} are late or changed; that cannot be told "
                f"of it: {self._why}",
                subject=f"table {self.name!r}",
                hint="write it as a StagingQuery over the tables that it reads, or name a table that is made of it "
                "(CREATE TABLE ... USING delta AS SELECT ...); zipline.backfill in Python, which stores nothing, takes "
                "it as it is",
            )
        return self._of_files

    def statistics(self) -> Statistics:
        return super().statistics() if self._of_files is None else statistics_of(self._of_files)

    def partitions(self, column: str) -> list[Partition]:
        files = self._of_files or ()
        if files and all(column in file.partition for file in files):
            return partitions_of_files(files, column, f"table {self.name!r}")
        return super().partitions(column)

    def units(self, partition: str | None) -> list[Unit]:
        return units_of_files(self._own_files, partition, f"table {self.name!r}")

    def paths(self) -> Mapping[str, str]:
        """What `relation_by_file` said last -> the unit's name."""
        return self._paths

    def relation_by_file(
        self, connection: duckdb.DuckDBPyConnection, files: Collection[str], columns: Collection[str] | None = None
    ) -> str:
        wanted = [name for name in self.schema if columns is None or name in columns]
        return self._by_file(connection, [file for file in self._own_files if file.name in files], wanted)

    def relation(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        partition: str | None = None,
        start: str | None = None,
        end: str | None = None,
        units: Collection[str] | None = None,
    ) -> str:
        days, names = Days(partition, start, end).condition(self.schema), ", ".join(map(quoted, self.schema))
        if units is not None:
            files = [file for file in self._own_files if file.name in units]
            return f"(SELECT {names} FROM {self._by_file(connection, files, list(self.schema), days)})"
        copied = self._copied(self.frame, list(self.schema), [days], by_file=False)
        return copied.relation(connection) if copied else empty_relation(self.schema)

    def _by_file(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: Sequence[DataFile],
        columns: Sequence[str],
        days: str | None = None,
    ) -> str:
        """The rows of these files with the column FILE."""
        copied = self._copied(self.frame, columns, [days, *_inside(files)], by_file=True) if files else None
        empty = {name: self.schema[name] for name in columns}
        if copied is None:
            return f"(SELECT *, NULL::VARCHAR AS {quoted(FILE)} FROM {empty_relation(empty)})"
        relation = copied.relation(connection)
        asked = {_plain(file.path): file.name for file in files}
        told = connection.execute(f"SELECT DISTINCT {quoted(FILE)} FROM {relation}").fetchall()
        self._paths = {path: asked[_plain(path)] for (path,) in told if _plain(path) in asked}
        return f"(SELECT * FROM {relation} WHERE list_contains({listed(self._paths)}::VARCHAR[], {quoted(FILE)}))"

    def _copied(
        self, frame: DataFrame, columns: Sequence[str], conditions: Iterable[str | None], *, by_file: bool
    ) -> ParquetTable | None:
        """A copy of the rows for which all conditions hold; None where there are none."""
        for condition in filter(None, conditions):
            frame = frame.where(condition)
        place = f"{scratch_of(frame.sparkSession) or tempfile.gettempdir()}/zipline-{uuid.uuid4().hex}"
        items = [*in_types(columns, self.schema), *([f"input_file_name() AS {FILE}"] if by_file else [])]
        finalize(self, shutil.rmtree, place, ignore_errors=True)
        with translated(f"table {self.name!r}"), configured(frame.sparkSession):
            frame.selectExpr(*items).write.parquet(place)
        storage = Storage(normalised(place))
        files = storage.data_files(storage.location)
        return ParquetTable(self.name, storage, files) if files else None


def _inside(files: Sequence[DataFile]) -> list[str]:
    """Conditions that no row of these files fails, on the columns of folders: other partitions are not opened."""
    found = []
    for key in files[0].partition:
        values = {file.partition.get(key) for file in files}
        if None not in values and not any(re.search(r"\D", value or "") is None for value in values):
            texts = ", ".join(text_literal("spark", str(value)) for value in sorted(map(str, values)))
            found.append(f"CAST({identifier('spark', key)} AS STRING) IN ({texts})")
    return found
