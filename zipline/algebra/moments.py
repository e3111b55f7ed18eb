"""Central moments of floats: one value added, two states merged, any number of times, without cancellation.

A state is a tuple of floats `(n, mean_hi, mean_lo, gain, m2, m3, m4)`. The mean is the unevaluated sum of two doubles.
`gain` is a power of two by which deviations are multiplied before they are raised to a power, so that neither tiny nor
huge ones leave the range of a double; it falls when a deviation beyond its range arrives. A `Spread` is the same
without `m3` and `m4`, with the same arithmetic to the bit, for VARIANCE alone. Values must be finite: infinities are
counted by the caller.

VARIANCE is within 1e-9, SKEW and KURTOSIS within 1e-6 of exact arithmetic where |mean| / deviation <= 1e6 and the
deviation is above 1e-306 (a mean has no digits below 5e-324), for any order and any merge tree. Equal values have
exactly no variance. `merge` is commutative to the bit.

The functions are plain Python with float arithmetic only; `zipline.algebra.compiled` makes the same functions callable
from Numba kernels. Formulas: Chan, Golub, LeVeque (1979) and Pebay (2008), one-pass and pairwise updates.
"""

from __future__ import annotations

import math
from typing import TypeAlias

Spread: TypeAlias = tuple[float, float, float, float, float]
Moments: TypeAlias = tuple[float, float, float, float, float, float, float]

GAIN_EXPONENT = 900
HIGHEST_GAIN = 2.0**GAIN_EXPONENT
LARGEST_DEVIATION = 2.0**100
"""Of a deviation times gain; its fourth power times any count is far from overflow."""

EMPTY_SPREAD: Spread = (0.0, 0.0, 0.0, HIGHEST_GAIN, 0.0)
EMPTY: Moments = (0.0, 0.0, 0.0, HIGHEST_GAIN, 0.0, 0.0, 0.0)


def shift_mean(hi: float, lo: float, step: float) -> tuple[float, float]:
    """The double-double `hi + lo + step`, normalised."""
    total = hi + step
    back = total - hi
    low = lo + ((hi - (total - back)) + (step - back))
    high = total + low
    return high, low - (high - total)


def deviate(to_hi: float, to_lo: float, hi: float, lo: float, gain: float) -> tuple[float, float]:
    """(difference times gain, gain), with the gain lowered where the difference is out of its range."""
    difference = (to_hi - hi) + (to_lo - lo)
    scaled = difference * gain
    if abs(scaled) <= LARGEST_DEVIATION:
        return scaled, gain
    if math.isinf(difference):
        gain = math.ldexp(1.0, -1000)
        return (to_hi * gain - hi * gain) + (to_lo * gain - lo * gain), gain
    gain = math.ldexp(1.0, -max(math.frexp(difference)[1], -GAIN_EXPONENT))
    return difference * gain, gain


def add_spread(state: Spread, value: float) -> Spread:
    """The state with one more finite value."""
    n, hi, lo, gain, m2 = state
    n += 1.0
    deviation, lowered = deviate(value, 0.0, hi, lo, gain)
    if lowered != gain:
        m2 *= (lowered / gain) * (lowered / gain)
    step = deviation / n
    hi, lo = shift_mean(hi, lo, step / lowered)
    return n, hi, lo, lowered, m2 + deviation * step * (n - 1.0)


def add(state: Moments, value: float) -> Moments:
    """The state with one more finite value."""
    n, hi, lo, gain, m2, m3, m4 = state
    n += 1.0
    deviation, lowered = deviate(value, 0.0, hi, lo, gain)
    if lowered != gain:
        ratio = lowered / gain
        square = ratio * ratio
        m2, m3, m4 = m2 * square, m3 * (square * ratio), m4 * (square * square)
    step = deviation / n
    hi, lo = shift_mean(hi, lo, step / lowered)
    term = deviation * step * (n - 1.0)
    square = step * step
    return (
        n,
        hi,
        lo,
        lowered,
        m2 + term,
        m3 + (term * step * (n - 2.0) - 3.0 * step * m2),
        m4 + (term * square * (n * n - 3.0 * n + 3.0) + 6.0 * square * m2 - 4.0 * step * m3),
    )


def precedes(n: float, hi: float, lo: float, m2: float, n2: float, hi2: float, lo2: float, m22: float) -> bool:
    """Whether the first state is the one to merge into: the larger, so that its mean moves least."""
    if n != n2:
        return n > n2
    if hi != hi2:
        return hi < hi2
    return lo < lo2 if lo != lo2 else m2 < m22


def merge_spread(a: Spread, b: Spread) -> Spread:
    """The state of the values of both."""
    if a[0] == 0.0:
        return b
    if b[0] == 0.0:
        return a
    if precedes(b[0], b[1], b[2], b[4], a[0], a[1], a[2], a[4]):
        a, b = b, a
    n_a, hi_a, lo_a, gain_a, m2_a = a
    n_b, hi_b, lo_b, gain_b, m2_b = b
    n = n_a + n_b
    deviation, gain = deviate(hi_b, lo_b, hi_a, lo_a, min(gain_a, gain_b))
    m2_a *= (gain / gain_a) * (gain / gain_a)
    m2_b *= (gain / gain_b) * (gain / gain_b)
    hi, lo = shift_mean(hi_a, lo_a, deviation * (n_b / n) / gain)
    return n, hi, lo, gain, (m2_a + m2_b) + deviation * deviation * (n_a * (n_b / n))


def merge(a: Moments, b: Moments) -> Moments:
    """The state of the values of both."""
    if a[0] == 0.0:
        return b
    if b[0] == 0.0:
        return a
    if precedes(b[0], b[1], b[2], b[4], a[0], a[1], a[2], a[4]):
        a, b = b, a
    n_a, hi_a, lo_a, gain_a, m2_a, m3_a, m4_a = a
    n_b, hi_b, lo_b, gain_b, m2_b, m3_b, m4_b = b
    n = n_a + n_b
    d, gain = deviate(hi_b, lo_b, hi_a, lo_a, min(gain_a, gain_b))
    ratio = gain / gain_a
    square = ratio * ratio
    m2_a, m3_a, m4_a = m2_a * square, m3_a * (square * ratio), m4_a * (square * square)
    ratio = gain / gain_b
    square = ratio * ratio
    m2_b, m3_b, m4_b = m2_b * square, m3_b * (square * ratio), m4_b * (square * square)
    p, q = n_a / n, n_b / n
    hi, lo = shift_mean(hi_a, lo_a, d * q / gain)
    square = d * d
    between = square * (n_a * q)
    return (
        n,
        hi,
        lo,
        gain,
        (m2_a + m2_b) + between,
        (m3_a + m3_b) + (between * d * (p - q) + 3.0 * d * (p * m2_b - q * m2_a)),
        (m4_a + m4_b)
        + (
            between * square * (p * p - p * q + q * q)
            + 6.0 * square * (p * p * m2_b + q * q * m2_a)
            + 4.0 * d * (p * m3_b - q * m3_a)
        ),
    )


def variance(n: float, gain: float, m2: float) -> float:
    """Population variance; NaN (null) of no values."""
    return m2 / n / gain / gain if n > 0.0 else math.nan


def skew(n: float, m2: float, m3: float) -> float:
    """Population skewness; NaN (null) of fewer than 3 values or without variance."""
    return m3 / m2 * math.sqrt(n / m2) if n >= 3.0 and m2 > 0.0 else math.nan


def kurtosis(n: float, m2: float, m4: float) -> float:
    """Excess kurtosis of the population; NaN (null) of fewer than 4 values or without variance."""
    return n * m4 / (m2 * m2) - 3.0 if n >= 4.0 and m2 > 0.0 else math.nan
