"""Derivations: expressions over columns that are already there, evaluated by DuckDB."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from zipline.algebra.columnar.values import clean_floats, whole
from zipline.arrow import to_arrow
from zipline.engines.local.session import query
from zipline.plan.steps import Derived


def derive(connection: duckdb.DuckDBPyConnection, table: pa.Table, derivations: Iterable[Derived]) -> pa.Table:
    """The table with one more column for each derivation, each of which sees those before it."""
    for derived in derivations:
        read = table.select(sorted(derived.expression.columns))
        if not read.num_columns:
            read = pa.table({"__row": pa.nulls(table.num_rows, pa.int8())})
        connection.register("__derived", read)
        sql = f"SELECT {derived.expression.sql('duckdb')} AS value FROM __derived"
        try:
            value = query(connection, sql, f"derivation {derived.name}").column("value")
        finally:
            connection.unregister("__derived")
        wanted = to_arrow(derived.type)
        value = value if value.type == wanted else value.cast(wanted)
        # Of scalars the expression has made NaN null; a nested value may be a left column's own.
        table = table.append_column(derived.name, clean_floats(whole(value)) if wanted.num_fields else value)
    return table
