"""DuckDB as the engine uses it: one database in memory for the process, a connection for each piece of work."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import duckdb
import pyarrow as pa

from zipline.engines.local.failures import unreadable

_root: list[duckdb.DuckDBPyConnection] = []
_guard = threading.Lock()


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of its own to the process's in-memory database, which sees times in UTC."""
    with _guard:
        try:
            return _connected()
        except duckdb.FatalException:  # an earlier statement has ended the database: nothing was kept in it
            _root.clear()
            return _connected()


def _connected() -> duckdb.DuckDBPyConnection:
    if not _root:
        _root.append(duckdb.connect(":memory:"))
    connection = _root[0].cursor()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def query(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    table: str,
    relation: str = "",
    expressions: Mapping[str, str] | None = None,
) -> pa.Table:
    """Runs one statement; what the data make impossible is a DataError that names the table.

    With the `expressions` that it evaluates over a `relation` the error names the one that fails too.
    """
    try:
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as wrong:
        raise unreadable(connection, wrong, table, relation, expressions or {}) from None
