"""Explaining one value: the source events behind it, and what was left out and why.

The value itself comes from the engine, as in any backfill; the events are read and judged one by one in plain Python,
by the same window bounds. A derived column is explained through the columns it is made of.
"""

from __future__ import annotations

import datetime as dt
import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from zipline.api import GroupBy, Join
from zipline.arrow import TIMESTAMP_ARROW, to_arrow
from zipline.clock import day_text, to_micros, to_text
from zipline.engines.local.read import connect, query
from zipline.engines.local.run import run_group_by
from zipline.errors import UnsupportedError, UsageError
from zipline.plan.build import plan_group_by, plan_join
from zipline.plan.steps import Feature, PartPlan, Projection
from zipline.tables.catalog import Catalog
from zipline.tables.columns import quoted
from zipline.tables.contract import Table

SHOWN = 20
SEEN = "seen"


@dataclass(frozen=True)
class Event:
    """One source row of the key, and what became of it."""

    table: str
    time: int | None
    known_at: int | None
    value: Any
    verdict: str


@dataclass(frozen=True)
class Explanation:
    """Why one value is what it is. `start` and `end` bound the events seen: start <= time < end."""

    column: str
    value: Any
    keys: dict[str, Any]
    query_time: int
    start: int | None
    end: int
    expression: str | None
    events: tuple[Event, ...]
    definition: str
    location: str | None
    inputs: tuple[Explanation, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many rows met each verdict."""
        return dict(Counter(event.verdict for event in self.events))

    def facts(self) -> dict[str, Any]:
        """The explanation as JSON-ready facts."""
        return {
            "column": self.column,
            "value": self.value,
            "keys": self.keys,
            "ts": to_text(self.query_time),
            "window": {"start": None if self.start is None else to_text(self.start), "end": to_text(self.end)},
            "expression": self.expression,
            "counts": self.counts,
            "events": [_event_facts(event) for event in self.events],
            "definition": self.definition,
            "location": self.location,
            "inputs": [each.facts() for each in self.inputs],
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        keys = ", ".join(f"{name}={value!r}" for name, value in self.keys.items()) or "(all rows)"
        lines = [
            f"{self.column} = {self.value!r}",
            f"  for {keys} at {to_text(self.query_time)}",
            f"  defined by {self.definition}" + (f" ({self.location})" if self.location else ""),
        ]
        if self.expression:
            lines.append(f"  = {self.expression}")
            return lines + [f"  {line}" for each in self.inputs for line in each._lines()]
        since = "the beginning" if self.start is None else to_text(self.start)
        lines.append(f"  sees {since} <= time < {to_text(self.end)}")
        lines += [f"  {count:>7,} {verdict}" for verdict, count in sorted(self.counts.items(), key=_seen_first)]
        seen = [event for event in self.events if event.verdict == SEEN]
        lines += [f"    {_event_text(event)}" for event in seen[-SHOWN:]]
        if len(seen) > SHOWN:
            lines.append(f"    ... and {len(seen) - SHOWN:,} older ones")
        return lines

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _seen_first(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != SEEN, item[0]


def _event_text(event: Event) -> str:
    known = f", known {to_text(event.known_at)}" if event.known_at is not None else ""
    when = to_text(event.time) if event.time is not None else "no time"
    return f"{when}  {event.value!r}{known}"


def _event_facts(event: Event) -> dict[str, Any]:
    return {
        "table": event.table,
        "time": None if event.time is None else to_text(event.time),
        "known_at": None if event.known_at is None else to_text(event.known_at),
        "value": event.value,
        "verdict": event.verdict,
    }


def explain(definition: Join | GroupBy, column: str, row: Mapping[str, Any], catalog: Catalog) -> Explanation:
    """The explanation of `column` for the keys and `ts` in `row`."""

    def schema(name: str) -> Any:
        return catalog.table(name).schema

    if isinstance(definition, GroupBy):
        plan = plan_group_by(definition, schema)
        names = tuple(name for name, _ in plan.columns)
        part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", names)
        return _explain_part(part, column, row, catalog)
    if not isinstance(definition, Join):
        raise UsageError(f"explain takes a Join or a GroupBy, not {type(definition).__name__}")
    joined = plan_join(definition, schema)
    for part in (*joined.parts, *joined.labels):
        if column in dict(part.columns):
            return _explain_part(part, column[len(part.prefix) :], row, catalog)
    for derived in joined.derivations:
        if derived.name == column:
            raise UnsupportedError(
                f"{column} is a derivation of the whole join: {derived.expression.text}",
                hint=f"explain the columns it is made of: {', '.join(sorted(derived.expression.columns))}",
            )
    explained = [name for part in (*joined.parts, *joined.labels) for name, _ in part.columns]
    raise UsageError(f"{definition.title} has no feature {column!r}", asked=column, valid=explained)


def _explain_part(part: PartPlan, name: str, row: Mapping[str, Any], catalog: Catalog) -> Explanation:
    group_by = part.group_by
    if name not in dict(group_by.columns):
        valid = [column for column, _ in group_by.columns]
        raise UsageError(f"{group_by.name} has no feature {name!r}", asked=name, valid=valid)
    keys, at = _keys(part, row)
    for derived in group_by.derivations:
        if derived.name == name:
            inputs = sorted(derived.expression.columns - {key for key, _ in group_by.keys})
            value = _value(part, name, keys, at, catalog)
            parts = tuple(_explain_part(part, each, row, catalog) for each in inputs)
            return _explanation(part, name, value, keys, at, (None, at), derived.expression.text, (), parts)
    feature = next((f for f in group_by.features if f.name == name), None)
    start, end = part.bounds(at, feature.window if feature else None)
    rows = (_events(part, source, feature, name, keys, (start, end), catalog) for source in group_by.sources)
    events = tuple(event for found in rows for event in found)
    return _explanation(part, name, _value(part, name, keys, at, catalog), keys, at, (start, end), None, events, ())


def _explanation(
    part: PartPlan,
    name: str,
    value: Any,
    keys: dict[str, Any],
    at: int,
    bounds: tuple[int | None, int],
    expression: str | None,
    events: tuple[Event, ...],
    inputs: tuple[Explanation, ...],
) -> Explanation:
    return Explanation(
        column=part.prefix + name,
        value=value,
        keys=keys,
        query_time=at,
        start=bounds[0],
        end=bounds[1],
        expression=expression,
        events=events,
        definition=part.group_by.name,
        location=part.group_by.location,
        inputs=inputs,
    )


def _keys(part: PartPlan, row: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    needed = (*part.left_keys, "ts")
    for name in needed:
        if row.get(name) is None:
            has = "which is null" if name in row else f"and has {', '.join(map(repr, row)) or 'nothing'}"
            raise UsageError(
                f"the row needs {name!r}, {has}",
                hint=f"give the keys and ts of one row: {', '.join(needed)}",
            )
    keys = {key: row[column] for (key, _), column in zip(part.group_by.keys, part.left_keys, strict=True)}
    return keys, to_micros(row["ts"])


def _value(part: PartPlan, name: str, keys: dict[str, Any], at: int, catalog: Catalog) -> Any:
    columns: dict[str, Any] = {key: _key_array(keys[key], key, dtype) for key, dtype in part.group_by.keys}
    columns["ts"] = pa.array([at], pa.int64()).view(TIMESTAMP_ARROW)
    found = run_group_by(part.group_by, pa.table(columns), catalog, offset=part.offset).table
    return found.column(name)[0].as_py()


def _key_array(value: Any, key: str, dtype: Any) -> pa.Array:
    try:
        return pa.array([value], to_arrow(dtype))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise UsageError(f"the key {key!r} is {dtype}, not {value!r}") from None


def _events(
    part: PartPlan,
    source: Projection,
    feature: Feature | None,
    name: str,
    keys: dict[str, Any],
    bounds: tuple[int | None, int],
    catalog: Catalog,
) -> list[Event]:
    """Every row of the key, judged. Rows of other keys are counted, not read."""
    table = catalog.table(source.table)
    if not table.schema:
        return []
    connection = connect()
    try:
        relation = table.relation(connection, partition=source.partition, start=source.start, end=source.end)
        value = source.columns[feature.input if feature else name].sql("duckdb")
        same = " AND ".join(
            f"({source.columns[key].sql('duckdb')}) IS NOT DISTINCT FROM __key_{n}" for n, key in enumerate(keys)
        )
        where = " AND ".join(f"coalesce(({c.sql('duckdb')}), FALSE)" for c in source.where) or "TRUE"
        clocks = [_clock(source.time), _clock(source.known_at)]
        day = f"CAST({quoted(source.partition)} AS DATE)" if source.kind == "snapshots" and source.partition else "NULL"
        items = f"{value} AS value, {clocks[0]} AS t, {clocks[1]} AS known, {where} AS kept, {day} AS day"
        typed = enumerate(part.group_by.keys)
        key_row = {f"__key_{n}": _key_array(keys[key], key, dtype) for n, (key, dtype) in typed}
        if key_row:
            connection.register("__key", pa.table(key_row))
        sql = f"SELECT {items} FROM {relation}" + (f", __key WHERE {same}" if same else "")
        rows = query(connection, f"SELECT * FROM ({sql}) ORDER BY t NULLS FIRST", source.table).to_pylist()
    finally:
        connection.close()
    newest = _newest(table, source, bounds[1]) if source.kind == "snapshots" else None
    return [_judge(part, source, row, bounds, newest) for row in rows]


def _newest(table: Table, source: Projection, end: int) -> dt.date | None:
    """The snapshot that a query sees: the newest before its day, whether or not it has a row of the key."""
    assert source.partition is not None
    days = [p.day for p in table.partitions(source.partition) if p.day < day_text(end)]
    inside = [day for day in days if (source.start or day) <= day <= (source.end or day)]
    return dt.date.fromisoformat(max(inside)) if inside else None


def _clock(expression: Any) -> str:
    return f"CAST({expression.sql('duckdb')} AS TIMESTAMPTZ)" if expression is not None else "NULL"


def _judge(
    part: PartPlan, source: Projection, row: dict[str, Any], bounds: tuple[int | None, int], newest: Any
) -> Event:
    start, end = bounds
    time = None if row["t"] is None else to_micros(row["t"])
    known = None if row["known"] is None else to_micros(row["known"])
    verdict = SEEN
    if not row["kept"]:
        verdict = "left out by where"
    elif source.kind == "snapshots" and row["day"] != newest:
        verdict = "of another snapshot"
    elif source.time is not None and time is None:
        verdict = "without a time"
    elif time is not None and time >= end:
        verdict = "after the query" if part.offset is None else "after the label"
    elif source.known_at is not None and part.offset is None and (known is None or known >= end):
        verdict = "not yet known"
    elif start is not None and time is not None and time < start:
        verdict = "before the window"
    elif row["value"] is None and part.group_by.features:
        verdict = "null"
    return Event(source.table, time, known, row["value"], verdict)
