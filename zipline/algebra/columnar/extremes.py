"""MIN and MAX over contiguous spans: a deque of candidates in which each event enters and leaves once."""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import kernel


@kernel
def extreme(values: Any, enter_end: Any, leave_end: Any, largest: Any, most: Any) -> Any:
    """The smallest (or largest) value each query sees, 0 of nothing; `most` bounds the run length."""
    out = np.zeros(len(enter_end), values.dtype)
    places = np.empty(most + 1, np.int64)
    found = np.empty(most + 1, values.dtype)
    head, tail, entered = 0, 0, 0
    for q in range(len(enter_end)):
        if leave_end[q] >= entered:
            head = tail = 0
            entered = leave_end[q]
        while head < tail and places[head] < leave_end[q]:
            head += 1
        for i in range(entered, enter_end[q]):
            value = values[i]
            if largest:
                while tail > head and found[tail - 1] <= value:
                    tail -= 1
            else:
                while tail > head and found[tail - 1] >= value:
                    tail -= 1
            places[tail] = i
            found[tail] = value
            tail += 1
        entered = enter_end[q]
        if head < tail:
            out[q] = found[head]
    return out
