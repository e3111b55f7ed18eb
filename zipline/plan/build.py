"""Definitions and table schemas -> typed plans. Everything that can be refused is refused here, before any work.

`schema(table)` gives a table's columns and types; an empty one means that nothing is known of the table (it has no
rows), and every column that is asked for is then of type NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from zipline.algebra import operations
from zipline.api import (
    Aggregation,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    Window,
)
from zipline.api.base import Definition
from zipline.api.sources import Source
from zipline.arrow import from_arrow, to_arrow
from zipline.clock import DAY
from zipline.errors import UnsupportedError
from zipline.expressions import Expression, parse, parse_time, referenced_columns
from zipline.plan.fingerprints import fingerprint
from zipline.plan.steps import Column, Derived, Feature, GroupByPlan, JoinPlan, PartPlan, Projection
from zipline.types import BOOLEAN, NULL, STRING, TIMESTAMP, ArrayType, DataType, MapType, common_type, kind, map_of

Schema = Callable[[str], Mapping[str, DataType]]

LONGEST = 4_000_000 * DAY
"""Longer than the calendar: a window of more sees the same, and a label of more is never complete."""

MOST = 2**62
"""More values than there are: a larger k keeps the same."""


def plan_group_by(group_by: GroupBy, schema: Schema) -> GroupByPlan:
    """The typed plan of one group-by; DefinitionError names what does not fit and the author's line."""
    needed = _needed_columns(group_by)
    projections = [_project(group_by, source, schema, needed) for source in group_by.sources]
    types = _column_types(group_by, projections)
    sources = tuple(_typed(projection, types) for projection in projections)
    keys = tuple((key, types[key]) for key in group_by.keys)
    _check_keys(group_by, keys)
    features = tuple(f for a in group_by.aggregations for f in _features(group_by, a, types))
    lookup = tuple((c, t) for c, t in types.items() if c not in group_by.keys) if group_by.is_lookup else ()
    columns = (*keys, *(lookup or tuple((f.name, f.type) for f in features)))
    return GroupByPlan(
        name=group_by.title,
        short_name=group_by.short_name or "",
        keys=keys,
        sources=sources,
        features=features,
        lookup=lookup,
        derivations=_derive(group_by, group_by.derivations, columns),
        accuracy=group_by.accuracy.value,
        fingerprint=fingerprint(group_by),
        checks=tuple(group_by.checks),
        location=str(group_by.location) if group_by.location else None,
    )


def plan_join(join: Join, schema: Schema) -> JoinPlan:
    """The typed plan of a join; DefinitionError names what does not fit and the author's line."""
    _refuse_unsupported(join)
    left = _left(join, schema)
    left_columns = tuple((name, dtype) for name, dtype in left.column_types.items())
    known: dict[int, GroupByPlan] = {}
    parts = tuple(_part(join, part, left_columns, schema, known) for part in join.parts)
    labels: tuple[PartPlan, ...] = ()
    if join.labels:
        offset = min(join.labels.offset_micros, LONGEST)
        labels = tuple(_part(join, part, left_columns, schema, known, offset) for part in join.labels.parts)
    before = [*left_columns, *([] if "ts" in dict(left_columns) else [("ts", TIMESTAMP)])]
    before += [column for part in parts for column in part.columns]
    _refuse_collisions(join, [*before, *((d.name, NULL) for d in join.derivations), *_label_columns(labels)])
    plan = JoinPlan(
        name=join.title,
        fingerprint=fingerprint(join),
        left=left,
        left_columns=left_columns,
        parts=parts,
        labels=labels,
        derivations=_derive(join, join.derivations, tuple(before)),
        checks=tuple(join.checks),
        online=join.online,
        location=str(join.location) if join.location else None,
    )
    _check_checks(join, plan)
    return plan


def _label_columns(labels: tuple[PartPlan, ...]) -> list[Column]:
    return [column for part in labels for column in part.columns]


def _refuse_unsupported(join: Join) -> None:
    if join.bootstrap:
        raise _unsupported(join, "bootstrap")
    if join.contextual:
        raise _unsupported(join, "contextual columns")


def _unsupported(subject: Definition, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} can be defined but is not computed yet",
        subject=subject.title,
        where=subject.location,
        hint="take it out until a release that computes it",
    )


def _left(join: Join, schema: Schema) -> Projection:
    projection = _project(join, join.left, schema, None, kind_of_read="left")
    if isinstance(join.left, EntitySource):
        projection = replace(projection, time=None)
    time = projection.time
    selected = projection.columns.get("ts")
    if selected is not None and (time is None or selected.text.strip('"') != time.text.strip('"')):
        raise join.wrong(
            "the left selects a column 'ts' that is not the query time",
            hint="ts is the query time of each row in every output; give the column another name",
        )
    for key in join.row_id:
        if key not in projection.columns:
            raise join.wrong(f"row_id {key!r} is no column of the left", asked=key, valid=projection.columns)
    return projection


def _needed_columns(group_by: GroupBy) -> frozenset[str] | None:
    """The columns a group-by reads of its sources; None is all of them."""
    if group_by.is_lookup:
        return None
    inputs = {a.input for a in group_by.aggregations} | {b for a in group_by.aggregations for b in a.buckets}
    return frozenset(inputs | set(group_by.keys))


def _project(
    subject: GroupBy | Join,
    source: Source,
    schema: Schema,
    needed: frozenset[str] | None,
    *,
    kind_of_read: Any = None,
) -> Projection:
    if isinstance(source, JoinSource):
        raise _unsupported(subject, "a join as a source")
    if isinstance(source, EntitySource) and source.mutations:
        raise _unsupported(subject, "an entity with mutations")
    table = source.table if isinstance(source, EventSource) else source.snapshots
    query = source.query
    columns = dict(schema(table)) or _unknown(source, needed or _asked(subject))
    selected = dict(query.select) if isinstance(query.select, Mapping) else {name: _quoted(name) for name in columns}
    if needed is not None:
        _require(subject, table, needed, selected)
        selected = {name: text for name, text in selected.items() if name in needed}

    place: dict[str, Any] = {
        "subject": f"{subject.title}, of table {table!r}",
        "where": query.location or subject.location,
    }

    def typed(text: str) -> Expression:
        return parse(_named(text, columns), columns, **place)

    def instant(text: str | None) -> Expression | None:
        if text is None:
            return None
        return parse_time(_named(text, columns), columns, **place)

    select = tuple((name, typed(text)) for name, text in selected.items())
    where = tuple(typed(text) for text in query.where)
    for condition in where:
        if condition.type not in (BOOLEAN, NULL):
            raise subject.wrong(f"where {condition.text!r} is {condition.type}, not a condition")
    entity = isinstance(source, EntitySource)
    if (query.start or query.end) and query.partition not in columns:
        raise subject.wrong(
            f"the source {table!r} is bounded by partitions, but has no partition column {query.partition!r}",
            asked=query.partition,
            valid=columns,
            hint='Query(partition="...") names the column; a where can bound times instead',
        )
    if entity and columns and query.partition not in columns:
        raise subject.wrong(
            f"the snapshots {table!r} have no partition column {query.partition!r}",
            asked=query.partition,
            valid=columns,
            hint='Query(partition="...") names the column that holds the day of each snapshot',
        )
    return Projection(
        table=table,
        kind=kind_of_read or ("snapshots" if entity else "events"),
        select=select,
        types=tuple(expression.type for _, expression in select),
        where=where,
        time=instant(query.time),
        known_at=instant(query.known_at),
        event_id=typed(query.event_id) if query.event_id else None,
        partition=query.partition if query.partition in columns else None,
        start=query.start,
        end=query.end,
    )


def _named(text: str, columns: Iterable[str]) -> str:
    """A text that is a column's name is that column, even where SQL has another use for the word."""
    return _quoted(text) if text in columns else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _asked(subject: GroupBy | Join) -> frozenset[str]:
    """The columns that a definition names, where its source takes every column."""
    if isinstance(subject, GroupBy):
        return frozenset(subject.keys)
    parts = (*subject.parts, *(subject.labels.parts if subject.labels else ()))
    return frozenset(subject.row_id).union(*(part.left_keys.values() for part in parts))


def _unknown(source: EventSource | EntitySource, needed: frozenset[str]) -> dict[str, DataType]:
    query = source.query
    texts = [*(query.select or {}).values(), *query.where] if isinstance(query.select, Mapping) else [*query.where]
    texts += [t for t in (query.time, query.known_at, query.event_id) if t]
    names = frozenset[str]().union(*(referenced_columns(text) for text in texts))
    if query.select is None:
        names |= needed
    if isinstance(source, EntitySource):
        names |= {query.partition}
    return dict.fromkeys(sorted(names), NULL)


def _require(subject: Definition, table: str, needed: Iterable[str], selected: Iterable[str]) -> None:
    valid = tuple(selected)
    for name in sorted(needed):
        if name not in valid:
            raise subject.wrong(f"column {name!r} is missing in {table!r}", asked=name, valid=valid)


def _column_types(group_by: GroupBy, projections: list[Projection]) -> dict[str, DataType]:
    types = dict(projections[0].column_types)
    for other in projections[1:]:
        for name, dtype in other.column_types.items():
            if name not in types:
                raise group_by.wrong(f"column {name!r} of {other.table!r} is missing in {projections[0].table!r}")
            common = common_type(types[name], dtype)
            if common is None:
                raise group_by.wrong(
                    f"column {name!r} is {types[name]} in {projections[0].table!r} but {dtype} in {other.table!r}",
                    hint="CAST one of them in its select",
                )
            types[name] = common
    return types


def _typed(projection: Projection, types: Mapping[str, DataType]) -> Projection:
    ordered = tuple((name, projection.columns[name]) for name in types)
    return replace(projection, select=ordered, types=tuple(types.values()))


def _check_keys(subject: GroupBy, keys: tuple[Column, ...]) -> None:
    for name, dtype in keys:
        if not dtype.is_ordered and dtype != NULL:
            raise subject.wrong(f"key {name!r} is {dtype}; keys are scalars")


def _features(group_by: GroupBy, aggregation: Aggregation, types: Mapping[str, DataType]) -> Iterable[Feature]:
    name = aggregation.operation.name
    input_type = types[aggregation.input]
    element = input_type.element if isinstance(input_type, ArrayType) else input_type
    try:
        result = operations.result_type(name, element)
    except UnsupportedError:
        raise
    except Exception as wrong:
        what = getattr(wrong, "what", str(wrong))
        raise group_by.wrong(f"{aggregation.title}: {what}", hint=getattr(wrong, "hint", None)) from None
    for output in aggregation.outputs:
        bucket_type = types[output.bucket] if output.bucket else None
        if bucket_type is not None and not bucket_type.is_ordered and bucket_type != NULL:
            raise group_by.wrong(f"{output.name}: bucket {output.bucket!r} is {bucket_type}; buckets are scalars")
        column_type = _named_keys(operations.map_type(bucket_type, result) if bucket_type is not None else result)
        if column_type == NULL and aggregation.default is not None:
            column_type = from_arrow(pa.array([aggregation.default]).type, output.name)
        _check_default(group_by, aggregation, output.name, column_type)
        yield Feature(
            name=output.name,
            operation=name,
            input=aggregation.input,
            window=min(output.window.micros, LONGEST) if isinstance(output.window, Window) else None,
            bucket=output.bucket,
            k=None if aggregation.k is None else min(aggregation.k, MOST),
            percentiles=tuple(aggregation.percentiles) if aggregation.percentiles else None,
            default=aggregation.default,
            input_type=input_type,
            bucket_type=bucket_type,
            type=column_type,
        )


def _named_keys(dtype: DataType) -> DataType:
    """The type, a map's keys as text where nothing is known of them: a map has no null keys."""
    if not isinstance(dtype, MapType):
        return dtype
    return map_of(STRING if dtype.key == NULL else dtype.key, _named_keys(dtype.value))


def _check_default(group_by: GroupBy, aggregation: Aggregation, column: str, dtype: DataType) -> None:
    if aggregation.default is None:
        return
    try:
        default_array(aggregation.default, dtype)
    except (pa.ArrowException, OverflowError):
        raise group_by.wrong(f"the default {aggregation.default!r} of {column} is no {dtype}") from None


def default_array(value: Any, dtype: DataType) -> pa.Array:
    """A default as an array of one value of the feature's type; a map may be given as a dict."""
    if isinstance(dtype, MapType) and isinstance(value, Mapping):
        value = list(value.items())
    return pa.array([value], to_arrow(dtype))


def _derive(subject: Definition, derivations: Iterable[Derivation], columns: tuple[Column, ...]) -> tuple[Derived, ...]:
    known = dict(columns)
    derived: list[Derived] = []
    for derivation in derivations:
        expression = parse(
            _named(derivation.expression, known),
            known,
            subject=f"{subject.title}.{derivation.name}",
            where=derivation.location,
        )
        derived.append(Derived(derivation.name, expression))
        known[derivation.name] = expression.type
    return tuple(derived)


def _part(
    join: Join,
    part: JoinPart,
    left: tuple[Column, ...],
    schema: Schema,
    known: dict[int, GroupByPlan],
    offset: int | None = None,
) -> PartPlan:
    source = part.source
    if isinstance(source, ExternalSource):
        raise _unsupported(join, "an external source")
    if not source.short_name:
        raise source.wrong("has no name, which its columns in a join begin with", hint='give name="..."')
    if id(source) not in known:
        known[id(source)] = plan_group_by(source, schema)
    plan = known[id(source)]
    left_keys = _left_keys(join, part, plan, dict(left))
    features = tuple(name for name, _ in plan.columns)
    for feature in part.features or ():
        if feature not in features:
            raise join.wrong(f"{source.title} has no feature {feature!r}", asked=feature, valid=features)
    label = "label_" if offset is not None else ""
    prefix = f"{part.prefix}_" if part.prefix else ""
    return PartPlan(
        group_by=plan,
        left_keys=left_keys,
        prefix=f"{label}{prefix}{source.short_name}_",
        chosen=tuple(part.features or features),
        offset=offset,
    )


def _left_keys(join: Join, part: JoinPart, plan: GroupByPlan, left: Mapping[str, DataType]) -> tuple[str, ...]:
    for key, dtype in plan.keys:
        column = part.left_keys[key]
        if column not in left:
            raise join.wrong(
                f"{plan.name} needs the key {key!r}, and the left has no column {column!r}",
                asked=column,
                valid=left,
                hint="select it, or map another left column to the key with key_map",
            )
        check_key_kinds(join, column, left[column], key, dtype)
    return tuple(part.left_keys[key] for key, _ in plan.keys)


def check_key_kinds(subject: Definition, column: str, left: DataType, key: str, right: DataType) -> None:
    """Refuses keys of different kinds: they would never be equal."""
    if NULL not in (left, right) and kind(left) != kind(right):
        raise subject.wrong(
            f"left column {column!r} is {left}, but the key {key!r} is {right}",
            hint=f"keys compare by type and value: CAST({column} AS {right}) on the left, or the key in its source",
        )


def _refuse_collisions(join: Join, columns: list[Column]) -> None:
    seen: set[str] = set()
    for name, _ in columns:
        if name in seen:
            raise join.wrong(
                f"two columns would be named {name!r}",
                hint='give one part a prefix, JoinPart(..., prefix="..."), or rename the left column or derivation',
            )
        seen.add(name)


def _check_checks(join: Join, plan: JoinPlan) -> None:
    names = tuple(dict(plan.columns))
    for check in plan.checks:
        for column in check.columns:
            if column not in names:
                raise join.wrong(f"{check.title}: the output has no such column", asked=column, valid=names)
