"""What the sources over a table compute of an event: one of which something cannot be computed is no event of it.

A row that a CAST of a `select` cannot take would make every backfill, upload and stream fail that reads it, so it is
refused at the door, whoever brings it; so is an event that does not say when it happened, or a change which way it
goes. What counts is what reading the table computes: clocks and ids of every row, the other columns of rows that the
source's conditions keep. What cannot fail (columns, comparisons, text) is not tried.
A few rows are computed in Python, whose expressions are the same, for a statement costs as much as hundreds of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from zipline.engines.local.session import connect, query
from zipline.engines.local.statements import all_of, guarded
from zipline.errors import DataError, EventError, ZiplineError
from zipline.expressions import Expression
from zipline.expressions.failures import is_lossless
from zipline.expressions.nodes import Call, Cast, Column, walk
from zipline.orchestration.events.arrived import failing
from zipline.plan.steps import Projection
from zipline.types import BOOLEAN, STRING
from zipline.values import dataclass

FEW = 32
"""Rows that are computed in Python."""


@dataclass(frozen=True, eq=False)
class Computed:
    """What is computed of a row: the author's text, the columns that it reads, SQL, and the columns that this reads.

    `parts` are computed one after the other in Python, the last where all before it are true. With `null` it may not be
    null, and this is said of an event of which it is.
    """

    text: str
    columns: frozenset[str]
    sql: str
    needed: frozenset[str]
    parts: tuple[Expression, ...]
    null: tuple[str, str] | None = None

    def of(self, row: Mapping[str, Any]) -> None:
        """DataError where it cannot be."""
        for part in self.parts:
            value = part.python()(row)
            if value is None and self.null is not None:
                raise DataError(f"{self.text} is null")
            if value is not True:
                return


class Evaluation:
    """Evaluates what `sources` compute over rows of a table with these columns."""

    def __init__(self, table: str, columns: Collection[str], sources: Sequence[Projection]) -> None:
        self._table = table
        known = frozenset(columns)  # the partition's is none: it is the day on which the event happened
        every = [*_ways(sources), *(each for source in sources for each in _computed(source)), *_clocks(sources)]
        found = {each.sql: each for each in every if each.needed <= known}
        self._computed = tuple(found.values())

    @property
    def computed(self) -> tuple[tuple[Computed, str], ...]:
        """What is computed of every row, in order, each with what is said of a row of which it cannot be."""
        return tuple((each, str(self._error(each, "$").args[0])) for each in self._computed)

    def check(self, rows: pa.Table, path: str) -> None:
        """EventError names the first row of which something cannot be computed, and what."""
        if not self._is_whole(rows, self._computed):
            number, wrong = next(self._each_wrong(rows))
            raise self._error(wrong, path if path == "$" else f"{path}[{number}]")

    def wrong(self, rows: pa.Table) -> dict[int, EventError]:
        """Of the rows that `check` refuses, why."""
        if self._is_whole(rows, self._computed):
            return {}
        return {number: self._error(wrong, "$") for number, wrong in self._each_wrong(rows)}

    def _each_wrong(self, rows: pa.Table) -> Iterator[tuple[int, Computed]]:
        for number in failing(lambda some: self._run(some, self._computed), rows):
            row = rows.slice(number, 1)
            yield number, next(each for each in self._computed if not self._is_whole(row, [each]))

    def _error(self, wrong: Computed, path: str) -> EventError:
        place = f"{path}.{next(iter(wrong.columns))}" if len(wrong.columns) == 1 else path
        text = " ".join(wrong.text.split())
        what, hint = (
            f"{text} cannot be computed of it",
            "mend the value; in the source, TRY_CAST(...) gives null where one does not convert",
        )
        if wrong.null is not None:
            what, hint = f"{text} {wrong.null[0]}", wrong.null[1]
        return EventError(what, path=place, subject=self._table, hint=hint)

    def _is_whole(self, rows: pa.Table, computed: Sequence[Computed]) -> bool:
        try:
            self._run(rows, computed)
        except ZiplineError:
            return False
        return True

    def _run(self, rows: pa.Table, computed: Sequence[Computed]) -> None:
        if not computed or not rows.num_rows:
            return
        if rows.num_rows <= FEW:
            for row in rows.to_pylist():
                for each in computed:
                    each.of(row)
            return
        connection = connect()
        try:
            connection.register("arrived", rows)
            counts = ", ".join(f"count({each.sql})" for each in computed)
            query(connection, f"SELECT {counts} FROM arrived", self._table)
        finally:
            connection.close()


def _ways(sources: Sequence[Projection]) -> Iterator[Computed]:
    """What says which way a change goes. Of a column that all sources take for it, null is none of its values."""
    ways = {each.is_before.text: each.is_before for each in sources if each.is_before is not None}
    for way in ways.values():
        if len(ways) > 1 or not isinstance(way.node, Column):
            yield _given(way, "is neither true nor false of it", "true takes a row away, false adds one")


def _clocks(sources: Sequence[Projection]) -> Iterator[Computed]:
    """What says when an event happened. Of a column null is none of its values."""
    clocks = [each.mutation_time or each.time for each in sources]
    first = clocks[0] if clocks else None
    if first is not None and not isinstance(first.node, Column) and len({clock.text for clock in clocks if clock}) == 1:
        yield _given(first, "is null of it", "it says when the event happened")


def _given(expression: Expression, what: str, hint: str) -> Computed:
    """What may not be null; else this is said."""
    sql = f"CASE WHEN ({expression.sql('duckdb')}) IS NULL THEN error('null') ELSE TRUE END"
    return Computed(expression.text, expression.columns, sql, expression.columns, (expression,), (what, hint))


def _computed(source: Projection) -> Iterator[Computed]:
    """What of a source's expressions can fail."""
    for clock in (source.time, source.known_at, source.event_id, source.mutation_time):
        if clock is not None and may_fail(clock):
            yield Computed(clock.text, clock.columns, clock.sql("duckdb"), clock.columns, (clock,))
    guard, conditions = all_of(source.where) if source.where else "", tuple(sorted(source.where, key=may_fail))
    of_guard = frozenset[str]().union(*(each.columns for each in source.where))
    if any(may_fail(each) for each in source.where):
        yield Computed(" AND ".join(each.text for each in source.where), of_guard, guard, of_guard, conditions)
    for each in source.columns.values():
        if may_fail(each):
            yield Computed(each.text, each.columns, guarded(each, guard), each.columns | of_guard, (*conditions, each))


def may_fail(expression: Expression) -> bool:
    """Whether there may be a row of which it cannot be computed."""
    return any(
        (isinstance(node, Cast) and not node.safe and not is_lossless(node.operand.type, node.type))
        or (isinstance(node, Call) and not (node.type in (BOOLEAN, STRING) or node.type.is_float))
        for node in walk(expression.node)
    )
