"""What every table offers, and the two facts a plan shows of it before it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from zipline.types import DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Partition:
    """One day of a table; `rows` and `bytes` are None where they are not known without reading the data."""

    day: str
    rows: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """The size of a table; None where it is not known without reading the data."""

    rows: int | None
    bytes: int | None
    files: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a table that is written once and replaced as a whole: a file.

    `name` is unique in the table and relative to it. `token` is another one when the content may be another one. `day`
    is the day that the folder (or the log) names, None where none does. `rows` and `bytes` are None where unknown.
    """

    name: str
    token: str
    day: str | None
    rows: int | None
    bytes: int | None


FILE = "__file"
"""In a relation by file, the path of each row's file."""


@runtime_checkable
class ByFile(Protocol):
    """A table that can say of each row which file it stands in."""

    def relation_by_file(
        self, connection: duckdb.DuckDBPyConnection, files: Collection[str], columns: Collection[str] | None = None
    ) -> str:
        """As `Table.relation` of the units with these names, with the column FILE besides.

        Where `columns` are named no other is asked of it: a table that is copied to be read leaves out the rest.
        """
        ...

    def paths(self) -> Mapping[str, str]:
        """Path -> the unit's name, as the newest `relation_by_file` spells it."""
        ...


@runtime_checkable
class Files(Protocol):
    """A table that is files, which may be written anew while somebody reads them."""

    def names(self) -> list[str]:
        """Those of its units in the order in which a `relation` of several has their rows."""
        ...

    def check_unchanged(self, units: Collection[str]) -> None:
        """TableError where the file of one of these units is not what it was when the table was opened."""
        ...


@runtime_checkable
class ByRow(Protocol):
    """A table of which a stretch of a file can be read without the rest of it."""

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
        """As `Table.relation`; with `rows`, of one unit's rows as they lie there those from the first to before the
        second. Only where `has_row_numbers`."""
        ...

    @property
    def has_row_numbers(self) -> bool:
        """False where a column has the name that the reader gives to their numbers."""
        ...


ROW_NUMBER = "file_row_number"
"""What DuckDB calls the place of a row in its file."""


@runtime_checkable
class Table(Protocol):
    """Rows with named, typed columns, readable by DuckDB."""

    name: str

    @property
    def schema(self) -> dict[str, DataType]:
        """Column name -> type, in the table's order. Empty for a table of which no column is known: an empty list."""
        ...

    def relation(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        partition: str | None = None,
        start: str | None = None,
        end: str | None = None,
        units: Collection[str] | None = None,
    ) -> str:
        """SQL for a FROM clause, which takes an alias: a quoted view name, or a query in parentheses.

        Limited to the days `start`..`end` (both inclusive, None is open) of the column `partition` where the table has
        it; other partitions are not opened. The columns are those of `schema`, every timestamp TIMESTAMP WITH TIME
        ZONE in whole microseconds, naive ones taken as UTC: the connection must have `SET TimeZone='UTC'`. Registers
        on the connection what the SQL refers to, without copying it. `units` limits it to the units of these names.
        """
        ...

    def units(self, partition: str | None) -> list[Unit]:
        """The pieces of the table, sorted by name, with their day by the column `partition` where folders name it."""
        ...

    def partitions(self, column: str) -> list[Partition]:
        """The days of the column, sorted, whatever is selected of them later; [] where the table has no such column."""
        ...

    def statistics(self) -> Statistics:
        """Rows, bytes and files."""
        ...
