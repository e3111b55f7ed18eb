"""Types of columns that hold intermediate results, which the columnar operations take in place of values.

VARIANCE, SKEW and KURTOSIS over a column of MOMENTS merge states; APPROX_PERCENTILE, HISTOGRAM and APPROX_HISTOGRAM_K
over a column of `counted` values count each as often as it says. Light to import.
"""

from __future__ import annotations

from zipline.types import BIGINT, DOUBLE, DataType, StructType


class StateType(StructType):
    """A struct that is an intermediate result. States at one time are put in the order of their first two fields."""

    __slots__ = ()


MOMENTS = StateType(fields=tuple((name, DOUBLE) for name in ("hi", "m2", "n", "lo", "gain", "m3", "m4", "infinite")))
"""The state of `zipline.algebra.moments`, and how many infinite values there are beside it."""


def counted(dtype: DataType) -> StateType:
    """A value, and how often it occurs."""
    return StateType(fields=(("value", dtype), ("count", BIGINT)))
