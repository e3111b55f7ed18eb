"""Records of partials (`zipline.algebra.layout`) folded into features: the kernel of every online fetch.

`fold` takes the records of many keys at once, those of uploads and of tiles alike, and for every key and window picks
the records that together are exactly what the window sees, each event once. An upload's record is seen if it begins in
the window. A tile is seen if it lies in the span [start of the window, end of the finest tile of the query) and the
tile above it does not: then that one is seen instead. So tiles of all levels may be at hand, and the coarsest are used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import zipline.algebra.compiled  # noqa: F401 (makes `moments` callable from kernels)
from zipline.algebra import moments
from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.layout import EVENTS, START, WIDTH
from zipline.algebra.moments import HIGHEST_GAIN
from zipline.algebra.windows import TILE_LEVELS

COUNT, SUM_INTEGERS, AVERAGE_INTEGERS, SUM_FLOATS, AVERAGE_FLOATS, LEAST, MOST, FIRST, LAST = range(9)
VARIANCE, SKEW, KURTOSIS = range(9, 12)
"""What a feature is, by number."""

OPERATION, WINDOW, COUNT_AT, STATE_AT, IS_FLOAT = range(5)
"""The columns of the table of features that `fold` takes."""

COUNTED, INTEGERS, FLOATS, LEAST_VALUE, MOST_VALUE, OLDEST, NEWEST, SPREAD = range(8)
"""Kinds of states, in the order of `layout.WORDS`."""

EMPTY, VALUE, BEYOND, UNDEFINED = range(4)
"""What `flags` say of a feature: the window has no value, there is one, the total is beyond int64 (or doubles), or it
is not defined for the values that there are."""

_MINUTE, _FIVE, _HOUR, _SIX, _DAY = TILE_LEVELS
_MASK = 0xFFFFFFFF


@kernel
def fold(
    words: Any,
    floats: Any,
    offsets: Any,
    low: Any,
    high: Any,
    features: Any,
    out: Any,
    out_floats: Any,
    flags: Any,
    events: Any,
) -> Any:
    """Fills `out`, `flags` (keys x features) and `events` (keys x windows).

    `words`, `floats` are the same records (records x words) as integers and as doubles, `offsets` those of each key,
    `low` where each window begins (keys x windows), `high` where the finest tile of each query ends.
    """
    most = 0
    for key in range(len(offsets) - 1):
        most = max(most, offsets[key + 1] - offsets[key])
    chosen = np.empty(most, np.int64)
    for key in range(len(offsets) - 1):
        for window in range(low.shape[1]):
            count, seen = 0, 0
            for record in range(offsets[key], offsets[key + 1]):
                if _is_seen(words[record, START], words[record, WIDTH], low[key, window], high[key]):
                    chosen[count] = record
                    count += 1
                    seen += words[record, EVENTS]
            events[key, window] = seen
            for number in range(len(features)):
                if features[number, WINDOW] == window:
                    flags[key, number] = _feature(
                        words, floats, chosen[:count], features[number], out[key], out_floats[key], number
                    )


@kernel
def select(words: Any, low: Any, high: Any) -> Any:
    """Which of a key's records a window sees."""
    found = np.zeros(len(words), np.bool_)
    for record in range(len(words)):
        found[record] = _is_seen(words[record, START], words[record, WIDTH], low, high)
    return found


@kernel
def _is_seen(start: Any, width: Any, low: Any, high: Any) -> Any:
    if start < low:
        return False
    if width == 0:
        return True
    if start + width > high:
        return False
    if width == _DAY:
        return True
    above = _FIVE
    if width == _FIVE:
        above = _HOUR
    elif width == _HOUR:
        above = _SIX
    elif width == _SIX:
        above = _DAY
    begin = start - start % above
    return begin < low or begin + above > high


@kernel
def _feature(words: Any, floats: Any, chosen: Any, feature: Any, out: Any, out_floats: Any, number: Any) -> Any:
    operation, at = feature[OPERATION], feature[STATE_AT]
    n = 0
    for record in chosen:
        n += words[record, feature[COUNT_AT]]
    if n <= 0:
        return EMPTY
    if operation == COUNT:
        out[number] = n
        return VALUE
    if operation <= AVERAGE_INTEGERS:
        return _integers(words, chosen, at, n, operation == AVERAGE_INTEGERS, out, out_floats, number)
    if operation <= AVERAGE_FLOATS:
        return _floats(words, floats, chosen, at, n, operation == AVERAGE_FLOATS, out_floats, number)
    if operation >= VARIANCE:
        return _moments(floats, chosen, at, operation, out_floats, number)
    is_float, count_at = feature[IS_FLOAT] != 0, feature[COUNT_AT]
    if operation <= MOST:
        best = _extreme(words, floats, chosen, at, count_at, operation == MOST, is_float)
        out[number] = words[best, at]
    else:
        best = _end(words, floats, chosen, at, count_at, operation == LAST, is_float)
        out[number] = words[best, at + 2]
    return VALUE


@kernel
def _integers(words: Any, chosen: Any, at: Any, n: Any, average: Any, out: Any, out_floats: Any, number: Any) -> Any:
    low, high = 0, 0
    for record in chosen:
        low += words[record, at]
        high += words[record, at + 1]
    high += low >> 32
    low &= _MASK
    if average:
        out_floats[number] = (math.ldexp(float(high), 32) + float(low)) / n
        return VALUE
    if high < -0x80000000 or high > 0x7FFFFFFF:
        return BEYOND
    out[number] = (high << 32) | low
    return VALUE


@kernel
def _floats(words: Any, floats: Any, chosen: Any, at: Any, n: Any, average: Any, out_floats: Any, number: Any) -> Any:
    total, rest, positive, negative = 0.0, 0.0, 0, 0
    for record in chosen:
        total, rest = _plus(total, rest, floats[record, at])
        total, rest = _plus(total, rest, floats[record, at + 1])
        positive += words[record, at + 2]
        negative += words[record, at + 3]
    if positive > 0 and negative > 0:
        return UNDEFINED
    if positive > 0 or negative > 0:
        out_floats[number] = math.inf if positive > 0 else -math.inf
        return VALUE
    total += rest
    if math.isinf(total) or math.isnan(total):
        return BEYOND
    out_floats[number] = total / n if average else total
    return VALUE


@kernel
def _plus(total: Any, rest: Any, value: Any) -> Any:
    """The pair of doubles with one more."""
    sum_ = total + value
    back = sum_ - total
    low = rest + ((total - (sum_ - back)) + (value - back))
    high = sum_ + low
    return high, low - (high - sum_)


@kernel
def _extreme(words: Any, floats: Any, chosen: Any, at: Any, count_at: Any, greatest: Any, is_float: Any) -> Any:
    """The record of the least or greatest value."""
    best = -1
    for record in chosen:
        if words[record, count_at] <= 0:
            continue
        if best < 0 or _precedes(words, floats, record, best, at, is_float) != greatest:
            best = record
    return best


@kernel
def _precedes(words: Any, floats: Any, a: Any, b: Any, at: Any, is_float: Any) -> Any:
    return floats[a, at] < floats[b, at] if is_float else words[a, at] < words[b, at]


@kernel
def _end(words: Any, floats: Any, chosen: Any, at: Any, count_at: Any, last: Any, is_float: Any) -> Any:
    """The record of the first or last value by (t, known_at, value)."""
    best = -1
    for record in chosen:
        if words[record, count_at] <= 0:
            continue
        if best < 0:
            best = record
            continue
        before = _precedes(words, floats, record, best, at + 2, is_float)
        for place in (1, 0):
            if words[record, at + place] != words[best, at + place]:
                before = words[record, at + place] < words[best, at + place]
        if before != last:
            best = record
    return best


@kernel
def _moments(floats: Any, chosen: Any, at: Any, operation: Any, out_floats: Any, number: Any) -> Any:
    state, infinite = _merged_moments(floats, chosen, at)
    n, _, _, gain, m2, m3, m4 = state
    value = moments.variance(n, gain, m2)
    if operation == SKEW:
        value = moments.skew(n, m2, m3)
    elif operation == KURTOSIS:
        value = moments.kurtosis(n, m2, m4)
    if infinite > 0.0 or math.isnan(value):
        return UNDEFINED
    out_floats[number] = value
    return VALUE


@kernel
def _merged_moments(floats: Any, chosen: Any, at: Any) -> Any:
    """(the state of all, how many are infinite)."""
    state = (0.0, 0.0, 0.0, HIGHEST_GAIN, 0.0, 0.0, 0.0)
    infinite = 0.0
    for record in chosen:
        infinite += floats[record, at + 7]
        own = (
            floats[record, at],
            floats[record, at + 1],
            floats[record, at + 2],
            floats[record, at + 3],
            floats[record, at + 4],
            floats[record, at + 5],
            floats[record, at + 6],
        )
        state = moments.merge(state, own)
    return state, infinite


@kernel
def combine(words: Any, floats: Any, offsets: Any, states: Any, out: Any, out_floats: Any) -> Any:
    """Writes, for every run of records, the events and states of all of them; `states` are (kind, at, count at, float).

    `out` has the start and width of each already.
    """
    for run in range(len(offsets) - 1):
        records = np.arange(offsets[run], offsets[run + 1])
        for record in records:
            out[run, EVENTS] += words[record, EVENTS]
        for number in range(len(states)):
            kind, at, count_at, is_float = states[number]
            if kind == COUNTED:
                for record in records:
                    out[run, at] += words[record, at]
            elif kind == INTEGERS:
                for record in records:
                    out[run, at] += words[record, at]
                    out[run, at + 1] += words[record, at + 1]
                out[run, at + 1] += out[run, at] >> 32
                out[run, at] &= _MASK
            elif kind == FLOATS:
                for record in records:
                    total, rest = _plus(out_floats[run, at], out_floats[run, at + 1], floats[record, at])
                    out_floats[run, at], out_floats[run, at + 1] = _plus(total, rest, floats[record, at + 1])
                    out[run, at + 2] += words[record, at + 2]
                    out[run, at + 3] += words[record, at + 3]
            elif kind == SPREAD:
                _combine_moments(floats, records, at, out_floats, run)
            else:
                best = _best(words, floats, records, at, count_at, kind, is_float != 0)
                width = 3 if kind in (OLDEST, NEWEST) else 1
                for place in range(width if best >= 0 else 0):
                    out[run, at + place] = words[best, at + place]


@kernel
def _best(words: Any, floats: Any, records: Any, at: Any, count_at: Any, kind: Any, is_float: Any) -> Any:
    if kind in (LEAST_VALUE, MOST_VALUE):
        return _extreme(words, floats, records, at, count_at, kind == MOST_VALUE, is_float)
    return _end(words, floats, records, at, count_at, kind == NEWEST, is_float)


@kernel
def _combine_moments(floats: Any, records: Any, at: Any, out_floats: Any, run: Any) -> Any:
    state, infinite = _merged_moments(floats, records, at)
    for place in range(7):
        out_floats[run, at + place] = state[place]
    out_floats[run, at + 7] = infinite


@kernel
def sums_of_runs(values: Any, offsets: Any, floats: Any, words: Any, at: Any) -> Any:
    """Writes the words of `floats` for every run of values."""
    for run in range(len(offsets) - 1):
        total, rest, positive, negative = 0.0, 0.0, 0, 0
        for place in range(offsets[run], offsets[run + 1]):
            value = values[place]
            if math.isinf(value):
                positive += value > 0
                negative += value < 0
            else:
                total, rest = _plus(total, rest, value)
        floats[run, at], floats[run, at + 1] = total, rest
        words[run, at + 2], words[run, at + 3] = positive, negative


@kernel
def extremes_of_runs(values: Any, offsets: Any, greatest: Any, out: Any) -> Any:
    """Writes the least or greatest value of every run; 0 of an empty one."""
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        if first == last:
            out[run] = 0
            continue
        best = values[first]
        for place in range(first + 1, last):
            if (values[place] > best) == greatest and values[place] != best:
                best = values[place]
        out[run] = best
