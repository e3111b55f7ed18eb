"""Definitions and table schemas -> typed plans. Everything that can be refused is refused here, before any work.

`schema(table)` gives a table's columns and types; an empty one means that nothing is known of the table (it has no
rows), and every column that is asked for is then of type NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from zipline.api import Derivation, EntitySource, GroupBy, Join, JoinPart, JoinSource
from zipline.api.base import Definition
from zipline.api.fields import duration_micros
from zipline.api.sources import Source
from zipline.expressions import parse
from zipline.plan.bootstrap import plan_bootstrap, read_bootstrap, with_given_types
from zipline.plan.features import LONGEST, features_of
from zipline.plan.fingerprints import Fingerprints
from zipline.plan.keys import left_keys_of
from zipline.plan.mutations import with_mutations
from zipline.plan.parents import project_parent
from zipline.plan.projections import Schema, column_types, project, typed_as
from zipline.plan.requests import contextual_columns, plan_external, plan_twin
from zipline.plan.scope import named
from zipline.plan.steps import Column, Derived, ExternalPlan, GroupByPlan, JoinPlan, PartPlan, Projection
from zipline.plan.upstream import chained_joins
from zipline.types import NULL, TIMESTAMP, DataType


def plan_group_by(group_by: GroupBy, schema: Schema, planned: Planned | None = None) -> GroupByPlan:
    """The typed plan of one group-by; DefinitionError names what does not fit and the author's line."""
    return (planned or Planned(schema)).group_by(group_by)


def plan_join(join: Join, schema: Schema, planned: Planned | None = None) -> JoinPlan:
    """The typed plan of a join; DefinitionError names what does not fit and the author's line.

    What was `planned` before with the same schema is used again.
    """
    return (planned or Planned(schema)).join(join)


class Planned:
    """Plans of definitions that share what is upstream: each is planned once, a join's parents before it."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.fingerprints = Fingerprints()
        self._group_bys: dict[int, tuple[GroupBy, GroupByPlan]] = {}
        self._joins: dict[str, JoinPlan] = {}

    def group_by(self, group_by: GroupBy) -> GroupByPlan:
        known = self._group_bys.get(id(group_by))
        if known is None:
            self._plan_parents(group_by)
            known = self._group_bys[id(group_by)] = group_by, _plan_group_by(group_by, self)
        return known[1]

    def join(self, join: Join) -> JoinPlan:
        self._plan_parents(join)
        return self.parent(join)

    def parent(self, join: Join) -> JoinPlan:
        """The plan of a join whose own parents are planned."""
        fingerprint = self.fingerprints.of(join)
        if fingerprint not in self._joins:
            self._joins[fingerprint] = _plan_join(join, self)
        return self._joins[fingerprint]

    def _plan_parents(self, definition: GroupBy | Join) -> None:
        for join in chained_joins(definition):
            self.parent(join)


def _plan_group_by(group_by: GroupBy, planned: Planned) -> GroupByPlan:
    needed = _needed_columns(group_by)
    projections = [_project(group_by, source, planned, needed) for source in group_by.sources]
    types = column_types(group_by, projections, needed)
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
        fingerprint=planned.fingerprints.of(group_by),
        checks=tuple(group_by.checks),
        location=str(group_by.location) if group_by.location else None,
        freshness=None if group_by.freshness is None else duration_micros(group_by.freshness),
        cache=None if group_by.cache is None else duration_micros(group_by.cache),
    )


def _project(group_by: GroupBy, source: Source, planned: Planned, needed: frozenset[str] | None) -> Projection:
    if isinstance(source, JoinSource):
        return project_parent(group_by, source, planned.parent(source.join), needed)
    projection = project(group_by, source, planned.schema, needed)
    return with_mutations(group_by, source, projection, planned.schema)


def _plan_join(join: Join, planned: Planned) -> JoinPlan:
    left = _left(join, planned)
    left_columns = tuple((name, dtype) for name, dtype in left.column_types.items())
    given = read_bootstrap(join, planned.schema, left.column_types)
    planned_parts = _parts(join, left.column_types, planned)
    plan = JoinPlan(
        name=join.title,
        fingerprint=planned.fingerprints.of(join),
        left=left,
        left_columns=left_columns,
        parts=with_given_types((p for p in planned_parts if isinstance(p, PartPlan)), given),
        labels=_labels(join, left.column_types, planned),
        derivations=(),
        checks=tuple(join.checks),
        online=join.online,
        location=str(join.location) if join.location else None,
        externals=tuple(part for part in planned_parts if isinstance(part, ExternalPlan)),
        contextual=contextual_columns(join, left.column_types),
    )
    before = plan.scoring_columns
    labels = [column for part in plan.labels for column in part.columns]
    _refuse_collisions(join, [*before, *((d.name, NULL) for d in join.derivations), *labels])
    plan = replace(plan, derivations=_derive(join, join.derivations, before))
    output = dict(plan.scoring_columns)
    plan = replace(plan, bootstrap=plan_bootstrap(join, given, left.column_types, output, set(dict(labels))))
    _check_checks(join, plan)
    return plan


def _parts(join: Join, left: Mapping[str, DataType], planned: Planned) -> list[PartPlan | ExternalPlan]:
    """The parts in order; external sources that have a twin are parts like all others."""
    parts: list[PartPlan | ExternalPlan] = []
    for part in join.parts:
        after = sum(isinstance(each, PartPlan) for each in parts)
        source = part.source
        if isinstance(source, GroupBy):
            parts.append(_part(join, part, left, planned))
            continue
        external = plan_external(join, part, left, after)
        twin = source.offline
        parts.append(plan_twin(source, external, planned.group_by(twin)) if twin is not None else external)
    return parts


def _labels(join: Join, left: Mapping[str, DataType], planned: Planned) -> tuple[PartPlan, ...]:
    if join.labels is None:
        return ()
    offset = min(join.labels.offset_micros, LONGEST)
    return tuple(_part(join, part, left, planned, offset) for part in join.labels.parts)


def _left(join: Join, planned: Planned) -> Projection:
    if isinstance(join.left, JoinSource):
        projection = project_parent(join, join.left, planned.parent(join.left.join), None, kind="left")
    else:
        projection = project(join, join.left, planned.schema, None, kind_of_read="left")
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
    join: Join, part: JoinPart, left: Mapping[str, DataType], planned: Planned, offset: int | None = None
) -> PartPlan:
    source = part.source
    assert isinstance(source, GroupBy)
    if not source.short_name:
        raise source.wrong("has no name, which its columns in a join begin with", hint='give name="..."')
    plan = planned.group_by(source)
    left_keys = left_keys_of(join, part, plan.name, plan.keys, left)
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
