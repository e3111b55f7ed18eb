"""VARIANCE, SKEW and KURTOSIS against exact rational arithmetic, for any order and any merge tree."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from tests.unit.algebra.replays import quick
from zipline.algebra import compiled, moments


def exact(values: list[float]) -> tuple[Fraction, float, float]:
    """Variance, skewness and excess kurtosis of the population."""
    fractions = [Fraction(value) for value in values]
    mean = sum(fractions) / len(fractions)
    deviations = [value - mean for value in fractions]
    second, third, fourth = (sum(d**power for d in deviations) / len(deviations) for power in (2, 3, 4))
    if not second:
        return Fraction(0), math.nan, math.nan
    cube = math.sqrt(third * third / second**3)
    return Fraction(second), math.copysign(cube, third), float(fourth / second**2 - 3)


def replayed(values: list[float]) -> moments.Moments:
    state = moments.EMPTY
    for value in values:
        state = moments.add(state, value)
    return state


def merged(values: list[float], rng: random.Random) -> moments.Moments:
    """A random merge tree over runs of random lengths."""
    states = []
    position = 0
    while position < len(values):
        size = rng.choice([1, 1, 2, 5, 40])
        states.append(replayed(values[position : position + size]))
        position += size
    while len(states) > 1:
        i = rng.randrange(len(states) - 1)
        states[i : i + 2] = [moments.merge(states[i], states[i + 1])]
    return states[0]


def assert_close(state: moments.Moments, values: list[float]) -> None:
    n, _, _, gain, m2, m3, m4 = state
    variance, skew, kurtosis = exact(values)
    assert n == len(values)
    assert abs(Fraction(moments.variance(n, gain, m2)) - variance) <= Fraction(1, 10**9) * variance
    if variance and n >= 4:
        assert moments.skew(n, m2, m3) == pytest.approx(skew, rel=1e-6, abs=1e-6)
        assert moments.kurtosis(n, m2, m4) == pytest.approx(kurtosis, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("mean", [0.0, 1.0, -1e3, 1e6])
@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e100])
@pytest.mark.parametrize("arrangement", ["shuffled", "ascending", "descending"])
def test_moments_are_accurate_however_far_the_mean_lies(mean: float, scale: float, arrangement: str) -> None:
    rng = random.Random(f"{mean} {scale}")
    values = [(mean + rng.expovariate(1.0)) * scale for _ in range(600)]
    if arrangement != "shuffled":
        values.sort(reverse=arrangement == "descending")
    assert_close(replayed(values), values)
    assert_close(merged(values, rng), values)


@quick
@given(st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=60), st.randoms())
def test_any_merge_tree_agrees_with_exact_arithmetic(values: list[float], rng: Any) -> None:
    variance, _, _ = exact(values)
    mean = sum(Fraction(value) for value in values) / len(values)
    if variance and mean * mean > 10**12 * variance:
        return
    assert_close(replayed(values), values)
    assert_close(merged(values, rng), values)


def test_one_value_far_from_a_million_others_is_not_lost() -> None:
    values = [1e9] + [1.0, 2.0] * 500
    assert_close(replayed(values), values)
    assert_close(moments.merge(replayed(values[:1]), replayed(values[1:])), values)


@pytest.mark.parametrize("value", [0.1, -7.3e300, 5e-324, 1e16 + 2])
def test_equal_values_have_exactly_no_variance(value: float) -> None:
    values = [value] * 37
    for state in (replayed(values), merged(values, random.Random(1))):
        n, hi, lo, gain, m2, m3, m4 = state
        assert (n, hi, lo) == (37.0, value, 0.0)
        assert (moments.variance(n, gain, m2), m3, m4) == (0.0, 0.0, 0.0)
        assert math.isnan(moments.skew(n, m2, m3))
        assert math.isnan(moments.kurtosis(n, m2, m4))


def test_values_at_both_ends_of_the_range_keep_their_shape() -> None:
    n, hi, _, gain, m2, m3, m4 = replayed([1.7e308, -1.7e308, 1.7e308, -1.7e308])
    assert hi == 0.0
    assert moments.variance(n, gain, m2) == math.inf
    assert moments.skew(n, m2, m3) == 0.0
    assert moments.kurtosis(n, m2, m4) == pytest.approx(-2.0)


def test_deviations_whose_squares_underflow_keep_their_shape() -> None:
    n, _, _, gain, m2, _, m4 = replayed([1e-305, -1e-305] * 3)
    assert moments.variance(n, gain, m2) == 0.0
    assert moments.kurtosis(n, m2, m4) == pytest.approx(-2.0)


@quick
@given(st.lists(st.floats(-1e300, 1e300), min_size=1), st.lists(st.floats(-1e300, 1e300), min_size=1))
def test_merge_is_commutative_to_the_bit(a: list[float], b: list[float]) -> None:
    left, right = replayed(a), replayed(b)
    assert moments.merge(left, right) == moments.merge(right, left)


@quick
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.integers(0, 50))
def test_the_spread_alone_is_the_same_to_the_bit(values: list[float], cut: int) -> None:
    def spread(part: list[float]) -> moments.Spread:
        state = moments.EMPTY_SPREAD
        for value in part:
            state = moments.add_spread(state, value)
        return state

    whole = moments.merge(replayed(values[:cut]), replayed(values[cut:]))
    assert moments.merge_spread(spread(values[:cut]), spread(values[cut:])) == whole[:5]


@njit  # type: ignore[untyped-decorator]
def _compiled(values: Any, size: int) -> Any:
    state = moments.EMPTY
    for start in range(0, len(values), size):
        part = moments.EMPTY
        for value in values[start : start + size]:
            part = moments.add(part, value)
        state = moments.merge(state, part)
    return state


def test_compiled_and_plain_functions_agree_to_the_bit() -> None:
    assert compiled.FUNCTIONS
    values = np.random.default_rng(5).normal(1e5, 3.0, 1000)
    state = moments.EMPTY
    for start in range(0, 1000, 7):
        state = moments.merge(state, replayed(values[start : start + 7].tolist()))
    assert _compiled(values, 7) == state


def test_a_million_values_stay_within_tolerance_one_by_one_and_merged_one_by_one() -> None:
    values = np.random.default_rng(6).integers(0, 1000, 1_000_000) / 1000.0 + 250.0
    thousandths = np.rint(values * 1000).astype(np.int64)
    centred = thousandths * 1_000_000 - int(thousandths.sum())
    second = float(sum(int(d) ** 2 for d in centred.tolist()) / 10**24)
    for size in (1_000_000, 1, 1000):
        n, _, _, gain, m2, m3, m4 = _compiled(values, size)
        assert moments.variance(n, gain, m2) == pytest.approx(second, rel=1e-9)
        assert abs(moments.skew(n, m2, m3)) < 0.01
        assert moments.kurtosis(n, m2, m4) == pytest.approx(-1.2, abs=0.01)
