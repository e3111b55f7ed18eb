"""Definitions and table schemas -> typed plans. Everything that can be refused is refused here, before any work.

`schema(table)` gives a table's columns and types; an empty one means that nothing is known of the table (it has no
rows), and every column that is asked for is then of type NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from zipline.api import Derivation, EntitySource, ExternalSource, GroupBy, Join, JoinPart
from zipline.api.base import Definition
from zipline.expressions import parse
from zipline.plan.features import LONGEST, features_of
from zipline.plan.fingerprints import fingerprint
from zipline.plan.projections import Schema, column_types, named, project, typed_as, unsupported
from zipline.plan.steps import Column, Derived, GroupByPlan, JoinPlan, PartPlan, Projection
from zipline.types import NULL, TIMESTAMP, DataType, kind


def plan_group_by(group_by: GroupBy, schema: Schema) -> GroupByPlan:
    """The typed plan of one group-by; DefinitionError names what does not fit and the author's line."""
    needed = _needed_columns(group_by)
    projections = [project(group_by, source, schema, needed) for source in group_by.sources]
    types = column_types(group_by, projections)
    sources = tuple(typed_as(projection, types) for projection in projections)
    keys = tuple((key, types[key]) for key in group_by.keys)
    _check_keys(group_by, keys)
    features = tuple(f for a in group_by.aggregations for f in features_of(group_by, a, types))
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
        raise unsupported(join, "bootstrap")
    if join.contextual:
        raise unsupported(join, "contextual columns")


def _left(join: Join, schema: Schema) -> Projection:
    projection = project(join, join.left, schema, None, kind_of_read="left")
    if isinstance(join.left, EntitySource):
        projection = replace(projection, time=None)
    time = projection.time
    selected = projection.columns.get("ts")
    if selected is not None and (time is None or selected.text.strip('"') != time.text.strip('"')):
        raise join.wrong(
            "the left selects a column 'ts' that is not the query time",
            hint="ts is the query time of each row in every output; give the column another name",
        )
    if selected is not None and time is not None:
        projection = _with_query_time(projection)
    for key in join.row_id:
        if key not in projection.columns:
            raise join.wrong(f"row_id {key!r} is no column of the left", asked=key, valid=projection.columns)
    return projection


def _with_query_time(left: Projection) -> Projection:
    """A selected `ts` is the query time, as an instant, whatever the table holds it as."""
    assert left.time is not None
    select = tuple((name, left.time if name == "ts" else expression) for name, expression in left.select)
    types = tuple(TIMESTAMP if name == "ts" else dtype for name, dtype in left.column_types.items())
    return replace(left, select=select, types=types)


def _needed_columns(group_by: GroupBy) -> frozenset[str] | None:
    """The columns a group-by reads of its sources; None is all of them."""
    if group_by.is_lookup:
        return None
    inputs = {a.input for a in group_by.aggregations} | {b for a in group_by.aggregations for b in a.buckets}
    return frozenset(inputs | set(group_by.keys))


def _check_keys(subject: GroupBy, keys: tuple[Column, ...]) -> None:
    for name, dtype in keys:
        if not dtype.is_ordered and dtype != NULL:
            raise subject.wrong(f"key {name!r} is {dtype}; keys are scalars")


def _derive(subject: Definition, derivations: Iterable[Derivation], columns: tuple[Column, ...]) -> tuple[Derived, ...]:
    known = dict(columns)
    derived: list[Derived] = []
    for derivation in derivations:
        expression = parse(
            named(derivation.expression, known),
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
        raise unsupported(join, "an external source")
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
    seen: dict[str, str] = {}
    for name, _ in columns:
        other = seen.get(name.lower())
        if other is not None:
            both = repr(name) if other == name else f"{other!r} and {name!r}, which tables cannot tell apart"
            raise join.wrong(
                f"two columns would be named {both}",
                hint='give one part a prefix, JoinPart(..., prefix="..."), or rename the left column or derivation',
            )
        seen[name.lower()] = name


def _check_checks(join: Join, plan: JoinPlan) -> None:
    names = tuple(dict(plan.columns))
    for check in plan.checks:
        for column in check.columns:
            if column not in names:
                raise join.wrong(f"{check.title}: the output has no such column", asked=column, valid=names)
