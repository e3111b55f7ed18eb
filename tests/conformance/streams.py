"""Values and instants that are likely to go wrong, drawn with a seed.

`Draw` wraps one `random.Random`; every list here is a reason why an engine once was, or might be, wrong.
"""

from __future__ import annotations

import datetime as dt
import math
import random
import struct
from collections.abc import Sequence
from typing import Any, TypeVar

from .instants import DAY, HOUR, MINUTE, day_of, floored_start, instant, micros

T = TypeVar("T")

NULL_RATE, NAN_RATE = 0.06, 0.05
TAME = [0.0, -0.0, 0.1, 0.2, -0.3, 1.5, 2.5, 2.5, -7.25, 100.0, 1e6, 3e-6]
EXTREME = [1e16, 1e-3, -1e16, 2e-3, 0.1, 1e16, 1.0]
WILD = [math.inf, -math.inf, math.inf, 1.0, -2.0, 1e16, 1e-3, 0.0]
COUNTS = [0, 1, 2, 2, 3, -1, -5, 7, 10**6, 2**53, 2**53 + 1, -(2**56)]
HUGE = [2**63 - 1, -(2**63), 2**63 - 2, -(2**63) + 1, 0, 1, -1, 2**53 + 1]
SMALL = [0, 1, -1, 2**31 - 1, -(2**31), 7, 7]
WORDS = ["a", "b", "ab", "bc", "c", "", " ", "é", "e\u0301", "日本", "\U0001f6eb", "\ufb00", "B", "a'b", "null", "NaN"]
CHANNELS = ["web", "shop", "", "wéb"]
DAYS = [dt.date(2024, 2, 29), dt.date(1969, 12, 31), dt.date(2024, 3, 1), dt.date(2024, 3, 1)]
MOMENTS = ["2024-02-29", "1969-12-31 23:59:59.999999", "2024-03-01 00:00:00.000001", "2024-03-01"]
BASES = ["2024-03-01", "2024-01-01", "2024-12-31", "1970-01-02", "1969-12-30", "2013-07-01", "2024-03-31"]
"""Days around which a case takes place: a leap day, ends of years, both sides of 1970, a change to summer time."""


class Draw:
    """Everything random about one case."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def chance(self, rate: float) -> bool:
        return self.random.random() < rate

    def one(self, given: Sequence[T]) -> T:
        return self.random.choice(given)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def value(self, kind: str, pool: Sequence[Any]) -> Any:
        """A value of a column: null or, where the type has it, NaN at times, else of the pool or any."""
        if self.chance(NULL_RATE):
            return None
        if kind.startswith("ARRAY<"):
            return [self.value(kind[6:-1], pool) for _ in range(self.number(0, 3))]
        if kind in ("DOUBLE", "FLOAT"):
            return self._float(kind, pool)
        return self.one(pool)

    def _float(self, kind: str, pool: Sequence[float]) -> float:
        if self.chance(NAN_RATE):
            return math.nan
        value = self.one(pool) if self.chance(0.7) else round(self.random.uniform(-50, 50), 3)
        return struct.unpack("f", struct.pack("f", value))[0] if kind == "FLOAT" else value

    def query_time(self, base: str) -> int:
        """A query's time near `base`: on a midnight, hour, hop or minute, just beside one, or anywhere."""
        day = micros(base) + self.number(-2, 2) * DAY
        size = self.one([DAY, HOUR, 5 * MINUTE, MINUTE, 1_000_000, 1])
        time = day + self.number(0, DAY - 1) // size * size
        return time + self.one([0, 0, 0, 1, -1])

    def event_time(self, queries: Sequence[int], windows: Sequence[int | None], base: str) -> int:
        """An event's time: on or beside an edge of what some query sees, or inside, or anywhere."""
        query = self.one(queries) if queries else micros(base)
        window = self.one([window for window in windows if window] or [DAY])
        beside = self.one([0, 0, 0, -1, 1])
        kind = self.number(0, 9)
        if kind <= 1:
            return query + beside
        if kind == 2:
            return self.one([floored_start(query, window), query - window]) + beside
        if kind == 3:
            return day_of(query) - self.one([0, window // DAY * DAY]) + beside
        if kind == 4:
            return day_of(query + self.number(-3, 3) * DAY) + self.one([0, -1])
        if kind <= 8:
            return self.number(query - window, query)
        return query + self.number(-40 * DAY, 3 * DAY)

    def known_time(self, time: int, queries: Sequence[int]) -> int | None:
        """When an event became known: soon, on a later hop or day, on or after a query, too early, or never."""
        query = self.one(queries) if queries else time
        kind = self.number(0, 11)
        if kind == 0:
            return None if self.chance(0.5) else time - self.number(0, DAY)
        if kind <= 2:
            return query + self.one([0, 0, -1, 1])
        if kind == 3:
            return day_of(query) + self.one([0, 0, -1, 1])
        if kind <= 5:
            return query + self.number(1, 2 * DAY)
        if kind == 6:
            return day_of(time) + DAY + self.one([0, -1])
        return time + self.number(0, self.one([MINUTE, HOUR, DAY, 5 * DAY]))


def moments() -> list[dt.datetime]:
    return [instant(micros(text)) for text in MOMENTS]
