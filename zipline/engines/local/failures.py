"""What DuckDB could not read, said of the table and the column: its own words name neither."""

from __future__ import annotations

import re
from collections.abc import Mapping

import duckdb

from zipline.errors import DataError

_NOT_OF_TYPE = re.compile(r"""not an? ([A-Z]+): (.*?)['"](?:,| to \w+|$)""")
_NO_SUCH = re.compile(r'(timestamp|date) field value out of range: "(.*)"')
_COLUMN = re.compile(r'"([^"]+)"')
_PREFIX = re.compile(r"^[A-Z][A-Za-z]*(?: [A-Za-z]+)* Error: ")
_SOURCE_COLUMN = re.compile(r" when casting from source column .*")
_TIMES = ("TIMESTAMP", "DATE")


def unreadable(
    connection: duckdb.DuckDBPyConnection,
    wrong: duckdb.Error,
    table: str,
    relation: str,
    expressions: Mapping[str, str],
) -> DataError:
    """The DataError for a failed reading.

    `expressions` (the author's text -> SQL over `relation`) are tried one by one to find the one that fails.
    """
    for text, sql in expressions.items():
        failure = _failure(connection, sql, relation)
        if failure is not None:
            return _failed(table, _plain(text), failure)
    return _failed(table, None, wrong)


def _failure(connection: duckdb.DuckDBPyConnection, sql: str, relation: str) -> duckdb.Error | None:
    try:
        connection.execute(f"SELECT count({sql}) FROM {relation}").fetchall()
    except duckdb.Error as wrong:
        return wrong
    return None


def _failed(table: str, text: str | None, wrong: duckdb.Error) -> DataError:
    said = _SOURCE_COLUMN.sub("", _PREFIX.sub("", str(wrong).split("\n", 1)[0]))
    dtype = None
    if found := _NOT_OF_TYPE.search(said):
        dtype, value = found.groups()
        said = f"{value!r} is not {article(dtype)} {dtype}"
    elif found := _NO_SUCH.search(said):
        dtype = found.group(1).upper()
        said = f"{found.group(2)!r} is not a {dtype}: the calendar has no such day"
    place = f"reading {table!r}, {text}" if text else f"reading {table!r}"
    is_of_data = isinstance(wrong, (duckdb.DataError, duckdb.InvalidInputException))
    return DataError(f"{place}: {said}", hint=_hint(dtype) if is_of_data else None)


def _plain(text: str) -> str:
    """An expression on one line; a column without its quotes."""
    column = _COLUMN.fullmatch(text)
    return column.group(1) if column else " ".join(text.split())


def article(dtype: str) -> str:
    """Of the name of a type."""
    return "an" if dtype[0] in "AEIO" else "a"


def _hint(dtype: str | None) -> str:
    form = "times are ISO 8601, such as 2013-07-01T06:30:00Z; " if dtype in _TIMES else ""
    return f"{form}mend the value, or TRY_CAST(... AS {dtype or 'type'}) gives null where one does not convert"
