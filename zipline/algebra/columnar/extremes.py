"""MIN and MAX over contiguous spans: a deque of candidates in which each event enters and leaves once.

Of the events that enter together only those smaller than all after them can ever be the smallest, so they are sought
from the last to the first and the few that are found join the deque.
"""

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
    joining = np.empty(most + 1, np.int64)
    head, tail, entered = 0, 0, 0
    for q in range(len(enter_end)):
        if leave_end[q] >= entered:
            head = tail = 0
            entered = leave_end[q]
        while head < tail and places[head] < leave_end[q]:
            head += 1
        if entered < enter_end[q]:
            best = values[enter_end[q] - 1]
            joining[0] = enter_end[q] - 1
            count = 1
            for i in range(enter_end[q] - 2, entered - 1, -1):
                if (values[i] > best) if largest else (values[i] < best):
                    best = values[i]
                    joining[count] = i
                    count += 1
            while tail > head and ((found[tail - 1] <= best) if largest else (found[tail - 1] >= best)):
                tail -= 1
            for n in range(count - 1, -1, -1):
                places[tail] = joining[n]
                found[tail] = values[joining[n]]
                tail += 1
            entered = enter_end[q]
        if head < tail:
            out[q] = found[head]
    return out
