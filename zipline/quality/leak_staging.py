"""Leaks through staging queries: a feature reads a table that SQL makes of the label's own column, too early.

Which columns the query's own are made with is known from its SQL. Whether they tell the outcome before it happened no
clock of a row can say, since one row is made of many; so the query is run again, over tables in which every outcome
after some instant is hidden. The rows that the feature can see by that instant must be the same: those that differ
were made with what had not happened yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa

from zipline.api import StagingQuery
from zipline.clock import DAY, HOUR, day_text, to_micros, to_text
from zipline.engines.local.session import connect, query
from zipline.engines.local.staging import run_staging
from zipline.errors import ZiplineError
from zipline.plan.projections import Schema
from zipline.plan.staging import DAY_COLUMN, StagingPlan, plan_staging
from zipline.plan.staging_lineage import columns_read
from zipline.plan.steps import Projection
from zipline.quality.leak_paths import around
from zipline.quality.leak_values import Reading, happened_at, outcomes_of, outputs, seen_at
from zipline.quality.leaks import Leak, Scene
from zipline.tables.catalog import Catalog
from zipline.tables.columns import literal, quoted
from zipline.values import dataclass

LEAST_CHANGED = 0.05
"""Of the rows seen: below this the query is taken to wait for the outcomes; a few always come very late."""

MOST_DAYS = 3
MOST_ROWS, MOST_BYTES = 2_000_000, 256 * 2**20
"""Of a label's table that a query reads whole; bytes where its rows are not known."""

_CUTS = (6 * HOUR, 12 * HOUR, 18 * HOUR, DAY - 1, DAY + 12 * HOUR)
"""After a day's midnight: instants at which its rows are looked at."""

Way: TypeAlias = tuple[str, ...]
"""Columns, each made with the one behind it."""


@dataclass(frozen=True)
class _Suspect:
    """A reading of a staging table, some of whose columns are made with a label's outcome; `path` leads there."""

    reading: Reading
    label: Projection
    outcome: str
    columns: tuple[str, ...]
    path: Way


@dataclass(frozen=True)
class _Change:
    """Of the rows seen by `cut` the share that is another with later outcomes hidden."""

    share: float
    rows: int
    cut: int


def labels_through_staging(scene: Scene) -> tuple[list[Leak], list[str]]:
    """(a finding for each group-by or left column that sees an outcome too early, what was not looked at)."""
    queries = {each.title: each for each in around(scene) if isinstance(each, StagingQuery)}
    if not queries:
        return [], []
    trace = _Trace(scene, queries)
    found: dict[tuple[str, str], list[tuple[str, _Suspect, _Change]]] = defaultdict(list)
    known: dict[tuple[Reading, Projection, str], _Change | None] = {}
    skipped: dict[str, None] = {}
    for column, owner, readings in outputs(scene):
        for suspect in (each for reading in readings for each in trace.suspects(reading)):
            key = (suspect.reading, suspect.label, suspect.outcome)
            try:
                known[key] = known[key] if key in known else _changed(scene, queries, suspect)
            except (_TooMuch, ZiplineError) as wrong:
                skipped[f"{' <- '.join((column, *suspect.path))}: {wrong}"] = None
                known[key] = None
            change = known[key]
            if change is not None and change.share >= LEAST_CHANGED:
                found[owner or column, suspect.outcome].append((column, suspect, change))
    return [_leak(each) for each in found.values()], list(skipped)


class _TooMuch(Exception):
    """A query whose answer would take too long to find again."""


class _Trace:
    """What columns of staging tables are made with, through queries over queries down to other tables."""

    def __init__(self, scene: Scene, queries: Mapping[str, StagingQuery]) -> None:
        self._outcomes = outcomes_of(scene)
        self._queries = queries
        self._schema: Schema = lambda name: scene.catalog.table(name).schema
        self._known: dict[str, dict[str, dict[tuple[str, str], Way]]] = {}

    def suspects(self, reading: Reading) -> Iterator[_Suspect]:
        """One for each outcome that the reading's columns are made with."""
        table = reading.source.table
        if reading.waits or table not in self._queries:
            return
        made = self._made(table)
        for label, outcome in self._outcomes:
            ways = {column: made.get(column, {}).get((label.table, outcome)) for column in sorted(reading.columns)}
            if paths := {column: way for column, way in ways.items() if way is not None}:
                yield _Suspect(reading, label, outcome, tuple(paths), min(paths.values(), key=len))

    def _made(self, name: str) -> dict[str, dict[tuple[str, str], Way]]:
        """Column of a staging table -> (table, column) -> the way there."""
        if name not in self._known:
            self._known[name] = {}  # a circle is refused where the queries are run
            for column, reads in columns_read(self._queries[name].sql, self._schema).items():
                self._known[name][column] = dict(self._ways(f"{name}.{column}", {(r.table, r.column) for r in reads}))
        return self._known[name]

    def _ways(self, start: str, reads: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Way]]:
        for table, column in sorted(reads):
            if table not in self._queries:
                yield (table, column), (start, f"{table}.{column}")
                continue
            for end, way in self._made(table).get(column, {}).items():
                yield end, (start, *way)


def _changed(scene: Scene, queries: Mapping[str, StagingQuery], suspect: _Suspect) -> _Change | None:
    """How many of the rows that are seen by some instant differ with later outcomes hidden; None where none is seen."""
    base, seen = suspect.label.table, _seen(suspect.reading)
    if seen is None or happened_at(suspect.label) is None or not scene.catalog.table(base).schema:
        return None
    chain = [plan_staging(queries[name]) for name in _chain(queries, suspect.reading.source.table, base)]
    by_day = _is_bounded(chain, base)
    if not by_day:
        _refuse_too_much(scene, chain, base)
    counts: dict[int, tuple[int, int, int]] = {}
    for day in _days(scene, suspect.label):
        within = day if by_day else None
        made = _made(chain, scene.catalog, base, _rows(scene, suspect, within, None), day)
        for place, after in enumerate(_CUTS):
            cut = to_micros(day) + after
            hidden = _made(chain, scene.catalog, base, _rows(scene, suspect, within, cut), day)
            changed, rows = _compared(suspect, seen, made, hidden, cut)
            before = counts.get(place, (0, 0, 0))
            counts[place] = before[0] + changed, before[1] + rows, cut
    found = [_Change(changed / rows, rows, cut) for changed, rows, cut in counts.values() if rows]
    return max(found, key=lambda change: change.share, default=None)


def _chain(queries: Mapping[str, StagingQuery], name: str, base: str) -> list[str]:
    """The queries that lead from a table to a staging table, upstream first."""
    ordered: list[str] = []

    def visit(query: str) -> bool:
        if query in ordered:
            return True
        tables = plan_staging(queries[query]).tables
        leads = [visit(table) for table in tables if table in queries and table != query]
        if any(leads) or base in tables:
            ordered.append(query)
            return True
        return False

    visit(name)
    return ordered


def _is_bounded(chain: Sequence[StagingPlan], base: str) -> bool:
    """Whether a day of the last query is made of that day of the table alone."""
    links = {base, *(plan.name for plan in chain)}
    return all(plan.is_daily and links.intersection(plan.tables) <= plan.bounded for plan in chain)


def _refuse_too_much(scene: Scene, chain: Sequence[StagingPlan], base: str) -> None:
    size = scene.catalog.table(base).statistics()
    if any(plan.is_daily for plan in chain[:-1]):
        raise _TooMuch("to see what it knew, queries of single days would have to be run for all days")
    if (size.bytes or 0) > MOST_BYTES if size.rows is None else size.rows > MOST_ROWS:
        raise _TooMuch(f"to see what it knew, the query would have to be run over all of {base}")


def _days(scene: Scene, label: Projection) -> list[str]:
    """Some days of the label's table, spread over it."""
    table = scene.catalog.table(label.table)
    found = [partition.day for partition in table.partitions(DAY_COLUMN)] if DAY_COLUMN in table.schema else []
    if not found:
        found = _days_of_outcomes(scene, label)
    places = [len(found) * (2 * n + 1) // (2 * MOST_DAYS) for n in range(MOST_DAYS)]
    return sorted({found[place] for place in places if place < len(found)})


def _days_of_outcomes(scene: Scene, label: Projection) -> list[str]:
    connection = connect()
    try:
        relation = scene.catalog.table(label.table).relation(connection)
        sql = f"SELECT DISTINCT date_trunc('day', {happened_at(label)}) AS day FROM {relation} ORDER BY day"
        days = query(connection, f"SELECT epoch_us(day) AS day FROM ({sql}) WHERE day IS NOT NULL", label.table)
    finally:
        connection.close()
    return [day_text(day) for day in days.column("day").to_pylist()]


def _rows(scene: Scene, suspect: _Suspect, day: str | None, cut: int | None) -> pa.Table:
    """The label's table (of a day), without the outcomes that happen after an instant."""
    label, outcome = suspect.label, quoted(suspect.outcome)
    hidden = ""
    if cut is not None:
        late = f"{happened_at(label)} > TIMESTAMPTZ '{to_text(cut)}'"
        hidden = f" REPLACE (CASE WHEN {late} THEN NULL ELSE {outcome} END AS {outcome})"
    connection = connect()
    try:
        relation = scene.catalog.table(label.table).relation(connection, partition=DAY_COLUMN, start=day, end=day)
        return query(connection, f"SELECT *{hidden} FROM {relation}", label.table)
    finally:
        connection.close()


def _made(chain: Sequence[StagingPlan], catalog: Catalog, base: str, rows: pa.Table, day: str) -> pa.Table:
    """What the last query gives for the day over these rows of the table."""
    catalog = catalog.with_tables({base: rows})
    for plan in chain:
        rows = run_staging(plan, catalog, day, day) if plan.is_daily else run_staging(plan, catalog)
        catalog = catalog.with_tables({plan.name: rows})
    return rows


def _seen(reading: Reading) -> str | None:
    seen = seen_at(reading.source)
    return f"date_trunc('day', {seen}) + INTERVAL 1 DAY" if seen and reading.whole_days else seen


def _compared(suspect: _Suspect, seen: str, made: pa.Table, hidden: pa.Table, cut: int) -> tuple[int, int]:
    """(rows seen by the cut that the other has not, rows seen by the cut)."""
    source = suspect.reading.source
    conditions = [f"coalesce(TRY({condition.sql('duckdb')}), FALSE)" for condition in source.where]
    # Sums of floats may differ in their last digits from run to run.
    values = [
        f"CAST({quoted(column)} AS FLOAT)" if pa.types.is_float64(made.schema.field(column).type) else quoted(column)
        for column in suspect.columns
    ]
    connection = connect()
    try:
        connection.register("__made", made)
        connection.register("__hidden", hidden)
        picked = (
            f"SELECT {', '.join([f'{seen} AS seen', *values])} FROM {name} "
            f"WHERE {' AND '.join([f'{seen} <= TIMESTAMPTZ {literal(to_text(cut))}', *conditions])}"
            for name in ("__made", "__hidden")
        )
        own, other = picked
        sql = f"SELECT (SELECT count(*) FROM ({own} EXCEPT ALL {other})) AS changed, count(*) AS n FROM ({own})"
        [found] = query(connection, sql, source.table).to_pylist()
    finally:
        connection.close()
    return found["changed"], found["n"]


def _leak(found: list[tuple[str, _Suspect, _Change]]) -> Leak:
    column, suspect, change = max(found, key=lambda each: each[2].share)
    source = suspect.reading.source
    clock = source.time.text.strip('"') if source.time is not None else "its day"
    return Leak(
        kind="label as feature",
        column=column,
        message=f"is made with {suspect.label.table}.{suspect.outcome}, of which the label is made, by the staging "
        f"query {source.table}, whose rows are seen at {clock}: {change.share:.1%} of those seen by "
        f"{to_text(change.cut)} are others when outcomes after that are hidden",
        remedy="let the source wait until the query's row is complete: a later time or known_at, or whole days "
        "(accuracy=Accuracy.SNAPSHOT)",
        evidence={"path": [column, *suspect.path], "share_changed": change.share, "rows": change.rows},
        columns=tuple(dict.fromkeys(each[0] for each in found)),
    )
