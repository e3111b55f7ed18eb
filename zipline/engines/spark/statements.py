"""The Spark SQL of a reading: an author's columns, conditions and clocks, and where the row of a key belongs."""

from __future__ import annotations

from collections.abc import Sequence

from zipline.engines.local.statements import event_order
from zipline.expressions import Expression
from zipline.expressions.dialects import Dialect
from zipline.plan.steps import Projection
from zipline.types import DOUBLE, DataType, DecimalType


def clock(expression: Expression, dialect: Dialect = "spark") -> str:
    """An instant."""
    return f"CAST({expression.sql(dialect)} AS {'TIMESTAMP' if dialect == 'spark' else 'TIMESTAMPTZ'})"


def numbered_events(source: Projection) -> tuple[str, str]:
    """(what numbers the rows of each event id, the least first, the condition that keeps the one of them)."""
    identity, order = event_order(source, "spark")
    return (
        f"row_number() OVER (PARTITION BY {identity} ORDER BY {order})",
        f"({identity}) IS NULL OR __number_of_event = 1",
    )


def is_no_key(column: str, dtype: DataType) -> str:
    """True where a part of a key is null or NaN."""
    return f"({column} IS NULL OR isnan({column}))" if dtype.is_float else f"{column} IS NULL"


PIECES = 64
"""Into so many pieces, by key, the rows of a partition can be divided where they are too many."""


def key_hash(columns: Sequence[tuple[str, DataType]]) -> str:
    """The same for keys that are equal, whatever the widths of their types."""
    return f"xxhash64({', '.join(_hashed(*column) for column in columns)})" if columns else "0L"


def home(columns: Sequence[tuple[str, DataType]], partitions: int, among: int | None = None) -> str:
    """Where a key goes: its partition, the first of `among` so many, plus a multiple of `among` for its piece."""
    if not columns:
        return "0"
    place = f"pmod({key_hash(columns)}, {partitions * PIECES})"
    if among is None or among == partitions:
        return f"CAST({place} AS INT)"
    return f"CAST({place} % {partitions} + ({place} div {partitions}) * {among} AS INT)"


def _hashed(column: str, dtype: DataType) -> str:
    if dtype.is_integer:
        return f"CAST({column} AS BIGINT)"
    if dtype.is_float or isinstance(dtype, DecimalType):
        number = column if dtype == DOUBLE else f"CAST({column} AS DOUBLE)"
        return f"CASE WHEN {number} = 0 THEN 0D ELSE {number} END"
    return column
