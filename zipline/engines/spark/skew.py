"""How the rows of a set of left keys are divided: by key, and those of hot keys by ranges of their queries' times.

A partition of the ordinary ones has all rows of its keys. A hot key has a partition for each of its ranges: there go
the left rows that ask in it, and every row that one of these can see, so a row of a source may go to several. That is
what a run over these left rows alone would read, by the same bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from zipline.clock import FIRST_INSTANT, LAST_INSTANT
from zipline.engines.spark.hot import HotKey
from zipline.engines.spark.packing import ROW
from zipline.engines.spark.scans import sent
from zipline.engines.spark.statements import home, is_no_key, key_hash
from zipline.types import DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Keys = Sequence[tuple[str, DataType]]
"""(SQL, type) of the parts of a key."""
Bounds = tuple[int | None, int | None]
"""From (inclusive) and to (exclusive); None is open."""
BEGINNING, FOREVER = -(1 << 63), (1 << 63) - 1
NOBODY = -1
"""The partition of the rows of hot keys that no query sees."""


@dataclass(frozen=True)
class Span:
    """Which rows go to a range: those of `bounds` that happened from `sure` on (None: all) or are available from `cut`.

    The others are there as condensed rows.
    """

    bounds: Bounds
    sure: int | None = None
    cut: int | None = None


@dataclass(frozen=True)
class Range:
    """The queries of a hot key from `first` to `last`, both inclusive, and the partition that they go to."""

    hash: int
    first: int
    last: int
    partition: int

    @property
    def asking(self) -> Span:
        """The left rows."""
        return Span((self.first, None if self.last == FOREVER else self.last + 1))

    def times(self, first: int | None, last: int | None) -> tuple[int, int]:
        """The first and the last query time, where those of all left rows are known."""
        low = FIRST_INSTANT if first is None else first
        high = LAST_INSTANT if last is None else last
        return min(max(self.first, low), high), max(min(self.last, high), low)


@dataclass(frozen=True)
class Division:
    """`ordinary` partitions by key; the ranges of hot keys come after them."""

    ordinary: int
    ranges: tuple[Range, ...] = ()

    @classmethod
    def of(cls, ordinary: int, keys: Sequence[HotKey]) -> Division:
        ranges: list[Range] = []
        for key in keys:
            starts = (BEGINNING, *key.edges)
            ends = (*(edge - 1 for edge in key.edges), FOREVER)
            for first, last in zip(starts, ends, strict=True):
                ranges.append(Range(key.hash, first, last, ordinary + len(ranges)))
        return cls(ordinary, tuple(ranges))

    @property
    def partitions(self) -> int:
        return self.ordinary + len(self.ranges)

    def left(self, frame: DataFrame, keys: Keys) -> tuple[DataFrame, str]:
        """Left rows and the SQL of their partition. One without a key has nothing to see: it may go anywhere."""
        own = home(keys, self.ordinary, self.partitions)
        if keys:
            anywhere = f"CAST(pmod({ROW}, {self.ordinary}) AS INT)"
            own = f"CASE WHEN {_is_none(keys)} THEN {anywhere} ELSE {own} END"
        if not self.ranges:
            return frame, own
        spans = [(each, each.asking) for each in self.ranges]
        routed = _routed(frame, left_hash(keys), f"coalesce(unix_micros(__t), {BEGINNING})", spans)
        return routed, f"coalesce(__hot, {own})"

    def lane(
        self, frame: DataFrame, keys: Keys, clocks: tuple[str | None, str | None], seen: Callable[[Range], Span]
    ) -> tuple[DataFrame, str]:
        """Rows of a source, each once for every partition that it goes to, and the SQL of the partition.

        `clocks` are what bounds refer to (without it every range sees all), and when a row became available.
        """
        own = home(keys, self.ordinary, self.partitions)
        if not self.ranges:
            return frame, own
        clock, available = clocks
        spans = [(each, seen(each) if clock else Span((None, None))) for each in self.ranges]
        unseen = {each.hash: (Range(each.hash, 0, 0, NOBODY), Span((None, None))) for each in self.ranges}
        routed = _routed(frame, key_hash(keys), clock or "0L", [*spans, *unseen.values()], available)
        return routed.where("__hot IS NULL OR __hot >= 0"), f"coalesce(__hot, {own})"

    def only_hot(
        self, frame: DataFrame, keys: Keys, clock: str, seen: Callable[[Range], Bounds]
    ) -> tuple[DataFrame, str]:
        """The rows of hot keys within the bounds of each range, and the SQL of the range's partition."""
        spans = [(each, Span(seen(each))) for each in self.ranges]
        return _routed(frame, key_hash(keys), clock, spans, how="inner"), "__hot"


def left_hash(keys: Keys) -> str:
    """Null where there is no key."""
    return f"CASE WHEN NOT ({_is_none(keys)}) THEN {key_hash(keys)} END" if keys else key_hash(keys)


def _is_none(keys: Keys) -> str:
    return " OR ".join(is_no_key(*key) for key in keys)


def _routed(
    frame: DataFrame,
    key: str,
    clock: str,
    spans: Sequence[tuple[Range, Span]],
    available: str | None = None,
    how: str = "left",
) -> DataFrame:
    """Rows with `__hot`, null of keys that are not hot: one copy for each span of their key that holds them."""
    from pyspark.sql.functions import broadcast, expr

    columns = {
        "__hot_key": pa.array([each.hash for each, _ in spans], pa.int64()),
        "__hot": pa.array([each.partition for each, _ in spans], pa.int32()),
        "__low": _numbers((span.bounds[0] for _, span in spans), BEGINNING),
        "__high": _numbers((span.bounds[1] for _, span in spans), FOREVER),
        "__sure": _numbers((span.sure for _, span in spans), BEGINNING),
        "__cut": _numbers((span.cut for _, span in spans), BEGINNING),
    }
    is_raw = f" AND ({clock} >= __sure OR {available} >= __cut)" if available else ""
    on = f"{key} = __hot_key AND (__hot < 0 OR ({clock} >= __low AND {clock} < __high{is_raw}))"
    hot = broadcast(sent(frame.sparkSession, pa.table(columns)))
    return frame.join(hot, expr(on), how).drop("__hot_key", "__low", "__high", "__sure", "__cut")


def _numbers(values: Iterable[int | None], instead: int) -> pa.Array:
    return pa.array([instead if value is None else value for value in values], pa.int64())
