"""Chaining: which joins must be computed before what reads their output, in which order, and how much of them.

A parent is computed once in a run for all its users, deepest first, under a name of its own (`parent_table`): never is
a stored table read instead that happens to be called the same. `wanted_parents` says which of its columns are read and
which of its rows the users can see, by their query times: over a chain the lookbacks add up.

On a stream a parent's rows come one by one, as events of its left do, and each keeps the id of that event: `streamed`
is a group-by as it reads them there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from zipline.clock import DAY, to_micros
from zipline.expressions import parse
from zipline.plan.narrowing import narrowed
from zipline.plan.reads import lookback
from zipline.plan.steps import ComputeParent, GroupByPlan, JoinPlan, PartPlan, Projection
from zipline.types import BOOLEAN, DataType
from zipline.values import dataclass

DAY_COLUMN = "ds"
"""The day of a parent's row, as in a backfill over days; beside its columns where none of them has the name."""
ID_COLUMN = "zipline__id"
"""On a stream, the id of the event of the left that a parent's row was made of."""
OUT_COLUMN = "zipline__out"
"""On a stream, true of an event that a condition of the left leaves out: nothing of it is told but its id, so that it
is the event of this id for whoever reads the parent, too, and one that comes again is not."""


@dataclass(frozen=True)
class Span:
    """Query times low <= q < high in microseconds; None has no bound."""

    low: int | None = None
    high: int | None = None

    def union(self, other: Span | None) -> Span:
        """The least span that holds both."""
        if other is None:
            return self
        low = None if self.low is None or other.low is None else min(self.low, other.low)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return Span(low, high)


def days_span(left: Projection, start: str | None, end: str | None) -> Span:
    """The query times of a chained left's rows of a range of days; a partition's day says nothing of them."""
    if start is None or end is None or left.partition is not None:
        return Span()
    return Span(to_micros(start), to_micros(end) + DAY)


def parent_table(parent: JoinPlan) -> str:
    """The name under which a parent's output is read: a catalog that is given this table need not compute it.

    Its columns are the parent's scoring columns and, where these have no `ds`, the day of each row as `ds`.
    """
    return f"{parent.name}#{parent.fingerprint[:16]}"


def parents_of(projections: Iterable[Projection]) -> tuple[JoinPlan, ...]:
    """Every join whose output must be there before these are read, each once, deepest first."""
    done: dict[str, JoinPlan] = {}
    pending = [(parent, False) for parent in reversed([p.parent for p in projections if p.parent is not None])]
    while pending:
        parent, leaving = pending.pop()
        if leaving:
            done.setdefault(parent_table(parent), parent)
        elif parent_table(parent) not in done:
            pending.append((parent, True))
            above = [p.parent for p in parent.projections(training=False) if p.parent is not None]
            pending += [(each, False) for each in reversed(above)]
    return tuple(done.values())


@dataclass(frozen=True)
class Wanted:
    """What is computed of a parent: a plan of the columns that are read, for rows with query times in a span."""

    plan: JoinPlan
    span: Span


def wanted_parents(
    left: Projection | None,
    parts: Iterable[PartPlan],
    span: Span,
    *,
    to_newest: bool = False,
    given: Iterable[str] = (),
) -> dict[str, Wanted]:
    """Reading name -> what left rows with query times in `span` read of that parent, directly or through others.

    Deepest parents come first. `to_newest` asks of a label's source all that follows, to find where it ends. Parents
    that are `given` are not computed, nor is what only they need.
    """
    parts, found = tuple(parts), _Found(frozenset(given))
    projections = ([left] if left is not None else []) + [s for part in parts for s in part.group_by.sources]
    found.read(left, parts, span, to_newest=to_newest)
    for parent in reversed(order := parents_of(projections)):
        name = parent_table(parent)
        if name in found.spans:
            found.plans[name] = narrowed(parent, found.columns[name])
            found.read(found.plans[name].left, found.plans[name].parts, found.spans[name])
    names = [parent_table(parent) for parent in order]
    return {name: Wanted(found.plans[name], found.spans[name]) for name in names if name in found.plans}


class _Found:
    """What is known to be read of parents, users before what they read."""

    def __init__(self, given: frozenset[str]) -> None:
        self._given = given
        self.spans: dict[str, Span] = {}
        self.columns: dict[str, frozenset[str]] = {}
        self.plans: dict[str, JoinPlan] = {}

    def read(self, left: Projection | None, parts: Iterable[PartPlan], span: Span, *, to_newest: bool = False) -> None:
        for source, seen in _seen(left, parts, span, to_newest=to_newest):
            name = source.table
            if name not in self._given:
                self.spans[name] = seen.union(self.spans.get(name))
                self.columns[name] = self.columns.get(name, frozenset()) | source.table_columns


def compute_parents(left: Projection | None, parts: tuple[PartPlan, ...]) -> list[ComputeParent]:
    """A step for each parent, deepest first."""
    wanted = wanted_parents(left, parts, Span(0, 0)).values()
    lows = [(each.plan, each.span.low) for each in wanted]
    return [ComputeParent(plan, None if low is None else max(0, -low)) for plan, low in lows]


def _seen(
    left: Projection | None, parts: Iterable[PartPlan], span: Span, *, to_newest: bool = False
) -> Iterator[tuple[Projection, Span]]:
    """The readings of parents, and which query times are seen of each."""
    if left is not None and left.parent is not None:
        yield left, span if by_query_time(left) else Span()
    for part in parts:
        for source in part.group_by.sources:
            if source.parent is None:
                continue
            seen = _seen_by(part, span) if by_query_time(source) else Span()
            whole = to_newest and part.offset is not None and newest_left(source) is None
            yield source, Span(seen.low, None) if whole else seen


def _seen_by(part: PartPlan, span: Span) -> Span:
    back = lookback(part)
    low = None if span.low is None or back is None else span.low - back
    return Span(low, None if span.high is None else span.high + (part.offset or 0))


def by_query_time(source: Projection) -> bool:
    """True where a row of the parent can be left out by its query time without changing what the others mean.

    Of several rows with one event id all must be read, whichever is then seen.
    """
    return source.time is not None and source.time.text.strip('"') == "ts" and source.event_id is None


def newest_left(source: Projection) -> Projection | None:
    """The left whose newest row is the newest of a chained source; None where only computing it would tell."""
    while source.parent is not None:
        if not by_query_time(source) or source.start or source.end:
            return None
        source = source.parent.left
        if source.parent is not None and source.where:
            return None
    return source


def streamed(plan: GroupByPlan) -> GroupByPlan:
    """The group-by as a stream feeds it."""
    return replace(plan, sources=tuple(identified(source) for source in plan.sources))


def identified(source: Projection) -> Projection:
    """What is read of a parent's rows on a stream: without an `event_id` of their own they have that of the event, so
    that one which is sent again counts once, and of those that are left out nothing else is read."""
    dtype = id_type(source)
    if dtype is None or source.parent is None:
        return source
    types = {**dict(source.parent.scoring_columns), ID_COLUMN: dtype, OUT_COLUMN: BOOLEAN}
    own = ID_COLUMN if source.event_id is None else source.event_id.text
    if not _leaves_out(source.parent.left):
        return replace(source, event_id=source.event_id or parse(own, types, subject=source.title))
    is_in = parse(f"{OUT_COLUMN} IS NULL", types)
    if source.event_id is not None:  # of its own columns, which what is left out has not
        own = f"CASE WHEN {OUT_COLUMN} IS NULL THEN {own} END"
    return replace(source, event_id=parse(own, types, subject=source.title), where=(is_in, *source.where))


def _leaves_out(left: Projection) -> bool:
    """Whether a condition leaves out rows of the left's table, here or above. Its days do not: what is outside of them
    is not read, and its id is nobody's."""
    return bool(left.where) or (left.parent is not None and _leaves_out(left.parent.left))


def id_type(source: Projection) -> DataType | None:
    """Of the ids of the events that its rows are, or are made of; None where these declare none."""
    while source.event_id is None and source.parent is not None:
        source = source.parent.left
    return None if source.event_id is None else source.event_id.type
