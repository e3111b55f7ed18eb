"""Lists of dicts, and frames of any library, as Arrow tables.

Values keep the type they have: ISO text stays text, dates stay dates, whole numbers beside fractions become fractions,
naive datetimes are UTC. A column of nothing but None has the type NULL; a list without rows has no columns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from zipline.arrow import TIMESTAMP_ARROW
from zipline.errors import TableError

KINDS = (
    "a pyarrow Table, RecordBatch or RecordBatchReader",
    "a pandas or polars frame",
    "a list of dicts",
    "a path, or a list of paths",
)


def to_table(name: str, rows: object) -> pa.Table:
    """`rows` as an Arrow table, sharing its memory where it is Arrow already."""
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, (list, tuple)):
        return _from_dicts(name, rows)
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if isinstance(rows, pa.RecordBatchReader):
        return rows.read_all()
    return _from_frame(name, rows)


def _from_frame(name: str, frame: Any) -> pa.Table:
    try:
        if hasattr(frame, "to_arrow") and isinstance(found := frame.to_arrow(), pa.Table):  # of a series it is none
            return found
        if _is_pandas(frame):
            return pa.Table.from_pandas(frame, preserve_index=False)
        if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
            return pa.table(frame)
    except (pa.ArrowException, ValueError, TypeError) as wrong:
        raise TableError(
            f"the frame does not convert to Arrow: {wrong}",
            subject=f"table {name!r}",
            hint="give every column one type, and every column a name of its own",
        ) from None
    raise TableError(f"{type(frame).__name__} is not a table", subject=f"table {name!r}", valid=KINDS)


def _is_pandas(frame: object) -> bool:
    return type(frame).__name__ == "DataFrame" and type(frame).__module__.startswith("pandas.")


def _from_dicts(name: str, rows: Sequence[object]) -> pa.Table:
    columns: dict[str, None] = {}
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TableError(f"row {place} is {row!r}, not a dict", subject=f"table {name!r}", valid=KINDS)
        columns.update(dict.fromkeys(row))
    if not columns:
        return pa.table({})
    arrays = [_column(name, column, [row.get(column) for row in rows]) for column in columns]  # type: ignore[attr-defined]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _column(table: str, column: object, values: list[Any]) -> pa.Array:
    if not isinstance(column, str):
        raise TableError(f"the column name {column!r} is not text", subject=f"table {table!r}")
    kinds = {type(value) for value in values}
    try:
        if any(issubclass(kind, dt.datetime) for kind in kinds):
            return pa.array([_instant(value) for value in values], TIMESTAMP_ARROW)
        return pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as wrong:
        found = sorted(kind.__name__ for kind in kinds if kind is not type(None))
        raise TableError(
            f"the column {column!r} ({' and '.join(found)}) has no one column type: {wrong}",
            subject=f"table {table!r}",
            hint="give every value of a column the same type",
        ) from None


def _instant(value: object) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)
    raise TypeError(f"{value!r} is not an instant")
