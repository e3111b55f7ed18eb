"""VARIANCE, SKEW and KURTOSIS: central moments that are merged, never subtracted.

Over contiguous spans two stacks hold the window: the moments of every suffix of its older half, and of its newer half
as a whole. With two clocks a tree holds one event a leaf, and its root is the window.

`values` are floats, or states in turn: a row of WIDTH, and how many infinite values there are beside.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zipline.algebra import compiled as _compiled  # registers the moments with Numba  # noqa: F401
from zipline.algebra.columnar.kernel import ZERO, kernel
from zipline.algebra.moments import EMPTY, add, kurtosis, merge, skew, variance

WIDTH = 7


FEATURES = 3


@kernel
def _finish(out: Any, q: Any, state: Any, infinities: Any) -> None:
    if len(out) > FEATURES:
        for n in range(WIDTH):
            out[n, q] = state[n]
        out[WIDTH, q] = infinities
        return
    finite = infinities == 0
    out[0, q] = variance(state[0], state[3], state[4]) if finite else math.nan
    out[1, q] = skew(state[0], state[4], state[5]) if finite else math.nan
    out[2, q] = kurtosis(state[0], state[4], state[6]) if finite else math.nan


@kernel
def _infinities(values: Any, i: Any) -> Any:
    if values.ndim == 1:
        return ZERO + math.isinf(values[i])
    return np.int64(values[i, WIDTH])


@kernel
def _with(state: Any, values: Any, i: Any) -> Any:
    """The state with one event more; infinite values are counted elsewhere."""
    if values.ndim == 1:
        return state if math.isinf(values[i]) else add(state, values[i])
    return merge(state, _load(values, i))


@kernel
def _load(nodes: Any, i: Any) -> Any:
    return (nodes[i, 0], nodes[i, 1], nodes[i, 2], nodes[i, 3], nodes[i, 4], nodes[i, 5], nodes[i, 6])


@kernel
def _store(nodes: Any, i: Any, state: Any) -> None:
    for n in range(WIDTH):
        nodes[i, n] = state[n]


@kernel
def spread_of_spans(values: Any, enter_end: Any, leave_end: Any, most: Any, rows: Any) -> Any:
    """One column a query: FEATURES rows, which are VARIANCE, SKEW, KURTOSIS (NaN is null), or WIDTH + 1: the state."""
    out = np.empty((rows, len(enter_end)), np.float64)
    suffixes = np.empty((most + 1, WIDTH), np.float64)
    newer = EMPTY
    base, middle, left, entered, infinities = ZERO, ZERO, ZERO, ZERO, ZERO
    for q in range(len(enter_end)):
        if leave_end[q] >= entered:
            base = middle = left = entered = leave_end[q]
            newer = EMPTY
            infinities = ZERO
        for i in range(left, leave_end[q]):
            infinities -= _infinities(values, i)
        for i in range(entered, enter_end[q]):
            infinities += _infinities(values, i)
            newer = _with(newer, values, i)
        left, entered = leave_end[q], enter_end[q]
        if left > middle:
            base, middle = left, entered
            newer = EMPTY
            older = EMPTY
            for i in range(entered - 1, left - 1, -1):
                older = _with(older, values, i)
                _store(suffixes, i - base, older)
        state = merge(_load(suffixes, left - base), newer) if left < middle else newer
        _finish(out, q, state, infinities)
    return out


@kernel
def spread_of_events(
    values: Any, offsets: Any, run: Any, enter: Any, enter_end: Any, leave: Any, leave_end: Any, most: Any
) -> Any:
    """The features where events enter and leave in any order."""
    out = np.empty((FEATURES, len(run)), np.float64)
    room = 1
    while room < most:
        room *= 2
    nodes = np.empty((2 * room, WIDTH), np.float64)
    left, entered, current, infinities, first, leaves = ZERO, ZERO, ZERO - 1, ZERO, ZERO, ZERO + 1
    for q in range(len(run)):
        if run[q] != current:
            current = run[q]
            first = offsets[current]
            leaves = ZERO + 1
            while leaves < offsets[current + 1] - first:
                leaves *= 2
            for node in range(2 * leaves):
                _store(nodes, node, EMPTY)
            infinities = ZERO
        else:
            for p in range(left, min(leave_end[q], entered)):
                event = leave[p]
                infinities -= _infinities(values, event)
                _place(nodes, leaves, event - first, EMPTY)
        for p in range(entered, enter_end[q]):
            event = enter[p]
            infinities += _infinities(values, event)
            _place(nodes, leaves, event - first, _with(EMPTY, values, event))
        left, entered = leave_end[q], enter_end[q]
        _finish(out, q, _load(nodes, 1), infinities)
    return out


@kernel
def _place(nodes: Any, leaves: Any, leaf: Any, state: Any) -> None:
    node = leaves + leaf
    _store(nodes, node, state)
    node //= 2
    while node >= 1:
        _store(nodes, node, merge(_load(nodes, 2 * node), _load(nodes, 2 * node + 1)))
        node //= 2
