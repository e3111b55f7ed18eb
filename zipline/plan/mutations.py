"""Entities with mutations: the projection of the changes, beside that of the snapshots.

A change is a row of the source's own select, typed over the mutation table's columns, so both tables need every column
that the select, the conditions and the clocks name. Without a select the columns are those of the snapshots but their
partition: on which day a row was dumped is no part of what it says. The bounds of a query limit the partitions of each
table that has the partition column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zipline.api import EntitySource, GroupBy, StagingQuery
from zipline.api.sources import Source
from zipline.expressions import referenced_columns
from zipline.plan.fingerprints import fingerprint
from zipline.plan.keys import are_one_kind
from zipline.plan.projections import Schema
from zipline.plan.scope import Scope, quoted
from zipline.plan.steps import Projection
from zipline.types import NULL, DataType, common_type


def with_mutations(subject: GroupBy, source: Source, snapshots: Projection, schema: Schema) -> Projection:
    """The source's projection with that of its mutations, both of the types they have in common."""
    if not isinstance(source, EntitySource) or source.mutations is None:
        return snapshots
    _refuse_event_id(subject, source)
    mutations = _project(subject, source, snapshots, schema)
    types = tuple(_common(subject, name, snapshots, mutations) for name in snapshots.columns)
    return replace(snapshots, types=types, mutations=replace(mutations, types=types))


def _project(subject: GroupBy, source: EntitySource, snapshots: Projection, schema: Schema) -> Projection:
    assert source.mutations_name is not None
    query = source.query
    assert query.mutation_time is not None
    assert query.is_before is not None
    selected = dict(query.select) if isinstance(query.select, Mapping) else {n: quoted(n) for n in snapshots.columns}
    columns = dict(schema(source.mutations_name)) or _unknown(source, selected)
    for name in selected if query.select is None else ():
        if name not in columns:
            raise subject.wrong(
                f"the mutations {source.mutations_name!r} have no column {name!r}, which the snapshots have",
                asked=name,
                valid=columns,
                hint="select the columns that both have: Query(select=[...])",
            )
    scope = Scope(subject, source.mutations_name, columns, query)
    return replace(
        snapshots,
        table=source.mutations_name,
        kind="mutations",
        select=scope.select({name: selected[name] for name in snapshots.columns}),
        where=scope.where(),
        time=scope.instant(query.time),
        partition=query.partition if query.partition in columns else None,
        start=query.start if query.partition in columns else None,
        end=query.end if query.partition in columns else None,
        made_by=fingerprint(source.mutations) if isinstance(source.mutations, StagingQuery) else None,
        mutation_time=scope.instant(query.mutation_time),
        is_before=scope.condition(query.is_before, "is_before"),
        is_streamed=source.topic is not None,
    )


def _unknown(source: EntitySource, selected: Mapping[str, str]) -> dict[str, DataType]:
    """Every column that is asked for, where nothing is known of the table."""
    query = source.query
    clocks = [text for text in (query.time, query.mutation_time, query.is_before) if text]
    names = [referenced_columns(text) for text in (*selected.values(), *query.where, *clocks)]
    return dict.fromkeys(sorted(frozenset[str]().union(*names)), NULL)


def _common(subject: GroupBy, name: str, snapshots: Projection, mutations: Projection) -> DataType:
    one, other = snapshots.column_types[name], mutations.columns[name].type
    common = common_type(one, other)
    if common is None or (name in subject.keys and not are_one_kind(one, other)):
        raise subject.wrong(
            f"column {name!r} is {one} in the snapshots {snapshots.table!r} "
            f"but {other} in the mutations {mutations.table!r}",
            hint="the select is over both tables, so a CAST in it is too: make the column one type in both",
        )
    return common


def _refuse_event_id(subject: GroupBy, source: EntitySource) -> None:
    if source.query.event_id:
        raise subject.wrong(
            f"event_id is for rows that may come twice, and the changes {source.mutations_name!r} count every row",
            hint="take event_id out: inserts and reversals of equal rows are counted against each other",
        )
