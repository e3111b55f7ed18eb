"""The state of an entity with mutations: the newest snapshot's rows of a key and the changes since, matched in Python.

Equal rows (in keys, time and all selected columns) are counted from the snapshot on: one more for an insert, one less
for a reversal, all changes of one time together. Every rise of the count above zero bears a row, every fall takes back
the oldest, and a reversal that takes the count below zero is an orphan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import whole
from zipline.clock import DAY, to_micros
from zipline.engines.explanation.contract import (
    NULL_VALUE,
    ORPHAN,
    OTHER_SNAPSHOT,
    REVERSAL,
    REVERSED,
    SEEN,
    WITHOUT_KEY,
    WITHOUT_TIME,
    Event,
    after,
    before,
)
from zipline.engines.explanation.contributions import elements
from zipline.engines.explanation.evidence import entity_rows
from zipline.engines.explanation.questions import SAMPLE, Evidence, Question
from zipline.engines.explanation.statements import LOOKED_UP
from zipline.plan.steps import Projection
from zipline.tables.contract import Table
from zipline.values import dataclass

IN_SNAPSHOT = "a change that the snapshot has"
"""Made before the end of the snapshot's day."""


@dataclass(eq=False)
class _Row:
    """A row of the snapshot, or of a change: `at` is when it was made, below every change for the snapshot's."""

    event: Event
    columns: Mapping[str, Any]
    identity: tuple[Any, ...]
    at: int
    is_before: bool


def gather_state(
    connection: duckdb.DuckDBPyConnection,
    tables: tuple[Table, Table],
    asked: Question,
    newest: str | None,
    until: int,
) -> tuple[Evidence, pa.Table, pa.Table]:
    """The evidence of the snapshots and their mutations, and the excerpt of each for the engine.

    `newest` is the day of the snapshot that the query sees, `until` the end of the changes that it sees.
    """
    source, mutations = asked.source, asked.source.mutations
    assert mutations is not None
    since = 0 if newest is None else to_micros(newest) + DAY
    snapshots = entity_rows(connection, tables[0], asked, source)
    changes = entity_rows(connection, tables[1], asked, mutations)
    counts: dict[str, int] = defaultdict(int)
    events: list[Event] = []
    alive: list[_Row] = []
    for row in _rows(snapshots, asked, source):
        verdict = _first_verdict(row.event, newest=newest)
        (alive.append(row) if verdict is None else events.append(replace(row.event, verdict=verdict)))
    made: list[_Row] = []
    for row in _rows(changes, asked, mutations):
        verdict = _first_verdict(row.event) or _of_change(row, since if newest else None, until, asked)
        (made.append(row) if verdict is None else events.append(replace(row.event, verdict=verdict)))
    living, gone = _matched([*alive, *made])
    judged = [(replace(row.event, verdict=_of_bounds(row.event, asked)), row.columns) for row in living]
    for event in [*events, *gone, *(event for event, _ in judged)]:
        counts[event.verdict] += 1
    listed = [*judged, *((event, {}) for event in _sampled([*events, *gone], asked))]
    evidence = Evidence(tuple(e for e, _ in listed), tuple(r for _, r in listed), dict(counts))
    return evidence, _excerpt(snapshots, newest), _excerpt(changes, None)


def _rows(found: pa.Table, asked: Question, source: Projection) -> list[_Row]:
    names = list(source.columns)
    rows = []
    for each in found.drop_columns(["raw"]).to_pylist():
        columns = {name: each[LOOKED_UP + name] for name in names}
        event = Event(
            table=source.table,
            time=each["t"],
            known_at=each["changed"],
            value=columns[asked.feature.input if asked.feature else asked.column],
            verdict=each["verdict"] or "",
            bucket=columns[asked.feature.bucket] if asked.feature and asked.feature.bucket else None,
            snapshot=each["day"],
        )
        identity = (each["t"], *(_clean(columns[name]) for name in names))
        at = each["changed"] if each["changed"] is not None else -(2**63)
        looked = {LOOKED_UP + name: value for name, value in columns.items()}
        rows.append(_Row(event, looked, identity, at, bool(each["is_before"])))
    return rows


def _clean(value: Any) -> Any:
    """Equal and hashable where the values are: NaN is null, lists and maps by their parts."""
    if isinstance(value, dict):
        return tuple((key, _clean(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_clean(each) for each in value)
    return None if value != value else value


def _first_verdict(event: Event, newest: str | None = "") -> str | None:
    if event.verdict == WITHOUT_KEY:
        return WITHOUT_KEY
    if newest != "" and event.snapshot != newest:
        return OTHER_SNAPSHOT
    return event.verdict or None


def _of_change(row: _Row, since: int | None, until: int, asked: Question) -> str | None:
    if row.event.known_at is None:
        return WITHOUT_TIME
    if row.at >= until:
        return after(label=asked.is_label)
    return IN_SNAPSHOT if since is not None and row.at < since else None


def _matched(rows: Sequence[_Row]) -> tuple[list[_Row], list[Event]]:
    """(rows that live, what became of the others)."""
    groups: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.identity].append(row)
    living: list[_Row] = []
    gone: list[Event] = []
    for group in groups.values():
        left, lost = _lives(sorted(group, key=lambda row: row.at))
        living += left
        gone += lost
    return living, gone


def _lives(group: Sequence[_Row]) -> tuple[list[_Row], list[Event]]:
    living: list[_Row] = []
    gone: list[Event] = []
    total = 0
    for at in sorted({row.at for row in group}):
        inserts = [row for row in group if row.at == at and not row.is_before]
        reversals = [row for row in group if row.at == at and row.is_before]
        now = total + len(inserts) - len(reversals)
        born = max(0, max(now, 0) - max(total, 0))
        died = max(0, max(total, 0) - max(now, 0))
        orphans = max(0, max(-now, 0) - max(-total, 0))
        gone += [replace(row.event, verdict=REVERSED) for row in [*living[:died], *inserts[born:]]]
        gone += [replace(row.event, verdict=ORPHAN) for row in reversals[:orphans]]
        gone += [replace(row.event, verdict=REVERSAL) for row in reversals[orphans:]]
        living = [*living[died:], *inserts[:born]]
        total = now
    return living, gone


def _of_bounds(event: Event, asked: Question) -> str:
    if event.time is not None and asked.end is not None and event.time >= asked.end:
        return after(label=asked.is_label)
    if event.time is not None and asked.start is not None and event.time < asked.start:
        return before(label=asked.is_label)
    feature = asked.feature
    if feature is not None and (not elements(feature, event.value) or (feature.bucket and event.bucket is None)):
        return NULL_VALUE
    return SEEN


def _sampled(events: Sequence[Event], asked: Question) -> list[Event]:
    """The nearest of each verdict."""
    by_verdict: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_verdict[event.verdict].append(event)
    end = asked.end or 0
    return [
        event
        for each in by_verdict.values()
        for event in sorted(each, key=lambda e: abs((e.known_at or e.time or 0) - end))[:SAMPLE]
    ]


def _excerpt(found: pa.Table, newest: str | None) -> pa.Table:
    """The table's own rows; of snapshots those of the newest day."""
    rows = found
    if newest is not None:
        rows = found.filter(pc.equal(found.column("day"), newest))
    raw = whole(rows.column("raw"))
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(raw)])
