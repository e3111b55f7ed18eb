"""Blocks of values (`value_blocks`) read into features: the kernel of fetches of what an upload has computed.

`answer` takes the blocks of many keys of many group-bys at once, as `folding.answer` does, and says the same of its
results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.folding import CROOKED, DEFAULTED, OK, STALE, UNAVAILABLE, WRONG, said_of
from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.columnar.sealing import checksum
from zipline.algebra.columnar.value_blocks import HEADER, REST_BYTES
from zipline.algebra.layout import CHECKSUM, TAG

IS_THERE, IS_FOREIGN, IS_STALE, KEYS = range(4)
"""Columns of the table of what was asked of each part: whether there is an upload and it could be read, whether it is
another definition's, whether it is out of date, and how many keys were asked."""
OF_TAG, FIRST_WORD, END_WORD, FIRST_COLUMN, END_COLUMN = range(5)
"""Of the table of parts: the tag of its blocks, where their words begin and end, and the columns of the part."""
PLACE, HAS_EMPTY, EMPTY, GIVES_FLOAT = range(4)
"""Of the table of columns: its place among the words, what a window without a value gives (null unless HAS_EMPTY), and
whether its values are doubles."""


@kernel
def answer(
    words: Any, sizes: Any, at: Any, asked: Any, parts: Any, columns: Any, out: Any, present: Any, status: Any
) -> Any:
    """Fills values, whether there is one, and statuses (rows x columns); gives what is true of them.

    `words` are the blocks that a store gave, one behind the other, and `sizes` their bytes, part by part; 0 for what is
    not there. `at` (parts x rows) is the place of a row's key among the part's keys, -1 for a row without one.
    """
    begins = np.empty(len(sizes) + 1, np.int64)
    begins[0] = 0
    for number in range(len(sizes)):
        if sizes[number] & 7:
            return CROOKED
        begins[number + 1] = begins[number] + (sizes[number] >> 3)
    first = 0
    for part in range(len(parts)):
        for row in range(len(out)):
            key = at[part, row] if asked[part, KEYS] > 0 else -1
            begin = begins[first + key] if key >= 0 else 0
            end = begins[first + key + 1] if key >= 0 else 0
            trouble = OK
            if asked[part, IS_FOREIGN]:
                trouble = WRONG
            elif not asked[part, IS_THERE]:
                trouble = UNAVAILABLE
            elif end > begin and not _is_whole(words, begin, end, parts, part):
                trouble = WRONG
            for number in range(parts[part, FIRST_COLUMN], parts[part, END_COLUMN]):
                if trouble != OK:
                    status[row, number] = trouble
                else:
                    _value(words, begin, end, parts[part, FIRST_WORD], columns, number, row, out, present)
                    is_empty = present[row, number] == columns[number, HAS_EMPTY]
                    if columns[number, HAS_EMPTY] and out[row, number] != columns[number, EMPTY]:
                        is_empty = False
                    status[row, number] = STALE if asked[part, IS_STALE] else DEFAULTED if is_empty else OK
        first += asked[part, KEYS]
    return said_of(out.view(np.float64), present, status, columns, GIVES_FLOAT)


@kernel
def _is_whole(words: Any, begin: Any, end: Any, parts: Any, part: Any) -> Any:
    """Whether a span is a block of the part."""
    size, least = end - begin, parts[part, END_WORD]
    if size < least or words[begin + TAG] != parts[part, OF_TAG]:
        return False
    rest = words[begin + REST_BYTES]
    if rest < 0 or rest > 8 * size or size != least + (rest + 7) // 8:
        return False
    return words[begin + CHECKSUM] == checksum(words, begin, end)


@kernel
def _value(
    words: Any, begin: Any, end: Any, first: Any, columns: Any, number: Any, row: Any, out: Any, present: Any
) -> None:
    """The value of one column of a block, or of a key that has none."""
    if begin == end:
        out[row, number], present[row, number] = columns[number, EMPTY], columns[number, HAS_EMPTY] != 0
        return
    place = columns[number, PLACE]
    bits = words[begin + HEADER + (place >> 6)]
    present[row, number] = ((bits >> (place & 63)) & 1) != 0
    out[row, number] = words[begin + first + place]
