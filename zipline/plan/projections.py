"""Sources -> projections: which columns of which table are read, typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from zipline.api import EntitySource, EventSource, GroupBy, Join, StagingQuery
from zipline.api.base import Definition
from zipline.expressions import referenced_columns
from zipline.plan.fingerprints import fingerprint
from zipline.plan.keys import are_one_kind
from zipline.plan.scope import Scope, quoted
from zipline.plan.steps import Projection
from zipline.types import NULL, DataType, common_type

Schema = Callable[[str], Mapping[str, DataType]]
"""A table's columns and types; empty where nothing is known of the table."""


def project(
    subject: GroupBy | Join,
    source: EventSource | EntitySource,
    schema: Schema,
    needed: frozenset[str] | None,
    *,
    kind_of_read: Any = None,
) -> Projection:
    table = source.table_name
    query = source.query
    columns = dict(schema(table)) or _unknown(source, needed or _asked(subject))
    selected = dict(query.select) if isinstance(query.select, Mapping) else {name: quoted(name) for name in columns}
    has_mutations = isinstance(source, EntitySource) and source.mutations is not None and kind_of_read is None
    if has_mutations and query.select is None:
        selected.pop(query.partition, None)
    if needed is not None:
        require(subject, table, needed, selected)
        # What a reversal takes back is told by all of the select, and which row of an event id is the event.
        if not has_mutations and not query.event_id:
            selected = {name: text for name, text in selected.items() if name in needed}
    scope = Scope(subject, table, columns, query)
    select, where = scope.select(selected), scope.where()
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
        time=scope.instant(query.time),
        known_at=scope.instant(query.known_at),
        event_id=scope.typed(query.event_id) if query.event_id else None,
        partition=query.partition if query.partition in columns else None,
        start=query.start,
        end=query.end,
        made_by=_made_by(source),
        asked=tuple(selected),
    )


def _made_by(source: EventSource | EntitySource) -> str | None:
    table = source.table if isinstance(source, EventSource) else source.snapshots
    return fingerprint(table) if isinstance(table, StagingQuery) else None


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


def require(subject: Definition, table: str, needed: Iterable[str], selected: Iterable[str]) -> None:
    """Refuses a selection that lacks a column that is needed."""
    valid = tuple(selected)
    for name in sorted(needed):
        if name not in valid:
            raise subject.wrong(f"column {name!r} is missing in {table!r}", asked=name, valid=valid)


def column_types(
    group_by: GroupBy, projections: list[Projection], needed: frozenset[str] | None
) -> dict[str, DataType]:
    """The one type of each column that is needed (None: of all) over all sources."""
    types = {name: dtype for name, dtype in projections[0].column_types.items() if needed is None or name in needed}
    for other in projections[1:]:
        for name, dtype in other.column_types.items():
            if needed is not None and name not in needed:
                continue
            if name not in types:
                raise group_by.wrong(f"column {name!r} of {other.table!r} is missing in {projections[0].table!r}")
            common = common_type(types[name], dtype)
            if common is None or (name in group_by.keys and not are_one_kind(types[name], dtype)):
                raise group_by.wrong(
                    f"column {name!r} is {types[name]} in {projections[0].table!r} but {dtype} in {other.table!r}",
                    hint="CAST one of them in its select",
                )
            types[name] = common
    return types


def typed_as(projection: Projection, types: Mapping[str, DataType]) -> Projection:
    """The projection with these types, in their order; columns that tell rows apart and nothing else come last."""
    types = {**types, **{name: dtype for name, dtype in projection.column_types.items() if name not in types}}
    ordered = tuple((name, projection.columns[name]) for name in types)
    mutations = None if projection.mutations is None else typed_as(projection.mutations, types)
    return replace(projection, select=ordered, types=tuple(types.values()), mutations=mutations)
