"""Which part of which source every column of a join needs: the question that a digest of inputs answers.

A `Reach` is a source and how far a query sees into it. Columns of one window over one source share it, whatever they
compute; a column of a wider window has another, so a late event triggers only the columns that can see it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from zipline.algebra import windows
from zipline.plan.chaining import parent_table
from zipline.plan.steps import Accuracy, Derived, JoinPlan, PartPlan, Projection
from zipline.values import dataclass

Reaches = frozenset["Reach"]


@dataclass(frozen=True)
class Reach:
    """How far the queries of a day see into a source; with a `row_id` they see their own rows (bootstrap).

    Changes of an entity are seen from the newest snapshot in `since` on.
    """

    source: Projection
    accuracy: Accuracy
    window: int | None
    offset: int | None
    row_id: tuple[str, ...] = ()
    since: Projection | None = None

    @cached_property
    def place(self) -> str:
        """What is read, whatever is seen of it: short text, equal in every process."""
        source = self.source
        clocks = (source.time, source.known_at, source.event_id, source.mutation_time)
        table = source.table if source.parent is None else parent_table(source.parent)
        texts = [each.sql("duckdb") if each else None for each in clocks]
        return _short(repr((table, source.kind, texts, source.partition, source.start, source.end)))

    @cached_property
    def key(self) -> str:
        since = None if self.since is None else Reach(self.since, "TEMPORAL", None, self.offset).place
        return _short(repr((self.place, self.accuracy, self.window, self.offset, self.row_id, since)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reach) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def bounds(self, first: int, last: int) -> tuple[int | None, int | None]:
        """start <= t < end of what queries from `first` to `last` see; None has no bound."""
        if self.row_id:
            return None, None
        if self.offset is None:
            start, end = windows.bounds(first, self.window, self.accuracy)[0], last
            return start, windows.bounds(end, self.window, self.accuracy)[1]
        start = None if self.window is None else windows.label_bounds(first, self.offset, self.window)[0]
        return start, last + self.offset


def reaches_of(plan: JoinPlan, *, training: bool) -> dict[str, Reaches]:
    """What every column beyond the left's needs; a derivation needs what its inputs need."""
    found: dict[str, Reaches] = {}
    for part in (*plan.parts, *(plan.labels if training else ())):
        found |= _of_part(part)
    for read in plan.bootstrap:
        given = Reach(read.source, "TEMPORAL", None, None, row_id=read.row_id)
        found |= {name: found.get(name, frozenset()) | {given} for name, _ in read.columns}
    derived = _derived(plan.derivations, found)
    found |= {name: reaches | found.get(name, frozenset()) for name, reaches in derived.items()}
    columns = plan.columns if training else plan.scoring_columns
    left = {name for name, _ in plan.left_columns}
    return {name: found.get(name, frozenset()) for name, _ in columns if name not in left and name != "ts"}


def _of_part(part: PartPlan) -> dict[str, Reaches]:
    group_by = part.group_by
    found = {feature.name: _seen(part, feature.window) for feature in group_by.features}
    found |= {name: _seen(part, None) for name, _ in group_by.lookup}
    found |= _derived(group_by.derivations, found)
    return {part.prefix + name: found[name] for name in part.chosen}


def _seen(part: PartPlan, window: int | None) -> Reaches:
    return frozenset(reach for source in part.group_by.sources for reach in _reaches(part, source, window))


def _reaches(part: PartPlan, source: Projection, window: int | None) -> Iterator[Reach]:
    """Of snapshots a query sees all of one partition, of changes all since it, whatever the window."""
    if source.kind != "snapshots":
        accuracy: Accuracy = "TEMPORAL" if part.offset is not None else part.group_by.accuracy
        yield Reach(source, accuracy, window, part.offset)
        return
    yield Reach(source, "TEMPORAL", None, part.offset)
    if source.mutations is not None and part.sees_mutations:
        yield Reach(source.mutations, "TEMPORAL", None, part.offset, since=source)


def _derived(derivations: Iterable[Derived], columns: Mapping[str, Reaches]) -> dict[str, Reaches]:
    found = dict(columns)
    for derived in derivations:
        inputs = (found.get(name, frozenset()) for name in derived.expression.columns)
        found[derived.name] = found.get(derived.name, frozenset[Reach]()).union(*inputs)
    return {derived.name: found[derived.name] for derived in derivations}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
