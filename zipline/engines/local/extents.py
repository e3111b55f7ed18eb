"""What the files of a source hold: from when until when, and when it became available. Read once, then remembered.

Extents are kept beside the partials of the source, one small table for all of its files. A file that is not there yet
is asked for its clocks alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from zipline.engines.local.by_unit import by_unit
from zipline.engines.local.read import Rows
from zipline.engines.local.session import query
from zipline.plan.steps import Projection
from zipline.tables.columns import quoted
from zipline.tables.contract import FILE, Table, Unit
from zipline.tables.partials import PartialStore
from zipline.values import dataclass

NAME = "extents"


@dataclass(frozen=True)
class Extent:
    """Of the rows of a file that can be seen: the first and last time and availability; `hidden` lack a clock.

    A file without such rows has `rows` 0, and its times mean nothing.
    """

    first: int
    last: int
    available_first: int
    available_last: int
    rows: int
    hidden: int

    @classmethod
    def of_rows(cls, rows: Rows, kept: object) -> Extent:
        """Of rows that were read whole; `kept` is False where the source's conditions fail (None: nowhere)."""
        assert rows.t is not None
        meant = np.ones(rows.rows, np.bool_) if kept is None else np.asarray(kept)
        seen = meant if rows.seen is None else meant & rows.seen
        hidden = int(meant.sum() - seen.sum())
        if not seen.any():
            return replace(NOTHING, hidden=hidden)
        t = rows.t[seen]
        available = t if rows.known is None else np.maximum(t, rows.known[seen])
        return cls(int(t.min()), int(t.max()), int(available.min()), int(available.max()), len(t), hidden)


NOTHING = Extent(0, 0, 0, 0, 0, 0)
"""Of a file without rows."""


def identity(unit: Unit) -> str:
    """One version of one file: 32 hexadecimal digits."""
    text = f"{unit.name}\0{unit.token}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]


def block(units: Iterable[Unit]) -> str:
    """These versions of these files together."""
    return hashlib.sha256("".join(sorted(map(identity, units))).encode()).hexdigest()[:32] + "-block"


class Extents:
    """The extents of one source's files, as far as they are known."""

    def __init__(self, store: PartialStore, group: str) -> None:
        self._store, self._group = store, group
        stored = store.read(group, NAME)
        self._known = {} if stored is None else _extents(stored)
        self._live: dict[Unit, str] = {}
        self._is_new = False

    def unknown(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of the source's files, which are given here once, of which nothing is known."""
        self._live = {unit: identity(unit) for unit in units}
        return [unit for unit, name in self._live.items() if name not in self._known]

    @property
    def live(self) -> Mapping[Unit, str]:
        """The source's files, each with its identity."""
        return self._live

    def of(self, unit: Unit) -> Extent | None:
        return self._known.get(self._live[unit])

    def note(self, unit: Unit, extent: Extent) -> None:
        if self.of(unit) != extent:
            self._known[self._live[unit]] = extent
            self._is_new = True

    def learn(
        self, connection: duckdb.DuckDBPyConnection, table: Table, source: Projection, units: Sequence[Unit]
    ) -> None:
        """Asks the files themselves."""
        found = extents_of(connection, table, source, units)
        for unit in units:
            self.note(unit, found[unit.name])

    def save(self) -> None:
        """Stores what is known of the files that there are."""
        if self._is_new:
            kept = {name: self._known[name] for name in self._live.values() if name in self._known}
            self._store.write(self._group, NAME, _table(kept))
            self._is_new = False


def extents_of(
    connection: duckdb.DuckDBPyConnection, table: Table, source: Projection, units: Sequence[Unit]
) -> dict[str, Extent]:
    """Name of each file -> its extent, by reading their clocks and what the conditions are about."""
    found = dict.fromkeys((unit.name for unit in units), NOTHING)
    for relation, names in by_unit(connection, table, source, units):
        for file, *facts in _rows(query(connection, _question(relation, source), source.table)):
            found[names[str(file)]] = Extent(*(int(fact) for fact in facts))
    return found


def _question(relation: str, source: Projection) -> str:
    assert source.time is not None
    time = f"CAST({source.time.sql('duckdb')} AS TIMESTAMPTZ)"
    available, seen = time, f"({time}) IS NOT NULL"
    if source.known_at is not None:
        known = f"CAST({source.known_at.sql('duckdb')} AS TIMESTAMPTZ)"
        available, seen = f"greatest({time}, {known})", f"{seen} AND ({known}) IS NOT NULL"
    where = " AND ".join([f"({condition.sql('duckdb')})" for condition in source.where]) or "TRUE"
    clocks = f"SELECT {quoted(FILE)} AS f, {time} AS t, {available} AS a, {seen} AS s FROM {relation} WHERE {where}"
    bounds = ", ".join(f"coalesce(epoch_us({f}({c}) FILTER (s)), 0) AS {f}_{c}" for c in "ta" for f in ("min", "max"))
    counts = "count(*) FILTER (s) AS rows, count(*) FILTER (NOT s) AS hidden"
    return f"SELECT f, {bounds}, {counts} FROM ({clocks}) GROUP BY f"


def _rows(found: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in found.columns), strict=True)


def _extents(stored: pa.Table) -> dict[str, Extent]:
    names = stored.column("unit").to_pylist()
    columns = [stored.column(field.name).to_pylist() for field in fields(Extent)]
    return {name: Extent(*facts) for name, *facts in zip(names, *columns, strict=True)}


def _table(known: Mapping[str, Extent]) -> pa.Table:
    rows = [astuple(extent) for extent in known.values()]
    columns = {f.name: pa.array([row[n] for row in rows], pa.int64()) for n, f in enumerate(fields(Extent))}
    return pa.table({"unit": pa.array(list(known), pa.string()), **columns})
