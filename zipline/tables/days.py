"""Tables made of files: which of them a range of days needs, and which days they hold.

A partition column is one of two things: a key in the folders' names (`ds=2013-07-01/`), answered from the paths alone,
or an ordinary column, answered by a query. DuckDB is imported when a query is made: many questions need none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from zipline.errors import TableError
from zipline.tables.columns import checked_day, day_expression, quoted
from zipline.tables.contract import Partition, Statistics, Table, Unit
from zipline.tables.storage import DataFile, Storage

if TYPE_CHECKING:
    import duckdb

_MALFORMED = re.compile(r'Malformed JSON in file "(.+?)", at byte \d+ in line (\d+): ([^.\n]*)')
_COUNTED: WeakKeyDictionary[Table, dict[str, list[Partition]]] = WeakKeyDictionary()
"""What was counted of open tables: a table is what it was when it was opened, and a query takes a while."""
_KIND = re.compile(r"^[A-Z][A-Za-z]*(?: [A-Za-z]+)* Error: ")


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of its own, with the time zone that relations need."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def files_within(
    files: Iterable[DataFile], column: str, start: str | None, end: str | None, where: str
) -> list[DataFile]:
    """The files whose value of the partition key lies in start..end; files of the null partition are in no day."""
    days = [
        (file, checked_day(day, column, where)) for file in files if (day := file.partition.get(column)) is not None
    ]
    return [file for file, day in days if (start is None or day >= start) and (end is None or day <= end)]


def partitions_of_files(files: Iterable[DataFile], column: str, where: str) -> list[Partition]:
    """The days that the paths name; rows and bytes are None where one of the day's files does not tell them."""
    days: dict[str, list[DataFile]] = {}
    for file in files:
        day = file.partition.get(column)
        if day is not None:
            days.setdefault(checked_day(day, column, where), []).append(file)
    return [Partition(day, total_rows(days[day]), total_bytes(days[day])) for day in sorted(days)]


def units_of_files(files: Iterable[DataFile], column: str | None, where: str) -> list[Unit]:
    """Each file as a unit, sorted by name."""
    return sorted((_unit(file, column, where) for file in files), key=lambda unit: unit.name)


def _unit(file: DataFile, column: str | None, where: str) -> Unit:
    day = file.partition.get(column) if column is not None else None
    return Unit(
        name=file.name,
        token=file.token,
        day=None if day is None or column is None else checked_day(day, column, where),
        rows=file.rows,
        bytes=file.bytes,
    )


def check_unchanged(storage: Storage, files: Iterable[DataFile], units: Collection[str], name: str) -> None:
    """TableError where one of these files is no longer what it was when the table was opened."""
    for file in files:
        if file.name not in units:
            continue
        if not storage.exists(file.path):
            raise gone(file, name)
        if not storage.is_as_it_was(file):
            raise TableError(f"reading {name!r}: {file.path} changed while it was read", hint="run it again")


def gone(file: DataFile, name: str) -> TableError:
    return TableError(
        f"reading {name!r}: {file.path} is gone, which was there when the run began",
        hint="run it again, when nobody rewrites the table",
    )


def is_named(file: DataFile, units: Collection[str] | None) -> bool:
    """True where the file is among the units asked for; None is all."""
    return units is None or file.name in units


def partitions_of_rows(
    table: Table, column: str, told: Callable[[], Mapping[str, int] | None] = lambda: None
) -> list[Partition]:
    """The days of an ordinary column, counted the first time: by a query, unless `told` gives rows by day."""
    counted = _COUNTED.setdefault(table, {})
    if column not in counted:
        known = told() if column in table.schema else {}
        rows = (_counted(table, column) if known is None else known).items()
        counted[column] = [Partition(checked_day(day, column, f"table {table.name!r}"), n, None) for day, n in rows]
    return list(counted[column])


def _counted(table: Table, column: str) -> dict[str, int]:
    dtype = table.schema[column]
    with connect() as connection:
        found = execute(
            connection,
            f"SELECT {day_expression(column, dtype)}, count(*) FROM {table.relation(connection)} "
            f"WHERE {quoted(column)} IS NOT NULL GROUP BY 1 ORDER BY 1",
            table.name,
        ).fetchall()
    return dict(found)


def execute(connection: duckdb.DuckDBPyConnection, sql: str, name: str) -> duckdb.DuckDBPyConnection:
    """Runs a query over a table's files; what DuckDB cannot read is a TableError with its words."""
    import duckdb

    try:
        return connection.execute(sql)
    except duckdb.Error as wrong:
        raise unreadable(name, wrong) from None


def unreadable(name: str, wrong: duckdb.Error) -> TableError:
    """The error that a table's data cannot be read: DuckDB's words, with the file and the line that it names."""
    text = str(wrong)
    json = _MALFORMED.search(text)
    file, line = re.search(r"^\s*file = (.+)$", text, re.MULTILINE), re.search(r"CSV Error on Line: (\d+)", text)
    if file and line:
        reason = [each.strip() for each in text.partition("Possible")[0].splitlines() if each.strip()][-1]
        what = f"{file.group(1)}, line {line.group(1)}: {reason}"
    elif json:
        # DuckDB counts lines of JSON from 1 in some versions and from 2 in others.
        what = f"{json.group(1)}, at or just before line {json.group(2)}: malformed JSON, {json.group(3)}"
    else:
        what = re.sub(r"\s*Try setting '.*", "", " ".join(_KIND.sub("", text).split()))
    return TableError(what, subject=f"table {name!r}", hint="mend or remove the row or the file")


def statistics_of(files: Sequence[DataFile]) -> Statistics:
    return Statistics(total_rows(files), total_bytes(files), len(files))


def total_rows(files: Iterable[DataFile]) -> int | None:
    return _total(file.rows for file in files)


def total_bytes(files: Iterable[DataFile]) -> int | None:
    return _total(file.bytes for file in files)


def _total(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
