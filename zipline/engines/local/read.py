"""Reading: tables projected and filtered by DuckDB, as Arrow."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros, validity, whole
from zipline.arrow import to_arrow
from zipline.clock import to_text
from zipline.engines.local.failures import unreadable
from zipline.expressions import Expression
from zipline.expressions.nodes import Cast, walk
from zipline.plan.steps import Projection, SourceRead
from zipline.tables.contract import Table
from zipline.types import DataType

Bools = NDArray[np.bool_]

TIME = "\0time"
DAY = "\0day"
"""Beside the left's own columns, under names that no table's column has."""

_root: list[duckdb.DuckDBPyConnection] = []
_guard = threading.Lock()


def connect() -> duckdb.DuckDBPyConnection:
    """A connection of its own to the process's in-memory database, which sees times in UTC."""
    with _guard:
        if not _root:
            _root.append(duckdb.connect(":memory:"))
    connection = _root[0].cursor()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def query(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    table: str,
    relation: str = "",
    expressions: Mapping[str, str] | None = None,
) -> pa.Table:
    """Runs one statement; what the data make impossible is a DataError that names the table.

    With the `expressions` that it evaluates over a `relation` the error names the one that fails too.
    """
    try:
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as wrong:
        raise unreadable(connection, wrong, table, relation, expressions or {}) from None


@dataclass
class Rows:
    """One read of a table: `columns` by alias, `masks` by the conditions, the clocks in microseconds.

    Columns stay in the pieces in which they were read until they are needed whole.

    `timed` is False where the time is null, `seen` where either clock is; None where no clock is. A null `known` is
    the time itself. `partitions` are the days of snapshots that exist, in order, whatever the conditions leave of them.
    """

    columns: dict[str, pa.Array | pa.ChunkedArray]
    masks: dict[tuple[str, ...], Bools | None]
    t: NDArray[np.int64] | None
    known: NDArray[np.int64] | None
    timed: Bools | None
    seen: Bools | None
    partition: pa.Array | None
    rows: int
    aliases: dict[tuple[Projection, str], str] = field(default_factory=dict)
    partitions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def column(self, source: Projection, name: str) -> pa.Array:
        alias = self.aliases[source, name]
        self.columns[alias] = whole(self.columns[alias])
        return self.pieces(source, name)

    def pieces(self, source: Projection, name: str) -> pa.Array | pa.ChunkedArray:
        """The column in as many pieces as it happens to be in."""
        array = self.columns[self.aliases[source, name]]
        wanted = to_arrow(source.column_types[name])
        return array if array.type == wanted else array.cast(wanted)

    def mask(self, source: Projection) -> Bools | None:
        return self.masks.get(_conditions(source))

    def take(self, places: pa.Array) -> Rows:
        """The rows at these places."""
        at = places.to_numpy()
        return replace(
            self,
            columns={name: array.take(places) for name, array in self.columns.items()},
            masks={texts: _taken(mask, at) for texts, mask in self.masks.items()},
            t=_taken(self.t, at),
            known=_taken(self.known, at),
            timed=_taken(self.timed, at),
            seen=_taken(self.seen, at),
            partition=None if self.partition is None else self.partition.take(places),
            rows=len(places),
        )


def _taken(array: NDArray[Any] | None, at: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if array is None else array[at]


def _conditions(source: Projection) -> tuple[str, ...]:
    return tuple(condition.text for condition in source.where)


def _all_of(conditions: Iterable[Expression]) -> str:
    """True where all hold. Those that can fail come last and see only the rows that the others keep."""
    ordered = sorted(conditions, key=_can_fail)
    if not ordered:
        return "TRUE"
    nested = "".join(f"CASE WHEN ({condition.sql('duckdb')}) THEN " for condition in ordered[:-1])
    return f"{nested}({ordered[-1].sql('duckdb')}){' ELSE FALSE END' * (len(ordered) - 1)}"


def _can_fail(condition: Expression) -> bool:
    return any(isinstance(node, Cast) and not node.safe for node in walk(condition.node))


def read_source(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    read: SourceRead,
    *,
    needed: dict[Projection, frozenset[str]],
    low: int | None,
    high: int | None,
    partitions: tuple[str, str] | None = None,
) -> Rows:
    """The rows that queries can see between `low` and `high` (None: unbounded), with the columns they need."""
    first = read.first
    wheres = {_conditions(source): source.where for source in read.projections}
    shared = next(iter(wheres.values())) if len(wheres) == 1 else None
    items: dict[str, str] = {}
    aliases: dict[tuple[Projection, str], str] = {}
    for source in read.projections:
        guard = "" if shared is not None or not source.where else _all_of(source.where)
        for name in sorted(needed[source]):
            sql = _guarded(source.columns[name], guard)
            aliases[source, name] = items.setdefault(sql, f"c{len(items)}")
    masks: dict[tuple[str, ...], str] = {}
    if shared is None:
        for texts, where in wheres.items():
            if where:
                masks[texts] = items.setdefault(f"coalesce({_all_of(where)}, FALSE)", f"c{len(items)}")
    clocks: list[str] = []
    for clock, expression in (("t", first.time), ("known", first.known_at)):
        if expression is not None:
            clocks.append(f"CAST({expression.sql('duckdb')} AS TIMESTAMPTZ) AS __{clock}")
    partition = _quoted(first.partition) if first.partition and first.kind == "snapshots" else None
    if partition:
        clocks.append(f"CAST({partition} AS DATE) AS __day")
    start, end = _within(first, partitions)
    relation = table.relation(connection, partition=first.partition, start=start, end=end)
    conditions = [] if shared is None else [condition.sql("duckdb") for condition in shared]
    if shared is None and all(wheres):
        conditions = [" OR ".join(f"({_all_of(w)})" for w in wheres.values())]
    conditions += _time_bounds(first.time, low, high) if first.kind == "events" else []
    selected = ", ".join([*(f"{sql} AS {alias}" for sql, alias in items.items()), *clocks]) or "1 AS __one"
    source_sql = _deduplicated(first, relation, conditions) if first.event_id else _filtered(relation, conditions)
    tried = _tried(read.projections, needed)
    found = query(connection, f"SELECT {selected} FROM {source_sql}", first.table, relation, tried)
    return _rows(found, masks, aliases)


def _tried(projections: Iterable[Projection], needed: Mapping[Projection, frozenset[str]]) -> dict[str, str]:
    """The author's expressions as SQL, columns as far as the conditions let them be evaluated."""
    tried: dict[str, str] = {}
    for source in projections:
        for clock in (source.time, source.known_at):
            if clock is not None:
                tried[clock.text] = clock.sql("duckdb")
        tried |= {condition.text: condition.sql("duckdb") for condition in source.where}
        guard = _all_of(source.where) if source.where else ""
        tried |= {source.columns[n].text: _guarded(source.columns[n], guard) for n in sorted(needed[source])}
    return tried


def _guarded(expression: Expression, guard: str) -> str:
    column = _column(expression)
    sql = column or expression.sql("duckdb")
    return sql if column or not guard else f"CASE WHEN {guard} THEN {sql} END"


def _column(expression: Expression) -> str | None:
    """The column that an expression is, untouched; None where it computes."""
    name = expression.text[1:-1].replace('""', '"') if expression.text.startswith('"') else expression.text
    return _quoted(name) if name in expression.columns else None


def _filtered(relation: str, conditions: list[str]) -> str:
    return f"{relation} WHERE {' AND '.join(f'({c})' for c in conditions)}" if conditions else relation


def _deduplicated(first: Projection, relation: str, conditions: list[str]) -> str:
    """Of the rows of one event id the least by (availability, t, values); rows without an id stay.

    A row that lacks a clock is never seen, so it stands behind those that can be.
    """
    assert first.event_id is not None
    identity = first.event_id.sql("duckdb")
    clocks = [f"({e.sql('duckdb')})" for e in (first.known_at, first.time) if e is not None]
    unseen = " OR ".join(f"{clock} IS NULL" for clock in clocks) or "FALSE"
    available = f"greatest({', '.join(clocks)})" if len(clocks) > 1 else clocks[0] if clocks else "NULL"
    values = [e.sql("duckdb") for e in first.columns.values()]
    order = ", ".join(f"{sql} NULLS LAST" for sql in (unseen, available, *reversed(clocks), *values))
    keep = f"({identity}) IS NULL OR row_number() OVER (PARTITION BY {identity} ORDER BY {order}) = 1"
    return _filtered(f"(SELECT * FROM {relation} QUALIFY {keep})", conditions)


def _within(first: Projection, partitions: tuple[str, str] | None) -> tuple[str | None, str | None]:
    if partitions is None:
        return first.start, first.end
    starts = [day for day in (first.start, partitions[0]) if day]
    ends = [day for day in (first.end, partitions[1]) if day]
    return max(starts), min(ends)


def _time_bounds(time: Expression | None, low: int | None, high: int | None) -> list[str]:
    if time is None:
        return []
    sql = f"CAST({time.sql('duckdb')} AS TIMESTAMPTZ)"
    bounds = []
    if low is not None:
        bounds.append(f"({sql} >= TIMESTAMPTZ '{_literal(low)}' OR ({sql}) IS NULL)")
    if high is not None:
        bounds.append(f"({sql} < TIMESTAMPTZ '{_literal(high)}' OR ({sql}) IS NULL)")
    return bounds


def _literal(instant: int) -> str:
    return to_text(instant).replace("Z", "+00")


def _rows(found: pa.Table, masks: dict[tuple[str, ...], str], aliases: dict[tuple[Projection, str], str]) -> Rows:
    arrays = {name: found.column(name) for name in found.column_names}
    t = micros(arrays["__t"]) if "__t" in arrays else None
    known = micros(arrays["__known"]) if "__known" in arrays else None
    timed = validity(arrays["__t"]) if t is not None else None
    seen = timed
    if known is not None and arrays["__known"].null_count:
        is_known = validity(arrays["__known"])
        assert is_known is not None
        known = np.where(is_known, known, t if t is not None else 0)
        seen = is_known if timed is None else timed & is_known
    return Rows(
        columns={name: column for name, column in arrays.items() if not name.startswith("__")},
        masks={
            texts: np.asarray(whole(arrays[alias]).to_numpy(zero_copy_only=False)) for texts, alias in masks.items()
        },
        t=t,
        known=known,
        timed=timed,
        seen=seen,
        partition=whole(arrays["__day"]) if "__day" in arrays else None,
        rows=found.num_rows,
        aliases=aliases,
    )


def empty_rows(read: SourceRead) -> Rows:
    """What is read of a table of which nothing is known: no rows."""
    columns: dict[str, pa.Array] = {}
    aliases: dict[tuple[Projection, str], str] = {}
    for source in read.projections:
        for name, dtype in source.column_types.items():
            alias = f"c{len(columns)}"
            columns[alias] = pa.nulls(0).cast(to_arrow(dtype))
            aliases[source, name] = alias
    none = np.zeros(0, np.int64)
    return Rows(
        columns=columns,
        masks={_conditions(source): np.zeros(0, np.bool_) for source in read.projections if source.where},
        t=none,
        known=none if read.first.known_at else None,
        timed=None,
        seen=None,
        partition=pa.nulls(0).cast(pa.date32()),
        rows=0,
        aliases=aliases,
    )


def read_left(
    connection: duckdb.DuckDBPyConnection, table: Table, left: Projection, *, start: str | None, end: str | None
) -> pa.Table:
    """The left rows in the table's order: selected columns, TIME, and DAY, that of their partition (in a range).

    A range holds the rows without a day too: theirs is null.
    """
    if not table.schema:
        return _empty_left(left)
    time = _query_time(left)
    bounds = (start, end) if start and end else None
    day = _day(left, time) if bounds else "CAST(NULL AS VARCHAR)"
    items = [
        f"{time if e is left.time else _column(e) or e.sql('duckdb')} AS {_quoted(name)}" for name, e in left.select
    ]
    items += [f"{time} AS __ts", f"{day} AS __ds"]
    low, high = _within(left, bounds)
    relation = table.relation(connection, partition=left.partition, start=low, end=high)
    conditions = [condition.sql("duckdb") for condition in left.where]
    if bounds and not left.partition:
        conditions.append(f"{day} BETWEEN '{start}' AND '{end}' OR {day} IS NULL")
    if left.event_id:
        numbered = f"(SELECT *, row_number() OVER () AS __row FROM {relation})"
        source = f"{_deduplicated(left, numbered, conditions)} ORDER BY __row"
    else:
        source = _filtered(relation, conditions)
    tried = _tried([left], {left: frozenset(left.columns)})
    found = query(connection, f"SELECT {', '.join(items)} FROM {source}", left.table, relation, tried)
    return _typed(found, left.column_types)


def _query_time(left: Projection) -> str:
    """An event's own time; for a row of a snapshot the end of the snapshot's day."""
    if left.time is not None:
        return f"CAST({left.time.sql('duckdb')} AS TIMESTAMPTZ)"
    assert left.partition is not None
    return f"CAST(CAST({_quoted(left.partition)} AS DATE) + INTERVAL 1 DAY AS TIMESTAMPTZ)"


def _day(left: Projection, time: str) -> str:
    if left.partition:
        return f"CAST(CAST({_quoted(left.partition)} AS DATE) AS VARCHAR)"
    return f"strftime({time}, '%Y-%m-%d')"


def _empty_left(left: Projection) -> pa.Table:
    columns: dict[str, Any] = {name: pa.nulls(0).cast(to_arrow(dtype)) for name, dtype in left.column_types.items()}
    columns[TIME] = pa.nulls(0).cast(pa.timestamp("us", tz="UTC"))
    columns[DAY] = pa.nulls(0).cast(pa.string())
    return pa.table(columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _typed(found: pa.Table, types: Any) -> pa.Table:
    arrays = []
    names = [*types, TIME, DAY]
    for name, column in zip(names, found.columns, strict=True):
        dtype: DataType | None = types.get(name)
        wanted = to_arrow(dtype) if dtype is not None else column.type
        arrays.append(column if column.type == wanted else column.cast(wanted))
    return pa.table(arrays, names=names)


def newest_event(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection) -> int | None:
    """The newest time in a source before its `where`; None of an empty one."""
    if source.time is None or not table.schema:
        return None
    relation = table.relation(connection, partition=source.partition, start=source.start, end=source.end)
    sql = f"SELECT max(CAST({source.time.sql('duckdb')} AS TIMESTAMPTZ)) AS newest FROM {relation}"
    tried = {source.time.text: source.time.sql("duckdb")}
    newest = query(connection, sql, source.table, relation, tried).column("newest")
    value = pc.max(newest)
    return int(micros(pa.array([value.as_py()], newest.type))[0]) if value.is_valid else None
