"""The names of the operations and which arguments each takes; how they compute is `zipline.algebra`."""

from __future__ import annotations

from enum import Enum


class Accuracy(Enum):
    """TEMPORAL: up to the query; SNAPSHOT: whole UTC days before the query's day."""

    TEMPORAL = "TEMPORAL"
    SNAPSHOT = "SNAPSHOT"


class Operation(Enum):
    """What an aggregation does with the values in its window."""

    COUNT = "COUNT"
    SUM = "SUM"
    AVERAGE = "AVERAGE"
    VARIANCE = "VARIANCE"
    SKEW = "SKEW"
    KURTOSIS = "KURTOSIS"
    MIN = "MIN"
    MAX = "MAX"
    FIRST = "FIRST"
    LAST = "LAST"
    FIRST_K = "FIRST_K"
    LAST_K = "LAST_K"
    TOP_K = "TOP_K"
    BOTTOM_K = "BOTTOM_K"
    UNIQUE_COUNT = "UNIQUE_COUNT"
    BOUNDED_UNIQUE_COUNT = "BOUNDED_UNIQUE_COUNT"
    APPROX_UNIQUE_COUNT = "APPROX_UNIQUE_COUNT"
    APPROX_PERCENTILE = "APPROX_PERCENTILE"
    HISTOGRAM = "HISTOGRAM"
    APPROX_HISTOGRAM_K = "APPROX_HISTOGRAM_K"

    @property
    def needs_k(self) -> bool:
        return self in _NEEDS_K

    @property
    def takes_k(self) -> bool:
        return self in _NEEDS_K or self is Operation.BOUNDED_UNIQUE_COUNT

    @property
    def is_approximate(self) -> bool:
        return self.name.startswith("APPROX_")


_NEEDS_K = frozenset(
    {Operation.FIRST_K, Operation.LAST_K, Operation.TOP_K, Operation.BOTTOM_K, Operation.APPROX_HISTOGRAM_K}
)
BOUNDED_DEFAULT_K = 8
