"""How far the queries of a part reach into its files, and so in which form each file serves all of them alike.

Pure arithmetic on extents: a file may be left out, be read as rows, or be stood for by its partial of days or of hours.
"""

from __future__ import annotations

import numpy as np

from zipline.algebra.windows import floor, hop
from zipline.clock import DAY, HOUR
from zipline.engines.local.extents import Extent
from zipline.engines.local.substitutes import Substitute
from zipline.plan.steps import PartPlan
from zipline.values import dataclass

LEVELS = {"day": DAY, "hour": HOUR}
"""Hops of the partials of a file, longest first: the first that fits is taken."""
BLOCK = 6 * DAY
"""The hop of a partial of several files: those that begin in the same span of this length, once it is past."""

BEGINNING, NEVER = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True)
class Starts:
    """Where the windows of one length start: on multiples of `hop`, from `first` to `last`."""

    hop: int
    first: int
    last: int

    def is_inside(self, begin: int, end: int, step: int) -> bool:
        """Whether one lies inside a hop of `step`, of those that make up begin..end."""
        if self.hop >= step or (self.first == self.last and self.first % step == 0):
            return False
        return begin < self.last and end > self.first


@dataclass(frozen=True)
class Reach:
    """What the queries see: all that was available before `cut`, nothing that was from `end` on, no time before `low`.

    Features that need rows see from `rows_from` on.
    """

    starts: tuple[Starts, ...]
    low: int
    rows_from: int
    cut: int
    end: int

    @classmethod
    def of(cls, chosen: Substitute, first: int, last: int) -> Reach:
        """Of queries from `first` to `last`, both inclusive."""
        starts = _starts(chosen.condensed, first, last)
        rows_from = NEVER if chosen.raw is None else _low(_starts(chosen.raw, first, last))
        end = chosen.condensed.bounds(np.array([last]), None)[1]
        return cls(tuple(filter(None, starts)), _low(starts), rows_from, floor(first, DAY), int(end[0]))

    def form(self, extent: Extent) -> str | None:
        """How a file is read: "rows", one of LEVELS, or None: not at all."""
        if not extent.rows or extent.available_first >= self.end or extent.last < self.low:
            return None
        if extent.available_last >= self.cut:
            return "rows"
        return next((level for level in LEVELS if self.fits(extent, LEVELS[level])), "rows")

    def fits(self, extent: Extent, step: int) -> bool:
        """Whether no window starts inside a hop of this length."""
        begin, end = floor(extent.first, step), floor(extent.last, step) + step
        return not any(starts.is_inside(begin, end, step) for starts in self.starts)


def _starts(part: PartPlan, first: int, last: int) -> list[Starts | None]:
    """Of every length of window that the part has; None is from the beginning."""
    windows = dict.fromkeys(feature.window for feature in part.needed) or {None: None}
    return [_start(part, window, np.array([first, last])) for window in windows]


def _start(part: PartPlan, window: int | None, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Starts | None:
    if window is None:
        return None
    first, last = map(int, part.bounds(times, window)[0])
    return Starts(hop(window) if part.group_by.accuracy == "TEMPORAL" else DAY, first, last)


def _low(starts: list[Starts | None]) -> int:
    return min(BEGINNING if each is None else each.first for each in starts)
