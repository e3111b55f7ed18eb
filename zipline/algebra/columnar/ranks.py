"""Order statistics of what a query sees: a Fenwick tree over ranks, which events join and leave in log time.

Ranks are by value (MIN, MAX, TOP_K, BOTTOM_K, percentiles) or by position in the run (FIRST, LAST and their lists);
the same tree serves both, with one clock or two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import ZERO, kernel


@kernel
def _change(tree: Any, rank: Any, by: Any, size: Any) -> None:
    node = rank + 1
    while node <= size:
        tree[node] += by
        node += node & -node


@kernel
def _find(tree: Any, nth: Any, size: Any) -> Any:
    """The rank of the nth (from 0) event inside."""
    step = 1
    while step * 2 <= size:
        step *= 2
    node, remaining = 0, nth + 1
    while step > 0:
        if node + step <= size and tree[node + step] < remaining:
            node += step
            remaining -= tree[node]
        step //= 2
    return node


@kernel
def pick(
    rank: Any,
    by_rank: Any,
    offsets: Any,
    run: Any,
    enter: Any,
    enter_end: Any,
    leave: Any,
    leave_end: Any,
    k: Any,
    largest: Any,
    most: Any,
) -> Any:
    """(offsets of the lists, positions): the k first events each query sees in rank order, or the k last, reversed.

    `by_rank` maps run offset + rank to position; `most` is the length of the longest run.
    """
    lengths = np.zeros(len(run) + 1, np.int64)
    for q in range(len(run)):
        lengths[q + 1] = lengths[q] + min(k, enter_end[q] - leave_end[q])
    out = np.empty(lengths[len(run)], np.int64)
    tree = np.zeros(most + 1, np.int64)
    left, entered, current, size = ZERO, ZERO, ZERO - 1, ZERO
    for q in range(len(run)):
        _retire(tree, rank, leave, left, min(leave_end[q], entered), size)
        if run[q] != current:
            current = run[q]
            size = offsets[current + 1] - offsets[current]
        for p in range(max(entered, leave_end[q]), enter_end[q]):
            _change(tree, rank[p if enter is None else enter[p]], ZERO + 1, size)
        left, entered = leave_end[q], enter_end[q]
        count = entered - left
        for n in range(lengths[q + 1] - lengths[q]):
            found = _find(tree, count - 1 - n if largest else n, size)
            out[lengths[q] + n] = by_rank[offsets[current] + found]
    return lengths, out


@kernel
def percentiles(
    rank: Any,
    by_rank: Any,
    offsets: Any,
    run: Any,
    enter: Any,
    enter_end: Any,
    leave: Any,
    leave_end: Any,
    fractions: Any,
    most: Any,
    weight: Any,
) -> Any:
    """Positions of the values of rank ceil(p * n) for each p, row by row; -1 where nothing is seen.

    An event counts `weight` times (None: once).
    """
    out = np.empty((len(run), len(fractions)), np.int64)
    tree = np.zeros(most + 1, np.int64)
    left, entered, current, size, count = ZERO, ZERO, ZERO - 1, ZERO, ZERO
    for q in range(len(run)):
        for p in range(left, min(leave_end[q], entered)):
            event = p if leave is None else leave[p]
            copies = ZERO + 1 if weight is None else weight[event]
            _change(tree, rank[event], -copies, size)
            count -= copies
        if run[q] != current:
            current = run[q]
            size = offsets[current + 1] - offsets[current]
        for p in range(max(entered, leave_end[q]), enter_end[q]):
            event = p if enter is None else enter[p]
            copies = ZERO + 1 if weight is None else weight[event]
            _change(tree, rank[event], copies, size)
            count += copies
        left, entered = leave_end[q], enter_end[q]
        for f in range(len(fractions)):
            nth = max(math.ceil(fractions[f] * count) - 1, 0)
            out[q, f] = by_rank[offsets[current] + _find(tree, nth, size)] if count > 0 else -1
    return out


@kernel
def _retire(tree: Any, rank: Any, leave: Any, first: Any, last: Any, size: Any) -> None:
    for p in range(first, last):
        _change(tree, rank[p if leave is None else leave[p]], ZERO - 1, size)
