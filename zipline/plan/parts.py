"""What is read and computed for one part of a join, typed: projections of tables, features, group-bys, parts.

They hold everything an engine needs and no table: columns with their types, expressions parsed, windows in
microseconds, names of the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from zipline.algebra import windows
from zipline.api import Check
from zipline.expressions import Expression
from zipline.types import DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.plan.steps import JoinPlan

Accuracy: TypeAlias = Literal["TEMPORAL", "SNAPSHOT"]
Column: TypeAlias = tuple[str, DataType]


@dataclass(frozen=True, eq=False)
class Projection:
    """What is read of one table for one source of one group-by, or for the left; each is a thing of its own.

    `select` maps output column to expression; all conditions of `where` must hold. `partition` is None where the table
    has no such column. `types` are the types that the columns are cast to (a source beside others may be narrower).
    `made_by` is the fingerprint of the staging query that makes the table, `parent` the join whose output it is.

    Snapshots of an entity with changes carry the projection of these as `mutations`. Both then select all columns of
    the source's select, needed or not: a reversal takes back a row that is equal in all of them. `mutation_time` and
    `is_before` say when a change was made and whether it took its row away; other kinds have neither. Changes that
    come by a topic too are `is_streamed`.

    Events of a source with an `event_id` select all columns too: rows of one id are told apart by their values, in the
    order in which the source selects them, which is that of `asked`.
    """

    table: str
    kind: Literal["left", "events", "snapshots", "mutations", "bootstrap"]
    select: tuple[tuple[str, Expression], ...]
    types: tuple[DataType, ...]
    where: tuple[Expression, ...]
    time: Expression | None
    known_at: Expression | None
    event_id: Expression | None
    partition: str | None
    start: str | None
    end: str | None
    made_by: str | None = None
    parent: JoinPlan | None = None
    mutation_time: Expression | None = None
    is_before: Expression | None = None
    mutations: Projection | None = None
    is_streamed: bool = False
    asked: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> Mapping[str, Expression]:
        return dict(self.select)

    @cached_property
    def column_types(self) -> Mapping[str, DataType]:
        return {name: dtype for (name, _), dtype in zip(self.select, self.types, strict=True)}

    @property
    def values(self) -> tuple[Expression, ...]:
        """What tells rows of one event id apart, in order."""
        return tuple(self.columns[name] for name in self.asked)

    @property
    def title(self) -> str:
        """What people call what is read: a table, or the join whose output it is."""
        return self.parent.name if self.parent is not None else self.table

    @property
    def table_columns(self) -> frozenset[str]:
        """The table's own columns that are read."""
        clocks = [
            e for e in (self.time, self.known_at, self.event_id, self.mutation_time, self.is_before) if e is not None
        ]
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
    """A typed group-by. `lookup` holds the columns of a lookup and is empty where there are aggregations.

    In microseconds, `freshness` is by how much its input may lag online, and `cache` for how long what was read of a
    key may be used again.
    """

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
    freshness: int | None = None
    cache: int | None = None

    @property
    def is_entity(self) -> bool:
        return self.sources[0].kind == "snapshots"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The features in order, derivations last."""
        first = self.lookup or tuple((f.name, f.type) for f in self.features)
        return first + tuple((d.name, d.type) for d in self.derivations)

    def _repr_html_(self) -> str:
        from zipline.plan.notebook import group_by_page

        return group_by_page(self)


@dataclass(frozen=True)
class ExternalPlan:
    """An external source beside the left rows: what a request fetches with `left_keys`, in the order of `keys`.

    `values` are the ones taken, with their declared types. `after` parts stand before its columns. Offline its values
    are those of a twin (a part that has this plan as its `external`), else they come from bootstrap, else are null.
    """

    name: str
    short_name: str
    keys: tuple[Column, ...]
    values: tuple[Column, ...]
    left_keys: tuple[str, ...]
    prefix: str
    after: int
    location: str | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple((self.prefix + name, dtype) for name, dtype in self.values)


@dataclass(frozen=True)
class PartPlan:
    """A group-by beside the left rows: `left_keys` are the left's columns, in the order of the keys.

    `prefix` stands before every column; `chosen` are the features taken; `offset` (labels only) is how much later.
    `external` is the external source that the group-by stands for offline: then the columns have its types. `settled`
    are the types that bootstrap gives to columns of which nothing is known.
    """

    group_by: GroupByPlan
    left_keys: tuple[str, ...]
    prefix: str
    chosen: tuple[str, ...]
    offset: int | None = None
    external: ExternalPlan | None = None
    settled: tuple[Column, ...] = ()

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns in the output, where they stand under `prefix`."""
        return tuple((self.prefix + name, dtype) for name, dtype in self.own_columns)

    @property
    def own_columns(self) -> tuple[Column, ...]:
        types = dict(self.external.values if self.external else self.group_by.columns) | dict(self.settled)
        return tuple((name, types[name]) for name in self.chosen)

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

    @property
    def sees_mutations(self) -> bool:
        """Whether changes since the newest snapshot count: a label is a state as of its time, at any accuracy."""
        return self.offset is not None or self.group_by.accuracy == "TEMPORAL"

    @property
    def projections(self) -> Iterator[Projection]:
        """What is read for the part: its sources, after each the mutations that it sees."""
        for source in self.group_by.sources:
            yield source
            if source.mutations is not None and self.sees_mutations:
                yield source.mutations

    def bounds(self, query_times: Any, window: int | None) -> tuple[Any, Any]:
        """(start, end) of what the queries see, from the one place that decides it."""
        if self.offset is None:
            return windows.bounds(query_times, window, self.group_by.accuracy)
        if window is None:
            return None, query_times + self.offset
        return windows.label_bounds(query_times, self.offset, window)
