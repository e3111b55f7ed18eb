"""Leaks of the label's own column: a feature is made with it, and sees it before the label's clock says it happened.

Every output column is followed to the tables' own columns: through expressions, conditions, derivations, lookups and
parents. Where one is a column of the label's value, the two clocks are compared row by row: when the feature's source
lets a row be seen, and when the label's source says that it happened. Aggregations over earlier outcomes are what
features are for; they are leaks only where the first comes before the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from zipline.engines.explanation import warm
from zipline.engines.local.session import connect, query
from zipline.engines.local.statements import all_of
from zipline.plan.steps import Derived, Feature, JoinPlan, PartPlan, Projection
from zipline.quality.leaks import Leak, Scene
from zipline.tables.columns import quoted
from zipline.values import dataclass

LEAST_SHARE = 0.005
"""Of rows: below this the clocks are taken to agree."""

_SAYS_NOTHING = ("COUNT", "UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT")
"""Operations whose result does not tell the value."""


@dataclass(frozen=True)
class Reading:
    """Columns of a table that are read by a projection; `waits` where a child of it declares a later clock.

    Of `whole_days` (a part of SNAPSHOT accuracy) a row is seen from the day after its own on.
    """

    source: Projection
    columns: frozenset[str]
    waits: bool = False
    whole_days: bool = False


def labels_as_features(scene: Scene) -> list[Leak]:
    """A finding for each left column and derivation, and for each group-by, that sees a label's value too early."""
    outcomes = outcomes_of(scene)
    found: dict[tuple[str, Projection], list[tuple[str, str, dict[str, float], Projection]]] = defaultdict(list)
    known: dict[tuple[Projection, Projection, str], dict[str, float]] = {}
    for column, owner, readings in outputs(scene):
        for reading in readings:
            for label, outcome in outcomes:
                if reading.waits or reading.source.table != label.table or outcome not in reading.columns:
                    continue
                key = (reading.source, label, outcome)
                if key not in known:
                    known[key] = _compared(scene, *key)
                if known[key]["share_before_outcome"] >= LEAST_SHARE:
                    found[owner or column, reading.source].append((column, outcome, known[key], label))
    return [_leak(source, each) for (_, source), each in found.items()]


class Outcome(NamedTuple):
    """A column of a label's source that the label's value is made of."""

    source: Projection
    column: str


def outcomes_of(scene: Scene) -> list[Outcome]:
    """What the labels of a join are made of, ids and clocks apart. A label that counts tells of what it counts where it
    is null: nothing, if that is never so."""
    sources = [
        (part, source) for part in scene.plan.labels for source in part.group_by.sources if source.parent is None
    ]
    found: dict[tuple[str, str], Outcome] = {}
    for part, source in sources:
        told = [f.input for f in part.needed if f.operation not in _SAYS_NOTHING]
        told += [f.bucket for f in part.needed if f.bucket]
        told += [name for name, _ in part.group_by.lookup if name in part.chosen]
        for column in _made_of(part, source, told):
            found.setdefault((source.table, column), Outcome(source, column))
    for part, source in sources:
        counted = dict.fromkeys(f.input for f in part.needed if f.operation in _SAYS_NOTHING)
        for column in _made_of(part, source, [name for name in counted if _has_nulls(scene, source, name)]):
            found.setdefault((source.table, column), Outcome(source, column))
    return list(found.values())


def _made_of(part: PartPlan, source: Projection, names: Iterable[str]) -> list[str]:
    """The table's columns that these of a source are computed of, but keys and the clock."""
    named = frozenset[str]().union(*(source.columns[key].columns for key, _ in part.group_by.keys))
    named |= source.time.columns if source.time is not None else frozenset()
    return sorted(frozenset[str]().union(*(source.columns[name].columns for name in names)) - named)


def _has_nulls(scene: Scene, source: Projection, name: str) -> bool:
    """Whether a column of a source is null in any of its rows."""
    table, counted = scene.catalog.table(source.table), source.columns[name]
    read = counted.columns.union(*(condition.columns for condition in source.where))
    if not read <= table.schema.keys():
        return False
    connection = connect()
    try:
        relation = warm.relation(connection, table, source, read)
        asked = (
            f"SELECT count(*) - count({counted.sql('duckdb')}) AS nulls FROM {relation} WHERE {all_of(source.where)}"
        )
        return bool(query(connection, asked, source.table).to_pylist()[0]["nulls"])
    finally:
        connection.close()


def not_compared(plan: JoinPlan) -> Iterator[str]:
    """Labels that count rows of which a condition tells the outcome, or says whose they are: nobody knows which."""
    for part in plan.labels:
        for source in part.group_by.sources:
            columns = frozenset[str]().union(*(condition.columns for condition in source.where))
            is_count = all(feature.operation in _SAYS_NOTHING for feature in part.needed)
            if columns and part.needed and is_count:
                yield (
                    f"{', '.join(part.prefix + name for name in part.chosen)}: whether what it is counted by "
                    f"({', '.join(sorted(columns))}) is known to features before its time"
                )


def outputs(scene: Scene) -> Iterator[tuple[str, str | None, list[Reading]]]:
    """(output column, the group-by whose source makes it, what of tables it reads)."""
    plan = scene.plan
    for name, _ in plan.left_columns:
        yield name, None, list(_of_expression(plan.left, plan.left.columns[name].columns))
    for part in plan.parts:
        for name in part.chosen:
            yield part.prefix + name, part.group_by.name, list(_of_feature(part, name))
    left = dict(plan.left_columns)
    for derived in plan.derivations:
        own = _expanded(derived, plan.derivations) & left.keys()
        columns = frozenset[str]().union(*(plan.left.columns[name].columns for name in own))
        yield derived.name, None, list(_of_expression(plan.left, columns))


def _expanded(derived: Derived, derivations: Iterable[Derived]) -> frozenset[str]:
    known = {each.name: each for each in derivations}
    names: frozenset[str] = frozenset()
    for name in derived.expression.columns:
        names |= _expanded(known[name], derivations) if name in known and name != derived.name else frozenset({name})
    return names


def _of_feature(part: PartPlan, name: str) -> Iterator[Reading]:
    features = {feature.name: feature for feature in part.group_by.features}
    derived = next((d for d in part.group_by.derivations if d.name == name), None)
    if derived is not None:
        for each in _expanded(derived, part.group_by.derivations) - {key for key, _ in part.group_by.keys}:
            yield from _of_feature(part, each)
        return
    for source in part.group_by.sources:
        for projection in (source, *([source.mutations] if source.mutations is not None else [])):
            read = _read_for(projection, features.get(name), name, [key for key, _ in part.group_by.keys])
            for reading in _of_expression(projection, read):
                by_days = part.group_by.accuracy == "SNAPSHOT" and projection.parent is None
                yield replace(reading, whole_days=True) if by_days else reading


def _read_for(source: Projection, feature: Feature | None, name: str, keys: Sequence[str]) -> frozenset[str]:
    """The columns that a feature's value shows: its input, its bucket, and what decides which rows count, and whose."""
    expressions = [source.columns[feature.input if feature else name], *source.where]
    if feature is not None and feature.bucket:
        expressions.append(source.columns[feature.bucket])
    # A plain key or time is what it is; one that is computed of several columns may be null where an outcome is bad.
    whose = [source.columns[key] for key in keys if key in source.columns]
    expressions += [each for each in (*whose, source.time) if each is not None and len(each.columns) > 1]
    return frozenset[str]().union(*(each.columns for each in expressions))


def _of_expression(source: Projection, columns: frozenset[str], waits: bool = False) -> Iterator[Reading]:
    """What an expression over a projection reads of tables; of a parent what its columns are made of."""
    if source.parent is None:
        yield Reading(source, columns, waits)
        return
    parent, later = source.parent, waits or source.known_at is not None
    names = columns | frozenset[str]().union(
        *(_expanded(derived, parent.derivations) for derived in parent.derivations if derived.name in columns)
    )
    left = frozenset(name for name, _ in parent.left_columns) & names
    if left:
        own = frozenset[str]().union(*(parent.left.columns[name].columns for name in left))
        yield from _of_expression(parent.left, own, later)
    for part in parent.parts:
        for name in part.chosen:
            if part.prefix + name in names:
                yield from _of_feature(part, name)


def seen_at(source: Projection) -> str | None:
    """SQL for when a row of the source can be seen at the earliest; None where it has no clock."""
    clocks = [f"CAST({e.sql('duckdb')} AS TIMESTAMPTZ)" for e in (source.time, source.known_at) if e is not None]
    if source.kind == "mutations" and source.mutation_time is not None:
        return f"CAST({source.mutation_time.sql('duckdb')} AS TIMESTAMPTZ)"
    if source.kind == "snapshots" or (source.kind == "left" and source.time is None):
        day = source.partition
        return None if day is None else f"CAST(CAST({quoted(day)} AS DATE) + INTERVAL 1 DAY AS TIMESTAMPTZ)"
    if not clocks:
        return None
    # A row without its second clock is never seen; DuckDB's greatest would leave the null out.
    return (
        clocks[0] if len(clocks) == 1 else f"CASE WHEN {clocks[1]} IS NOT NULL THEN greatest({', '.join(clocks)}) END"
    )


def _compared(scene: Scene, source: Projection, label: Projection, outcome: str) -> dict[str, float]:
    """How many rows of the table are seen by one before they happen by the other."""
    seen, happened = seen_at(source), happened_at(label)
    nothing = {"rows": 0, "share_before_outcome": 0.0}
    table = scene.catalog.table(label.table)
    if seen is None or happened is None or not table.schema:
        return nothing
    conditions = [f"coalesce(TRY({c.sql('duckdb')}), FALSE)" for c in (*source.where, *label.where)]
    read = source.table_columns | label.table_columns | {outcome}
    connection = connect()
    try:
        found = query(
            connection,
            f"SELECT count(*) AS rows, count(*) FILTER (seen < happened) AS early, "
            f"median(epoch(happened) - epoch(seen)) AS wait FROM (SELECT {seen} AS seen, {happened} AS happened "
            f"FROM {warm.relation(connection, table, label, read)} WHERE {' AND '.join(['TRUE', *conditions])} "
            f"AND {quoted(outcome)} IS NOT NULL) WHERE seen IS NOT NULL AND happened IS NOT NULL",
            label.table,
        ).to_pylist()[0]
    finally:
        connection.close()
    if not found["rows"]:
        return nothing
    return {
        "rows": found["rows"],
        "share_before_outcome": found["early"] / found["rows"],
        "median_seconds_too_early": found["wait"],
    }


def happened_at(label: Projection) -> str | None:
    """SQL for when the outcome of a label's row happens: its own time, whenever it is known."""
    return _time(label) if label.kind == "events" else seen_at(label)


def _time(source: Projection) -> str | None:
    return None if source.time is None else f"CAST({source.time.sql('duckdb')} AS TIMESTAMPTZ)"


def _leak(source: Projection, found: list[tuple[str, str, dict[str, float], Projection]]) -> Leak:
    column, outcome, evidence, label = found[0]
    happened = label.time.text.strip('"') if label.time else "the end of its snapshot's day"
    is_left = source.kind == "left"
    where = "the left selects it" if is_left else f"its source sees it at {_clock(source)}"
    remedy = (
        f"take {outcome} out of the left: a left column is there at the query time"
        if is_left
        else f'let the source wait for the outcome: known_at="{happened}", or that as its time'
    )
    return Leak(
        kind="label as feature",
        column=column,
        message=f"is made with {label.table}.{outcome}, of which the label is made: {where}, "
        f"before it happens at {happened}",
        remedy=remedy,
        evidence=evidence,
        columns=tuple(dict.fromkeys(each[0] for each in found)),
    )


def _clock(source: Projection) -> str:
    if source.kind == "snapshots":
        return "the end of its snapshot's day"
    clock = source.known_at or source.time
    return clock.text.strip('"') if clock is not None else "any time"
