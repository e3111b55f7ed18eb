"""Many cases of one definition as one job: the case's number becomes one more key, and results are split back by it.

So an engine that needs seconds to start does a thousand cases in minutes. What belongs to a whole table and not to a
key cannot share a job: `keys=[]`, the end of label data without `as_of`, which snapshot is the newest unless all cases
have the same days, and errors. `are_batchable` says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from .oracle import Result
from .tables import AggregateCase, BackfillCase, Case, Table

CASE = "case_number"
KIND = "BIGINT"


def are_batchable(cases: Sequence[Case]) -> bool:
    """True where the answer to each case depends on its own rows alone when the others stand beside it."""
    first = cases[0]
    definition = first.group_by if isinstance(first, AggregateCase) else first.join
    bounded = isinstance(first, AggregateCase) or first.join.labels is None or first.as_of is not None
    group_bys = list(group_bys_of(definition))
    return bounded and all(group_by.keys for group_by in group_bys) and _same_days(cases, group_bys)


def group_bys_of(definition: Any) -> Iterator[Any]:
    """Every group-by that a definition is made of, itself and those of joins far up a chain too."""
    if hasattr(definition, "sources"):
        yield definition
    for source in getattr(definition, "sources", None) or [definition.left]:
        if hasattr(source, "join"):
            yield from group_bys_of(source.join)
    for part in parts_of(definition):
        yield from group_bys_of(_answering(part.source))


def parts_of(definition: Any) -> list[Any]:
    labels = getattr(definition, "labels", None)
    return [*getattr(definition, "parts", ()), *(labels.parts if labels else ())]


def _answering(source: Any) -> Any:
    return source.offline if hasattr(source, "offline") else source


def _same_days(cases: Sequence[Case], group_bys: Sequence[Any]) -> bool:
    entities = [source for group_by in group_bys for source in group_by.sources if hasattr(source, "snapshots")]
    return all(len({_days(case, source) for case in cases}) == 1 for source in entities)


def _days(case: Case, source: Any) -> frozenset[Any]:
    return frozenset(row[source.query.partition] for row in case.tables[source.snapshots].rows)


def merged(cases: Sequence[Case]) -> Case:
    """One case that holds all of `cases`, which share their definition, schemas and arguments."""
    first = cases[0]
    tables = {name: _stacked([case.tables[name] for case in cases]) for name in first.tables}
    if isinstance(first, AggregateCase):
        queries = _stacked([case.queries for case in cases if isinstance(case, AggregateCase)])
        return AggregateCase(_group_by(first.group_by), queries, tables, first.functions)
    return BackfillCase(_join(first.join), tables, first.training, first.as_of, first.functions)


def split(result: Result, count: int) -> list[Result]:
    """The results of the single cases, in order, without the case's column."""
    columns = tuple(column for column in result.columns if column != CASE)
    rows: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for row in result.rows:
        rows[row[CASE]].append({name: row[name] for name in columns})
    return [Result(columns, tuple(made)) for made in rows]


def _stacked(tables: Sequence[Table]) -> Table:
    rows = [row | {CASE: number} for number, table in enumerate(tables) for row in table.rows]
    return Table({**tables[0].schema, CASE: KIND}, tuple(rows))


def _group_by(group_by: Any) -> Any:
    sources = [_source(source) for source in group_by.sources]
    return dataclasses.replace(group_by, keys=[*group_by.keys, CASE], sources=sources)


def _source(source: Any) -> Any:
    if hasattr(source, "join"):
        source = dataclasses.replace(source, join=_join(source.join))
    return _selecting_case(source)


def _selecting_case(source: Any) -> Any:
    """A source, or a part of a bootstrap, whose query takes the case's column along."""
    select = source.query.select
    if select is None:
        return source
    query = dataclasses.replace(source.query, select={**dict(select), CASE: CASE})
    return dataclasses.replace(source, query=query)


def _join(join: Any) -> Any:
    labels = join.labels and dataclasses.replace(join.labels, parts=[_part(part) for part in join.labels.parts])
    return dataclasses.replace(
        join,
        left=_source(join.left),
        parts=[_part(part) for part in join.parts],
        row_id=[*join.row_id, CASE] if join.row_id else (),
        bootstrap=[_selecting_case(part) for part in join.bootstrap],
        labels=labels,
    )


def _part(part: Any) -> Any:
    source = part.source
    if hasattr(source, "offline"):
        with_case = dataclasses.replace(
            source, keys={**dict(source.keys), CASE: KIND}, offline=_group_by(source.offline)
        )
    else:
        with_case = _group_by(source)
    return dataclasses.replace(part, source=with_case)
