"""Rows into runs: by key, then (t, known_at), then the value's own order.

The key codes say which run a row belongs to; rows of no run (code below 0) are left out. Sorting is a counting sort by
code, then a sort of each run that is not in order already: events in time order cost one pass.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.columnar.kernel import ZERO, kernel
from zipline.algebra.columnar.parallel import balanced, in_threads, slices

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]

SMALL = 16
"""Below it insertion is the fastest way to sort."""


def arrange(codes: Codes, runs: int, t: Ints, known: Ints | None) -> tuple[Ints, Ints, Ints, Ints | None]:
    """(permutation, run offsets, t in order, known_at in order): rows of code c lie in offsets[c]:offsets[c + 1]."""
    permutation, offsets, ordered = group(codes, runs, t)
    if known is None:
        if _is_sorted(frozen(t)):
            return permutation, offsets, ordered, None
        in_threads(partial(sort_runs, offsets, ordered, permutation), balanced(offsets))
        return permutation, offsets, ordered, None
    ordered_known = gather(known, permutation)
    in_threads(partial(sort_runs_of_two, offsets, ordered, ordered_known, permutation), balanced(offsets))
    return permutation, offsets, ordered, ordered_known


def group(codes: Codes, runs: int, t: Ints) -> tuple[Ints, Ints, Ints]:
    """A stable counting sort: (permutation, offsets, t in that order). Each thread sorts a slice of the rows."""
    codes, parts = frozen(codes), slices(len(codes))
    counts = np.zeros((len(parts), runs), np.int64)
    in_threads(partial(_count, codes, counts), [(n, *part) for n, part in enumerate(parts)])
    offsets = _start_places(counts)
    permutation = np.empty(offsets[-1], np.int64)
    ordered = np.empty(offsets[-1], np.int64)
    in_threads(
        partial(_scatter, codes, frozen(t), counts, permutation, ordered), [(n, *part) for n, part in enumerate(parts)]
    )
    return permutation, offsets, ordered


def gather(source: Any, permutation: Ints) -> Any:
    """source[permutation], by all threads."""
    out = np.empty(len(permutation), source.dtype)
    in_threads(partial(_gather, frozen(source), permutation, out), slices(len(permutation)))
    return out


def frozen(array: Any) -> Any:
    """A read-only view: what Arrow owns is read-only, and a kernel compiled for both would be compiled twice."""
    view = array.view()
    view.flags.writeable = False
    return view


@kernel
def _is_sorted(t: Any) -> Any:
    i = 1
    while i < len(t) and t[i] >= t[i - 1]:
        i += 1
    return i >= len(t)


@kernel
def _gather(source: Any, permutation: Any, out: Any, first: Any, last: Any) -> None:
    for i in range(first, last):
        out[i] = source[permutation[i]]


@kernel
def _count(codes: Any, counts: Any, part: Any, first: Any, last: Any) -> None:
    for row in range(first, last):
        if codes[row] >= 0:
            counts[part, codes[row]] += 1


@kernel
def _start_places(counts: Any) -> Any:
    """The offsets of the runs; counts become the place of each part's first row of each run."""
    parts, runs = counts.shape
    offsets = np.empty(runs + 1, np.int64)
    place = 0
    for run in range(runs):
        offsets[run] = place
        for part in range(parts):
            count = counts[part, run]
            counts[part, run] = place
            place += count
    offsets[runs] = place
    return offsets


@kernel
def _scatter(codes: Any, t: Any, places: Any, permutation: Any, ordered: Any, part: Any, first: Any, last: Any) -> None:
    for row in range(first, last):
        code = codes[row]
        if code >= 0:
            place = places[part, code]
            permutation[place] = row
            ordered[place] = t[row]
            places[part, code] = place + 1


@kernel
def merge_sort(keys: Any, rows: Any, first: Any, last: Any, spare_keys: Any, spare_rows: Any) -> None:
    """Sorts keys[first:last] and the rows beside them, stable, in place; the spare arrays hold last - first."""
    for low in range(first, last, SMALL):
        for i in range(low + 1, min(low + SMALL, last)):
            key, row = keys[i], rows[i]
            j = i
            while j > low and keys[j - 1] > key:
                keys[j] = keys[j - 1]
                rows[j] = rows[j - 1]
                j -= 1
            keys[j] = key
            rows[j] = row
    width = SMALL
    while width < last - first:
        for low in range(first, last - width, 2 * width):
            middle, high = low + width, min(low + 2 * width, last)
            if keys[middle - 1] <= keys[middle]:
                continue
            for i in range(width):
                spare_keys[i] = keys[low + i]
                spare_rows[i] = rows[low + i]
            i, j, out = 0, middle, low
            while i < width and j < high:
                if spare_keys[i] <= keys[j]:
                    keys[out] = spare_keys[i]
                    rows[out] = spare_rows[i]
                    i += 1
                else:
                    keys[out] = keys[j]
                    rows[out] = rows[j]
                    j += 1
                out += 1
            while i < width:
                keys[out] = spare_keys[i]
                rows[out] = spare_rows[i]
                i += 1
                out += 1
        width *= 2


@kernel
def sort_runs(offsets: Any, t: Any, permutation: Any, first_run: Any, last_run: Any) -> None:
    """Sorts each run by t, stable, in place."""
    spare_keys = np.empty(0, np.int64)
    spare_rows = np.empty(0, np.int64)
    for run in range(first_run, last_run):
        first, last = offsets[run], offsets[run + 1]
        for i in range(first + 1, last):
            if t[i] < t[i - 1]:
                if len(spare_keys) < last - first:
                    spare_keys = np.empty(2 * (last - first), np.int64)
                    spare_rows = np.empty(2 * (last - first), np.int64)
                merge_sort(t, permutation, first, last, spare_keys, spare_rows)
                break


@kernel
def sort_runs_of_two(offsets: Any, t: Any, known: Any, permutation: Any, first_run: Any, last_run: Any) -> None:
    """Sorts each run by (t, known), stable, in place."""
    spare = np.empty((5, 0), np.int64)
    for run in range(first_run, last_run):
        first, last = offsets[run], offsets[run + 1]
        size = last - first
        for i in range(first + 1, last):
            if t[i] < t[i - 1] or (t[i] == t[i - 1] and known[i] < known[i - 1]):
                if spare.shape[1] < size:
                    spare = np.empty((5, 2 * size), np.int64)
                keys, place, old = spare[0], spare[1], spare[4]
                for n in range(size):
                    keys[n] = known[first + n]
                    place[n] = n
                merge_sort(keys, place, ZERO, size, spare[2], spare[3])
                for n in range(size):
                    keys[n] = t[first + place[n]]
                merge_sort(keys, place, ZERO, size, spare[2], spare[3])
                for n in range(size):
                    t[first + n] = keys[n]
                    old[n] = known[first + n]
                    keys[n] = permutation[first + n]
                for n in range(size):
                    known[first + n] = old[place[n]]
                    permutation[first + n] = keys[place[n]]
                break


@kernel
def has_ties(offsets: Any, t: Any, known: Any) -> Any:
    """Whether two events of a run have the same (t, known); an empty `known` is no clock."""
    for run in range(len(offsets) - 1):
        for i in range(offsets[run] + 1, offsets[run + 1]):
            if t[i] == t[i - 1] and (len(known) == 0 or known[i] == known[i - 1]):
                return True
    return False


@kernel
def sort_ties(offsets: Any, t: Any, known: Any, values: Any) -> None:
    """Puts values of equal (t, known) in their own order, in place; an empty `known` is no clock."""
    spare_keys = np.empty(0, np.int64)
    spare_rows = np.empty(0, np.int64)
    for run in range(len(offsets) - 1):
        first, last = offsets[run], offsets[run + 1]
        i = first
        while i < last:
            j = i + 1
            while j < last and t[j] == t[i] and (len(known) == 0 or known[j] == known[i]):
                j += 1
            if j - i > 1:
                if len(spare_keys) < 2 * (j - i):
                    spare_keys = np.empty(2 * (j - i), np.int64)
                    spare_rows = np.empty(2 * (j - i), np.int64)
                for n in range(j - i):
                    spare_keys[n] = values[i + n]
                merge_sort(spare_keys, spare_rows, ZERO, j - i, spare_keys[j - i :], spare_rows[j - i :])
                for n in range(j - i):
                    values[i + n] = spare_keys[n]
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
    return kept[:count], remaining


def sort_within_runs(offsets: Ints, values: Ints) -> tuple[Ints, Ints, Ints]:
    """(positions in value order within each run, local rank of each event, local dense code of each event)."""
    keys, by_value = values.copy(), np.arange(len(values))
    rank, code = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    in_threads(partial(sort_runs, offsets, keys, by_value), balanced(offsets))
    _number(offsets, keys, by_value, rank, code)
    return by_value, rank, code


@kernel
def _number(offsets: Any, keys: Any, by_value: Any, rank: Any, code: Any) -> None:
    for run in range(len(offsets) - 1):
        dense = 0
        for place in range(offsets[run], offsets[run + 1]):
            if place > offsets[run] and keys[place] != keys[place - 1]:
                dense += 1
            rank[by_value[place]] = place - offsets[run]
            code[by_value[place]] = dense


def split_runs(offsets: Ints, buckets: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Runs divided by bucket, time order kept.

    Gives (permutation, offsets of the parts, bucket of each part, first part of each run).
    """
    keys, permutation = buckets.copy(), np.arange(len(buckets))
    in_threads(partial(sort_runs, offsets, keys, permutation), balanced(offsets))
    starts = np.empty(len(keys) + 1, np.int64)
    first_part = np.empty(len(offsets), np.int64)
    parts = _number_parts(offsets, keys, starts, first_part)
    part_offsets = starts[: parts + 1].copy()
    return permutation, part_offsets, keys[part_offsets[:-1]], first_part


@kernel
def _number_parts(offsets: Any, keys: Any, starts: Any, first_part: Any) -> Any:
    count = 0
    for run in range(len(offsets) - 1):
        first_part[run] = count
        for place in range(offsets[run], offsets[run + 1]):
            if place == offsets[run] or keys[place] != keys[place - 1]:
                starts[count] = place
                count += 1
    first_part[len(offsets) - 1] = count
    starts[count] = len(keys)
    return count


def longest(offsets: Ints) -> int:
    """The length of the longest run."""
    return int(np.diff(offsets).max(initial=0))
