"""Bootstrap: which left rows are given which columns by tables of values computed before.

A row that is in a table covers its columns, null or not; of several tables the first that has the row counts. Row ids
compare as keys do; one with a null part is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import whole
from zipline.arrow import to_arrow
from zipline.engines.local.demands import Given, put
from zipline.engines.local.keys import KeyIndex
from zipline.engines.local.read import Rows, read_source
from zipline.engines.local.stream import cleaned
from zipline.errors import DataError
from zipline.plan.steps import BootstrapRead, SourceRead
from zipline.tables.catalog import Catalog

Bools = NDArray[np.bool_]


def read_given(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, reads: Iterable[BootstrapRead], left: pa.Table
) -> tuple[dict[str, Given], dict[str, int]]:
    """The given columns of the output, and for each table how many rows took something from it."""
    return given_by(reads, left, lambda bootstrap: _read(connection, catalog, bootstrap))


def given_by(
    reads: Iterable[BootstrapRead], left: pa.Table, rows_of: Callable[[BootstrapRead], Rows | None]
) -> tuple[dict[str, Given], dict[str, int]]:
    """The same of rows that are read elsewhere: all that have the row ids of these left rows, and perhaps others."""
    given: dict[str, Given] = {}
    counts: dict[str, int] = {}
    index: KeyIndex | None = None
    for number, bootstrap in enumerate(reads, 1):
        if index is None:
            index = _left_index(bootstrap.row_id, left)
        taken = _take(rows_of(bootstrap), bootstrap, index, given, left.num_rows)
        table = bootstrap.source.table
        counts[table if table not in counts else f"{table} ({number})"] = int(taken.sum())
    return given, counts


def _left_index(row_id: tuple[str, ...], left: pa.Table) -> KeyIndex:
    columns = [whole(left.column(name)) for name in row_id]
    index = KeyIndex(columns, left.num_rows)
    twice = _first_repeated(index.codes)
    if twice is not None:
        raise DataError(
            f"two rows of the left have the row_id {_text(row_id, columns, twice)}",
            hint="bootstrap finds rows by row_id: name columns that tell all rows apart",
        )
    return index


def _take(
    found: Rows | None,
    bootstrap: BootstrapRead,
    index: KeyIndex,
    given: dict[str, Given],
    rows: int,
) -> Bools:
    """Adds what the table gives to rows that are not covered yet, and says which took something."""
    taken = np.zeros(rows, np.bool_)
    if found is None:
        return taken
    place = _places(bootstrap, found, index, rows)
    for name, dtype in bootstrap.columns:
        before = given.get(name) or Given(pa.nulls(rows, to_arrow(dtype)), np.zeros(rows, np.bool_))
        fresh = (place >= 0) & ~before.covered
        values = cleaned(found.column(bootstrap.source, name)).cast(to_arrow(dtype))
        given[name] = Given(put(before.values, values, np.where(fresh, place, -1)), before.covered | fresh)
        taken |= fresh
    return taken


def _read(connection: duckdb.DuckDBPyConnection, catalog: Catalog, bootstrap: BootstrapRead) -> Rows | None:
    source = bootstrap.source
    table = catalog.table(source.table)
    if not table.schema:
        return None
    reading = SourceRead((source,), ("bootstrap",), None, 0)
    needed = {source: frozenset((*bootstrap.row_id, *(name for name, _ in bootstrap.columns)))}
    return read_source(connection, table, reading, needed=needed, low=None, high=None)


def _places(bootstrap: BootstrapRead, found: Rows, index: KeyIndex, rows: int) -> NDArray[np.int64]:
    """For each left row its place in the table, -1 where it has none."""
    columns = [found.column(bootstrap.source, name) for name in bootstrap.row_id]
    twice = _first_repeated(KeyIndex(columns, found.rows).codes)
    if twice is not None:
        raise DataError(
            f"bootstrap has two rows with the row_id {_text(bootstrap.row_id, columns, twice)}",
            subject=f"table {bootstrap.source.table!r}",
            hint="keep one row of each id; with Query(event_id=...) rows of one event are one",
        )
    codes = index.lookup([*columns], found.rows)
    of_code = np.full(index.count + 1, -1)
    of_code[codes] = np.arange(found.rows)
    of_code[-1] = -1
    return of_code[index.codes] if rows else np.zeros(0, np.int64)


def _first_repeated(codes: NDArray[np.int32]) -> int | None:
    """The place of a row whose code is that of an earlier one; rows without a code (a null id) are no one's double."""
    known = np.flatnonzero(codes >= 0)
    _, first = np.unique(codes[known], return_index=True)
    repeated = np.delete(known, first)
    return int(repeated[0]) if len(repeated) else None


def _text(row_id: tuple[str, ...], columns: list[pa.Array], row: int) -> str:
    return ", ".join(f"{name}={column[row].as_py()!r}" for name, column in zip(row_id, columns, strict=True))
