"""Blocks of values (`zipline.algebra.columnar.value_blocks`) read for the rows of a fetch, all in one kernel.

A row has the place of its block, -1 for none. Of every column it gets a word, whether that is a value, and a status.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.columnar.sealing import checksum
from zipline.algebra.layout import CHECKSUM, TAG

REST_BYTES, HEADER = CHECKSUM + 1, CHECKSUM + 2
"""Behind the tag and the checksum."""
DEFAULT, OK, STALE, UNAVAILABLE, ERROR = range(5)
"""The numbers of `zipline.fetch.results.STATUSES`."""
PLACE, HAS_EMPTY, EMPTY = range(3)
"""What is told of a column: which of the block's words it is, and the word of what has no events, if there is one."""
_TAG, _FIRST, _END, _IS_STALE, _IS_WRONG = range(5)
"""What is told of a form and of a fetch: its tag, where its words begin and end, whether what is read is stale, and
whether it is another definition's."""
_BITS = 64
_BYTES = 8


@kernel
def read(words: Any, ends: Any, at: Any, columns: Any, told: Any, out: Any, present: Any, status: Any) -> None:
    """Fills `out`, `present` and `status` (rows x columns). The blocks lie one behind the other in `words`, from each
    of `ends` to the next; what is no whole block of the form gives `ERROR`."""
    whole = _are_whole(words, ends, told)
    first = told[_FIRST]
    for row in range(len(at)):
        block = at[row]
        is_wrong = told[_IS_WRONG] != 0 or (block >= 0 and not whole[block])
        begin = ends[block] if block >= 0 else 0
        for column in range(len(columns)):
            if is_wrong:
                status[row, column] = ERROR
                continue
            has_empty, empty = columns[column, HAS_EMPTY] != 0, columns[column, EMPTY]
            word, is_there = empty, has_empty
            if block >= 0:
                place = columns[column, PLACE]
                word = words[begin + first + place]
                is_there = (words[begin + HEADER + place // _BITS] >> (place % _BITS)) & 1 != 0
            out[row, column], present[row, column] = word, is_there
            is_empty = is_there and word == empty if has_empty else not is_there
            status[row, column] = STALE if told[_IS_STALE] != 0 else DEFAULT if is_empty else OK


@kernel
def _are_whole(words: Any, ends: Any, told: Any) -> Any:
    """Whether each of the blocks is one of the form, as it was written."""
    found = np.zeros(len(ends) - 1, np.bool_)
    for block in range(len(found)):
        begin, end = ends[block], ends[block + 1]
        if end - begin < told[_END] or words[begin + TAG] != told[_TAG]:
            continue
        rest = words[begin + REST_BYTES]
        has_size = end - begin == told[_END] + (rest + _BYTES - 1) // _BYTES
        found[block] = has_size and words[begin + CHECKSUM] == checksum(words, begin, end)
    return found
