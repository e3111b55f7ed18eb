"""Rows into runs: by key, then (t, known_at), then the value's own order.

The key codes say which run a row belongs to; rows of no run (code below 0) are left out. Sorting is a counting sort by
code, then a sort of each run that is not in order already: events in time order cost one pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.columnar.kernel import kernel

Ints = NDArray[np.int64]


def arrange(codes: Ints, runs: int, t: Ints, known: Ints | None) -> tuple[Ints, Ints, Ints, Ints | None]:
    """(permutation, run offsets, t in order, known_at in order): rows of code c lie in offsets[c]:offsets[c + 1]."""
    permutation, offsets = group(codes, runs)
    ordered = t[permutation]
    if known is None:
        sort_runs(offsets, ordered, permutation)
        return permutation, offsets, ordered, None
    ordered_known = known[permutation]
    sort_runs_of_two(offsets, ordered, ordered_known, permutation)
    return permutation, offsets, ordered, ordered_known


@kernel
def group(codes: Any, runs: Any) -> Any:
    """A stable counting sort: (permutation, offsets)."""
    offsets = np.zeros(runs + 1, np.int64)
    for code in codes:
        if code >= 0:
            offsets[code + 1] += 1
    for run in range(runs):
        offsets[run + 1] += offsets[run]
    place = offsets[:-1].copy()
    permutation = np.empty(offsets[runs], np.int64)
    for row in range(len(codes)):
        code = codes[row]
        if code >= 0:
            permutation[place[code]] = row
            place[code] += 1
    return permutation, offsets


@kernel
def sort_runs(offsets: Any, t: Any, permutation: Any) -> None:
    """Sorts each run by t, stable, in place."""
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        for i in range(first + 1, last):
            if t[i] < t[i - 1]:
                order = np.argsort(t[first:last], kind="mergesort")
                t[first:last] = t[first:last][order]
                permutation[first:last] = permutation[first:last][order]
                break


@kernel
def sort_runs_of_two(offsets: Any, t: Any, known: Any, permutation: Any) -> None:
    """Sorts each run by (t, known), stable, in place."""
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        for i in range(first + 1, last):
            if t[i] < t[i - 1] or (t[i] == t[i - 1] and known[i] < known[i - 1]):
                by_known = np.argsort(known[first:last], kind="mergesort")
                order = by_known[np.argsort(t[first:last][by_known], kind="mergesort")]
                t[first:last] = t[first:last][order]
                known[first:last] = known[first:last][order]
                permutation[first:last] = permutation[first:last][order]
                break


@kernel
def sort_ties(offsets: Any, t: Any, known: Any, values: Any) -> None:
    """Puts values of equal (t, known) in their own order, in place; `known` may be None."""
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        i = first
        while i < last:
            j = i + 1
            while j < last and t[j] == t[i] and (known is None or known[j] == known[i]):
                j += 1
            if j - i > 1:
                values[i:j] = np.sort(values[i:j])
            i = j


@kernel
def compress(offsets: Any, valid: Any) -> Any:
    """(positions kept, offsets of the runs that remain)."""
    kept = np.empty(len(valid), np.int64)
    remaining = np.empty(len(offsets), np.int64)
    count = 0
    for run in range(len(offsets) - 1):
        remaining[run] = count
        for i in range(offsets[run], offsets[run + 1]):
            if valid[i]:
                kept[count] = i
                count += 1
    remaining[len(offsets) - 1] = count
    return kept[:count].copy(), remaining


@kernel
def sort_within_runs(offsets: Any, values: Any) -> Any:
    """(positions in value order within each run, local rank of each event, local dense code of each event)."""
    by_value = np.empty(len(values), np.int64)
    rank = np.empty(len(values), np.int64)
    code = np.empty(len(values), np.int64)
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        if last == first:
            continue
        order = np.argsort(values[first:last], kind="mergesort")
        dense = -1
        for place in range(last - first):
            event = first + order[place]
            by_value[first + place] = event
            rank[event] = place
            if place == 0 or values[event] != values[first + order[place - 1]]:
                dense += 1
            code[event] = dense
    return by_value, rank, code


@kernel
def split_runs(offsets: Any, buckets: Any) -> Any:
    """Runs divided by bucket, time order kept.

    Gives (permutation, offsets of the parts, bucket of each part, first part of each run).
    """
    count = 0
    permutation = np.empty(len(buckets), np.int64)
    part_offsets = np.empty(len(buckets) + 1, np.int64)
    part_bucket = np.empty(len(buckets), np.int64)
    first_part = np.empty(len(offsets), np.int64)
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        first_part[run] = count
        if last == first:
            continue
        order = np.argsort(buckets[first:last], kind="mergesort")
        for place in range(last - first):
            event = first + order[place]
            permutation[first + place] = event
            if place == 0 or buckets[event] != part_bucket[count - 1]:
                part_offsets[count] = first + place
                part_bucket[count] = buckets[event]
                count += 1
    first_part[len(offsets) - 1] = count
    part_offsets[count] = len(buckets)
    return permutation, part_offsets[: count + 1].copy(), part_bucket[:count].copy(), first_part


@kernel
def longest(offsets: Any) -> Any:
    """The length of the longest run."""
    most = 0
    for run in range(len(offsets) - 1):
        most = max(most, offsets[run + 1] - offsets[run])
    return most
