"""Joins as sources: what of a join's output, the parent's, a definition reads, typed.

Users see the parent's scoring columns, every row of them; labels are the future and cannot be selected. A row happens
at its query time unless the query names another, and `known_at` can be any of the columns; where rows of the parent's
left become known later than they happen, the query must say when. The parent has a partition
column only where it has a column of that name; without one `start` and `end` bound the day of its rows (`ds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from zipline.api import GroupBy, Join, JoinSource, Query
from zipline.api.base import Definition
from zipline.errors import ExpressionError
from zipline.expressions import Expression, referenced_columns
from zipline.plan.chaining import DAY_COLUMN, parent_table
from zipline.plan.projections import require
from zipline.plan.scope import Scope, quoted
from zipline.plan.steps import JoinPlan, Projection
from zipline.types import STRING


def project_parent(
    subject: GroupBy | Join,
    source: JoinSource,
    parent: JoinPlan,
    needed: frozenset[str] | None,
    *,
    kind: Literal["left", "events"] = "events",
) -> Projection:
    """The projection of a parent's output; `needed` are the columns that are read, None all that are selected."""
    query, columns = source.query, dict(parent.scoring_columns)
    _refuse_entity_clocks(subject, parent, query)
    selected = dict(query.select) if isinstance(query.select, Mapping) else {name: quoted(name) for name in columns}
    _refuse_labels(subject, parent, query, needed or frozenset())
    if kind == "events" and query.known_at is None:
        _refuse_forgotten_clock(subject, parent)
    if needed is not None:
        require(subject, parent.name, needed, selected)
        if not query.event_id:
            selected = {name: text for name, text in selected.items() if name in needed}
    is_partitioned = query.partition in columns
    bounded = not is_partitioned and bool(query.start or query.end)
    if bounded and query.partition != DAY_COLUMN:
        raise subject.wrong(
            f"the join {parent.name} is bounded by partitions, but has no column {query.partition!r}",
            asked=query.partition,
            valid=columns,
            hint="without partition=, start and end bound the day of its rows",
        )
    scope = Scope(subject, parent.name, columns | ({DAY_COLUMN: STRING} if bounded else {}), query)
    select, where = scope.select(selected), scope.where()
    # The day of a left row is that of its own query time, so bounds on the parent's day only leave rows out.
    as_conditions = bounded and kind == "left"
    return Projection(
        table=parent_table(parent),
        kind=kind,
        select=select,
        types=tuple(expression.type for _, expression in select),
        where=(*where, *_day_conditions(scope)) if as_conditions else where,
        time=scope.instant(query.time or "ts"),
        known_at=scope.instant(query.known_at),
        event_id=scope.typed(query.event_id) if query.event_id else None,
        partition=query.partition if is_partitioned or (bounded and not as_conditions) else None,
        start=None if as_conditions else query.start,
        end=None if as_conditions else query.end,
        parent=parent,
        asked=tuple(selected),
    )


def _day_conditions(scope: Scope) -> Iterator[Expression]:
    if scope.query.start:
        yield scope.condition(f"{DAY_COLUMN} >= '{scope.query.start}'", "start")
    if scope.query.end:
        yield scope.condition(f"{DAY_COLUMN} <= '{scope.query.end}'", "end")


def _refuse_entity_clocks(subject: Definition, parent: JoinPlan, query: Query) -> None:
    if query.mutation_time or query.is_before:
        raise subject.wrong(
            f"the rows of the join {parent.name} are events: mutation_time and is_before belong to an EntitySource"
        )


def _refuse_forgotten_clock(subject: Definition, parent: JoinPlan) -> None:
    left: Projection | None = parent.left
    while left is not None:
        if left.known_at is not None:
            raise subject.wrong(
                f"the rows of the join {parent.name} come of {left.title}, whose rows become known later than they "
                f"happen ({left.known_at.text}), and the JoinSource does not say when its rows do",
                hint=f"select {left.known_at.text} in the left of {parent.name} and write "
                'Query(time="ts", known_at=...) in the JoinSource; known_at="ts" says: known when they happen',
            )
        left = left.parent.left if left.parent is not None else None


def _refuse_labels(subject: Definition, parent: JoinPlan, query: Query, needed: frozenset[str]) -> None:
    labels = frozenset(name for part in parent.labels for name, _ in part.columns)
    select = query.select if isinstance(query.select, Mapping) else None
    texts = [*(needed if select is None else select.values()), *query.where]
    texts += [text for text in (query.time, query.known_at, query.event_id) if text]
    for text in texts if labels else ():
        read = frozenset({text}) & labels or _names(text) & labels
        if read:
            raise subject.wrong(
                f"reads the column {min(read)!r} of the join {parent.name}, which is a label: labels are the future",
                valid=dict(parent.scoring_columns),
                hint="a label is not known yet when its row happens; select features",
            )


def _names(text: str) -> frozenset[str]:
    try:
        return referenced_columns(text)
    except ExpressionError:
        return frozenset()
