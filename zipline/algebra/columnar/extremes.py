"""MIN and MAX over contiguous spans: a deque of candidates in which each event enters and leaves once."""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import kernel


@kernel
def extreme(values: Any, enter_end: Any, leave_end: Any, largest: Any, most: Any) -> Any:
    """The position of the smallest (or largest) value each query sees, -1 of none; `most` bounds the run length."""
    out = np.full(len(enter_end), -1, np.int64)
    candidates = np.empty(most + 1, np.int64)
    flip = -1 if largest else 0
    head, tail, entered = 0, 0, 0
    for q in range(len(enter_end)):
        if leave_end[q] >= entered:
            head = tail = 0
            entered = leave_end[q]
        while head < tail and candidates[head] < leave_end[q]:
            head += 1
        for i in range(entered, enter_end[q]):
            value = values[i] ^ flip
            while tail > head and (values[candidates[tail - 1]] ^ flip) >= value:
                tail -= 1
            candidates[tail] = i
            tail += 1
        entered = enter_end[q]
        if head < tail:
            out[q] = candidates[head]
    return out
