"""Records of partials (`zipline.algebra.layout`) folded into features: the kernel of every online fetch.

`answer` takes the blocks of many keys of many group-bys at once, those of uploads and of tiles alike, and for every
window picks the records that together are exactly what it sees, each event once. An upload's record is seen if it
begins in the window. A tile is seen if it lies in the span [start of the window, end of the finest tile of the query)
and the tile above it does not: then that one is seen instead. So tiles of all levels may be at hand, and the coarsest
are used.

Records are known by where they begin among all words (`places`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import zipline.algebra.compiled  # noqa: F401 (makes `moments` callable from kernels)
from zipline.algebra import moments
from zipline.algebra.columnar.combining import LOW, end_of, extreme, merged_moments, plus
from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.columnar.sealing import checksum
from zipline.algebra.layout import CHECKSUM, EVENTS, EVER_BEFORE, HEADER, IR_BYTES, RECORDS, START, TAG, WIDTH
from zipline.algebra.windows import TILE_LEVELS

COUNT, SUM_INTEGERS, AVERAGE_INTEGERS, SUM_FLOATS, AVERAGE_FLOATS, LEAST, MOST, FIRST, LAST = range(9)
VARIANCE, SKEW, KURTOSIS = range(9, 12)
"""What a feature is, by number."""

OPERATION, COUNT_AT, STATE_AT, IS_FLOAT, HAS_DEFAULT, DEFAULT = range(6)
"""Columns of the table of features: the last two are what a window without a value gives, null unless HAS_DEFAULT."""
BEGIN, FIRST_FEATURE, END_FEATURE = range(3)
"""Of the table of windows: where it begins for this query (EVER_BEFORE: there is no bound), and its features."""
PART = range(9)
OF_TAG, RECORD_WORDS, TILE, UPLOADED, SERVED, ALONE_FROM, FRESH_UNTIL, FIRST_WINDOW, END_WINDOW = PART
"""Of the table of parts: the tag of its blocks, the words of a record, the width of the finest tiles, when the upload
ended (EVER_BEFORE: there is none), how long after that all windows are served, where those begin that are served ever
after, until when nothing is stale, and its windows."""

DEFAULTED, OK, STALE, UNAVAILABLE, WRONG = range(5)
"""Statuses, from the least to the worst."""

EMPTY, VALUE, BEYOND, UNDEFINED = range(4)
"""What is said of a feature: the window has no value, there is one, the total is beyond int64 (or doubles), or it is
not defined for the values that there are."""

_MINUTE, _FIVE, _HOUR, _SIX, _DAY = TILE_LEVELS


@kernel
def answer(
    words: Any,
    floats: Any,
    ends: Any,
    parts: Any,
    windows: Any,
    features: Any,
    q: Any,
    out: Any,
    out_floats: Any,
    present: Any,
    status: Any,
) -> Any:
    """Fills values, whether there is one, and statuses (rows x features).

    `words` (as integers; `floats` are the same as doubles) are blocks laid one behind the other, those of a part and
    row from the next of `ends` on, part by part.
    """
    rows = len(out)
    for part in range(len(parts)):
        first, last = parts[part, FIRST_WINDOW], parts[part, END_WINDOW]
        for row in range(rows):
            begin, end = ends[part * rows + row], ends[part * rows + row + 1]
            places = np.empty((end - begin) // parts[part, RECORD_WORDS] + 1, np.int64)
            count = _records(words, begin, end, parts[part], places)
            for window in range(first, last):
                own = windows[window]
                if count < 0:
                    status[row, own[FIRST_FEATURE] : own[END_FEATURE]] = WRONG
                else:
                    _window(
                        words, floats, places[:count], parts[part], own, features, q,
                        out[row], out_floats[row], present[row], status[row],
                    )  # fmt: skip


@kernel
def _records(words: Any, begin: Any, end: Any, part: Any, places: Any) -> Any:
    """Where the records of a span of blocks begin; -1 for what are no blocks of the part."""
    count = 0
    while begin < end:
        if end - begin < HEADER or words[begin + TAG] != part[OF_TAG]:
            return -1
        records, irs = words[begin + RECORDS], words[begin + IR_BYTES]
        if records < 0 or irs < 0 or records > end - begin or irs > 8 * (end - begin):
            return -1
        last = begin + HEADER + records * part[RECORD_WORDS] + (irs + 7) // 8
        if last > end or words[begin + CHECKSUM] != checksum(words, begin, last):
            return -1
        begin += HEADER
        for _ in range(records):
            places[count] = begin
            count += 1
            begin += part[RECORD_WORDS]
        begin = last
    return count


@kernel
def _window(
    words: Any,
    floats: Any,
    places: Any,
    part: Any,
    window: Any,
    features: Any,
    q: Any,
    out: Any,
    out_floats: Any,
    present: Any,
    status: Any,
) -> Any:
    """The features of one window of one key."""
    low = window[BEGIN]
    if not is_served(low, part[UPLOADED], part[SERVED], part[ALONE_FROM], q):
        status[window[FIRST_FEATURE] : window[END_FEATURE]] = UNAVAILABLE
        return
    high = q - q % part[TILE] + part[TILE]
    chosen = np.empty(len(places), np.int64)
    count, seen = 0, 0
    for place in places:
        if _is_seen(words[place + START], words[place + WIDTH], low, high):
            chosen[count] = place
            count += 1
            seen += words[place + EVENTS]
    for number in range(window[FIRST_FEATURE], window[END_FEATURE]):
        found = _feature(words, floats, chosen[:count], features[number], out, out_floats, number)
        if found == BEYOND:
            status[number] = WRONG
            continue
        status[number] = STALE if q > part[FRESH_UNTIL] else DEFAULTED if seen <= 0 else OK
        present[number] = found == VALUE
        if found == EMPTY and features[number, HAS_DEFAULT]:
            out[number] = features[number, DEFAULT]
            present[number] = True


@kernel
def is_served(low: Any, uploaded: Any, served: Any, alone_from: Any, q: Any) -> Any:
    """Whether a window that begins at `low` is made of whole spans of the upload and of tiles."""
    return uploaded != EVER_BEFORE and (q <= uploaded + served or low >= alone_from)


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
        n += words[record + feature[COUNT_AT]]
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
        best = extreme(words, floats, chosen, at, count_at, operation == MOST, is_float)
        out[number] = words[best + at]
    else:
        best = end_of(words, floats, chosen, at, count_at, operation == LAST, is_float)
        out[number] = words[best + at + 2]
    return VALUE


@kernel
def _integers(words: Any, chosen: Any, at: Any, n: Any, average: Any, out: Any, out_floats: Any, number: Any) -> Any:
    low, high = 0, 0
    for record in chosen:
        low += words[record + at]
        high += words[record + at + 1]
    high += low >> 32
    low &= LOW
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
        total, rest = plus(total, rest, floats[record + at])
        total, rest = plus(total, rest, floats[record + at + 1])
        positive += words[record + at + 2]
        negative += words[record + at + 3]
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
def _moments(floats: Any, chosen: Any, at: Any, operation: Any, out_floats: Any, number: Any) -> Any:
    state, infinite = merged_moments(floats, chosen, at)
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
