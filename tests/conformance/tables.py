"""Tables and cases: what the oracle and every engine are given, as plain rows with a declared schema.

`table("user STRING, amount BIGINT, t TIMESTAMP", ("ann", 1, "2024-03-05"), ...)` writes one in a test's body. Types are
the platform's SQL names, and a few more that only name an Arrow layout: NAIVE (no zone), MILLIS_TOKYO, LARGE_STRING,
DICTIONARY. Times are written as ISO text.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .instants import at

Row = dict[str, Any]
Functions = Mapping[str, Callable[[Row], Any]]
"""Expression text -> what it means in Python; an expression that is only a column's name needs none."""

TIMES = ("TIMESTAMP", "NAIVE", "MILLIS_TOKYO")


@dataclass(frozen=True)
class Table:
    schema: Mapping[str, str]
    rows: tuple[Row, ...]

    def with_rows(self, rows: list[Row] | tuple[Row, ...]) -> Table:
        return Table(self.schema, tuple(rows))


@dataclass(frozen=True)
class AggregateCase:
    """One call of `aggregate`. `group_by` is a `zipline.GroupBy`."""

    group_by: Any
    queries: Table
    tables: Mapping[str, Table]
    functions: Functions = field(default_factory=dict)


@dataclass(frozen=True)
class BackfillCase:
    """One call of `backfill`. `join` is a `zipline.Join`."""

    join: Any
    tables: Mapping[str, Table]
    training: bool = True
    as_of: dt.datetime | str | None = None
    functions: Functions = field(default_factory=dict)


Case = AggregateCase | BackfillCase


def table(schema: str, *rows: tuple[Any, ...]) -> Table:
    """A literal table; a row is a tuple in the schema's order."""
    columns = dict(_column(part) for part in re.split(r",\s*(?![^<(]*[>)])", schema) if part.strip())
    return Table(columns, tuple(_row(columns, row) for row in rows))


def _column(text: str) -> tuple[str, str]:
    name, _, kind = text.strip().partition(" ")
    return name, kind.strip()


def _row(columns: Mapping[str, str], row: tuple[Any, ...]) -> Row:
    if len(row) != len(columns):
        raise ValueError(f"{row!r} does not fit the columns {list(columns)}")
    return {name: _value(kind, value) for (name, kind), value in zip(columns.items(), row, strict=True)}


def _value(kind: str, value: Any) -> Any:
    if isinstance(value, str) and kind in TIMES:
        return at(value)
    if isinstance(value, str) and kind == "DATE":
        return dt.date.fromisoformat(value)
    if kind == "FLOAT" and value is not None:
        return struct.unpack("f", struct.pack("f", value))[0]
    return value
