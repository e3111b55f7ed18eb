"""COUNT, SUM and AVERAGE, exactly.

A total of floats is kept as an int in units of 2**-1074, the smallest double, so that merging is associative to the
bit, removing leaves no trace, and the feature is the correctly rounded exact total. Infinities are counted apart. The
number of values is signed: a reversal may come before what it reverses.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from zipline.algebra.contract import At, Operation
from zipline.errors import DataError

UNIT_EXPONENT = 1074
UNITS_OF_ONE = 1 << UNIT_EXPONENT
INT64_LEAST, INT64_MOST = -(1 << 63), (1 << 63) - 1

IntegerTotal: TypeAlias = tuple[int, int]
"""(number of values, their total)"""
FloatTotal: TypeAlias = tuple[int, int, int, int]
"""(number of values, total of the finite ones in units, how many are +inf, how many are -inf)"""


class SumOverflow(DataError):
    """A total of integers beyond int64; `total` is exact. The caller adds the feature and the key."""

    def __init__(self, total: int, *, subject: str | None = None) -> None:
        self.total = total
        super().__init__(
            f"the total {total} is beyond int64",
            subject=subject,
            hint="sum CAST(x AS DOUBLE), or take AVERAGE, which never overflows",
        )


def units(value: float) -> int:
    """A finite double as a whole number of units."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (UNIT_EXPONENT + 1 - denominator.bit_length())


def rounded(total: int) -> float:
    """The double nearest to a total of units, ties to even; infinite beyond the range of doubles."""
    try:
        return total / UNITS_OF_ONE
    except OverflowError:
        return math.inf if total > 0 else -math.inf


class Count(Operation):
    """How many values there are."""

    invertible = True

    def empty(self) -> int:
        return 0

    def update(self, ir: int, value: Any, at: At) -> int:  # noqa: ARG002
        return ir + 1

    def remove(self, ir: int, value: Any, at: At) -> int:  # noqa: ARG002
        return ir - 1

    def merge(self, a: int, b: int) -> int:
        return a + b

    def finalize(self, ir: int) -> int:
        return max(ir, 0)

    def orphans(self, ir: int) -> int:
        return max(-ir, 0)


class IntegerSum(Operation):
    """The exact total; SumOverflow beyond int64."""

    invertible = True

    def empty(self) -> IntegerTotal:
        return 0, 0

    def update(self, ir: IntegerTotal, value: int, at: At) -> IntegerTotal:  # noqa: ARG002
        return ir[0] + 1, ir[1] + value

    def remove(self, ir: IntegerTotal, value: int, at: At) -> IntegerTotal:  # noqa: ARG002
        return ir[0] - 1, ir[1] - value

    def merge(self, a: IntegerTotal, b: IntegerTotal) -> IntegerTotal:
        return a[0] + b[0], a[1] + b[1]

    def finalize(self, ir: IntegerTotal) -> int | float | None:
        n, total = ir
        if n <= 0:
            return None
        if not INT64_LEAST <= total <= INT64_MOST:
            raise SumOverflow(total)
        return total

    def orphans(self, ir: IntegerTotal) -> int:
        return max(-ir[0], 0)


class IntegerAverage(IntegerSum):
    """The rounded exact total, divided by the number of values."""

    def finalize(self, ir: IntegerTotal) -> float | None:
        n, total = ir
        return float(total) / n if n > 0 else None


class FloatSum(Operation):
    """The correctly rounded total; null where +inf meets -inf."""

    invertible = True

    def empty(self) -> FloatTotal:
        return 0, 0, 0, 0

    def update(self, ir: FloatTotal, value: Any, at: At) -> FloatTotal:  # noqa: ARG002
        return self.merge(ir, _total_of(value))

    def remove(self, ir: FloatTotal, value: Any, at: At) -> FloatTotal:  # noqa: ARG002
        n, total, plus, minus = _total_of(value)
        return self.merge(ir, (-n, -total, -plus, -minus))

    def merge(self, a: FloatTotal, b: FloatTotal) -> FloatTotal:
        return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]

    def finalize(self, ir: FloatTotal) -> float | None:
        n, total, plus, minus = ir
        if n <= 0 or (plus > 0 and minus > 0):
            return None
        if plus > 0 or minus > 0:
            return math.inf if plus > 0 else -math.inf
        return self._finite(n, total)

    def orphans(self, ir: FloatTotal) -> int:
        return max(-ir[0], 0)

    def _finite(self, n: int, total: int) -> float:  # noqa: ARG002
        return rounded(total)


class FloatAverage(FloatSum):
    """The rounded exact total, divided by the number of values; scaled where the total alone would overflow."""

    def _finite(self, n: int, total: int) -> float:
        sum_ = rounded(total)
        if math.isinf(sum_):
            return total / (UNITS_OF_ONE << 128) / n * 2.0**128
        return sum_ / n


def _total_of(value: Any) -> FloatTotal:
    number = float(value)
    if math.isinf(number):
        return 1, 0, int(number > 0), int(number < 0)
    return 1, units(number), 0, 0
