"""Counts of each distinct value that a query sees: UNIQUE_COUNT, HISTOGRAM and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import ZERO, kernel
from zipline.algebra.columnar.order import merge_sort

WORD = 64


@kernel
def unique_counts(code: Any, enter: Any, enter_end: Any, leave: Any, leave_end: Any, most: Any) -> Any:
    """How many distinct values each query sees; `code` numbers the values of a run densely, in their own order."""
    out = np.zeros(len(enter_end), np.int64)
    counts = np.zeros(most, np.int64)
    distinct, left, entered = 0, 0, 0
    for q in range(len(enter_end)):
        for p in range(left, min(leave_end[q], entered)):
            value = code[p if leave is None else leave[p]]
            counts[value] -= 1
            distinct -= counts[value] == 0
        for p in range(max(entered, leave_end[q]), enter_end[q]):
            value = code[p if enter is None else enter[p]]
            distinct += counts[value] == 0
            counts[value] += 1
        left, entered = leave_end[q], enter_end[q]
        out[q] = distinct
    return out


@kernel
def histograms(
    code: Any,
    by_rank: Any,
    offsets: Any,
    run: Any,
    enter: Any,
    enter_end: Any,
    leave: Any,
    leave_end: Any,
    k: Any,
    most: Any,
    weight: Any,
) -> Any:
    """(offsets, positions, counts): the distinct values each query sees in their own order, and how often.

    With k > 0 only the k most frequent, of equal ones the least. An event counts `weight` times (None: once).
    """
    lengths = np.zeros(len(run) + 1, np.int64)
    room = max(1024, 2 * len(run))
    positions = np.empty(room, np.int64)
    totals = np.empty(room, np.int64)
    counts = np.zeros(most + 1, np.int64)
    present = np.zeros(most // WORD + 1, np.uint64)
    one_of = np.zeros(most + 1, np.int64)
    found = np.empty(most + 1, np.int64)
    left, entered, current, words, filled = ZERO, ZERO, ZERO - 1, ZERO, ZERO
    for q in range(len(run)):
        for p in range(left, min(leave_end[q], entered)):
            event = p if leave is None else leave[p]
            value = code[event]
            counts[value] -= 1 if weight is None else weight[event]
            if counts[value] == 0:
                present[value // WORD] &= ~(np.uint64(1) << np.uint64(value % WORD))
        if run[q] != current:
            current = run[q]
            first, last = offsets[current], offsets[current + 1]
            words = (code[by_rank[last - 1]] // WORD + 1) if last > first else ZERO
            for place in range(first, last):
                one_of[code[by_rank[place]]] = by_rank[place]
        for p in range(max(entered, leave_end[q]), enter_end[q]):
            event = p if enter is None else enter[p]
            value = code[event]
            if counts[value] == 0:
                present[value // WORD] |= np.uint64(1) << np.uint64(value % WORD)
            counts[value] += 1 if weight is None else weight[event]
        left, entered = leave_end[q], enter_end[q]
        size = _list_present(present, words, found)
        if k > 0 and size > k:
            size = _keep_frequent(found, counts, size, k)
        while filled + size > room:
            room *= 2
            positions, totals = _grown(positions, room), _grown(totals, room)
        for n in range(size):
            positions[filled + n] = one_of[found[n]]
            totals[filled + n] = counts[found[n]]
        filled += size
        lengths[q + 1] = filled
    return lengths, positions[:filled], totals[:filled]


@kernel
def _list_present(present: Any, words: Any, found: Any) -> Any:
    size = 0
    for word in range(words):
        bits = present[word]
        place = word * WORD
        while bits != np.uint64(0):
            if bits & np.uint64(1):
                found[size] = place
                size += 1
            bits >>= np.uint64(1)
            place += 1
    return size


@kernel
def _keep_frequent(found: Any, counts: Any, size: Any, k: Any) -> Any:
    weight = np.empty(2 * size, np.int64)
    kept = np.empty(2 * size, np.int64)
    for n in range(size):
        weight[n] = -counts[found[n]]
        kept[n] = found[n]
    merge_sort(weight, kept, ZERO, size, weight[size:], kept[size:])
    merge_sort(kept, weight, ZERO, k, kept[size:], weight[size:])
    for n in range(k):
        found[n] = kept[n]
    return k


@kernel
def _grown(array: Any, room: Any) -> Any:
    grown = np.empty(room, array.dtype)
    for n in range(len(array)):
        grown[n] = array[n]
    return grown
