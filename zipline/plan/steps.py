"""The typed plan of a group-by or a join: frozen values, the same for `zipline plan` and for every engine.

`JoinPlan.steps` lists what is done, in order; an engine executes exactly these steps, so that what is printed and what
is run cannot drift apart. What the steps are about is in `parts` and known here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TypeAlias

from zipline.api import Check
from zipline.clock import duration_text
from zipline.plan.parts import Accuracy, Column, Derived, ExternalPlan, Feature, GroupByPlan, PartPlan, Projection
from zipline.types import TIMESTAMP
from zipline.values import dataclass

__all__ = [
    "Accuracy",
    "Aggregate",
    "Bootstrap",
    "BootstrapRead",
    "Column",
    "ComputeParent",
    "Derive",
    "Derived",
    "ExternalPlan",
    "Feature",
    "GroupByPlan",
    "JoinPlan",
    "KeepMature",
    "PartPlan",
    "Projection",
    "ReadLeft",
    "ReadSource",
    "SourceRead",
    "Step",
]


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
        return f"{self.left.title}: {len(self.left.select)} columns"


@dataclass(frozen=True)
class BootstrapRead:
    """One table of values computed before: the rows of `row_id` take `columns` (of the output, with its types)."""

    source: Projection
    row_id: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Bootstrap:
    """The values that left rows are given; of several tables the first that has a row gives its columns."""

    reads: tuple[BootstrapRead, ...]
    title = "bootstrap"

    @property
    def detail(self) -> str:
        tables = [f"{len(read.columns)} columns of {read.source.table}" for read in self.reads]
        return f"by {', '.join(self.reads[0].row_id)}: {', then '.join(tables)}"


@dataclass(frozen=True)
class ComputeParent:
    """The output of a join that others read, from `lookback` before the queries on (None: from the beginning)."""

    parent: JoinPlan
    lookback: int | None
    title = "compute parent"

    @property
    def detail(self) -> str:
        back = self.lookback
        since = "from the beginning" if back is None else f"from {duration_text(back)} before the queries"
        since = since if back != 0 else "of the queries' days"
        return f"{self.parent.name}: {len(self.parent.scoring_columns)} columns, rows {since}"


@dataclass(frozen=True)
class ReadSource:
    read: SourceRead
    title = "read source"

    @property
    def detail(self) -> str:
        first = self.read.first
        name = first.known_at.text.strip('"') if first.known_at else ""
        clock = f", known at {name}" if name else ""
        if first.mutation_time:
            clock = ", changes at " + first.mutation_time.text.strip('"')
        return f"{first.title}: {len(self.read.table_columns)} columns for {', '.join(self.read.used_by)}{clock}"


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


def _compute_parents(left: Projection, parts: tuple[PartPlan, ...]) -> list[ComputeParent]:
    from zipline.plan.chaining import compute_parents

    return compute_parents(left, parts)


Step: TypeAlias = ReadLeft | Bootstrap | ComputeParent | ReadSource | Aggregate | Derive | KeepMature


@dataclass(frozen=True)
class JoinPlan:
    """A typed join. `columns` is the whole training output, `scoring_columns` the same without labels.

    `externals` are those without a twin offline; `contextual` are all columns that arrive with a request, also those
    that the left has offline.
    """

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
    externals: tuple[ExternalPlan, ...] = ()
    contextual: tuple[Column, ...] = ()
    bootstrap: tuple[BootstrapRead, ...] = ()

    @cached_property
    def feature_columns(self) -> tuple[Column, ...]:
        """The columns of the parts, in their order, and the contextual ones that the left does not have."""
        found: list[Column] = []
        for place in range(len(self.parts) + 1):
            last = place == len(self.parts)
            found += [c for e in self.externals if e.after == place or (last and e.after > place) for c in e.columns]
            found += () if last else self.parts[place].columns
        return (*found, *((name, dtype) for name, dtype in self.contextual if name not in dict(self.left_columns)))

    @cached_property
    def scoring_columns(self) -> tuple[Column, ...]:
        named = list(self.left_columns)
        if "ts" not in dict(named):
            named.append(("ts", TIMESTAMP))
        named += self.feature_columns
        named += [(d.name, d.type) for d in self.derivations]
        return tuple(named)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return self.scoring_columns + tuple(column for part in self.labels for column in part.columns)

    @property
    def parents(self) -> tuple[JoinPlan, ...]:
        """The joins whose output it reads, directly or through others, in the order in which they are computed."""
        return self.parents_for(training=True)

    def parents_for(self, *, training: bool) -> tuple[JoinPlan, ...]:
        from zipline.plan.chaining import parents_of

        return parents_of(self.projections(training=training))

    def projections(self, *, training: bool = True) -> tuple[Projection, ...]:
        """Everything that is read of tables and of parents, the left first."""
        parts = (*self.parts, *(self.labels if training else ()))
        return (self.left, *(source for part in parts for source in part.group_by.sources))

    def reads(self, *, training: bool = True) -> tuple[SourceRead, ...]:
        from zipline.plan.reads import shared_reads

        return shared_reads((*self.parts, *(self.labels if training else ())))

    def _repr_html_(self) -> str:
        from zipline.plan.notebook import join_page

        return join_page(self)

    def steps(self, *, training: bool = True) -> Iterator[Step]:
        """What is done, in order. Parents come first where the left is one, else as far as the left rows need them."""
        parts = (*self.parts, *(self.labels if training else ()))
        parents = _compute_parents(self.left, parts)
        yield from parents if self.left.parent is not None else ()
        yield ReadLeft(self.left)
        if self.bootstrap:
            yield Bootstrap(self.bootstrap)
        yield from () if self.left.parent is not None else parents
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
