"""Why a column has another identity: the changed fields, of whichever definition, that the column depends on.

Dependence is followed as in `identity`: from a join's column to its part's group-by, its keys and the query time, from
a feature to what it reads of its sources, and on to parents, twins and staging queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from zipline.plan.field_changes import FieldChange
from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.expressions import Expression
    from zipline.plan.steps import ExternalPlan, Feature, GroupByPlan, JoinPlan, PartPlan, Projection

READS = "reads"
"""The types of the tables' columns that a definition reads, beside its fields."""
_NO_VALUES = frozenset({"topic", "name", "owner", "description", "tags"})
"""Fields of a source that change no value."""


@dataclass
class Reasons:
    """Reasons by column, given all changed fields by definition."""

    changes: Mapping[str, tuple[FieldChange, ...]]
    _known: dict[tuple[str, str], tuple[FieldChange, ...]] = field(default_factory=dict)

    def of(self, plan: JoinPlan, column: str) -> tuple[FieldChange, ...]:
        """The changes that a column of a join depends on, nearest first; () where no field tells."""
        return self._once(plan.name, column, lambda: self._column(plan, column))

    def of_feature(self, plan: GroupByPlan, column: str) -> tuple[FieldChange, ...]:
        """The same of a group-by's own column."""
        return self._once(plan.name, column, lambda: self._feature(plan, column))

    def of_rows(self, plan: JoinPlan, *, training: bool = True) -> tuple[FieldChange, ...]:
        """The changes of which rows there are, of the left's columns, and (in training) of when labels are complete."""
        found = [*self._left(plan)]
        for part in plan.labels if training else ():
            found += self._at(plan.name, "labels", "offset")
            found += (each for each in self._at(part.group_by.name, "sources") if _is_of_the_end(each.path[2:]))
            for source in part.group_by.sources:
                found += self._types(part.group_by.name, source, [source.time, source.mutation_time])
                found += self._upstream(source, source.time.columns if source.time else ())
        return _each_once(found)

    def _once(self, of: str, column: str, find: Callable[[], Iterable[FieldChange]]) -> tuple[FieldChange, ...]:
        key = of, column
        if key not in self._known:
            self._known[key] = ()
            self._known[key] = _each_once(find())
        return self._known[key]

    def _at(self, of: str, *path: str) -> Iterator[FieldChange]:
        """The changes of a definition at a path or below it."""
        for change in self.changes.get(of, ()):
            if change.path[: len(path)] == path or path[: len(change.path)] == change.path:
                yield change

    def _column(self, plan: JoinPlan, column: str) -> Iterator[FieldChange]:
        for derived in plan.derivations:
            if derived.name == column:
                yield from self._at(plan.name, "derivations", f"[{column}]")
                for name in sorted(derived.expression.columns - {column}):
                    yield from self.of(plan, name)
        if column in plan.left.columns or column == "ts":
            yield from self._left_column(plan, column)
        for part in (*plan.parts, *plan.labels):
            if column in dict(part.columns):
                yield from self._part(plan, part, column.removeprefix(part.prefix))
        for external in plan.externals:
            if column in dict(external.columns):
                yield from self._external(plan, external)
        if any(column in dict(read.columns) for read in plan.bootstrap):
            yield from self._at(plan.name, "bootstrap")
        if column in dict(plan.contextual):
            yield from self._at(plan.name, "contextual", "fields", column)

    def _part(self, plan: JoinPlan, part: PartPlan, feature: str) -> Iterator[FieldChange]:
        if part.external is not None:
            yield from self._at(part.external.name)
        yield from self.of_feature(part.group_by, feature)
        yield from self._parts(plan, part.group_by.name if part.external is None else part.external.name)
        if part.offset is not None:
            yield from self._at(plan.name, "labels", "offset")
        for key in part.left_keys:
            yield from self.of(plan, key)
        yield from self._left_column(plan, "ts")

    def _parts(self, plan: JoinPlan, source: str) -> Iterator[FieldChange]:
        """The changed parts that take a source, other keys of the left perhaps."""
        for change in (*self._at(plan.name, "parts"), *self._at(plan.name, "labels", "parts")):
            if any(step.strip("[]").split(":")[0] == source for step in change.path):
                yield change

    def _external(self, plan: JoinPlan, external: ExternalPlan) -> Iterator[FieldChange]:
        yield from self._at(external.name)
        yield from self._parts(plan, external.name)

    def _left(self, plan: JoinPlan) -> Iterator[FieldChange]:
        for change in (*self._at(plan.name, "left"), *self._at(plan.name, READS)):
            if change.path[1:2] and change.path[1] not in _NO_VALUES:
                yield change
        yield from self._upstream(plan.left, plan.left.columns)

    def _left_column(self, plan: JoinPlan, column: str) -> Iterator[FieldChange]:
        left = plan.left
        expression = left.time if column == "ts" else left.columns.get(column)
        yield from (change for change in self._at(plan.name, "left") if _is_of_column(change.path[1:], column))
        yield from self._types(plan.name, left, [expression])
        yield from self._upstream(left, expression.columns if expression else ())

    def _feature(self, plan: GroupByPlan, column: str) -> Iterator[FieldChange]:
        for derived in plan.derivations:
            if derived.name == column:
                yield from self._at(plan.name, "derivations", f"[{column}]")
                for name in sorted(derived.expression.columns - {column}):
                    yield from self.of_feature(plan, name)
                return
        feature = next((f for f in plan.features if f.name == column), None)
        if feature is not None:
            yield from self._aggregation(plan, feature)
        yield from self._at(plan.name, "accuracy")
        yield from self._at(plan.name, "keys")
        read = [name for name, _ in plan.keys]
        read += [name for name in (feature.input, feature.bucket) if name] if feature else [n for n, _ in plan.lookup]
        for source in plan.sources:
            everything = source.event_id is not None or source.mutations is not None
            yield from self._source(plan, source, [*source.columns] if everything else read)

    def _aggregation(self, plan: GroupByPlan, feature: Feature) -> Iterator[FieldChange]:
        for change in self._at(plan.name, "aggregations"):
            if len(change.path) < 2 or change.path[1].strip("[]").split(" ")[:2] == [feature.input, feature.operation]:
                yield change

    def _source(self, plan: GroupByPlan, source: Projection, read: Iterable[str]) -> Iterator[FieldChange]:
        read = tuple(read)
        for change in self._at(plan.name, "sources"):
            inside = change.path[2:]
            if inside[:1] and inside[0] in _NO_VALUES:
                continue
            if inside[:2] == ("query", "select") and inside[2:] and inside[2] not in read:
                continue
            yield change
        clocks = [source.time, source.known_at, source.event_id, source.mutation_time, source.is_before]
        expressions = [*clocks, *source.where, *(source.columns[name] for name in read)]
        yield from self._types(plan.name, source, expressions)
        columns = frozenset[str]().union(*(e.columns for e in expressions if e is not None))
        yield from self._upstream(source, columns)
        if source.mutations is not None:
            yield from self._types(plan.name, source.mutations, source.mutations.columns.values())
            yield from self._upstream(source.mutations, ())

    def _types(self, of: str, source: Projection, expressions: Iterable[Expression | None]) -> Iterator[FieldChange]:
        for expression in expressions:
            for name in sorted(expression.columns) if expression is not None else ():
                yield from self._at(of, READS, source.table, name)

    def _upstream(self, source: Projection, columns: Iterable[str]) -> Iterator[FieldChange]:
        if source.parent is None:
            yield from self._at(source.table)
            return
        yield from self.of_rows(source.parent, training=False)
        known = dict(source.parent.scoring_columns)
        for name in sorted(columns):
            yield from self.of(source.parent, name if name in known else "ts")


def _each_once(changes: Iterable[FieldChange]) -> tuple[FieldChange, ...]:
    return tuple({(change.of, change.path): change for change in changes}.values())


def _is_of_the_end(path: tuple[str, ...]) -> bool:
    """Whether a changed field of a label's source moves the end of its data."""
    clocks = ("time", "mutation_time", "partition", "start", "end")
    return path[:1] != ("query",) or path[1:2] == () or path[1] in clocks


def _is_of_column(path: tuple[str, ...], column: str) -> bool:
    """Whether a changed field of the left is one that a column of it, or the query time, is made with."""
    if path[:2] == ("query", "select"):
        return column != "ts" and path[2:] in ((), (column,))
    return path[:1] in (("table",), ("snapshots",), ("join",)) or (column == "ts" and path[:2] == ("query", "time"))
