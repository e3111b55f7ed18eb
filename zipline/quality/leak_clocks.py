"""Leaks of clocks: rows that arrive later than their source says, and a left that asks after the outcome.

Evidence of arrival is a clock that nearly every row has and which lies after the declared time, where its name speaks
of arrival (published, received, loaded, ...) or a column that is read is null exactly where it is; or day folders later
than that time. An outcome is that of a row where the label's keys tell rows apart: then the label's event can be
compared with the row's own query time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zipline.engines.explanation import warm
from zipline.engines.local.session import connect, query
from zipline.plan.steps import JoinPlan, PartPlan, Projection
from zipline.quality.leaks import Leak, Scene
from zipline.tables.columns import quoted
from zipline.types import DATE, STRING, TIMESTAMP

LEAST_LATE = 0.01
"""Of rows that arrive later."""

LEAST_FILLED = 0.9
"""Of rows that have the column: an arrival is something that every row has."""

LEAST_NULLS = 20
"""Rows without a clock, from which on it means something that a column is null with it."""

LEAST_AFTER = 0.5
"""Of rows whose outcome has happened when they ask."""

MOST_ROWS = 200_000

_ARRIVAL = re.compile(
    r"(^|_)(ingest|arriv|receiv|load|land(ed|ing)|publish|report|availab|known|settle|insert|record|process|collect|"
    r"deliver|import|writ|sync|creat|updat|upload|export|dump|store|log)",
    re.IGNORECASE,
)


def late_arrivals(scene: Scene) -> list[Leak]:
    """A finding for each table and time of sources that declare no second clock, where the data show one."""
    found: dict[tuple[str, str], list[tuple[Projection, str]]] = {}
    for source, owner in _event_sources(scene.plan):
        if source.known_at is None and source.time is not None and source.parent is None and source.made_by is None:
            found.setdefault((source.table, source.time.text), []).append((source, owner))
    return [leak for users in found.values() for leak in _late(scene, users)]


def _event_sources(plan: JoinPlan) -> Iterator[tuple[Projection, str]]:
    """Every event source of the features, those of parents too, with the group-by that reads it."""
    for each in (plan, *plan.parents_for(training=False)):
        for part in each.parts:
            for source in part.group_by.sources:
                if source.kind == "events":
                    yield source, part.group_by.name


def _late(scene: Scene, users: list[tuple[Projection, str]]) -> Iterator[Leak]:
    source = users[0][0]
    assert source.time is not None
    schema = scene.catalog.table(source.table).schema
    # Text formats hold times as text, and other texts too: only a name that speaks of arrival is tried.
    kinds = {name: (TIMESTAMP, DATE, STRING) if _ARRIVAL.search(name) else (TIMESTAMP, DATE) for name in schema}
    instants = [n for n, t in schema.items() if t in kinds[n] and n not in source.time.columns]
    for name in instants:
        values = [] if _ARRIVAL.search(name) else _come_with(scene, users, name)
        if not _ARRIVAL.search(name) and not values:
            continue
        figures = _lateness(scene, source, name, is_day=False)
        if figures["share_later"] >= LEAST_LATE and figures["share_filled"] >= LEAST_FILLED:
            shown = f"has {', '.join(values)} exactly where it has {name}, which is" if values else f"has {name}"
            yield _late_leak(users, name, figures, f"{shown} later than that", f'"{name}"')
    folder = source.partition
    if folder is not None and folder not in source.time.columns:
        figures = _lateness(scene, source, folder, is_day=True)
        if figures["share_later"] >= LEAST_LATE and figures["share_filled"] >= LEAST_FILLED:
            known = f"\"CAST({folder} AS DATE) + INTERVAL '1' DAY\""
            yield _late_leak(users, folder, figures, "lies in folders of later days", known)


def _come_with(scene: Scene, users: list[tuple[Projection, str]], clock: str) -> list[str]:
    """The columns read that are null exactly where a clock is: they come to be known with it."""
    source = users[0][0]
    keys = frozenset(key for each, _ in users for key in _plain_keys(scene, each))
    read = sorted(
        frozenset[str]().union(*(e.columns for each, _ in users for e in each.columns.values())) - keys - {clock}
    )
    table = scene.catalog.table(source.table)
    if not read:
        return []
    sums = [
        f"count(*) FILTER (({quoted(name)} IS NULL) <> ({quoted(clock)} IS NULL)) AS {quoted(name)}" for name in read
    ]
    connection = connect()
    try:
        relation = warm.relation(connection, table, source, {*read, clock})
        sql = f"SELECT count(*) FILTER ({quoted(clock)} IS NULL) AS __nulls, {', '.join(sums)} FROM {relation}"
        found = query(connection, sql, source.table).to_pylist()[0]
    finally:
        connection.close()
    return [name for name in read if found["__nulls"] >= LEAST_NULLS and found[name] == 0]


def _plain_keys(scene: Scene, source: Projection) -> frozenset[str]:
    owners = [part.group_by for part in scene.plan.parts if source in part.group_by.sources]
    return frozenset[str]().union(*(source.columns[key].columns for owner in owners for key, _ in owner.keys))


def _lateness(scene: Scene, source: Projection, name: str, *, is_day: bool) -> dict[str, Any]:
    """How many rows of a source have a clock, and how many a later one than its time; folders by whole days."""
    assert source.time is not None
    table = scene.catalog.table(source.table)
    time = f"CAST({source.time.sql('duckdb')} AS TIMESTAMPTZ)"
    time = f"date_trunc('day', {time})" if is_day else time
    clock = f"TRY_CAST({f'TRY_CAST({quoted(name)} AS DATE)' if is_day else quoted(name)} AS TIMESTAMPTZ)"
    connection = connect()
    try:
        relation = warm.relation(connection, table, source, source.table_columns | {name})
        found = query(
            connection,
            f"SELECT count(*) AS rows, count(clock) AS filled, count(*) FILTER (clock > time) AS later, "
            f"median(epoch(clock) - epoch(time)) FILTER (clock > time) AS delay FROM ("
            f"SELECT {time} AS time, {clock} AS clock FROM {relation} WHERE {_all(source)} LIMIT {MOST_ROWS}) "
            f"WHERE time IS NOT NULL",
            source.table,
        ).to_pylist()[0]
    finally:
        connection.close()
    rows = max(found["rows"], 1)
    return {
        "rows": found["rows"],
        "share_later": found["later"] / rows,
        "share_filled": found["filled"] / rows,
        "median_delay_seconds": found["delay"],
    }


def _late_leak(users: list[tuple[Projection, str]], name: str, figures: dict[str, Any], what: str, known: str) -> Leak:
    source = users[0][0]
    assert source.time is not None
    owners = ", ".join(dict.fromkeys(owner for _, owner in users))
    return Leak(
        kind="late arrival",
        column=f"{source.table}.{name}",
        message=f"{owners}: rows count from {_bare(source.time.text)} on and no known_at is declared, "
        f"but {figures['share_later']:.1%} of the table {what}",
        remedy=f"declare when a row can be used: Query(known_at={known})",
        evidence=figures,
    )


def _bare(text: str) -> str:
    return text.strip('"')


def left_after_outcome(scene: Scene) -> list[Leak]:
    """A finding for each label whose event has happened when most rows ask."""
    left = scene.plan.left
    if left.parent is not None or left.time is None:
        return []
    leaks = []
    for part in scene.plan.labels:
        for source in part.group_by.sources:
            if source.kind == "events" and source.parent is None and source.time is not None and part.left_keys:
                figures = _asked_after(scene, part, source)
                if figures is not None and figures["share_at_or_after"] >= LEAST_AFTER:
                    leaks.append(_after_leak(left, part, source, figures))
    return leaks


def _asked_after(scene: Scene, part: PartPlan, source: Projection) -> dict[str, Any] | None:
    """Of left rows with an event of the label: how many ask at or after it. None where keys do not tell rows apart."""
    left = scene.plan.left
    assert left.time is not None
    assert source.time is not None
    tables = scene.catalog.table(left.table), scene.catalog.table(source.table)
    if not all(table.schema for table in tables):
        return None
    keys = [key for key, _ in part.group_by.keys]
    connection = connect()
    try:
        asked = warm.relation(connection, tables[0], left, left.table_columns)
        rows = [f"{left.columns[column].sql('duckdb')} AS k{n}" for n, column in enumerate(part.left_keys)]
        events = warm.relation(connection, tables[1], source, source.table_columns)
        named = [f"{source.columns[key].sql('duckdb')} AS k{n}" for n, key in enumerate(keys)]
        same = ", ".join(f"k{n}" for n in range(len(keys)))
        found = query(
            connection,
            f"WITH asked AS (SELECT CAST({left.time.sql('duckdb')} AS TIMESTAMPTZ) AS q, {', '.join(rows)} "
            f"FROM {asked} WHERE {_all(left)} LIMIT {MOST_ROWS}), "
            f"outcomes AS (SELECT min(t) AS t, count(*) AS n, {same} FROM (SELECT "
            f"CAST({source.time.sql('duckdb')} AS TIMESTAMPTZ) AS t, {', '.join(named)} FROM {events} "
            f"WHERE {_all(source)}) GROUP BY {same}) "
            f"SELECT count(*) AS rows, avg(n) AS events, count(*) FILTER (t <= q) AS after, "
            f"median(epoch(q) - epoch(t)) AS gap FROM asked JOIN outcomes USING ({same}) "
            f"WHERE q IS NOT NULL AND t IS NOT NULL",
            left.table,
        ).to_pylist()[0]
    finally:
        connection.close()
    if not found["rows"] or found["events"] > 1.05:
        return None
    return {
        "rows": found["rows"],
        "share_at_or_after": found["after"] / found["rows"],
        "median_seconds_after": found["gap"],
    }


def _all(source: Projection) -> str:
    return " AND ".join(["TRUE", *(f"coalesce(TRY({c.sql('duckdb')}), FALSE)" for c in source.where)])


def _after_leak(left: Projection, part: PartPlan, source: Projection, figures: dict[str, Any]) -> Leak:
    assert left.time is not None
    assert source.time is not None
    return Leak(
        kind="left after outcome",
        column=part.columns[0][0],
        message=f"the left asks at {_bare(left.time.text)}, when the outcome of {figures['share_at_or_after']:.1%} of "
        f"its rows has happened (at {_bare(source.time.text)} of {source.table})",
        remedy="give the left the time at which the question is asked in use, before the outcome",
        evidence=figures,
    )
