"""An author's expressions over rows that have just arrived."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import whole
from zipline.arrow import to_arrow
from zipline.clock import day_text
from zipline.engines.local.session import connect, query
from zipline.errors import DataError, ZiplineError
from zipline.expressions import Expression
from zipline.expressions.nodes import Column
from zipline.tables.columns import duckdb_type
from zipline.types import DATE, STRING, TIMESTAMP, DataType


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


def with_day(rows: pa.Table, name: str, dtype: DataType, times: NDArray[np.int64], table: str) -> pa.Table:
    """The rows with their partition: the day of each one's time, in a column of the table's type."""
    if dtype not in (STRING, DATE, TIMESTAMP):
        raise DataError(f"the partition column {name!r} of {table!r} is {dtype}, which holds no days")
    text = pa.array([day_text(t) for t in times.tolist()], pa.string())
    return rows.append_column(name, text if dtype == STRING else text.cast(pa.date32()).cast(to_arrow(dtype)))


def failing(check: Callable[[pa.Table], object], rows: pa.Table, first: int = 0) -> list[int]:
    """The numbers of the rows for which `check` is an error, found by halves."""
    try:
        check(rows)
    except ZiplineError:
        if rows.num_rows == 1:
            return [first]
        half = rows.num_rows // 2
        return failing(check, rows.slice(0, half), first) + failing(check, rows.slice(half), first + half)
    return []


def without(rows: pa.Table, numbers: list[int]) -> pa.Table:
    """The rows but for those of these numbers."""
    left_out = set(numbers)
    return rows.take(pa.array([number for number in range(rows.num_rows) if number not in left_out], pa.int64()))
