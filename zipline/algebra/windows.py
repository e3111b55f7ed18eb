"""Which events a query sees: the one place that decides it, for every engine, offline and online.

Everything is integer arithmetic on microseconds UTC and works alike on Python ints and on numpy int64 arrays of query
times; days and hops are floored towards minus infinity, before 1970 too. Spans are half open: an event is seen if and
only if `start <= t < end` and its availability is `< end`; a start of None has no lower bound. A window of None is
lifetime. Query times must lie in a representable calendar (years 1 to 9999), so that nothing here can overflow.

Tiles are half-open spans of the levels in `TILE_LEVELS`, each level a whole multiple of the one below and aligned to
it, so any span whose ends lie on a tile of the finest level is the disjoint union of few tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeVar

from zipline.clock import DAY, HOUR, MINUTE
from zipline.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Instants = TypeVar("Instants", int, "NDArray[np.int64]")
"""A query time, or a column of them."""

Accuracy = Literal["TEMPORAL", "SNAPSHOT"]

TILE_LEVELS = (MINUTE, 5 * MINUTE, HOUR, 6 * HOUR, DAY)
"""Widths of the tiles that partials are merged up to, finest first."""


def hop(window_us: int) -> int:
    """The step in which the start of a TEMPORAL window moves."""
    if window_us >= 12 * DAY:
        return DAY
    if window_us >= 12 * HOUR:
        return HOUR
    if window_us >= HOUR:
        return 5 * MINUTE
    return MINUTE


def floor(t: Instants, step: int) -> Instants:
    """The last multiple of `step` at or before `t`."""
    return t - t % step


def bounds(q: Instants, window_us: int | None, accuracy: Accuracy) -> tuple[Instants | None, Instants]:
    """(start, end) of the events that a query at `q` sees: `start <= t < end`, and availability `< end`."""
    if accuracy == "SNAPSHOT":
        end = floor(q, DAY)
        return None if window_us is None else end - window_us, end
    return None if window_us is None else floor(q - window_us, hop(window_us)), q


def label_bounds(q: Instants, offset_us: int, window_us: int) -> tuple[Instants, Instants]:
    """(start, end) of the events of a label: exactly `q + O - W <= t < q + O`, without hops or availability."""
    end = q + offset_us
    return end - window_us, end


def tile_hop(windows: Iterable[int | None]) -> int:
    """The finest tile of a group-by with these windows: their smallest hop, at most 5 minutes."""
    return min([5 * MINUTE, *(hop(window) for window in windows if window is not None)])


def cover(start: int, end: int, finest: int) -> list[tuple[int, int]]:
    """The fewest tiles that together are exactly [start, end), in time order, as (level, tile start).

    `finest` is one of `TILE_LEVELS` and divides both ends. With a start on its window's hop, a span of under 12 days
    needs at most 42 tiles; one of three days, the most that a fetch reads, at most 34.
    """
    if finest not in TILE_LEVELS:
        raise UsageError(f"{finest} us is not a tile level", valid=[str(level) for level in TILE_LEVELS])
    if start % finest or end % finest:
        raise UsageError(f"[{start}, {end}) does not begin and end on tiles of {finest} us")
    levels = [level for level in reversed(TILE_LEVELS) if level >= finest]
    tiles: list[tuple[int, int]] = []
    while start < end:
        level = next(level for level in levels if start % level == 0 and start + level <= end)
        tiles.append((level, start))
        start += level
    return tiles
