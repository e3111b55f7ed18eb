"""Hot keys: those whose rows are more than one task should have, found by looking at a sample of keys and times.

Keys are known by their hash, so that no value of a key ever reaches the driver; whether keys that share a hash are one
or several changes nothing, since all of them go the same way. A sample that errs costs time, never an answer: the
ranges of a hot key are the whole line of time, and wherever they are cut every query is in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Ints = NDArray[np.int64]

HASH, TIME, IS_LEFT = "__hash", "__time", "__is_left"
ENOUGH = 100
"""Rows of a key in a sample by which it is known to be hot, and where to cut its time."""
SAMPLED = 20_000
"""Rows of a sample that are not worth saving."""
SEED = 7


@dataclass(frozen=True)
class HotKey:
    """A hash, and the query times at which its second and every later range begin, in order."""

    hash: int
    edges: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Of some left and source rows the hash of the key and when a query asks, or first sees the row; null: no time."""

    rows: pa.Table
    fraction: float

    def hot(self, most: int) -> Iterator[HotKey]:
        """The keys with more than `most` rows, in ranges of about as many, the hottest first."""
        hashes = _numbers(self.rows.column(HASH))
        times, is_timed = _numbers(self.rows.column(TIME)), np.asarray(self.rows.column(TIME).is_valid())
        is_left = np.asarray(self.rows.column(IS_LEFT))
        found, place, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        for number in np.argsort(-counts, kind="stable"):
            rows = counts[number] / self.fraction
            if rows <= most:
                return
            own = is_timed & (place == number)
            edges = cut(times[own], times[own & is_left], int(-(-rows // most)))
            yield HotKey(int(found[number]), edges)


def _numbers(column: pa.ChunkedArray) -> Any:
    return np.asarray(column.fill_null(0))


def cut(times: Ints, asked: Ints, ranges: int) -> tuple[int, ...]:
    """Where so many ranges with about as many rows each begin, but the first; ranges in which nobody asks are one."""
    ordered = np.sort(times)
    places = np.arange(1, ranges) * len(ordered) // ranges
    edges, asked = np.unique(ordered[places]) if len(ordered) else ordered, np.sort(asked)
    before = np.searchsorted(asked, edges)
    is_asked = np.diff(before, prepend=0) > 0
    return tuple(int(edge) for edge in edges[is_asked & (before < len(asked))])


def fraction(rows: int | None, most: int) -> float:
    """The share of so many rows (None: unknown) in which a key with more than `most` is noticed."""
    wanted = ENOUGH / most
    return min(1.0, wanted if not rows else max(wanted, SAMPLED / rows))


def look(frames: Sequence[tuple[DataFrame, str, str | None]], share: float) -> Sample:
    """One job without a shuffle. Of each frame the SQL of a key's hash and of its time in microseconds; left first."""
    sampled = None
    for number, (frame, key, time) in enumerate(frames):
        some = frame.sample(share, SEED) if share < 1 else frame
        items = (f"{key} AS {HASH}", f"{time or 'CAST(NULL AS BIGINT)'} AS {TIME}", f"{number == 0} AS {IS_LEFT}")
        one = some.selectExpr(*items).where(f"{HASH} IS NOT NULL")
        sampled = one if sampled is None else sampled.unionAll(one)
    assert sampled is not None
    return Sample(sampled.toArrow(), share)
