"""What a part reads of one of its sources, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import cached_property, partial

from zipline.algebra.windows import floor, hop
from zipline.clock import DAY, now
from zipline.engines.local.condense import KNOWN, T
from zipline.engines.local.extents import NAME as EXTENTS
from zipline.engines.local.extents import Extent, Extents, block, identity
from zipline.engines.local.read import Rows
from zipline.engines.local.scope import BLOCK, Reach
from zipline.engines.local.substitutes import Substitute
from zipline.plan.steps import Projection
from zipline.tables.contract import Table, Unit
from zipline.tables.partials import PartialStore
from zipline.values import dataclass


@dataclass(eq=False)
class Sources:
    """The files of one source of a part, by name: `forms` says how each is read.

    `group` is where the partials are stored, `names` which there are. `pieces` are the rows read so far, `hidden`
    counts rows without a clock.
    """

    substitute: Substitute
    source: Projection
    table: Table
    reach: Reach
    group: str
    extents: Extents
    units: dict[str, Unit] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    pieces: list[Rows] = field(default_factory=list)
    names: frozenset[str] = frozenset()
    hidden: int = 0

    @property
    def levels(self) -> set[str]:
        """The levels that queries of later days will want of a file."""
        part = self.substitute.part
        windows = [feature.window for feature in part.group_by.features if feature.window is not None]
        is_hourly = part.group_by.accuracy == "TEMPORAL" and any(hop(window) < DAY for window in windows)
        return {"day", "hour"} if is_hourly else {"day"}

    @cached_property
    def blocks(self) -> dict[str, list[str]]:
        """Stored name -> files, of the blocks that can stand for the partials of days of their files."""
        members: dict[int, list[str]] = {}
        for name, form in self.forms.items():
            extent = self.extents.of(self.units[name])
            if form == "day" and extent is not None:
                members.setdefault(floor(extent.first, BLOCK), []).append(name)
        found: dict[str, list[str]] = {}
        for begin, names in members.items():
            extents = [extent for name in names if (extent := self.extents.of(self.units[name])) is not None]
            if len(names) > 1 and begin + BLOCK <= self.reach.cut and self.reach.fits(_hull(extents), BLOCK):
                found[block(self.units[name] for name in names)] = names
        return found

    def unneeded(self) -> list[str]:
        """The stored names of which a file is gone or another one now: what no run of today's files will ask for."""
        spans: dict[int, list[Unit]] = {}
        for unit in self.extents.live:
            if (extent := self.extents.of(unit)) is not None and extent.rows:
                spans.setdefault(floor(extent.first, BLOCK), []).append(unit)
        blocks = {*map(block, spans.values()), *self.blocks, EXTENTS}
        live = set(self.extents.live.values())
        return [name for name in self.names if name not in blocks and name.partition("-")[0] not in live]

    def sweeping(self, store: PartialStore) -> Iterator[Callable[[], None]]:
        """What takes away partials of files that are gone and, where a group begins, for another may have ended, all
        groups that are out of use."""
        if unneeded := self.unneeded():
            yield partial(store.remove, self.group, unneeded)
        if self.names <= {EXTENTS}:
            yield partial(store.sweep, now())

    @property
    def columns(self) -> list[str]:
        """What is read of a partial."""
        part = self.substitute.condensed
        needed = {f.input for f in part.needed} | {f.bucket for f in part.needed if f.bucket}
        needed |= {name for name, _ in (*part.group_by.keys, *part.group_by.lookup)}
        return [*sorted(needed), T, *([] if self.source.known_at is None else [KNOWN])]


def _hull(extents: Sequence[Extent]) -> Extent:
    return Extent(
        min(each.first for each in extents),
        max(each.last for each in extents),
        min(each.available_first for each in extents),
        max(each.available_last for each in extents),
        sum(each.rows for each in extents),
        sum(each.hidden for each in extents),
    )


def stored_name(unit: Unit, level: str) -> str:
    """Of the partial of a file."""
    return f"{identity(unit)}-{level}"
