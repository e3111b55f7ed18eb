"""What each operation gives for a handful of values, exactly, in plain Python.

An operation is a function from the values seen (never null, with the time and `known_at` of their events) to the
feature. Nothing here is incremental or fast: totals and moments are Fractions, orders are `sorted`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
COUNTS = ("COUNT", "UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT")
"""The operations that give 0 where nothing is in the window."""


@dataclass(frozen=True)
class Seen:
    """One value of one event that a query sees. `known` is its time where no second clock is declared."""

    time: int
    known: int
    value: Any

    @property
    def order(self) -> tuple[int, int, Any]:
        return self.time, self.known, self.value


class Overflow(ArithmeticError):
    """An integer total beyond int64."""


def _sum(seen: list[Seen], _: Any) -> Any:
    values = [one.value for one in seen]
    if all(isinstance(value, int) for value in values):
        total = sum(values)
        if not INT64_MIN <= total <= INT64_MAX:
            raise Overflow(total)
        return total
    return infinite_total(values) if has_infinity(values) else rounded(exact_total(values))


def _average(seen: list[Seen], _: Any) -> float | None:
    values = [one.value for one in seen]
    return infinite_total(values) if has_infinity(values) else rounded(exact_total(values) / len(values))


def _variance(seen: list[Seen], _: Any) -> float | None:
    values = [one.value for one in seen]
    return None if has_infinity(values) else rounded(central_moment(values, 2))


def _skew(seen: list[Seen], _: Any) -> float | None:
    values = [one.value for one in seen]
    if len(values) < 3 or has_infinity(values) or central_moment(values, 2) == 0:
        return None
    scale = 1 / max(abs(Fraction(value)) for value in values)
    unit = [Fraction(value) * scale for value in values]
    return float(central_moment(unit, 3)) / math.sqrt(float(central_moment(unit, 2))) ** 3


def _kurtosis(seen: list[Seen], _: Any) -> float | None:
    values = [one.value for one in seen]
    if len(values) < 4 or has_infinity(values) or central_moment(values, 2) == 0:
        return None
    return float(central_moment(values, 4) / central_moment(values, 2) ** 2 - 3)


def rounded(exact: Fraction) -> float:
    """The double nearest to an exact number; infinite where that is beyond doubles."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def has_infinity(values: list[Any]) -> bool:
    return any(isinstance(value, float) and math.isinf(value) for value in values)


def infinite_total(values: list[float]) -> float | None:
    """The total of values of which some are infinite: null where both signs meet."""
    infinities = {value for value in values if math.isinf(value)}
    return infinities.pop() if len(infinities) == 1 else None


def exact_total(values: list[Any]) -> Fraction:
    return sum((Fraction(value) for value in values), Fraction(0))


def central_moment(values: list[Any], power: int) -> Fraction:
    """The population's central moment, exactly."""
    mean = exact_total(values) / len(values)
    return sum(((Fraction(value) - mean) ** power for value in values), Fraction(0)) / len(values)


def _values(seen: list[Seen]) -> list[Any]:
    return sorted(one.value for one in seen)


def _in_time(seen: list[Seen]) -> list[Any]:
    return [one.value for one in sorted(seen, key=lambda one: one.order)]


def _histogram(seen: list[Seen], _: Any) -> dict[Any, int]:
    return dict(Counter(one.value for one in seen))


def _percentiles(seen: list[Seen], aggregation: Any) -> list[float]:
    """One exact answer of the many that are right within 2 % of rank."""
    values = _values(seen)
    return [float(values[max(0, math.ceil(p * len(values)) - 1)]) for p in aggregation.percentiles]


OPERATIONS: dict[str, Callable[[list[Seen], Any], Any]] = {
    "COUNT": lambda seen, _: len(seen),
    "SUM": _sum,
    "AVERAGE": _average,
    "VARIANCE": _variance,
    "SKEW": _skew,
    "KURTOSIS": _kurtosis,
    "MIN": lambda seen, _: _values(seen)[0],
    "MAX": lambda seen, _: _values(seen)[-1],
    "FIRST": lambda seen, _: _in_time(seen)[0],
    "LAST": lambda seen, _: _in_time(seen)[-1],
    "FIRST_K": lambda seen, aggregation: _in_time(seen)[: aggregation.k],
    "LAST_K": lambda seen, aggregation: _in_time(seen)[::-1][: aggregation.k],
    "TOP_K": lambda seen, aggregation: _values(seen)[::-1][: aggregation.k],
    "BOTTOM_K": lambda seen, aggregation: _values(seen)[: aggregation.k],
    "UNIQUE_COUNT": lambda seen, _: len(set(_values(seen))),
    "BOUNDED_UNIQUE_COUNT": lambda seen, aggregation: min(len(set(_values(seen))), aggregation.k or 8),
    "APPROX_UNIQUE_COUNT": lambda seen, _: len(set(_values(seen))),
    "APPROX_PERCENTILE": _percentiles,
    "HISTOGRAM": _histogram,
    "APPROX_HISTOGRAM_K": _histogram,
}


def operation_of(aggregation: Any) -> str:
    return str(getattr(aggregation.operation, "name", aggregation.operation)).upper()


def empty_value(aggregation: Any, bucket: str | None) -> Any:
    """What an aggregation gives where nothing is in the window."""
    if aggregation.default is not None:
        return aggregation.default
    return 0 if bucket is None and operation_of(aggregation) in COUNTS else None


def argument_text(aggregation: Any) -> str:
    """The part of a feature's name that its arguments make: `3` of `top_k3`, `_p50_p99_9`."""
    operation = operation_of(aggregation)
    if operation == "APPROX_PERCENTILE":
        return "".join(f"_p{_percent(p)}" for p in aggregation.percentiles)
    if operation == "BOUNDED_UNIQUE_COUNT":
        return str(aggregation.k or 8)
    return str(aggregation.k) if operation.endswith("_K") else ""


def _percent(p: float) -> str:
    text = format(Decimal(str(p)) * 100, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace(".", "_")
