"""Reading sources: tables projected and filtered by DuckDB, as Arrow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros, validity, whole
from zipline.arrow import to_arrow
from zipline.engines.contract import KeyCount
from zipline.engines.local.session import query
from zipline.engines.local.statements import all_of, deduplicated, filtered, guarded, time_bounds, tried, within
from zipline.errors import DataError
from zipline.plan.steps import Projection, SourceRead
from zipline.tables.columns import quoted
from zipline.tables.contract import Table
from zipline.types import ArrayType, DataType
from zipline.values import dataclass

Bools = NDArray[np.bool_]


@dataclass
class Rows:
    """One read of a table: `columns` by alias, `masks` by the conditions, the clocks in microseconds.

    Columns stay in the pieces in which they were read until they are needed whole.

    `timed` is False where the time is null, `seen` where either clock is; None where no clock is. A null `known` is
    the time itself. `partitions` are the days of snapshots that exist, in order, whatever the conditions leave of them.

    `unread` are columns that are read when asked for: those of a lookup, of which a few rows may be all that is needed.

    Of mutations, `changed` is when each was made (a null one is not `seen`) and `is_before` whether it took its row
    away; `orphans` counts reversals of rows that were not there. Of rows with lives, `born` and `died` are their ends.
    Of snapshots `repeated` and `older` count, per set of keys, what `snapshots.notice` says of them.
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
    changed: NDArray[np.int64] | None = None
    is_before: pa.Array | None = None
    orphans: int = 0
    born: NDArray[np.int64] | None = None
    died: NDArray[np.int64] | None = None
    unread: Unread | None = None
    repeated: dict[str, KeyCount] = field(default_factory=dict)
    older: dict[str, KeyCount] = field(default_factory=dict)

    def column(self, source: Projection, name: str) -> pa.Array:
        alias = self.aliases[source, name]
        self.columns[alias] = whole(self.pieces(source, name))
        return self.pieces(source, name)

    def rows_at(self, source: Projection, names: Sequence[str], places: NDArray[np.int64]) -> list[pa.Array]:
        """Columns at these places (-1: null), reading no other rows of those that are unread."""
        aliases = [self.aliases[source, name] for name in names]
        if self.unread is None or all(alias in self.columns for alias in aliases):
            taken = pa.array(places, mask=places < 0)
            return [self.column(source, name).take(taken) for name in names]
        distinct = np.unique(places[places >= 0])
        few = self.unread.read(distinct if len(distinct) * 2 < self.rows else None)
        at = np.searchsorted(distinct, places) if len(distinct) * 2 < self.rows else places
        of_few, of_all = pa.array(at, mask=places < 0), pa.array(places, mask=places < 0)
        found = [few[a].take(of_few) if a in few else self.columns[a].take(of_all) for a in aliases]
        return [widened(whole(array), source, name) for array, name in zip(found, names, strict=True)]

    def pieces(self, source: Projection, name: str) -> pa.Array | pa.ChunkedArray:
        """The column in as many pieces as it happens to be in."""
        if self.unread is not None and self.aliases[source, name] not in self.columns:
            self.columns |= self.unread.read(None)
        return widened(self.columns[self.aliases[source, name]], source, name)

    def mask(self, source: Projection) -> Bools | None:
        return self.masks.get(conditions_of(source))

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
            changed=_taken(self.changed, at),
            is_before=None if self.is_before is None else self.is_before.take(places),
            born=_taken(self.born, at),
            died=_taken(self.died, at),
            rows=len(places),
        )


@dataclass
class Unread:
    """Columns of one reading that are not read yet: `items` is alias -> SQL, `source` what they are selected from."""

    connection: duckdb.DuckDBPyConnection
    table: str
    source: str
    items: Mapping[str, str]
    rows: int

    def read(self, places: NDArray[np.int64] | None) -> dict[str, pa.ChunkedArray]:
        """The columns, whole or of the rows at these places (sorted, distinct).

        A table that has another number of rows than before is a DataError: it was replaced in between.
        """
        selected = ", ".join(f"{sql} AS {alias}" for alias, sql in self.items.items())
        sql = f"SELECT {selected} FROM {self.source}"
        if places is not None:
            asked = np.zeros(self.rows, np.bool_)
            asked[places] = True
            self.connection.register("__asked", pa.table({"__is_asked": asked}))
            sql = f"SELECT * EXCLUDE (__is_asked) FROM ({sql}) POSITIONAL JOIN __asked WHERE __is_asked"
        found = query(self.connection, sql, self.table)
        if found.num_rows != (self.rows if places is None else len(places)):
            raise DataError(f"the table {self.table!r} changed while it was read", hint="run it again")
        return {name: found.column(name) for name in found.column_names}


def _taken(array: NDArray[Any] | None, at: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if array is None else array[at]


def conditions_of(source: Projection) -> tuple[str, ...]:
    return tuple(condition.text for condition in source.where)


def read_source(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    read: SourceRead,
    *,
    needed: dict[Projection, frozenset[str]],
    low: int | None,
    high: int | None,
    partitions: tuple[str, str] | None = None,
    deferred: Mapping[Projection, frozenset[str]] | None = None,
    units: Collection[str] | None = None,
) -> Rows:
    """The rows that queries can see between `low` and `high` (None: unbounded), with the columns they need.

    Of these the `deferred` ones are left unread until somebody asks for them. With `units` only those files are read.
    """
    first = read.first
    wheres = {conditions_of(source): source.where for source in read.projections}
    shared = next(iter(wheres.values())) if len(wheres) == 1 else None
    items: dict[str, str] = {}
    aliases: dict[tuple[Projection, str], str] = {}
    for source in read.projections:
        guard = "" if shared is not None or not source.where else all_of(source.where)
        for name in sorted(needed[source]):
            sql = guarded(source.columns[name], guard)
            aliases[source, name] = items.setdefault(sql, f"c{len(items)}")
    masks: dict[tuple[str, ...], str] = {}
    if shared is None:
        for texts, where in wheres.items():
            if where:
                masks[texts] = items.setdefault(f"coalesce({all_of(where)}, FALSE)", f"c{len(items)}")
    clocks: list[str] = []
    for clock, expression in (("t", first.time), ("known", first.known_at), ("changed", first.mutation_time)):
        if expression is not None:
            clocks.append(f"CAST({expression.sql('duckdb')} AS TIMESTAMPTZ) AS __{clock}")
    partition = quoted(first.partition) if first.partition and first.kind == "snapshots" else None
    if partition:
        clocks.append(f"CAST({partition} AS DATE) AS __day")
    if first.is_before is not None:
        clocks.append(f"CAST({first.is_before.sql('duckdb')} AS BOOLEAN) AS __before")
    start, end = within(first, partitions)
    relation = table.relation(connection, partition=first.partition, start=start, end=end, units=units)
    conditions = [] if shared is None else [condition.sql("duckdb") for condition in shared]
    if shared is None and all(wheres):
        conditions = [" OR ".join(f"({all_of(w)})" for w in wheres.values())]
    if first.kind != "snapshots":
        conditions += time_bounds(first.mutation_time or first.time, low, high)
    unread = _deferrable(aliases, masks, deferred or {}) if not first.event_id else frozenset()
    read_now = [f"{sql} AS {alias}" for sql, alias in items.items() if alias not in unread]
    selected = ", ".join([*read_now, *clocks]) or "1 AS __one"
    source_sql = deduplicated(first, relation, conditions) if first.event_id else filtered(relation, conditions)
    expressions = tried(read.projections, needed)
    found = query(connection, f"SELECT {selected} FROM {source_sql}", first.table, relation, expressions)
    rows = rows_from(found, masks, aliases)
    if unread:
        later = {alias: sql for sql, alias in items.items() if alias in unread}
        rows.unread = Unread(connection, first.table, source_sql, later, rows.rows)
    return rows


def _deferrable(
    aliases: Mapping[tuple[Projection, str], str],
    masks: Mapping[tuple[str, ...], str],
    deferred: Mapping[Projection, frozenset[str]],
) -> frozenset[str]:
    """The aliases of which every user can wait."""
    needed = {alias for (source, name), alias in aliases.items() if name not in deferred.get(source, frozenset())}
    return frozenset(aliases.values()) - needed - frozenset(masks.values())


def rows_from(found: pa.Table, masks: dict[tuple[str, ...], str], aliases: dict[tuple[Projection, str], str]) -> Rows:
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
    changed = micros(arrays["__changed"]) if "__changed" in arrays else None
    if changed is not None and arrays["__changed"].null_count:
        is_changed = validity(arrays["__changed"])
        seen = is_changed if seen is None or is_changed is None else seen & is_changed
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
        changed=changed,
        is_before=whole(arrays["__before"]) if "__before" in arrays else None,
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
        masks={conditions_of(source): np.zeros(0, np.bool_) for source in read.projections if source.where},
        t=none,
        known=none if read.first.known_at else None,
        timed=None,
        seen=None,
        partition=pa.nulls(0).cast(pa.date32()),
        rows=0,
        aliases=aliases,
        changed=none if read.first.mutation_time else None,
        is_before=pa.nulls(0).cast(pa.bool_()) if read.first.is_before else None,
    )


def widened(array: Any, source: Projection, name: str) -> Any:
    """A column as the type that it has over all sources of a group-by: of integers the nearest floats, as a CAST gives
    them. DataError for a decimal that does not fit."""
    dtype = source.column_types[name]
    wanted = to_arrow(dtype)
    if array.type == wanted:
        return array
    try:
        return array.cast(wanted, safe=not _is_float(dtype))
    except pa.ArrowInvalid as wrong:
        raise DataError(
            f"reading {source.title!r}: a value of {name!r} is no {dtype}, its type over all sources: {wrong}",
            hint="CAST the column to one type in the select of each source",
        ) from None


def _is_float(dtype: DataType) -> bool:
    return _is_float(dtype.element) if isinstance(dtype, ArrayType) else dtype.is_float
