"""The rows of one key in one source: judged and counted by one DuckDB query.

The query gives the count of each verdict, the rows of each that are nearest to the query, and as `excerpt` the table's
own rows that the engine needs for the value: those of the key between the bounds. Rows of other keys are filtered where
the files are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import whole
from zipline.clock import DAY, day_text
from zipline.engines.explanation import warm
from zipline.engines.explanation.contract import (
    Event,
)
from zipline.engines.explanation.questions import Evidence, Question
from zipline.engines.explanation.statements import ORIGIN, entity_statement, has_day, instant, statement
from zipline.engines.local.session import query
from zipline.plan.steps import Projection
from zipline.tables.contract import Table


def gather(connection: duckdb.DuckDBPyConnection, table: Table, asked: Question, newest: str | None) -> Evidence:
    """The evidence of a source; `newest` is the day of the snapshot that the query sees."""
    source = asked.source
    relation = warm.relation(connection, table, source, asked.table_columns)
    tried = {e.text: e.sql("duckdb") for e in (source.time, source.known_at) if e is not None}
    found = query(connection, statement(asked, relation, newest), source.table, relation, tried)
    return _evidence(asked, found)


def _evidence(asked: Question, found: pa.Table) -> Evidence:
    verdicts = found.column("verdict").to_pylist()
    listed = whole(found.column("listed"))
    rows = _rows(pc.list_flatten(listed))
    of = [verdicts[place] for place in pc.list_parent_indices(listed).to_pylist()]
    events = tuple(_event(asked, verdict, row) for verdict, row in zip(of, rows, strict=True))
    near = pc.list_flatten(whole(found.column("near")))
    return Evidence(
        events=events,
        rows=tuple(rows) if asked.feature is None else (),
        counts=dict(zip(verdicts, found.column("n").to_pylist(), strict=True)),
        excerpt=pa.Table.from_batches([pa.RecordBatch.from_struct_array(near)]),
    )


def _rows(structs: pa.StructArray) -> list[dict[str, Any]]:
    """As `to_pylist`, column by column."""
    names = [field.name for field in structs.type]
    columns = [array.to_pylist() for array in structs.flatten()]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _event(asked: Question, verdict: str, row: Mapping[str, Any]) -> Event:
    return Event(
        table=asked.source.parent.name if asked.source.parent else asked.source.table,
        time=row["t"],
        known_at=row["known"],
        value=row["value"],
        verdict=verdict,
        bucket=row["bucket"],
        snapshot=row["day"],
        row={name: row[ORIGIN + name] for name in asked.origin} or None,
    )


def entity_rows(connection: duckdb.DuckDBPyConnection, table: Table, asked: Question, source: Projection) -> pa.Table:
    """Every row of the key in the snapshots or the mutations of an entity; what they carry is in `entity_statement`."""
    relation = warm.relation(connection, table, source, source.table_columns)
    return query(connection, entity_statement(asked, relation, source), source.table, relation)


def newest_snapshot(table: Table, source: Projection, end: int) -> str | None:
    """The snapshot that a query sees: the newest before its day, whether or not it has a row of the key."""
    if not has_day(source) or source.partition is None:
        return None
    days = [p.day for p in table.partitions(source.partition) if p.day < day_text(end - end % DAY)]
    inside = [day for day in days if (source.start or day) <= day <= (source.end or day)]
    return max(inside) if inside else None


def newest(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection) -> int | None:
    """The newest time of a source before its `where`; None where it has none."""
    if source.time is None or not table.schema:
        return None
    relation = warm.relation(connection, table, source, source.time.columns)
    found = query(connection, f"SELECT epoch_us(max({instant(source.time)})) AS newest FROM {relation}", source.table)
    value: int | None = found.column("newest")[0].as_py()
    return value


def other_keys(table: Table, source: Projection, own: int) -> int | None:
    """How many rows of the partitions in question are of other keys; None where only reading them would tell."""
    if source.partition is not None and (source.start or source.end):
        inside = [p for p in table.partitions(source.partition) if (source.start or p.day) <= p.day]
        sizes = [p.rows for p in inside if p.day <= (source.end or p.day)]
    else:
        sizes = [table.statistics().rows]
    known = [size for size in sizes if size is not None]
    return sum(known) - own if len(known) == len(sizes) else None
