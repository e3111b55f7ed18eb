"""Which events enter and leave between one query and the next.

With one clock a query sees the events `leave_end:enter_end` of its run. With two, events enter in the order in which
they became available, and `enter` and `leave` list them; what can be taken back leaves when it is, too. All read the
same way: starting empty, before query q the positions up to `leave_end[q]` leave and those up to `enter_end[q]` enter;
where `leave_end[q]` reaches what had entered, nothing is left and the positions between are skipped. A new run always
starts empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.columnar.kernel import ZERO, kernel
from zipline.algebra.columnar.order import merge_sort
from zipline.values import dataclass

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Queries:
    """Queries in the order of (run, time): the run of each, and `offsets` of each run's queries."""

    run: Ints
    offsets: Ints


@dataclass(frozen=True)
class Spans:
    """What enters and leaves; `count` is how many events each query sees."""

    enter: Ints | None
    enter_end: Ints
    leave: Ints | None
    leave_end: Ints

    @property
    def count(self) -> Ints:
        return self.enter_end - self.leave_end

    @property
    def is_contiguous(self) -> bool:
        return self.enter is None


def spans(
    offsets: Ints, t: Ints, known: Ints | None, run: Ints, start: Ints | None, end: Ints, died: Ints | None = None
) -> Spans:
    """The spans of queries that see `start <= t < end`, and availability < end where `known` is given.

    What `died` before a query's end it does not see; `died` needs `known`.
    """
    bounded = start is not None
    begin = end if start is None else start
    if known is None:
        enter_end, leave_end = _one_clock(offsets, t, run, begin, end, bounded)
        return Spans(None, enter_end, None, leave_end)
    died = np.empty(0, np.int64) if died is None else died
    return Spans(*_two_clocks(offsets, t, np.maximum(t, known), died, run, begin, end, bounded))


@kernel
def _one_clock(offsets: Any, t: Any, run: Any, start: Any, end: Any, bounded: Any) -> Any:
    enter_end = np.empty(len(run), np.int64)
    leave_end = np.empty(len(run), np.int64)
    current, low, high, stop = -1, 0, 0, 0
    for q in range(len(run)):
        if run[q] != current:
            current = run[q]
            low = high = offsets[current]
            stop = offsets[current + 1]
        while high < stop and t[high] < end[q]:
            high += 1
        if bounded:
            while low < high and t[low] < start[q]:
                low += 1
        enter_end[q] = high
        leave_end[q] = low
    return enter_end, leave_end


@kernel
def _two_clocks(offsets: Any, t: Any, available: Any, died: Any, run: Any, start: Any, end: Any, bounded: Any) -> Any:
    enter = np.empty(len(t), np.int64)
    leave = np.empty(len(t), np.int64)
    enter_end = np.empty(len(run), np.int64)
    leave_end = np.empty(len(run), np.int64)
    inside = np.zeros(len(t), np.bool_)
    current, low, high, gone, entered, left = -1, 0, 0, 0, 0, 0
    first, stop, mortal = 0, 0, len(died) > 0
    order = np.empty(0, np.int64)
    deaths = np.empty(0, np.int64)
    keys = np.empty((3, 0), np.int64)
    for q in range(len(run)):
        if run[q] != current:
            for i in range(first, stop):
                if inside[i]:
                    leave[left] = i
                    left += 1
            current = run[q]
            first, stop = offsets[current], offsets[current + 1]
            if len(order) < stop - first:
                order = np.empty(2 * (stop - first), np.int64)
                deaths = np.empty(2 * (stop - first) if mortal else 0, np.int64)
                keys = np.empty((3, 2 * (stop - first)), np.int64)
            for n in range(stop - first):
                order[n] = n
                keys[0, n] = available[first + n]
            merge_sort(keys[0], order, ZERO, stop - first, keys[1], keys[2])
            if mortal:
                for n in range(stop - first):
                    deaths[n] = n
                    keys[0, n] = died[first + n]
                merge_sort(keys[0], deaths, ZERO, stop - first, keys[1], keys[2])
            low, high, gone = first, 0, 0
        if mortal:
            while gone < stop - first and died[first + deaths[gone]] < end[q]:
                event = first + deaths[gone]
                if inside[event]:
                    inside[event] = False
                    leave[left] = event
                    left += 1
                gone += 1
        if bounded:
            while low < stop and t[low] < start[q]:
                if inside[low]:
                    inside[low] = False
                    leave[left] = low
                    left += 1
                low += 1
        while high < stop - first and available[first + order[high]] < end[q]:
            event = first + order[high]
            if event >= low and not (mortal and died[event] < end[q]):
                inside[event] = True
                enter[entered] = event
                entered += 1
            high += 1
        enter_end[q] = entered
        leave_end[q] = left
    return enter, enter_end, leave, leave_end


def pair(
    first_part: Ints, part_offsets: Ints, t: Ints, query_offsets: Ints, start: Ints | None, end: Ints
) -> tuple[Ints, Ints]:
    """(part, query) for every query and part of its run that has an event in the query's window, parts in order.

    Queries that see nothing of a part are stepped over, so the work is that of the pairs found and of the events.
    """
    bounded, begin = start is not None, end if start is None else start
    none = np.empty(0, np.int64)
    count = _pair(first_part, part_offsets, t, query_offsets, begin, end, bounded, none, none)
    parts, queries = np.empty(count, np.int64), np.empty(count, np.int64)
    _pair(first_part, part_offsets, t, query_offsets, begin, end, bounded, parts, queries)
    return parts, queries


@kernel
def _pair(
    first_part: Any,
    part_offsets: Any,
    t: Any,
    query_offsets: Any,
    start: Any,
    end: Any,
    bounded: Any,
    parts: Any,
    queries: Any,
) -> Any:
    """How many pairs there are; they are written where there is room."""
    count = 0
    for run in range(len(first_part) - 1):
        q_first, q_last = query_offsets[run], query_offsets[run + 1]
        if q_first == q_last:
            continue
        for part in range(first_part[run], first_part[run + 1]):
            low, stop = part_offsets[part], part_offsets[part + 1]
            q = q_first
            while low < stop:
                q = _after(end, t[low], q, q_last)
                if q == q_last:
                    break
                if bounded:
                    while low < stop and t[low] < start[q]:
                        low += 1
                    if low == stop or t[low] >= end[q]:
                        continue
                if count < len(parts):
                    parts[count] = part
                    queries[count] = q
                count += 1
                q += 1
    return count


@kernel
def _after(end: Any, t: Any, first: Any, last: Any) -> Any:
    """The first query from `first` on that ends after t: steps doubled until it is passed, then halved."""
    step = 1
    while first + step <= last and end[first + step - 1] <= t:
        first += step
        step *= 2
    last = min(first + step - 1, last)
    while first < last:
        middle = (first + last) // 2
        if end[middle] <= t:
            first = middle + 1
        else:
            last = middle
    return first
