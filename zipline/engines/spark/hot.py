"""Hot keys: those whose rows are more than one task should have, found by looking at a sample of keys and times.

Keys are known by their hash, so that no value of a key ever reaches the driver; whether keys that share a hash are one
or several changes nothing, since all of them go the same way. A sample that errs costs time, never an answer: the
ranges of a hot key are the whole line of time, and wherever they are cut every query is in one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.engines.spark.file_readings import Reading, key_hashes, numbers_in
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Ints = NDArray[np.int64]

HASH, TIME, IS_LEFT = "__hash", "__time", "__is_left"
DDL = f"{HASH} BIGINT, {TIME} BIGINT, {IS_LEFT} BOOLEAN"
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

    @classmethod
    def of(cls, frames: Sequence[DataFrame], share: float) -> Sample:
        """One job without a shuffle."""
        return cls(reduce(lambda one, other: one.unionAll(other), frames).toArrow(), share)

    def hot(self, most: int, of_a_range: int) -> Iterator[HotKey]:
        """The keys with more than `most` rows, in ranges of about `of_a_range`, the hottest first."""
        hashes = _numbers(self.rows.column(HASH))
        times, is_timed = _numbers(self.rows.column(TIME)), np.asarray(self.rows.column(TIME).is_valid())
        is_left = np.asarray(self.rows.column(IS_LEFT))
        found, place, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        for number in np.argsort(-counts, kind="stable"):
            rows = counts[number] / self.fraction
            if rows <= most:
                return
            own = is_timed & (place == number)
            edges = cut(times[own], times[own & is_left], int(-(-rows // of_a_range)))
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


def looking(frame: DataFrame, key: str, time: str | None, share: float, *, is_left: bool) -> DataFrame:
    """Some rows of a frame, of which the SQL of a key's hash and of its time in microseconds are given."""
    some = frame.sample(share, SEED) if share < 1 else frame
    items = (f"{key} AS {HASH}", f"{time or 'CAST(NULL AS BIGINT)'} AS {TIME}", f"{is_left} AS {IS_LEFT}")
    return some.selectExpr(*items).where(f"{HASH} IS NOT NULL")


@dataclass(frozen=True, eq=False)
class Looking:
    """Numbers of stretches -> the same of some of their rows."""

    reading: Reading
    share: float
    is_left: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers_in(batches):
            rows, times = self.reading.keys_and_times(number)
            chosen = np.flatnonzero(np.random.default_rng((SEED, number)).random(len(times)) < self.share)
            some = pa.array(chosen)
            when = times.take(some)
            if self.reading.keys:
                hashes, has_key = key_hashes(rows.take(some), self.reading.keys)
            else:
                hashes, has_key = np.zeros(len(chosen), np.int64), np.ones(len(chosen), np.bool_)
            found = pa.record_batch({HASH: hashes, TIME: when, IS_LEFT: np.full(len(chosen), self.is_left)})
            yield found.filter(pa.array(has_key))
