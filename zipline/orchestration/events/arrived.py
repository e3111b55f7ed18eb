"""An author's expressions over rows that have just arrived."""

from __future__ import annotations

import pyarrow as pa

from zipline.algebra.columnar.values import whole
from zipline.engines.local.session import connect, query
from zipline.expressions import Expression
from zipline.expressions.nodes import Column
from zipline.tables.columns import duckdb_type
from zipline.types import DataType


def values_of(expression: Expression, rows: pa.Table, table: str, dtype: DataType | None = None) -> pa.Array:
    """The expression's value for each row, as `dtype` where that is given; DataError where it fails."""
    node = expression.node
    if isinstance(node, Column) and not node.type.is_float and (dtype is None or node.type == dtype):
        return whole(rows.column(node.name))
    connection = connect()
    try:
        connection.register("arrived", rows)
        sql = f"CAST({expression.sql('duckdb')} AS {duckdb_type(dtype or expression.type)})"
        found = query(connection, f"SELECT {sql} AS value FROM arrived", table, "arrived", {expression.text: sql})
    finally:
        connection.close()
    return whole(found.column("value"))
