"""Columns of small tables, kept in memory between explanations: opening a year of daily files takes longer than asking.

A table is kept while its files are the same (their names and tokens) and it is small; the least recently asked goes
first when the columns kept exceed `MOST_BYTES`. Larger tables, and tables in memory, are read where they are.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias
from weakref import WeakKeyDictionary

import duckdb
import pyarrow as pa

from zipline.engines.local.session import query
from zipline.plan.steps import Projection
from zipline.tables.columns import quoted
from zipline.tables.contract import Table

SMALL_BYTES = 64 * 2**20
"""Of files: larger tables are not kept."""

MOST_BYTES = 256 * 2**20

Identity: TypeAlias = tuple[object, ...]

_files: WeakKeyDictionary[Table, str] = WeakKeyDictionary()
_kept: OrderedDict[Identity, pa.Table] = OrderedDict()
_guard = threading.Lock()


def relation(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection, columns: Iterable[str]) -> str:
    """SQL for a FROM clause with at least these columns of the partitions that the source reads."""
    wanted = [name for name in table.schema if name in set(columns)]
    identity = _identity(connection, table, source)
    if identity is None or not wanted:
        return _stored(connection, table, source)
    with _guard:
        rows = _kept.get(identity)
        if rows is None or not set(wanted) <= set(rows.column_names):
            rows = _read(connection, table, source, [*wanted, *(rows.column_names if rows is not None else ())])
            _keep(identity, rows)
        _kept.move_to_end(identity)
    view = f"{table.name} in memory"
    connection.register(view, rows)
    return quoted(view)


def _identity(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection) -> Identity | None:
    files = _files.get(table)
    if files is None:
        files = _files[table] = _files_of(connection, table)
    return (files, source.partition, source.start, source.end) if files else None


def _files_of(connection: duckdb.DuckDBPyConnection, table: Table) -> str:
    """A digest of a small table's files and where they are, "" of any other table; an open table does not change."""
    statistics = table.statistics()
    if not statistics.files or statistics.bytes is None or statistics.bytes > SMALL_BYTES:
        return ""
    units = sorted((unit.name, unit.token) for unit in table.units(None))
    return sha256(repr((table.name, units, table.relation(connection))).encode()).hexdigest()


def _stored(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection) -> str:
    return table.relation(connection, partition=source.partition, start=source.start, end=source.end)


def _read(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection, names: Iterable[str]) -> pa.Table:
    items = ", ".join(quoted(name) for name in dict.fromkeys(names))
    return query(connection, f"SELECT {items} FROM {_stored(connection, table, source)}", table.name)


def _keep(identity: Identity, rows: pa.Table) -> None:
    _kept[identity] = rows
    while len(_kept) > 1 and sum(each.nbytes for each in _kept.values()) > MOST_BYTES:
        _kept.popitem(last=False)


def forget() -> None:
    """Lets go of everything that is kept."""
    with _guard:
        _kept.clear()
