"""The SQL that judges the rows of one key in one source.

Every row of the key has one verdict, the first of: duplicate of an event_id, of another snapshot, left out by where,
without a time, after the query, without a known_at, not yet known, before the window, null, seen.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zipline.engines.explanation.contract import (
    DUPLICATE,
    LEFT_OUT,
    NOT_KNOWN,
    NULL_VALUE,
    OTHER_SNAPSHOT,
    SEEN,
    WITHOUT_KEY,
    WITHOUT_KNOWN,
    WITHOUT_TIME,
    after,
    before,
    instant_text,
)
from zipline.engines.explanation.questions import MOST_SEEN, SAMPLE, Question
from zipline.engines.local.statements import event_order
from zipline.expressions import Expression
from zipline.plan.steps import Projection
from zipline.tables.columns import duckdb_type, literal, quoted
from zipline.types import BINARY, NULL, STRING, ArrayType, DataType


def statement(asked: Question, relation: str, newest: str | None) -> str:
    """One row for each verdict: its count, its nearest rows, and the table's rows near the bounds."""
    listed = "__event, __order"
    raw = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in asked.table_columns)
    return (
        f"SELECT verdict, count(*) AS n, "
        f"coalesce(arg_max({listed}, {MOST_SEEN}) FILTER (verdict = '{SEEN}'), "
        f"arg_max({listed}, {SAMPLE}) FILTER (verdict <> '{SEEN}')) AS listed, "
        f"coalesce(list(struct_pack({raw})) FILTER ({_near(asked, newest)}), []) AS near "
        f"FROM ({_judged(asked, relation, newest)}) GROUP BY verdict"
    )


def _judged(asked: Question, relation: str, newest: str | None) -> str:
    source, known = asked.source, asked.source.known_at
    day = f"CAST({quoted(source.partition)} AS DATE)" if has_day(source) and source.partition else "NULL"
    items = [
        f"{instant(source.time) or _NO_INSTANT} AS __t",
        f"{instant(known) or _NO_INSTANT} AS __known",
        f"{_kept(source)} AS __kept",
        f"CAST({day} AS VARCHAR) AS __day",
        f"CASE WHEN __kept THEN {_tried(asked.value)} END AS __value",
        f"{_in_kept(asked.bucket)} AS __bucket",
        f"{_nearness(asked)} AS __order",
        f"{_verdict(asked, newest)} AS verdict",
        f"{_listed(asked)} AS __event",
    ]
    return f"SELECT *, {', '.join(items)} FROM {_of_key(asked, relation)}"


def entity_statement(asked: Question, relation: str, source: Projection) -> str:
    """Every row of the key in the snapshots or the mutations of an entity: its clocks, columns, and itself as `raw`.

    `verdict` is null where the row's state is still to be settled.
    """
    raw = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in sorted(source.table_columns))
    day = f"CAST({quoted(source.partition)} AS DATE)" if has_day(source) and source.partition else "NULL"
    before = source.is_before.sql("duckdb") if source.is_before is not None else "FALSE"
    cases = [("__lost", WITHOUT_KEY), ("NOT __kept", LEFT_OUT)]
    cases += [("__t IS NULL", WITHOUT_TIME)] if source.time is not None else []
    judged = " ".join(f"WHEN {condition} THEN {literal(name)}" for condition, name in cases)
    columns = [f"{_in_kept(e)} AS {quoted(LOOKED_UP + name)}" for name, e in source.select]
    items = [
        f"{_kept(source)} AS __kept",
        f"{instant(source.time) or _NO_INSTANT} AS __t",
        f"CASE {judged} END AS verdict",
        "epoch_us(__t) AS t",
        f"epoch_us({instant(source.mutation_time) or _NO_INSTANT}) AS changed",
        f"{before} AS is_before",
        f"CAST({day} AS VARCHAR) AS day",
        f"struct_pack({raw}) AS raw",
        *columns,
    ]
    of_key = _of_key(replace(asked, source=source), relation)
    names = ", ".join(quoted(LOOKED_UP + name) for name in source.columns)
    return f"SELECT verdict, t, changed, is_before, day, raw, {names} FROM (SELECT {', '.join(items)} FROM {of_key})"


def _listed(asked: Question) -> str:
    """What is kept of a row that is listed; of a lookup every column, since they settle ties."""
    fields = ["t := epoch_us(__t)", "known := epoch_us(__known)", "value := __value", "bucket := __bucket"]
    fields.append("day := __day")
    if asked.feature is None:
        fields += _columns(asked.source, [name for name, _ in asked.part.group_by.lookup])
    fields += [f"{quoted(ORIGIN + name)} := {quoted(name)}" for name in asked.origin]
    return f"struct_pack({', '.join(fields)})"


def _columns(source: Projection, names: Iterable[str]) -> list[str]:
    return [f"{quoted(LOOKED_UP + name)} := {_in_kept(source.columns[name])}" for name in names]


LOOKED_UP = "column "
"""Before the name of a column that a listed row carries."""


ORIGIN = "of the parent "
"""Before the name of a column of the parent's row that a listed row is."""


def looked_up(row: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """The values of a listed row's columns."""
    return [row[LOOKED_UP + name] for name in columns]


def has_day(source: Projection) -> bool:
    return source.kind == "snapshots"


_NO_INSTANT = "CAST(NULL AS TIMESTAMPTZ)"


def _nearness(asked: Question) -> str:
    """Orders rows by how near they are to the end of what is seen: of those seen the newest come first."""
    end = next(iter(_bound(asked.end)), None)
    micros = "epoch_us(__t)" if end is None else f"-abs(epoch_us(__t) - epoch_us({end}))"
    return f"coalesce({micros}, {_LEAST})"


_LEAST = "-9223372036854775807"


def _of_key(asked: Question, relation: str) -> str:
    source = asked.source
    matches = [f"{_key(source.columns[name])} = {value}" for name, value in asked.keys.items()]
    missing = [_is_missing(source, name) for name in asked.keys]
    lost = " OR ".join(missing) or "FALSE"
    same = f"({' AND '.join(matches)}) OR {lost}" if matches else "TRUE"
    if source.event_id is None:
        return f"(SELECT *, ({lost}) AS __lost, TRUE AS __first FROM {relation} WHERE {same})"
    identity = source.event_id.sql("duckdb")
    ids = f"SELECT {identity} FROM {relation} WHERE {same}"
    several = f"SELECT *, {_first_of_event(source)} AS __first FROM {relation} WHERE ({identity}) IN ({ids})"
    single = f"SELECT *, TRUE AS __first FROM {relation} WHERE ({identity}) IS NULL AND ({same})"
    return f"(SELECT *, ({lost}) AS __lost, NOT ({same}) AS __foreign FROM ({several} UNION ALL {single}))"


def _first_of_event(source: Projection) -> str:
    """True on the row that stands for its event."""
    identity, order = event_order(source)
    return f"row_number() OVER (PARTITION BY {identity} ORDER BY {order}) = 1"


def _verdict(asked: Question, newest: str | None) -> str:
    source, label = asked.source, asked.is_label
    cases = [("__lost", WITHOUT_KEY), ("NOT __first", DUPLICATE)]
    if source.event_id is not None:
        cases.insert(0, ("__foreign", FOREIGN))
    if has_day(source):
        cases.append((f"__day IS DISTINCT FROM {_text(newest)}", OTHER_SNAPSHOT))
    cases.append(("NOT __kept", LEFT_OUT))
    if source.time is not None:
        cases.append(("__t IS NULL", WITHOUT_TIME))
    cases += [(f"__t >= {end}", after(label=label)) for end in _bound(asked.end)]
    if source.known_at is not None and not label:
        cases.append(("__known IS NULL", WITHOUT_KNOWN))
        cases += [(f"__known >= {end}", NOT_KNOWN) for end in _bound(asked.end)]
    cases += [(f"__t < {start}", before(label=label)) for start in _bound(asked.start)]
    if asked.feature is not None:
        cases.append((_is_null(asked), NULL_VALUE))
    judged = " ".join(f"WHEN {condition} THEN {literal(name)}" for condition, name in cases)
    return f"CASE {judged} ELSE '{SEEN}' END"


FOREIGN = "of another key"
"""A row that shares its event_id with one of the key: the engine needs it to choose, nobody else."""


def _near(asked: Question, newest: str | None) -> str:
    """Which rows the engine gets: it judges them again, by its own code."""
    source = asked.source
    if source.event_id is not None:
        return "TRUE"
    bounds = []
    if source.time is not None:
        bounds += [f"__t >= {start}" for start in _bound(asked.start)]
        bounds += [f"__t < {end}" for end in _bound(asked.end)]
    if has_day(source):
        bounds.append(f"__day = {_text(newest)}")
    return " AND ".join(["NOT __lost", *bounds])


def _is_null(asked: Question) -> str:
    feature = asked.feature
    assert feature is not None
    condition = "__value IS NULL"
    if isinstance(feature.input_type, ArrayType):
        condition = "coalesce(list_aggregate(__value, 'count'), 0) = 0"
    elif asked.value.type.is_float:
        condition = "__value IS NULL OR isnan(__value)"
    if asked.bucket is not None:
        condition += " OR __bucket IS NULL" + (" OR isnan(__bucket)" if asked.bucket.type.is_float else "")
    return f"({condition})"


def _kept(source: Projection) -> str:
    conditions = " AND ".join(f"({condition.sql('duckdb')})" for condition in source.where)
    return f"coalesce(TRY({conditions}), FALSE)" if conditions else "TRUE"


def _tried(expression: Expression) -> str:
    """The value, null where a row's does not convert: the engine, which sees fewer rows, refuses it."""
    sql = expression.sql("duckdb")
    return sql if _is_plain(expression) else f"TRY({sql})"


def _in_kept(expression: Expression | None) -> str:
    return "NULL" if expression is None else f"CASE WHEN __kept THEN {_tried(expression)} END"


def _key(expression: Expression) -> str:
    return f"({_tried(expression)})"


def _is_missing(source: Projection, name: str) -> str:
    expression = source.columns[name]
    sql = _key(expression)
    return f"{sql} IS NULL OR isnan{sql}" if expression.type.is_float else f"{sql} IS NULL"


def _is_plain(expression: Expression) -> bool:
    text = expression.text
    return (text[1:-1].replace('""', '"') if text.startswith('"') else text) in expression.columns


def instant(expression: Expression | None) -> str | None:
    return None if expression is None else f"CAST({expression.sql('duckdb')} AS TIMESTAMPTZ)"


def _bound(micros: int | None) -> list[str]:
    """The instant as SQL, none for one outside the calendar."""
    text = instant_text(micros)
    return [] if text is None else [f"TIMESTAMPTZ '{text.replace('Z', '+00')}'"]


def _text(value: str | None) -> str:
    return "NULL" if value is None else literal(value)


def key_literal(value: Any, dtype: DataType) -> str:
    """A key's value as SQL of its type."""
    if dtype == NULL:
        return "NULL"
    if dtype == BINARY:
        return f"unhex('{bytes(value).hex()}')"
    if dtype == STRING:
        return literal(value)
    shown = value.isoformat() if isinstance(value, dt.date) else str(value)
    return f"CAST({literal(shown)} AS {duckdb_type(dtype)})"
