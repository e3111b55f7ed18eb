"""What is kept online of a group-by, and what a fetch makes of it.

`Kept` is derived from the plan alone, so that uploads, streams and fetches agree without asking each other: the layout
of its records, the IRs that have no fixed size, the tile, and the spans into which an upload is cut. `tag` is the first
eight bytes of the group-by's fingerprint: a block of another definition is told by it.

A TEMPORAL group-by over events is served from an upload and the tiles since. All others (SNAPSHOT, and entities) are
served as the values that they had at the end of the uploaded day.
"""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

from zipline.algebra.columnar.blocks import Form
from zipline.algebra.columnar.value_blocks import ValueForm
from zipline.algebra.contract import Aggregator
from zipline.algebra.layout import EVER_BEFORE, Layout, State, element_of, kinds_of
from zipline.algebra.operations import aggregator
from zipline.algebra.windows import floor, hop, tile_hop
from zipline.clock import DAY
from zipline.plan.steps import Feature, GroupByPlan
from zipline.values import dataclass

SERVED = 2 * DAY
"""How long after its end an upload serves every window; after that some windows may begin inside its spans."""

Reduction: TypeAlias = tuple[str, str, "str | None", "int | None", "tuple[float, ...] | None"]
"""(operation, input, bucket, k, percentiles): features that differ in their window only share an IR."""


def reduction(feature: Feature) -> Reduction:
    """What of a feature is kept, whatever its window."""
    return feature.operation, feature.input, feature.bucket, feature.k, feature.percentiles


@dataclass(frozen=True, eq=False)
class Kept:
    """What the online store keeps of a group-by."""

    group_by: GroupByPlan

    @property
    def has_tiles(self) -> bool:
        """Whether the group-by is served from partials: else from values as of the end of a day."""
        plan = self.group_by
        return plan.accuracy == "TEMPORAL" and not plan.is_entity and not plan.lookup

    @property
    def tag(self) -> int:
        """What its blocks begin with."""
        return int.from_bytes(self._fingerprint[:8], "little", signed=True)

    @cached_property
    def fixed(self) -> tuple[Feature, ...]:
        """The features that a kernel computes from the words of records."""
        return tuple(feature for feature in self.group_by.features if _is_fixed(feature))

    @cached_property
    def others(self) -> tuple[Feature, ...]:
        """The features that the algebra computes from IRs."""
        return tuple(feature for feature in self.group_by.features if not _is_fixed(feature))

    @cached_property
    def layout(self) -> Layout:
        """Of the words of a record."""
        wanted = []
        for feature in self.fixed:
            element = element_of(feature.input_type)
            kinds = kinds_of(feature.operation, element) or ()
            wanted += [(kind, feature.input, element) for kind in ("count", *kinds)]
        return Layout.of(wanted)

    @cached_property
    def reductions(self) -> tuple[Reduction, ...]:
        """The IRs of a record, in order."""
        return tuple(dict.fromkeys(map(reduction, self.others)))

    @cached_property
    def aggregators(self) -> tuple[Aggregator, ...]:
        """Of each IR."""
        of = {reduction(feature): feature for feature in self.others}
        return tuple(_aggregator(of[each]) for each in self.reductions)

    @cached_property
    def windows(self) -> tuple[int | None, ...]:
        """All windows, each once."""
        return tuple(dict.fromkeys(feature.window for feature in self.group_by.features))

    @cached_property
    def tile(self) -> int:
        """The width of the finest tiles."""
        return tile_hop(self.windows)

    @cached_property
    def form(self) -> Form:
        """What its blocks of partials look like."""
        return Form(self.tag, self._fingerprint, self.layout, self.aggregators)

    @cached_property
    def values(self) -> ValueForm:
        """What its blocks of values look like, where it has no tiles."""
        plan = self.group_by
        columns = plan.lookup or tuple((feature.name, feature.type) for feature in plan.features)
        return ValueForm(self.tag, self._fingerprint, columns)

    @property
    def _fingerprint(self) -> bytes:
        return bytes.fromhex(self.group_by.fingerprint)

    def cuts(self, end: int) -> list[int]:
        """Where the spans of an upload begin that ends at the midnight `end`, ascending; the last ends there.

        A query of the two days after it sees whole spans only, whatever its time.
        """
        found = {EVER_BEFORE} if None in self.windows else set[int]()
        for window in self.windows:
            if window is not None:
                step = hop(window)
                first, last = floor(end - window, step), min(floor(end + SERVED - window, step), end - 1)
                found |= set(range(first, last + 1, step))
        return sorted(found)

    def state(self, feature: Feature) -> tuple[State, State]:
        """(the count, the state) of one of the `fixed` features; COUNT has the first only, twice."""
        count = self.layout.state("count", feature.input)
        kinds = kinds_of(feature.operation, element_of(feature.input_type)) or ()
        return count, self.layout.state(kinds[0], feature.input) if kinds else count


def _is_fixed(feature: Feature) -> bool:
    return feature.bucket is None and kinds_of(feature.operation, element_of(feature.input_type)) is not None


def _aggregator(feature: Feature) -> Aggregator:
    return aggregator(
        feature.operation,
        feature.input_type,
        k=feature.k,
        percentiles=feature.percentiles,
        bucket=feature.bucket_type if feature.bucket else None,
    )
