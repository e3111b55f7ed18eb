"""Sources -> projections: which columns of which table are read, typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from zipline.api import EntitySource, EventSource, GroupBy, Join, JoinSource
from zipline.api.base import Definition
from zipline.api.sources import Source
from zipline.errors import UnsupportedError
from zipline.expressions import Expression, parse, parse_time, referenced_columns
from zipline.plan.steps import Projection
from zipline.types import BOOLEAN, NULL, DataType, common_type

Schema = Callable[[str], Mapping[str, DataType]]
"""A table's columns and types; empty where nothing is known of the table."""


def unsupported(subject: Definition, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} can be defined but is not computed yet",
        subject=subject.title,
        where=subject.location,
        hint="take it out until a release that computes it",
    )


def project(
    subject: GroupBy | Join,
    source: Source,
    schema: Schema,
    needed: frozenset[str] | None,
    *,
    kind_of_read: Any = None,
) -> Projection:
    if isinstance(source, JoinSource):
        raise unsupported(subject, "a join as a source")
    if isinstance(source, EntitySource) and source.mutations:
        raise unsupported(subject, "an entity with mutations")
    table = source.table_name
    query = source.query
    columns = dict(schema(table)) or _unknown(source, needed or _asked(subject))
    selected = dict(query.select) if isinstance(query.select, Mapping) else {name: quoted(name) for name in columns}
    if needed is not None:
        _require(subject, table, needed, selected)
        selected = {name: text for name, text in selected.items() if name in needed}

    place: dict[str, Any] = {
        "subject": f"{subject.title}, of table {table!r}",
        "where": query.location or subject.location,
    }

    def typed(text: str) -> Expression:
        return parse(named(text, columns), columns, **place)

    def instant(text: str | None) -> Expression | None:
        if text is None:
            return None
        return parse_time(named(text, columns), columns, **place)

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


def named(text: str, columns: Iterable[str]) -> str:
    """A text that is a column's name is that column, even where SQL has another use for the word."""
    return quoted(text) if text in columns else text


def quoted(name: str) -> str:
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


def column_types(group_by: GroupBy, projections: list[Projection]) -> dict[str, DataType]:
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


def typed_as(projection: Projection, types: Mapping[str, DataType]) -> Projection:
    ordered = tuple((name, projection.columns[name]) for name in types)
    return replace(projection, select=ordered, types=tuple(types.values()))
