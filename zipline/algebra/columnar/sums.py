"""SUM and AVERAGE: exact, whatever the order and whatever lies outside the window.

Integers are summed in two halves of 32 bits, so that a total beyond int64 is seen only where it is one. Floats are
summed as an unevaluated pair of doubles as long as every addition is without error (ordinary data always are); the
first that is not moves the window's sum into a fixed-point accumulator over the whole range of a double, in units of
2**-1074. Both hold the exact sum, so subtracting what leaves is exact too, and the result is its correctly rounded
value: that of `math.fsum`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import ZERO, kernel

LIMBS = 70
MASK = 0xFFFFFFFF
SCALE = 128


@kernel
def sum_integers(values: Any, enter: Any, enter_end: Any, leave: Any, leave_end: Any, average: Any) -> Any:
    """(sums or averages, whether the total is beyond int64) per query."""
    totals = np.zeros(len(enter_end), np.int64)
    averages = np.zeros(len(enter_end) if average else 0, np.float64)
    beyond = np.zeros(len(enter_end), np.bool_)
    low, high, left, entered = 0, 0, 0, 0
    for q in range(len(enter_end)):
        if leave_end[q] >= entered:
            low = high = 0
            entered = leave_end[q]
        else:
            for p in range(left, leave_end[q]):
                value = values[p if leave is None else leave[p]]
                low -= value & MASK
                high -= value >> 32
        for p in range(entered, enter_end[q]):
            value = values[p if enter is None else enter[p]]
            low += value & MASK
            high += value >> 32
        left, entered = leave_end[q], enter_end[q]
        top = high + (low >> 32)
        if average:
            if entered > left:
                averages[q] = _round_halves(top, low & MASK) / (entered - left)
        elif -0x80000000 <= top <= 0x7FFFFFFF:
            totals[q] = (top << 32) | (low & MASK)
        else:
            beyond[q] = True
    return totals, averages, beyond


@kernel
def _round_halves(high: Any, low: Any) -> Any:
    """The double nearest to high * 2**32 + low, for high of up to 63 bits."""
    if -0x80000000 <= high <= 0x7FFFFFFF:
        return float((high << 32) | low)
    negative = high < 0
    if negative:
        high, low = (-high, 0) if low == 0 else (-high - 1, (1 << 32) - low)
    bits = 0
    while (high >> bits) != 0:
        bits += 1
    # 62 leading bits; whatever is below only breaks ties.
    shift = bits - 30
    top = (high << (62 - bits)) | (low >> shift)
    if low & ((1 << shift) - 1):
        top |= 1
    rounded = math.ldexp(float(top), shift)
    return -rounded if negative else rounded


@kernel
def sum_floats(values: Any, enter: Any, enter_end: Any, leave: Any, leave_end: Any, average: Any) -> Any:
    """Sums or averages per query; NaN (null) where infinities of both signs meet."""
    out = np.zeros(len(enter_end), np.float64)
    limbs = np.zeros(LIMBS, np.int64)
    total, rest, exact = 0.0, 0.0, np.bool_(True)
    positive, negative, left, entered = ZERO, ZERO, ZERO, ZERO
    for q in range(len(enter_end)):
        begin = left
        if leave_end[q] >= entered:
            total = rest = 0.0
            positive = negative = ZERO
            entered = begin = leave_end[q]
            if not exact:
                _clear(limbs)
                exact = np.bool_(True)
        steps = (leave_end[q] - begin) + (enter_end[q] - entered)
        for step in range(steps):
            p = begin + step
            if p < leave_end[q]:
                value = -values[p if leave is None else leave[p]]
                change = -1
            else:
                p = entered + (p - leave_end[q])
                value = values[p if enter is None else enter[p]]
                change = 1
            if math.isinf(value):
                if (value > 0) == (change > 0):
                    positive += change
                else:
                    negative += change
                continue
            if exact:
                sum_ = total + value
                back = sum_ - total
                error = (total - (sum_ - back)) + (value - back)
                low = rest + error
                back = low - rest
                lost = (rest - (low - back)) + (error - back)
                if lost == 0.0 and not math.isinf(sum_):
                    total, rest = sum_, low
                    continue
                exact = np.bool_(False)
                _accumulate(limbs, total)
                _accumulate(limbs, rest)
            _accumulate(limbs, value)
        left, entered = leave_end[q], enter_end[q]
        out[q] = _emit(total, rest, exact, limbs, positive, negative, entered - left, average)
    return out


@kernel
def pairs(values: Any, starts: Any, ends: Any) -> Any:
    """(greater part, lesser part, whether they are exact) of the sums of finite values, one for each span."""
    totals, rests = np.zeros(len(ends), np.float64), np.zeros(len(ends), np.float64)
    exact = np.ones(len(ends), np.bool_)
    for n in range(len(ends)):
        total, rest = 0.0, 0.0
        for p in range(starts[n], ends[n]):
            sum_ = total + values[p]
            back = sum_ - total
            error = (total - (sum_ - back)) + (values[p] - back)
            low = rest + error
            back = low - rest
            if (rest - (low - back)) + (error - back) != 0.0 or math.isinf(sum_):
                exact[n] = False
                break
            total, rest = sum_, low
        sum_ = total + rest
        back = sum_ - total
        totals[n] = sum_
        rests[n] = (total - (sum_ - back)) + (rest - back)
    return totals, rests, exact


@kernel
def _emit(total: Any, rest: Any, exact: Any, limbs: Any, positive: Any, negative: Any, count: Any, average: Any) -> Any:
    if positive and negative:
        return math.nan
    if positive:
        return math.inf
    if negative:
        return -math.inf
    rounded = (total + rest) if exact else _round(limbs, ZERO)
    if not average or count == 0:
        return rounded
    if not math.isinf(rounded):
        return rounded / count
    if exact:
        _accumulate(limbs, total)
        _accumulate(limbs, rest)
    scaled = _round(limbs, ZERO - SCALE) / count
    if exact:
        _clear(limbs)
    return math.ldexp(scaled, SCALE)


@kernel
def _clear(limbs: Any) -> None:
    for limb in range(LIMBS):
        limbs[limb] = 0


@kernel
def _accumulate(limbs: Any, value: Any) -> None:
    """Adds a finite double to the accumulator, exactly."""
    if value == 0.0:
        return
    fraction, exponent = math.frexp(value)
    mantissa = int(abs(fraction) * 9007199254740992.0)
    place = exponent - 53 + 1074
    if place < 0:
        mantissa >>= -place
        place = 0
    limb, shift = place >> 5, place & 31
    low = (mantissa & MASK) << shift
    high = (mantissa >> 32) << shift
    sign = 1 if value > 0 else -1
    limbs[limb] += sign * (low & MASK)
    limbs[limb + 1] += sign * ((low >> 32) + (high & MASK))
    limbs[limb + 2] += sign * (high >> 32)


@kernel
def _round(limbs: Any, scale: Any) -> Any:
    """The double nearest to the accumulator times 2**scale."""
    digits = np.empty(LIMBS, np.int64)
    for limb in range(LIMBS):
        digits[limb] = limbs[limb]
    negative = _carry(digits)
    if negative:
        for limb in range(LIMBS):
            digits[limb] = -limbs[limb]
        _carry(digits)
    top = LIMBS - 1
    while top >= 0 and digits[top] == 0:
        top -= 1
    if top < 0:
        return 0.0
    bits = 0
    while (digits[top] >> bits) != 0:
        bits += 1
    # 62 leading bits; whatever is below only breaks ties.
    leading = digits[top] << (62 - bits)
    sticky = False
    shift = 62 - bits
    for limb in range(top - 1, -1, -1):
        shift -= 32
        digit = digits[limb]
        if shift >= 0:
            leading |= digit << shift
        elif shift > -32:
            leading |= digit >> -shift
            sticky = sticky or (digit & ((1 << -shift) - 1)) != 0
        else:
            sticky = sticky or digit != 0
    if sticky:
        leading |= 1
    rounded = math.ldexp(float(leading), 32 * top + bits - 62 - 1074 + scale)
    return -rounded if negative else rounded


@kernel
def _carry(digits: Any) -> Any:
    """Brings every limb into 0..2**32 - 1; True where the whole is negative (and the limbs are then meaningless)."""
    carry = 0
    for limb in range(LIMBS):
        value = digits[limb] + carry
        digits[limb] = value & MASK
        carry = value >> 32
    return carry < 0
