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
from zipline.algebra.columnar.combining import LOW, end_of, extreme, merged_moments
from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.columnar.sealing import checksum
from zipline.algebra.layout import (
    CHECKSUM,
    EVENTS,
    EVER_BEFORE,
    FIRST_STATE,
    HEADER,
    IR_BYTES,
    RECORDS,
    START,
    TAG,
    WIDTH,
)
from zipline.algebra.windows import TILE_LEVELS

COUNT, SUM_INTEGERS, AVERAGE_INTEGERS, SUM_FLOATS, AVERAGE_FLOATS, LEAST, MOST, FIRST, LAST = range(9)
VARIANCE, SKEW, KURTOSIS = range(9, 12)
"""What a feature is, by number."""

OPERATION, COUNT_AT, STATE_AT, IS_FLOAT, HAS_DEFAULT, DEFAULT, GIVES_FLOAT = range(7)
"""Columns of the table of features: HAS_DEFAULT and DEFAULT are what a window without a value gives, else null;
IS_FLOAT and GIVES_FLOAT whether values and results are doubles."""
BEGIN, FIRST_FEATURE, END_FEATURE = range(3)
"""Of the table of windows: where it begins for this query (EVER_BEFORE: there is no bound), and its features."""
OF_TAG, RECORD_WORDS, TILE, SERVED, ALONE, FIRST_WINDOW, END_WINDOW = range(7)
"""Of the table of parts: the tag of its blocks, the words of a record, the width of the finest tiles, how long after
its end an upload serves all windows, how long after it those begin that are served ever after, and the part's
windows."""
UPLOADED, FRESH_UNTIL, IS_FOREIGN, KEYS, CHUNKS = range(5)
"""Of the table of what was asked of each part: when the upload ended (EVER_BEFORE: there is none), until when nothing
is stale, whether the upload is another definition's, how many keys were asked and how many chunks of tiles of each."""

DEFAULTED, OK, STALE, UNAVAILABLE, WRONG = range(5)
"""Statuses, from the least to the worst."""

EMPTY, VALUE, BEYOND, UNDEFINED = range(4)
"""What is said of a feature: the window has no value, there is one, the total is beyond int64 (or doubles), or it is
not defined for the values that there are."""

ABSENT, INFINITE, TROUBLED = 1, 2, 4
"""What is said of all results together: one is null, one is infinite, one is not OK."""
CROOKED = -1
"""Said instead where the size of a value is no whole number of words: nothing was computed."""

_MINUTE, _FIVE, _HOUR, _SIX, _DAY = TILE_LEVELS


@kernel
def answer(
    words: Any,
    sizes: Any,
    at: Any,
    asked: Any,
    parts: Any,
    windows: Any,
    features: Any,
    q: Any,
    out: Any,
    present: Any,
    status: Any,
) -> Any:
    """Fills values, whether there is one, and statuses (rows x features); gives what is true of them (ABSENT, ...).

    `words` are the values that a store gave, one behind the other, and `sizes` their bytes: of each part the upload's
    blocks of its keys, then the chunks of the first key, of the second and so on; 0 for what is not there. `at` (parts
    x rows) is the place of a row's key among the part's keys, -1 for a row without one.
    """
    floats, out_floats = words.view(np.float64), out.view(np.float64)
    begins = np.empty(len(sizes) + 1, np.int64)
    begins[0] = 0
    for number in range(len(sizes)):
        if sizes[number] & 7:
            return CROOKED
        begins[number + 1] = begins[number] + (sizes[number] >> 3)
    places, chosen = (
        np.empty(len(words) // FIRST_STATE + 1, np.int64),
        np.empty(len(words) // FIRST_STATE + 1, np.int64),
    )
    first = 0
    for part in range(len(parts)):
        keys, chunks = asked[part, KEYS], asked[part, CHUNKS]
        for row in range(len(out)):
            key = at[part, row] if keys > 0 else -1
            count = 0
            if asked[part, IS_FOREIGN]:
                count = -1
            elif key >= 0:
                count = _records(words, begins[first + key], begins[first + key + 1], parts, part, places, count)
                chunk = first + keys + key * chunks
                for number in range(chunk, chunk + chunks):
                    if count >= 0:
                        count = _records(words, begins[number], begins[number + 1], parts, part, places, count)
            for window in range(parts[part, FIRST_WINDOW], parts[part, END_WINDOW]):
                if count < 0:
                    status[row, windows[window, FIRST_FEATURE] : windows[window, END_FEATURE]] = WRONG
                else:
                    _window(
                        words, floats, places, count, chosen, parts, asked, part, windows, window, features, q,
                        row, out, out_floats, present, status,
                    )  # fmt: skip
        first += keys * (1 + chunks)
    return said_of(out_floats, present, status, features, GIVES_FLOAT)


@kernel
def said_of(out_floats: Any, present: Any, status: Any, features: Any, gives_float: Any) -> Any:
    """What is true of all results; `gives_float` is the column of the table of features that says so."""
    found = 0
    for row in range(len(present)):
        for number in range(len(features)):
            if not present[row, number]:
                found |= ABSENT
            elif features[number, gives_float] and math.isinf(out_floats[row, number]):
                found |= INFINITE
            if status[row, number] != OK:
                found |= TROUBLED
    return found


@kernel
def _records(words: Any, begin: Any, end: Any, parts: Any, part: Any, places: Any, count: Any) -> Any:
    """Adds where the records of a span of blocks begin to `places`, which has `count`; -1 for what are no blocks of the
    part."""
    width = parts[part, RECORD_WORDS]
    while begin < end:
        if end - begin < HEADER or words[begin + TAG] != parts[part, OF_TAG]:
            return -1
        records, irs = words[begin + RECORDS], words[begin + IR_BYTES]
        if records < 0 or irs < 0 or records > end - begin or irs > 8 * (end - begin):
            return -1
        last = begin + HEADER + records * width + (irs + 7) // 8
        if last > end or words[begin + CHECKSUM] != checksum(words, begin, last):
            return -1
        begin += HEADER
        for _ in range(records):
            places[count] = begin
            count += 1
            begin += width
        begin = last
    return count


@kernel
def _window(
    words: Any,
    floats: Any,
    places: Any,
    records: Any,
    chosen: Any,
    parts: Any,
    asked: Any,
    part: Any,
    windows: Any,
    window: Any,
    features: Any,
    q: Any,
    row: Any,
    out: Any,
    out_floats: Any,
    present: Any,
    status: Any,
) -> Any:
    """The features of one window of one key, of the first `records` of `places`."""
    low, first, last = windows[window, BEGIN], windows[window, FIRST_FEATURE], windows[window, END_FEATURE]
    if not is_served(low, asked[part, UPLOADED], parts[part, SERVED], parts[part, ALONE], q):
        status[row, first:last] = UNAVAILABLE
        return
    high = q - q % parts[part, TILE] + parts[part, TILE]
    count, seen = 0, 0
    for number in range(records):
        place = places[number]
        is_seen = _is_seen(words[place + START], words[place + WIDTH], low, high)
        chosen[count] = place
        count += is_seen
        seen += is_seen * words[place + EVENTS]
    said = STALE if q > asked[part, FRESH_UNTIL] else DEFAULTED if seen <= 0 else OK
    seen_records = chosen[:count]
    for number in range(first, last):
        found = _feature(words, floats, seen_records, features, number, out, out_floats, row)
        if found == BEYOND:
            status[row, number] = WRONG
            continue
        status[row, number] = said
        present[row, number] = found == VALUE
        if found == EMPTY and features[number, HAS_DEFAULT]:
            out[row, number] = features[number, DEFAULT]
            present[row, number] = True


@kernel
def is_served(low: Any, uploaded: Any, served: Any, alone: Any, q: Any) -> Any:
    """Whether a window that begins at `low` is made of whole spans of the upload and of tiles."""
    return uploaded != EVER_BEFORE and (q <= uploaded + served or low >= uploaded + alone)


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
    # The divisors are written out: by a constant, a remainder is no division.
    if width == _MINUTE:
        begin, above = start - start % _FIVE, _FIVE
    elif width == _FIVE:
        begin, above = start - start % _HOUR, _HOUR
    elif width == _HOUR:
        begin, above = start - start % _SIX, _SIX
    elif width == _SIX:
        begin, above = start - start % _DAY, _DAY
    else:
        return True
    return begin < low or begin + above > high


@kernel
def _feature(
    words: Any, floats: Any, chosen: Any, features: Any, number: Any, out: Any, out_floats: Any, row: Any
) -> Any:
    operation, at, count_at = features[number, OPERATION], features[number, STATE_AT], features[number, COUNT_AT]
    n = 0
    for record in chosen:
        n += words[record + count_at]
    if n <= 0:
        return EMPTY
    if operation == COUNT:
        out[row, number] = n
        return VALUE
    if operation <= AVERAGE_INTEGERS:
        low, high = _integers(words, chosen, at)
        if operation == AVERAGE_INTEGERS:
            out_floats[row, number] = (math.ldexp(float(high), 32) + float(low)) / n
            return VALUE
        out[row, number] = (high << 32) | low
        return BEYOND if high < -0x80000000 or high > 0x7FFFFFFF else VALUE
    if operation <= AVERAGE_FLOATS:
        found, total = _floats(words, floats, chosen, at)
        out_floats[row, number] = total / n if operation == AVERAGE_FLOATS else total
        return found
    if operation >= VARIANCE:
        found, total = _moments(floats, chosen, at, operation)
        out_floats[row, number] = total
        return found
    is_float = features[number, IS_FLOAT] != 0
    if operation <= MOST:
        best = extreme(words, floats, chosen, at, count_at, operation == MOST, is_float)
        out[row, number] = words[best + at]
    else:
        best = end_of(words, floats, chosen, at, count_at, operation == LAST, is_float)
        out[row, number] = words[best + at + 2]
    return VALUE


@kernel
def _integers(words: Any, chosen: Any, at: Any) -> Any:
    """The sum, as its low 32 bits and what is above."""
    low, high = 0, 0
    for record in chosen:
        low += words[record + at]
        high += words[record + at + 1]
    return low & LOW, high + (low >> 32)


@kernel
def _floats(words: Any, floats: Any, chosen: Any, at: Any) -> Any:
    """(what is said of it, the sum). What each addition loses is summed by itself (Neumaier 1974)."""
    total, rest, positive, negative = 0.0, 0.0, 0, 0
    for record in chosen:
        value = floats[record + at]
        sum_ = total + value
        back = sum_ - total
        rest += ((total - (sum_ - back)) + (value - back)) + floats[record + at + 1]
        total = sum_
        positive += words[record + at + 2]
        negative += words[record + at + 3]
    if positive > 0 and negative > 0:
        return UNDEFINED, 0.0
    if positive > 0 or negative > 0:
        return VALUE, math.inf if positive > 0 else -math.inf
    total += rest
    if math.isinf(total) or math.isnan(total):
        return BEYOND, 0.0
    return VALUE, total


@kernel
def _moments(floats: Any, chosen: Any, at: Any, operation: Any) -> Any:
    """(what is said of it, the value)."""
    state, infinite = merged_moments(floats, chosen, at)
    n, _, _, gain, m2, m3, m4 = state
    value = moments.variance(n, gain, m2)
    if operation == SKEW:
        value = moments.skew(n, m2, m3)
    elif operation == KURTOSIS:
        value = moments.kurtosis(n, m2, m4)
    if infinite > 0.0 or math.isnan(value):
        return UNDEFINED, 0.0
    return VALUE, value
