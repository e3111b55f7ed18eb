"""The evidence of all sources of a group-by for one row, and the tables that the engine gets to compute its value."""

from __future__ import annotations

from dataclasses import field

import duckdb
import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.engines.explanation.asked import Asked
from zipline.engines.explanation.changes import gather_state
from zipline.engines.explanation.evidence import gather, newest_snapshot, other_keys
from zipline.engines.explanation.parents import parent_rows
from zipline.engines.explanation.questions import Evidence, Question
from zipline.engines.explanation.statements import FOREIGN, key_literal
from zipline.engines.explanation.values import (
    Excerpt,
    renamed,
)
from zipline.engines.local.session import connect
from zipline.plan.chaining import DAY_COLUMN, Span, by_query_time
from zipline.plan.steps import Projection
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.tables.memory import MemoryTable
from zipline.types import STRING
from zipline.values import dataclass


@dataclass
class Gathered:
    """What the sources have, the rows of other keys (None where unknown), and the tables that the engine gets."""

    evidence: list[Evidence] = field(default_factory=list)
    others: list[int | None] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)

    @property
    def other_keys(self) -> int | None:
        known = [each for each in self.others if each is not None]
        return sum(known) if len(known) == len(self.others) else None


def gather_all(asked: Asked, catalog: Catalog) -> Gathered:
    """What all sources have of the key; of a row whose key or time is null, which no event is of, nothing is read."""
    if asked.nulls:
        return _nothing(asked, catalog)
    start, end = asked.bounds
    literals = {key: key_literal(asked.keys[key][0].as_py(), dtype) for key, dtype in asked.part.group_by.keys}
    gathered = Gathered()
    connection = connect()
    try:
        for number, source in enumerate(asked.part.group_by.sources):
            origin = origin_of(source)
            question = Question(asked.part, source, asked.feature, asked.name, literals, start, end, origin)
            _gather_source(connection, asked, question, renamed(source, number), catalog, gathered)
    finally:
        connection.close()
    return gathered


def _nothing(asked: Asked, catalog: Catalog) -> Gathered:
    """The engine gets the sources' tables without their rows."""
    gathered = Gathered(others=[None])
    for number, source in enumerate(asked.part.group_by.sources):
        own = renamed(source, number)
        gathered.tables[own.table] = _without_rows(own.table, source, catalog)
        if own.mutations is not None and source.mutations is not None:
            gathered.tables[own.mutations.table] = _without_rows(own.mutations.table, source.mutations, catalog)
    return gathered


def _without_rows(name: str, source: Projection, catalog: Catalog) -> Table:
    if source.parent is None:
        schema = catalog.table(source.table).schema
    else:
        schema = {DAY_COLUMN: STRING, **dict(source.parent.scoring_columns)}
    return MemoryTable(name, pa.table({column: pa.nulls(0, to_arrow(dtype)) for column, dtype in schema.items()}))


def _gather_source(
    connection: duckdb.DuckDBPyConnection,
    asked: Asked,
    question: Question,
    own: Projection,
    catalog: Catalog,
    gathered: Gathered,
) -> None:
    source = question.source
    table = _table(asked, question, catalog)
    if not table.schema:
        gathered.tables[own.table] = table
        if own.mutations is not None and source.mutations is not None:
            gathered.tables[own.mutations.table] = catalog.table(source.mutations.table)
        return
    assert asked.at is not None
    until = asked.part.bounds(asked.at, None)[1]
    newest = newest_snapshot(table, source, until)
    if own.mutations is not None and source.mutations is not None and asked.part.sees_mutations:
        changes = catalog.table(source.mutations.table)
        found, rows, changed = gather_state(connection, (table, changes), question, newest, until)
        gathered.tables[own.mutations.table] = Excerpt(own.mutations.table, changed, changes)
    else:
        found = gather(connection, table, question, newest)
        rows = found.excerpt
    gathered.evidence.append(found)
    gathered.tables[own.table] = Excerpt(own.table, rows, table) if rows is not None else table
    count = sum(n for verdict, n in found.counts.items() if verdict != FOREIGN)
    others = other_keys(table, source, count) if source.parent is None and own.mutations is None else None
    gathered.others.append(others)


def _table(asked: Asked, question: Question, catalog: Catalog) -> Table:
    """The source's table; a parent's rows are computed, as far as the bounds need them."""
    source = question.source
    if source.parent is None:
        return catalog.table(source.table)
    span = Span(question.start, question.end) if by_query_time(source) else Span()
    return parent_rows(source, question.table_columns, asked.shown_keys(), span, catalog)


def origin_of(source: Projection) -> tuple[str, ...]:
    """The columns of a parent's row that say which one it is: its left's, and its query time."""
    if source.parent is None:
        return ()
    return tuple(dict.fromkeys((*(name for name, _ in source.parent.left_columns), "ts")))
