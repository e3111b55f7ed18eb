"""One column of one group-by for one row: an aggregation, a lookup, or a derivation of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from zipline.api import GroupBy, JoinSource
from zipline.arrow import to_arrow
from zipline.clock import to_micros
from zipline.engines.explanation.asked import Asked, Found, Given
from zipline.engines.explanation.contract import SEEN, Event, Explanation
from zipline.engines.explanation.contributions import DECIDES, contributed
from zipline.engines.explanation.gathering import gather_all
from zipline.engines.explanation.notes import notes_on, operation_text, window_text
from zipline.engines.explanation.parents import command
from zipline.engines.explanation.questions import MOST_SEEN, Evidence
from zipline.engines.explanation.statements import FOREIGN, looked_up
from zipline.engines.explanation.values import (
    Excerpts,
    agree,
    clean_result,
    engine_value,
    is_exact,
    key_array,
    magnitude_of,
    recompute,
    renamed,
)
from zipline.engines.local.derive import derive
from zipline.engines.local.session import connect
from zipline.errors import UsageError
from zipline.plan.steps import Derived, Feature, PartPlan
from zipline.tables.catalog import Catalog
from zipline.types import DataType


def explain_part(
    part: PartPlan,
    definition: GroupBy,
    name: str,
    row: Mapping[str, Any],
    catalog: Catalog,
    *,
    given: Given | None = None,
    depth: int = 1,
) -> Found:
    """The explanation of the feature `name` (without the part's prefix) for the keys and `ts` of the row."""
    columns = [column for column, _ in part.group_by.columns]
    if name not in columns:
        raise UsageError(f"{part.group_by.name} has no feature {name!r}", asked=name, valid=columns)
    keys, at = _keys(part, row)
    return _computed(Asked(part, definition, name, keys, at, given, depth), catalog)


def _explain(asked: Asked, catalog: Catalog) -> Found:
    given = asked.given(asked.part.prefix + asked.name) if asked.given else None
    return given or _computed(asked, catalog)


def _computed(asked: Asked, catalog: Catalog) -> Found:
    derived = asked.derived
    return _aggregated(asked, catalog) if derived is None else _derived(asked, derived, catalog)


def _keys(part: PartPlan, row: Mapping[str, Any]) -> tuple[dict[str, pa.Array], int | None]:
    needed = (*part.left_keys, "ts")
    for name in needed:
        if name not in row:
            has = f"and has {', '.join(map(repr, row)) or 'nothing'}"
            asked = f"give the keys and ts of one row: {', '.join(needed)}; what is null of it is null in JSON too"
            raise UsageError(f"the row needs {name!r}, {has}", hint=asked)
    pairs = zip(part.group_by.keys, part.left_keys, strict=True)
    keys = {key: _key(row[column], key, dtype) for (key, dtype), column in pairs}
    return keys, None if _is_null(row["ts"]) else to_micros(row["ts"])


def _key(value: Any, key: str, dtype: DataType) -> pa.Array:
    return pa.nulls(1, to_arrow(dtype)) if _is_null(value) else key_array(value, key, dtype)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _derived(asked: Asked, derived: Derived, catalog: Catalog) -> Found:
    needed = sorted(derived.expression.columns - set(asked.keys))
    inputs = [_explain(replace(asked, name=name), catalog) for name in needed]
    columns = dict(asked.keys) | {name: each.value for name, each in zip(needed, inputs, strict=True)}
    value = evaluated(derived, columns)
    explanation = replace(
        _base(asked, value, "derivation"),
        location=_location(asked) or asked.part.group_by.location,
        expression=derived.expression.text,
        inputs=tuple(each.explanation for each in inputs),
    )
    return Found(explanation, value)


def evaluated(derived: Derived, columns: Mapping[str, pa.Array]) -> pa.Array:
    """A derivation over one row, by the engine."""
    connection = connect()
    try:
        table = pa.table(dict(columns) or {"__row": pa.nulls(1)})
        return derive(connection, table, [derived]).column(derived.name).combine_chunks()
    finally:
        connection.close()


def _base(asked: Asked, value: pa.Array, kind: str) -> Explanation:
    return Explanation(
        column=asked.part.prefix + asked.name,
        value=value[0].as_py(),
        kind=kind,
        keys=asked.shown_keys(),
        query_time=asked.at,
        definition=asked.part.group_by.name,
    )


def _location(asked: Asked) -> str | None:
    """The author's line: of the aggregation or derivation, else of the group-by."""
    makers = [a for a in asked.definition.aggregations if asked.name in {o.name for o in a.outputs}]
    found = [*makers, *(d for d in asked.definition.derivations if d.name == asked.name)]
    return str(found[0].location) if found and found[0].location else asked.part.group_by.location


def _aggregated(asked: Asked, catalog: Catalog) -> Found:
    feature, (start, end) = asked.feature, asked.bounds
    gathered = gather_all(asked, catalog)
    events = [event for each in gathered.evidence for event in each.events if event.verdict != FOREIGN]
    events.sort(key=lambda event: (event.time or 0, event.known_at or 0))
    seen = [event for event in events if event.verdict == SEEN]
    plan = replace(asked.part.group_by, sources=tuple(renamed(s, n) for n, s in enumerate(asked.part.group_by.sources)))
    value = engine_value(
        replace(asked.part, group_by=plan), feature, asked.name, asked.keys, asked.at, Excerpts(gathered.tables)
    )
    counts = _total(gathered.evidence)
    base = _base(asked, value, "aggregation" if feature else "lookup")
    rest = [event for event in events if event.verdict != SEEN]
    base = replace(
        base,
        location=_location(asked),
        start=start,
        end=end,
        window=window_text(asked),
        operation=operation_text(feature) if feature else "the latest row",
        counts=counts,
        other_keys=gathered.other_keys,
        notes=notes_on(asked, counts, catalog),
    )
    if feature is not None:
        explanation = _with_contributions(base, feature, seen, rest, counts)
    else:
        explanation = _with_latest(base, asked, gathered.evidence, seen, rest)
    return Found(_with_parent(explanation, asked, catalog), value)


def _with_parent(explanation: Explanation, asked: Asked, catalog: Catalog) -> Explanation:
    """Of a chained source the newest row's own value, explained one parent down, and the commands to go on."""
    from zipline.engines.explanation.joins import JoinedRow

    chained = [event for event in explanation.seen if event.row is not None]
    if not chained:
        return explanation
    event = next((each for each in reversed(chained) if each.decides), chained[-1])
    pairs = zip(asked.part.group_by.sources, asked.definition.sources, strict=True)
    source, written = next((s, w) for s, w in pairs if s.parent and s.parent.name == event.table)
    assert source.parent is not None
    assert event.row is not None
    assert isinstance(written, JoinSource)
    read = source.columns[asked.feature.input if asked.feature else asked.name].columns
    names = sorted(read - {name for name, _ in source.parent.left_columns} - {"ts"})
    below = JoinedRow(written.join, event.row, catalog, asked.depth - 1)
    inputs = tuple(below.explain(name).explanation for name in names) if asked.depth > 0 else ()
    deeper = tuple(command(written.join, name, event.row) for name in names)
    note = f"its rows are of the join {source.parent.name}, computed as far as the window needs them"
    return replace(explanation, inputs=inputs, deeper=deeper, notes=(*explanation.notes, note))


def _total(gathered: Sequence[Evidence]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in gathered:
        for verdict, n in each.counts.items():
            if verdict != FOREIGN:
                counts[verdict] = counts.get(verdict, 0) + n
    return dict(sorted(counts.items(), key=lambda item: (item[0] != SEEN, item[0])))


def _with_contributions(
    base: Explanation, feature: Feature, seen: list[Event], rest: list[Event], counts: Mapping[str, int]
) -> Explanation:
    if counts.get(SEEN, 0) > len(seen):
        note = f"the newest {MOST_SEEN:,} events are listed, and what each contributed is left out: there are too many"
        return replace(base, events=(*seen, *rest), notes=(*base.notes, note))
    rule, marked = contributed(feature, seen)
    made = recompute(feature, seen)
    agrees = None
    if is_exact(feature):
        agrees = agree(feature, clean_result(feature.type, base.value), made, magnitude_of(feature, seen))
    notes = () if agrees is not None else ("an approximate operation: another run may give a value within its error",)
    return replace(
        base, events=(*marked, *rest), rule=rule, recomputed=made, agrees=agrees, notes=(*base.notes, *notes)
    )


def _with_latest(
    base: Explanation, asked: Asked, gathered: Sequence[Evidence], seen: list[Event], rest: list[Event]
) -> Explanation:
    """Marks the row that a lookup takes: the latest, ties by the columns' own order."""
    columns = [name for name, _ in asked.part.group_by.lookup]
    rows = [
        ((event.time or 0, event.known_at or 0, _ordered(looked_up(row, columns))), event)
        for each in gathered
        for event, row in zip(each.events, each.rows, strict=True)
        if event.verdict == SEEN
    ]
    if not rows:
        return replace(base, events=tuple(rest), agrees=base.value is None)
    latest = max(rows, key=lambda row: row[0])[1]
    marked = [replace(event, decides=True) if event is latest else event for event in seen]
    dtype = dict(asked.part.group_by.lookup)[asked.name]
    made = clean_result(dtype, latest.value)
    return replace(
        base,
        events=(*marked, *rest),
        rule=DECIDES,
        recomputed=made,
        agrees=made == clean_result(dtype, base.value),
    )


def _ordered(value: Any) -> tuple[Any, ...]:
    """A value by its parts in turn; null (and NaN) before all else."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return (1, tuple(_ordered(each) for each in value))
    return (0,) if value is None or value != value else (1, value)
