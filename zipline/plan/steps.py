"""The typed plan of a group-by or a join: frozen values, the same for `zipline plan` and for every engine.

A plan holds everything an engine needs and no table: columns with their types, expressions parsed, windows in
microseconds, names of the output. `JoinPlan.steps` lists what is done, in order; an engine executes exactly these
steps, so that what is printed and what is run cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from zipline.algebra import windows
from zipline.api import Check
from zipline.expressions import Expression
from zipline.types import TIMESTAMP, DataType

Accuracy: TypeAlias = Literal["TEMPORAL", "SNAPSHOT"]
Column: TypeAlias = tuple[str, DataType]


@dataclass(frozen=True, eq=False)
class Projection:
    """What is read of one table for one source of one group-by, or for the left; each is a thing of its own.

    `select` maps output column to expression; all conditions of `where` must hold. `partition` is None where the table
    has no such column. `types` are the types that the columns are cast to (a source beside others may be narrower).
    """

    table: str
    kind: Literal["left", "events", "snapshots"]
    select: tuple[tuple[str, Expression], ...]
    types: tuple[DataType, ...]
    where: tuple[Expression, ...]
    time: Expression | None
    known_at: Expression | None
    event_id: Expression | None
    partition: str | None
    start: str | None
    end: str | None

    @cached_property
    def columns(self) -> Mapping[str, Expression]:
        return dict(self.select)

    @cached_property
    def column_types(self) -> Mapping[str, DataType]:
        return {name: dtype for (name, _), dtype in zip(self.select, self.types, strict=True)}

    @property
    def table_columns(self) -> frozenset[str]:
        """The table's own columns that are read."""
        clocks = [e for e in (self.time, self.known_at, self.event_id) if e is not None]
        read = frozenset[str]().union(*(e.columns for e in (*self.columns.values(), *self.where, *clocks)))
        return read | {self.partition} if self.partition else read


@dataclass(frozen=True)
class Feature:
    """One aggregated column: `operation` over `input` in `window` (microseconds, None is lifetime)."""

    name: str
    operation: str
    input: str
    window: int | None
    bucket: str | None
    k: int | None
    percentiles: tuple[float, ...] | None
    default: Any
    input_type: DataType
    bucket_type: DataType | None
    type: DataType


@dataclass(frozen=True)
class Derived:
    """A column computed from the ones before it."""

    name: str
    expression: Expression

    @property
    def type(self) -> DataType:
        return self.expression.type


@dataclass(frozen=True)
class GroupByPlan:
    """A typed group-by. `lookup` holds the columns of a lookup and is empty where there are aggregations."""

    name: str
    short_name: str
    keys: tuple[Column, ...]
    sources: tuple[Projection, ...]
    features: tuple[Feature, ...]
    lookup: tuple[Column, ...]
    derivations: tuple[Derived, ...]
    accuracy: Accuracy
    fingerprint: str
    checks: tuple[Check, ...] = ()
    location: str | None = None

    @property
    def is_entity(self) -> bool:
        return self.sources[0].kind == "snapshots"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The features in order, derivations last."""
        first = self.lookup or tuple((f.name, f.type) for f in self.features)
        return first + tuple((d.name, d.type) for d in self.derivations)


@dataclass(frozen=True)
class PartPlan:
    """A group-by beside the left rows: `left_keys` are the left's columns, in the order of the keys.

    `prefix` stands before every column; `chosen` are the features taken; `offset` (labels only) is how much later.
    """

    group_by: GroupByPlan
    left_keys: tuple[str, ...]
    prefix: str
    chosen: tuple[str, ...]
    offset: int | None = None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        types = dict(self.group_by.columns)
        return tuple((self.prefix + name, types[name]) for name in self.chosen)

    @cached_property
    def needed(self) -> tuple[Feature, ...]:
        """The features to compute: the chosen ones and those that a derivation needs."""
        wanted = set(self.chosen)
        for derived in reversed(self.group_by.derivations):
            if derived.name in wanted:
                wanted |= derived.expression.columns
        return tuple(f for f in self.group_by.features if f.name in wanted)

    @property
    def needed_derivations(self) -> tuple[Derived, ...]:
        wanted = set(self.chosen)
        found: list[Derived] = []
        for derived in reversed(self.group_by.derivations):
            if derived.name in wanted:
                wanted |= derived.expression.columns
                found.append(derived)
        return tuple(reversed(found))

    def bounds(self, query_times: Any, window: int | None) -> tuple[Any, Any]:
        """(start, end) of what the queries see, from the one place that decides it."""
        if self.offset is None:
            return windows.bounds(query_times, window, self.group_by.accuracy)
        if window is None:
            return None, query_times + self.offset
        return windows.label_bounds(query_times, self.offset, window)


@dataclass(frozen=True)
class SourceRead:
    """One reading of one table, shared by every source that has its clocks and partitions.

    `lookback` is how far before the first query it must reach (None: from the beginning), `lookahead` how far after
    the last.
    """

    projections: tuple[Projection, ...]
    used_by: tuple[str, ...]
    lookback: int | None
    lookahead: int

    @property
    def first(self) -> Projection:
        return self.projections[0]

    @property
    def table_columns(self) -> frozenset[str]:
        return frozenset[str]().union(*(p.table_columns for p in self.projections))


@dataclass(frozen=True)
class ReadLeft:
    left: Projection
    title = "read left"

    @property
    def detail(self) -> str:
        return f"{self.left.table}: {len(self.left.select)} columns"


@dataclass(frozen=True)
class ReadSource:
    read: SourceRead
    title = "read source"

    @property
    def detail(self) -> str:
        first = self.read.first
        name = first.known_at.text.strip('"') if first.known_at else ""
        clock = f", known at {name}" if name else ""
        return f"{first.table}: {len(self.read.table_columns)} columns for {', '.join(self.read.used_by)}{clock}"


@dataclass(frozen=True)
class Aggregate:
    """All windows of all parts that share a set of left keys."""

    left_keys: tuple[str, ...]
    parts: tuple[PartPlan, ...]
    title = "aggregate"

    @property
    def detail(self) -> str:
        count = sum(len(part.needed) or len(part.group_by.lookup) for part in self.parts)
        keys = ", ".join(self.left_keys) or "(all rows)"
        return f"by {keys}: {count} columns of {', '.join(p.group_by.short_name for p in self.parts)}"


@dataclass(frozen=True)
class Derive:
    derivations: tuple[Derived, ...]
    title = "derive"

    @property
    def detail(self) -> str:
        return ", ".join(d.name for d in self.derivations)


@dataclass(frozen=True)
class KeepMature:
    """Rows whose label is not complete are left out of training."""

    parts: tuple[PartPlan, ...]
    offset: int
    title = "keep mature"

    @property
    def detail(self) -> str:
        return f"rows whose labels ({', '.join(p.group_by.short_name for p in self.parts)}) are complete"


Step: TypeAlias = ReadLeft | ReadSource | Aggregate | Derive | KeepMature


@dataclass(frozen=True)
class JoinPlan:
    """A typed join. `columns` is the whole training output, `scoring_columns` the same without labels."""

    name: str
    fingerprint: str
    left: Projection
    left_columns: tuple[Column, ...]
    parts: tuple[PartPlan, ...]
    labels: tuple[PartPlan, ...]
    derivations: tuple[Derived, ...]
    checks: tuple[Check, ...] = ()
    online: bool = False
    location: str | None = None

    @cached_property
    def scoring_columns(self) -> tuple[Column, ...]:
        named = list(self.left_columns)
        if "ts" not in dict(named):
            named.append(("ts", TIMESTAMP))
        named += [column for part in self.parts for column in part.columns]
        named += [(d.name, d.type) for d in self.derivations]
        return tuple(named)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return self.scoring_columns + tuple(column for part in self.labels for column in part.columns)

    def reads(self, *, training: bool = True) -> tuple[SourceRead, ...]:
        from zipline.plan.reads import shared_reads

        return shared_reads((*self.parts, *(self.labels if training else ())))

    def steps(self, *, training: bool = True) -> Iterator[Step]:
        """What is done, in order."""
        parts = (*self.parts, *(self.labels if training else ()))
        yield ReadLeft(self.left)
        for read in self.reads(training=training):
            yield ReadSource(read)
        by_keys: dict[tuple[str, ...], list[PartPlan]] = {}
        for part in parts:
            by_keys.setdefault(part.left_keys, []).append(part)
        for left_keys, sharing in by_keys.items():
            yield Aggregate(left_keys, tuple(sharing))
        if self.derivations:
            yield Derive(self.derivations)
        if training and self.labels:
            assert self.labels[0].offset is not None
            yield KeepMature(self.labels, self.labels[0].offset)
