"""What is kept online of a group-by, and what a fetch makes of it.

`Kept` is derived from the plan alone, so that uploads, streams and fetches agree without asking each other: the layout
of its records, the IRs that have no fixed size, the tile, and the spans into which an upload is cut. `tag` is the first
eight bytes of the fingerprint of what is stored: a block of another definition, or form, is told by it.

A TEMPORAL group-by whose rows come as a stream is served from an upload and the tiles since: one over events, those of
the left of a join that it aggregates too, and one over entities whose changes have a topic. All others are served as
the values that they had at the end of the uploaded day.

Over entities everything is *signed*, upload and tiles alike: a reversal is a row that counts -1. Of the words of a
record only those remain that take rows back without a trace (`layout.SIGNED`): counts and totals of integers. Totals of
doubles are IRs, which are exact: a pair of doubles is not once something huge has come and gone. All that has no
inverse, a lookup too, is an IR of the rows themselves (`zipline.algebra.signed`). A word more says how many rows a
record has taken either way: of two states of a tile the older is known by it.

Of a lookup the row is kept whole, as one IR of which every column is a feature (`zipline.algebra.rows`): over events
the latest row with its clocks.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, NamedTuple

from zipline.algebra.columnar.blocks import Form
from zipline.algebra.columnar.value_blocks import ValueForm
from zipline.algebra.contract import Aggregator
from zipline.algebra.layout import EVENTS, EVER_BEFORE, ROWS, SIGNED, Kind, Layout, State, element_of, kinds_of
from zipline.algebra.operations import aggregator
from zipline.algebra.rows import Latest
from zipline.algebra.windows import floor, hop, tile_hop
from zipline.clock import DAY
from zipline.plan.steps import Feature, GroupByPlan, Projection
from zipline.types import BIGINT, DataType
from zipline.values import dataclass

SERVED = 2 * DAY
"""How long after its end an upload serves every window; after that some windows may begin inside its spans."""
NEVER = 1 << 61
"""Longer than all time."""


class Reduction(NamedTuple):
    """What of a feature is kept, whatever its window: features that differ in nothing else share an IR.

    Its values are those of `columns`: of one column as they are, of several (bucket and input, or a row) as tuples.
    """

    operation: str
    columns: tuple[str, ...]
    k: int | None
    percentiles: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Kept:
    """What the online store keeps of a group-by."""

    group_by: GroupByPlan

    @cached_property
    def is_signed(self) -> bool:
        """Whether rows are taken back: it is served from partials over entities."""
        changes = [source.mutations for source in self.group_by.sources]
        return self.group_by.accuracy == "TEMPORAL" and all(each is not None and each.is_streamed for each in changes)

    @property
    def has_tiles(self) -> bool:
        """Whether the group-by is served from partials: else from values as of the end of a day."""
        return self.is_signed or (self.group_by.accuracy == "TEMPORAL" and not self.group_by.is_entity)

    @property
    def streams(self) -> tuple[Projection, ...]:
        """What arrives of each source, row by row: events, or changes."""
        return tuple(source.mutations or source for source in self.group_by.sources)

    @cached_property
    def fingerprint(self) -> str:
        """Of what is stored: the group-by's own, but of signed partials, and of those of lookups, one that no blocks of
        values have."""
        own = self.group_by.fingerprint
        form = "signed, with rows" if self.is_signed else "latest" if self.has_tiles and self.group_by.lookup else None
        return own if form is None else hashlib.sha256(f"{own} {form}".encode()).hexdigest()

    @property
    def tag(self) -> int:
        """What its blocks begin with."""
        return int.from_bytes(self._fingerprint[:8], "little", signed=True)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What a fetch computes: of a lookup each column, as a feature of all rows."""
        plan = self.group_by
        looked_up = (
            Feature(name, "LAST", name, None, None, None, None, None, dtype, None, dtype) for name, dtype in plan.lookup
        )
        return plan.features or tuple(looked_up)

    @cached_property
    def fixed(self) -> tuple[Feature, ...]:
        """The features that a kernel computes from the words of records."""
        return tuple(feature for feature in self.features if self._kinds(feature) is not None)

    @cached_property
    def others(self) -> tuple[Feature, ...]:
        """The features that the algebra computes from IRs."""
        return tuple(feature for feature in self.features if self._kinds(feature) is None)

    @cached_property
    def layout(self) -> Layout:
        """Of the words of a record."""
        wanted: list[tuple[Kind, str, DataType]] = [("count", ROWS, BIGINT)] if self.is_signed else []
        for feature in self.fixed:
            kinds: tuple[Kind, ...] = ("count", *(self._kinds(feature) or ()))
            wanted += [(kind, feature.input, element_of(feature.input_type)) for kind in kinds]
        return Layout.of(wanted)

    @property
    def taken(self) -> int:
        """The word of a record that says how many rows it has taken, which never falls."""
        return self.layout.state("count", ROWS).at if self.is_signed else EVENTS

    @cached_property
    def reductions(self) -> tuple[Reduction, ...]:
        """The IRs of a record, in order."""
        return tuple(dict.fromkeys(map(self.reduction, self.others)))

    @cached_property
    def aggregators(self) -> tuple[Aggregator, ...]:
        """Of each IR."""
        if self.group_by.lookup:
            return (Latest([dtype for _, dtype in self.group_by.lookup], signed=self.is_signed),)
        of = {self.reduction(feature): feature for feature in self.others}
        return tuple(_aggregator(of[each], signed=self.is_signed) for each in self.reductions)

    @cached_property
    def windows(self) -> tuple[int | None, ...]:
        """All windows, each once."""
        return tuple(dict.fromkeys(feature.window for feature in self.features))

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
        columns = tuple((feature.name, feature.type) for feature in self.features)
        return ValueForm(self.tag, self._fingerprint, columns)

    @property
    def _fingerprint(self) -> bytes:
        return bytes.fromhex(self.fingerprint)

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

    @property
    def alone(self) -> int:
        """How long after an upload's end windows begin that need nothing but tiles, and are served ever after. A change
        may be of a row of any time, so of changes none does: tiles that it needs may be gone, whatever the window."""
        return NEVER if self.is_signed else 0

    def state(self, feature: Feature) -> tuple[State, State]:
        """(the count, the state) of one of the `fixed` features; COUNT has the first only, twice."""
        count = self.layout.state("count", feature.input)
        kinds = self._kinds(feature) or ()
        return count, self.layout.state(kinds[0], feature.input) if kinds else count

    def reduction(self, feature: Feature) -> Reduction:
        """What is kept of one of the `others`; of a lookup the whole row."""
        columns = (feature.bucket, feature.input) if feature.bucket else (feature.input,)
        row = tuple(name for name, _ in self.group_by.lookup)
        return Reduction(feature.operation, row or columns, feature.k, feature.percentiles)

    def value(self, feature: Feature, found: Any) -> Any:
        """One of the `others`, of what its reduction gives: of a lookup a column of the row."""
        is_row = found is not None and self.group_by.lookup
        return found[self.reduction(feature).columns.index(feature.name)] if is_row else found

    def _kinds(self, feature: Feature) -> tuple[Kind, ...] | None:
        """The kinds of words, beside the count, of which a feature is made; None where it takes an IR."""
        kinds = kinds_of(feature.operation, element_of(feature.input_type))
        if self.group_by.lookup or feature.bucket is not None or kinds is None:
            return None
        return None if self.is_signed and not SIGNED.issuperset(kinds) else kinds


def _aggregator(feature: Feature, *, signed: bool) -> Aggregator:
    return aggregator(
        feature.operation,
        feature.input_type,
        k=feature.k,
        percentiles=feature.percentiles,
        bucket=feature.bucket_type if feature.bucket else None,
        signed=signed,
    )
