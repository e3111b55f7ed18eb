"""The left rows: read in the table's order, with their query times, and the newest times that end label data."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import micros
from zipline.arrow import to_arrow
from zipline.clock import DAY as MICROS_PER_DAY
from zipline.clock import FIRST_INSTANT, LAST_INSTANT, day_text, to_micros
from zipline.engines.local.session import query
from zipline.engines.local.statements import (
    between,
    deduplicated,
    filtered,
    left_items,
    tried,
    within,
)
from zipline.plan.chaining import Span
from zipline.plan.steps import Projection
from zipline.tables.columns import quoted
from zipline.tables.contract import Table
from zipline.types import DataType

TIME = "\0time"
DAY = "\0day"
"""Beside the left's own columns, under names that no table's column has."""


_PLACE = quoted("the place of a row in its table")
"""A name that no column has."""


def read_left(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    left: Projection,
    *,
    start: str | None,
    end: str | None,
    span: Span | None = None,
) -> pa.Table:
    """The left rows in the table's order: selected columns, TIME, and DAY, that of their partition (in a range).

    A range holds the rows without a day too: theirs is null. A span of query times holds those without a time.
    """
    if not table.schema:
        return _empty_left(left)
    bounds = (start, end) if start and end else None
    low, high = left_days(left, bounds, span)
    relation = table.relation(connection, partition=left.partition, start=low, end=high)
    return left_rows(connection, relation, left, bounds=bounds, span=span)


def left_days(left: Projection, bounds: tuple[str, str] | None, span: Span | None) -> tuple[str | None, str | None]:
    """The partitions to read. Rows of one event id are one event whatever the range: they are looked for in all."""
    return within(left, (bounds or snapshot_days_of(left, span)) if _is_by_partition(left) else None)


def _is_by_partition(left: Projection) -> bool:
    return left.partition is not None and left.event_id is None


def left_rows(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    left: Projection,
    *,
    bounds: tuple[str, str] | None,
    span: Span | None,
    names: Collection[str] | None = None,
) -> pa.Table:
    """What `read_left` reads, of a relation of the table's rows of these days; of its columns those in `names`."""
    time = _query_time(left)
    day = _day(left, time) if bounds or span else "CAST(NULL AS VARCHAR)"
    types = {name: dtype for name, dtype in left.column_types.items() if names is None or name in names}
    items = [f"{sql} AS {quoted(name)}" for name, sql in left_items(left, time) if name in types]
    items += [f"{time} AS __ts", f"{day} AS __ds"]
    conditions = [condition.sql("duckdb") for condition in left.where]
    if bounds and left.partition is None:
        conditions += between(time, to_micros(bounds[0]), to_micros(bounds[1]) + MICROS_PER_DAY)
    elif bounds and not _is_by_partition(left):
        conditions.append(f"{day} BETWEEN '{bounds[0]}' AND '{bounds[1]}'")
    if span is not None:
        conditions += between(time, span.low, span.high)
    if left.event_id:
        numbered = f"(SELECT *, row_number() OVER () AS {_PLACE} FROM {relation})"
        source = f"{deduplicated(left, numbered, conditions)} ORDER BY {_PLACE}"
    else:
        source = filtered(relation, conditions)
    texts = tried([left], {left: frozenset(left.columns)})
    found = query(connection, f"SELECT {', '.join(items)} FROM {source}", left.table, relation, texts)
    return _typed(found, types)


def snapshot_days_of(left: Projection, span: Span | None) -> tuple[str, str] | None:
    """The days of the snapshots whose rows have their query times, the days' ends, in a span."""
    if span is None or left.time is not None or (span.low, span.high) == (None, None):
        return None
    low = FIRST_INSTANT if span.low is None else min(max(span.low - MICROS_PER_DAY, FIRST_INSTANT), LAST_INSTANT)
    high = LAST_INSTANT if span.high is None else max(min(span.high, LAST_INSTANT), FIRST_INSTANT)
    return day_text(low), day_text(high)


def _query_time(left: Projection) -> str:
    """An event's own time; for a row of a snapshot the end of the snapshot's day."""
    if left.time is not None:
        return f"CAST({left.time.sql('duckdb')} AS TIMESTAMPTZ)"
    assert left.partition is not None
    return f"CAST(CAST({quoted(left.partition)} AS DATE) + INTERVAL 1 DAY AS TIMESTAMPTZ)"


def _day(left: Projection, time: str) -> str:
    if left.partition:
        return f"CAST(CAST({quoted(left.partition)} AS DATE) AS VARCHAR)"
    return f"CAST(CAST({time} AS DATE) AS VARCHAR)"


def _empty_left(left: Projection) -> pa.Table:
    columns: dict[str, Any] = {name: pa.nulls(0).cast(to_arrow(dtype)) for name, dtype in left.column_types.items()}
    columns[TIME] = pa.nulls(0).cast(pa.timestamp("us", tz="UTC"))
    columns[DAY] = pa.nulls(0).cast(pa.string())
    return pa.table(columns)


def _typed(found: pa.Table, types: Any) -> pa.Table:
    arrays = []
    names = [*types, TIME, DAY]
    for name, column in zip(names, found.columns, strict=True):
        dtype: DataType | None = types.get(name)
        wanted = to_arrow(dtype) if dtype is not None else column.type
        arrays.append(column if column.type == wanted else column.cast(wanted))
    return pa.table(arrays, names=names)


def newest_event(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection) -> int | None:
    """The newest time in a source (of mutations, of a change) before its `where`; None of an empty one."""
    clock = source.mutation_time or source.time
    if clock is None or not table.schema:
        return None
    relation = table.relation(connection, partition=source.partition, start=source.start, end=source.end)
    sql = f"SELECT max(CAST({clock.sql('duckdb')} AS TIMESTAMPTZ)) AS newest FROM {relation}"
    texts = {clock.text: clock.sql("duckdb")}
    newest = query(connection, sql, source.table, relation, texts).column("newest")
    value = pc.max(newest)
    return int(micros(pa.array([value.as_py()], newest.type))[0]) if value.is_valid else None


def newest_query_time(connection: duckdb.DuckDBPyConnection, table: Table, left: Projection) -> int | None:
    """The newest query time of a left's rows; None where it has none."""
    if not table.schema:
        return None
    time = _query_time(left)
    relation = table.relation(connection, partition=left.partition, start=left.start, end=left.end)
    source = filtered(relation, [condition.sql("duckdb") for condition in left.where])
    newest = query(connection, f"SELECT max({time}) AS newest FROM {source}", left.table, relation).column("newest")
    return int(micros(newest.combine_chunks())[0]) if newest.null_count < len(newest) else None
