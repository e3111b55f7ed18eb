"""Which times the units of a table hold: what decides which days of an output a unit can be seen by.

For each unit and each day in it: the first and last time, the least availability, the number of rows. One query reads
the clocks of the units that are not yet known; what is known is kept in a file, by the tokens of the units, so losing
the file costs only time. Times that cannot be read are none here: a run that meets them says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from zipline.clock import DAY, to_micros
from zipline.engines.local.by_unit import by_unit, is_inside
from zipline.expressions import Expression
from zipline.plan.steps import Projection
from zipline.tables.catalog import Catalog
from zipline.tables.columns import quoted
from zipline.tables.contract import FILE, Table, Unit
from zipline.values import dataclass

View = Literal["left", "events", "snapshots"]
"""How a projection's rows are put into days: by the left's day, by their time (of change), by their partition."""

_BATCH = 64


class Extent(NamedTuple):
    """The rows of one unit in one day (days since 1970; None: in no day), times in microseconds.

    `first` and `last` are None where no row has a time, `known` where no row is known to be available at any time.
    """

    unit: str
    token: str
    label: int | None
    """The day of the unit's folder, else that of the rows."""
    day: int | None
    first: int | None
    last: int | None
    known: int | None
    rows: int
    timeless: int


@dataclass(frozen=True)
class _Asked:
    """The query's items for one projection."""

    day: str
    time: str
    known: str
    where: str


class Extents:
    """The extents of a catalog's tables, kept in `folder` (None: in memory only)."""

    def __init__(self, catalog: Catalog, folder: Path | None = None) -> None:
        self._catalog = catalog
        self._folder = folder
        self._known: dict[str, list[Extent]] = {}

    def of(self, projection: Projection) -> list[Extent]:
        """Every unit's days, sorted by unit and day; a partition without rows has one day too: it exists."""
        view: View = "left" if projection.kind == "left" else "snapshots" if _by_partition(projection) else "events"
        table = self._catalog.table(projection.table)
        if not table.schema:
            return []
        asked = _asked(projection, view)
        key = _key(projection, asked)
        if key not in self._known:
            self._known[key] = self._find(table, projection, asked, key)
        return self._known[key]

    def matches(self, left: Projection, given: Projection, row_id: Sequence[str]) -> dict[str, list[str]]:
        """Day of the left -> the units of a bootstrap table that have a row of one of its ids, sorted."""
        tables = [self._catalog.table(each.table) for each in (left, given)]
        if not all(table.schema for table in tables):
            return {}
        asked = [_asked(left, "left"), _asked(given, "events")]
        keys = [_key(projection, each) for projection, each in zip((left, given), asked, strict=True)]
        key = hashlib.sha256(repr((keys, row_id)).encode()).hexdigest()[:24]
        tokens = repr([(u.name, u.token) for table in tables for u in table.units(None)])
        state = hashlib.sha256(tokens.encode()).hexdigest()
        kept = self._load(key)
        if kept.get("state") != state:
            kept = {"state": state, "days": _match(tables[0], tables[1], left, given, row_id, asked[0])}
            self._store(key, kept)
        return dict(kept["days"])

    def _find(self, table: Table, projection: Projection, asked: _Asked, key: str) -> list[Extent]:
        units = table.units(projection.partition)
        kept = self._load(key)
        known: dict[str, Any] = {u.name: kept[u.name] for u in units if kept.get(u.name, [None])[0] == u.token}
        unknown = [unit for unit in units if unit.name not in known]
        if unknown:
            found = _measure(table, projection, asked, unknown)
            known |= {unit.name: [unit.token, found.get(unit.name, [])] for unit in unknown}
            self._store(key, kept | known if len(kept) < 2 * len(known) + 1000 else known)
        return [extent for unit in units for extent in _extents(unit, projection, known[unit.name][1])]

    def _load(self, key: str) -> dict[str, Any]:
        if self._folder is not None:
            with suppress(OSError, ValueError):
                return dict(json.loads((self._folder / f"{key}.json").read_text()))
        return {}

    def _store(self, key: str, known: Mapping[str, Any]) -> None:
        """Nothing depends on it, so a folder that cannot be written is no failure."""
        if self._folder is None:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            written = self._folder / f"{key}.{uuid.uuid4().hex}.part"
            written.write_text(json.dumps(known, separators=(",", ":")))
            os.replace(written, self._folder / f"{key}.json")


def query_time(left: Projection) -> str:
    """SQL of a left row's query time: its own, or the end of a snapshot's day."""
    if left.time is not None:
        return _instant(left.time)
    assert left.partition is not None
    return f"TRY(CAST(CAST({quoted(left.partition)} AS DATE) + INTERVAL 1 DAY AS TIMESTAMPTZ))"


def _clocks(projection: Projection) -> set[str]:
    """The columns that say when a row happened, and whether it is a row of the left."""
    clocks = (projection.time, projection.known_at, projection.mutation_time)
    read = [*(each for each in clocks if each is not None), *projection.where]
    return {projection.partition or "", *(column for expression in read for column in expression.columns)} - {""}


def _by_partition(projection: Projection) -> bool:
    return projection.kind == "snapshots"


def _asked(projection: Projection, view: View) -> _Asked:
    clock = projection.mutation_time if projection.kind == "mutations" else projection.time
    time = query_time(projection) if view == "left" else _instant(clock) if clock else "NULL::TIMESTAMPTZ"
    partition = f"TRY(CAST({quoted(projection.partition)} AS DATE))" if projection.partition else None
    by_partition = view == "snapshots" or (view == "left" and partition is not None)
    return _Asked(
        day=partition if by_partition and partition is not None else "CAST(__t AS DATE)",
        time=time,
        known=_instant(projection.known_at) if projection.known_at else "NULL::TIMESTAMPTZ",
        where=" AND ".join(f"({c.sql('duckdb')})" for c in projection.where) if view == "left" else "",
    )


def _instant(expression: Expression) -> str:
    return f"TRY(CAST({expression.sql('duckdb')} AS TIMESTAMPTZ))"


def _measure(
    table: Table, projection: Projection, asked: _Asked, units: Sequence[Unit]
) -> dict[str, list[list[int | None]]]:
    """Unit -> [day, first, last, known, rows, timeless] for each of its days."""
    from zipline.engines.local.session import connect, query

    measured: dict[str, list[list[int | None]]] = {}
    connection = connect()
    try:
        for relation, names in by_unit(connection, table, projection, units, _clocks(projection)):
            for row in query(connection, _measures(relation, asked), projection.table).to_pylist():
                measured.setdefault(names[row.pop("unit")], []).append(list(row.values()))
    finally:
        connection.close()
    return measured


def _match(
    left_table: Table, table: Table, left: Projection, given: Projection, row_id: Sequence[str], asked: _Asked
) -> dict[str, list[str]]:
    units = [unit.name for unit in table.units(None)]
    found: dict[str, list[str]] = {}
    ids = [f"__r{place}" for place in range(len(row_id))]
    from zipline.engines.local.session import connect, query

    connection = connect()
    try:
        relation = left_table.relation(connection, partition=left.partition, start=left.start, end=left.end)
        own = ", ".join(f"{left.columns[name].sql('duckdb')} AS {r}" for name, r in zip(row_id, ids, strict=True))
        where = f" WHERE {asked.where}" if asked.where else ""
        rows = f"SELECT *, {asked.time} AS __t FROM {relation}{where}"
        left_ids = f"SELECT DISTINCT CAST({asked.day} AS VARCHAR) AS day, {own} FROM ({rows})"
        theirs = ", ".join(f"{given.columns[name].sql('duckdb')} AS {r}" for name, r in zip(row_id, ids, strict=True))
        for place in range(0, len(units), _BATCH):
            reads = " UNION ALL ".join(
                f"SELECT {number} AS unit, {theirs} FROM {_relation(connection, table, given, units[number])}"
                for number in range(place, min(place + _BATCH, len(units)))
            )
            sql = f"SELECT DISTINCT day, unit FROM ({left_ids}) JOIN ({reads}) USING ({', '.join(ids)}) ORDER BY ALL"
            for row in query(connection, sql, given.table).to_pylist():
                if row["day"] is not None:
                    found.setdefault(row["day"], []).append(units[row["unit"]])
    finally:
        connection.close()
    return found


def _relation(connection: Any, table: Table, projection: Projection, unit: str) -> str:
    return table.relation(
        connection, partition=projection.partition, start=projection.start, end=projection.end, units=[unit]
    )


def _measures(relation: str, asked: _Asked) -> str:
    """SQL for the days of each unit, which the column FILE tells."""
    clocks = f"SELECT *, {asked.time} AS __t, {asked.known} AS __k FROM {relation}"
    where = f" WHERE {asked.where}" if asked.where else ""
    finite = ", ".join(f"CASE WHEN isfinite({clock}) THEN {clock} END AS {clock}" for clock in ("__t", "__k"))
    measures = (
        f"TRY(CAST({asked.day} - DATE '1970-01-01' AS BIGINT)) AS day",
        "epoch_us(min(__t)) AS first",
        "epoch_us(max(__t)) AS last",
        "epoch_us(min(__k)) AS known",
        "count(*) AS rows",
        "count(*) - count(__t) AS timeless",
    )
    rows = f"SELECT * REPLACE ({finite}) FROM ({clocks}{where})"
    return f"SELECT {quoted(FILE)} AS unit, {', '.join(measures)} FROM ({rows}) GROUP BY ALL"


def _extents(unit: Unit, projection: Projection, days: Iterable[Sequence[Any]]) -> Iterable[Extent]:
    label = None if unit.day is None else to_micros(unit.day) // DAY
    found = sorted(days, key=lambda each: (each[0] is None, each[0] or 0))
    inside = unit.day is not None and is_inside(unit.day, projection)
    if not found and inside:
        yield Extent(unit.name, unit.token, label, label, None, None, None, 0, 0)
    for day, first, last, known, rows, timeless in found:
        yield Extent(unit.name, unit.token, day if label is None else label, day, first, last, known, rows, timeless)


def _key(projection: Projection, asked: _Asked) -> str:
    facts = (1, projection.table, projection.partition, projection.start, projection.end, asked)
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
