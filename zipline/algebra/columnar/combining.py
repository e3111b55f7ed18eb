"""States of records (`zipline.algebra.layout`): made of the values of an upload's or tile's events, and merged.

`combine` merges whole records, for tiles; `extreme`, `end_of`, `merged_moments` and `plus` are what merging a single
state is, which an online fetch does in passing (`folding`). Records are known by where they begin among all words.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import zipline.algebra.compiled  # noqa: F401 (makes `moments` callable from kernels)
from zipline.algebra import moments
from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.layout import EVENTS
from zipline.algebra.moments import HIGHEST_GAIN

COUNTED, INTEGERS, FLOATS, LEAST_VALUE, MOST_VALUE, OLDEST, NEWEST, SPREAD = range(8)
"""Kinds of states, in the order of `layout.WORDS`."""

LOW = 0xFFFFFFFF
"""The bits of an integer that `integers` sums by themselves."""


@kernel
def combine(words: Any, floats: Any, offsets: Any, states: Any, out: Any, out_floats: Any) -> Any:
    """Merges every run of records into one of `out`, which has its start and width already.

    `words` are all records, one behind the other; `states` are (kind, at, count at, is float).
    """
    every = np.arange(offsets[-1]) * out.shape[1]
    for run in range(len(offsets) - 1):
        records = every[offsets[run] : offsets[run + 1]]
        for record in records:
            out[run, EVENTS] += words[record + EVENTS]
        for number in range(len(states)):
            kind, at, count_at, is_float = states[number]
            if kind == COUNTED:
                for record in records:
                    out[run, at] += words[record + at]
            elif kind == INTEGERS:
                for record in records:
                    out[run, at] += words[record + at]
                    out[run, at + 1] += words[record + at + 1]
                out[run, at + 1] += out[run, at] >> 32
                out[run, at] &= LOW
            elif kind == FLOATS:
                for record in records:
                    total, rest = plus(out_floats[run, at], out_floats[run, at + 1], floats[record + at])
                    out_floats[run, at], out_floats[run, at + 1] = plus(total, rest, floats[record + at + 1])
                    out[run, at + 2] += words[record + at + 2]
                    out[run, at + 3] += words[record + at + 3]
            elif kind == SPREAD:
                _combine_moments(floats, records, at, out_floats, run)
            else:
                best = _best(words, floats, records, at, count_at, kind, is_float != 0)
                width = 3 if kind in (OLDEST, NEWEST) else 1
                for place in range(width if best >= 0 else 0):
                    out[run, at + place] = words[best + at + place]


@kernel
def _best(words: Any, floats: Any, records: Any, at: Any, count_at: Any, kind: Any, is_float: Any) -> Any:
    if kind in (LEAST_VALUE, MOST_VALUE):
        return extreme(words, floats, records, at, count_at, kind == MOST_VALUE, is_float)
    return end_of(words, floats, records, at, count_at, kind == NEWEST, is_float)


@kernel
def _combine_moments(floats: Any, records: Any, at: Any, out_floats: Any, run: Any) -> Any:
    state, infinite = merged_moments(floats, records, at)
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
                total, rest = plus(total, rest, value)
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


@kernel
def plus(total: Any, rest: Any, value: Any) -> Any:
    """The pair of doubles with one more."""
    sum_ = total + value
    back = sum_ - total
    low = rest + ((total - (sum_ - back)) + (value - back))
    high = sum_ + low
    return high, low - (high - sum_)


@kernel
def extreme(words: Any, floats: Any, chosen: Any, at: Any, count_at: Any, greatest: Any, is_float: Any) -> Any:
    """The record of the least or greatest value."""
    best = -1
    for record in chosen:
        if words[record + count_at] <= 0:
            continue
        if best < 0 or _precedes(words, floats, record, best, at, is_float) != greatest:
            best = record
    return best


@kernel
def _precedes(words: Any, floats: Any, a: Any, b: Any, at: Any, is_float: Any) -> Any:
    return floats[a + at] < floats[b + at] if is_float else words[a + at] < words[b + at]


@kernel
def end_of(words: Any, floats: Any, chosen: Any, at: Any, count_at: Any, last: Any, is_float: Any) -> Any:
    """The record of the first or last value by (t, known_at, value)."""
    best = -1
    for record in chosen:
        if words[record + count_at] <= 0:
            continue
        if best < 0:
            best = record
            continue
        before = _precedes(words, floats, record, best, at + 2, is_float)
        for place in (1, 0):
            if words[record + at + place] != words[best + at + place]:
                before = words[record + at + place] < words[best + at + place]
        if before != last:
            best = record
    return best


@kernel
def merged_moments(floats: Any, chosen: Any, at: Any) -> Any:
    """(the state of all, how many are infinite)."""
    state = (0.0, 0.0, 0.0, HIGHEST_GAIN, 0.0, 0.0, 0.0)
    infinite = 0.0
    for record in chosen:
        infinite += floats[record + at + 7]
        own = (
            floats[record + at],
            floats[record + at + 1],
            floats[record + at + 2],
            floats[record + at + 3],
            floats[record + at + 4],
            floats[record + at + 5],
            floats[record + at + 6],
        )
        state = moments.merge(state, own)
    return state, infinite
