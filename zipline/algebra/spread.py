"""VARIANCE, SKEW and KURTOSIS of the population, over the states of `moments`.

The IR is the number of infinite values, then the state of the finite ones: any infinity makes the feature null.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from zipline.algebra import moments
from zipline.algebra.contract import At, Operation

State: TypeAlias = tuple[Any, ...]


class Variance(Operation):
    """Mean squared deviation."""

    def empty(self) -> State:
        return 0, *moments.EMPTY_SPREAD

    def update(self, ir: State, value: Any, at: At) -> State:  # noqa: ARG002
        number = float(value)
        if math.isinf(number):
            return ir[0] + 1, *ir[1:]
        return ir[0], *moments.add_spread(ir[1:], number)

    def merge(self, a: State, b: State) -> State:
        return a[0] + b[0], *moments.merge_spread(a[1:], b[1:])

    def finalize(self, ir: State) -> float | None:
        infinite, n, _, _, gain, m2 = ir
        return _or_null(infinite, moments.variance(n, gain, m2))


class Skew(Operation):
    """Third standardised moment; null below 3 values or without variance."""

    def empty(self) -> State:
        return 0, *moments.EMPTY

    def update(self, ir: State, value: Any, at: At) -> State:  # noqa: ARG002
        number = float(value)
        if math.isinf(number):
            return ir[0] + 1, *ir[1:]
        return ir[0], *moments.add(ir[1:], number)

    def merge(self, a: State, b: State) -> State:
        return a[0] + b[0], *moments.merge(a[1:], b[1:])

    def finalize(self, ir: State) -> float | None:
        infinite, n, _, _, _, m2, m3, _ = ir
        return _or_null(infinite, moments.skew(n, m2, m3))


class Kurtosis(Skew):
    """Fourth standardised moment less 3; null below 4 values or without variance."""

    def finalize(self, ir: State) -> float | None:
        infinite, n, _, _, _, m2, _, m4 = ir
        return _or_null(infinite, moments.kurtosis(n, m2, m4))


def _or_null(infinite: int, value: float) -> float | None:
    return None if infinite or math.isnan(value) else value
