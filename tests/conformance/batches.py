"""Many cases of one definition as one job: the case's number becomes one more key, and results are split back by it.

So an engine that needs seconds to start does a thousand cases in minutes. What belongs to a whole table and not to a
key cannot share a job: `keys=[]`, the end of label data without `as_of`, and errors. `is_batchable` says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .oracle import Result
from .tables import AggregateCase, BackfillCase, Case, Table

CASE = "case_number"


def is_batchable(case: Case) -> bool:
    """True where the answer to the case depends on its own rows alone when other cases stand beside it."""
    if isinstance(case, AggregateCase):
        return _by_key(case.group_by)
    labels = case.join.labels
    parts = [*case.join.parts, *(labels.parts if labels else ())]
    return all(_by_key(part.source) for part in parts) and (labels is None or case.as_of is not None)


def _by_key(group_by: Any) -> bool:
    """Entities are out too: which snapshot is the newest is a matter of the whole table."""
    return bool(group_by.keys) and not any(hasattr(source, "snapshots") for source in group_by.sources)


def merged(cases: Sequence[Case]) -> Case:
    """One case that holds all of `cases`, which share their definition, schemas and arguments."""
    first = cases[0]
    tables = {name: _stacked([case.tables[name] for case in cases]) for name in first.tables}
    if isinstance(first, AggregateCase):
        queries = _stacked([case.queries for case in cases if isinstance(case, AggregateCase)])
        return AggregateCase(_with_case(first.group_by), queries, tables, first.functions)
    return BackfillCase(_join_with_case(first.join), tables, first.training, first.as_of, first.functions)


def split(result: Result, count: int) -> list[Result]:
    """The results of the single cases, in order, without the case's column."""
    columns = tuple(column for column in result.columns if column != CASE)
    rows: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for row in result.rows:
        rows[row[CASE]].append({name: row[name] for name in columns})
    return [Result(columns, tuple(made)) for made in rows]


def _stacked(tables: Sequence[Table]) -> Table:
    rows = [row | {CASE: number} for number, table in enumerate(tables) for row in table.rows]
    return Table({**tables[0].schema, CASE: "BIGINT"}, tuple(rows))


def _with_case(group_by: Any) -> Any:
    sources = [_selecting_case(source) for source in group_by.sources]
    return dataclasses.replace(group_by, keys=[*group_by.keys, CASE], sources=sources)


def _selecting_case(source: Any) -> Any:
    select = source.query.select
    if select is None:
        return source
    query = dataclasses.replace(source.query, select={**dict(select), CASE: CASE})
    return dataclasses.replace(source, query=query)


def _join_with_case(join: Any) -> Any:
    labels = join.labels and dataclasses.replace(join.labels, parts=[_part_with_case(p) for p in join.labels.parts])
    parts = [_part_with_case(part) for part in join.parts]
    return dataclasses.replace(join, left=_selecting_case(join.left), parts=parts, labels=labels)


def _part_with_case(part: Any) -> Any:
    return dataclasses.replace(part, source=_with_case(part.source))
