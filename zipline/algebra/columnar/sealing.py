"""Checksums of blocks (`zipline.algebra.layout`): what was damaged is never read.

Every step of `checksum` is one to one, so a block in which any one word is another has another checksum; of blocks that
differ in more, one in 2^64 has the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.layout import CHECKSUM

_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


@kernel
def checksum(words: Any, begin: Any, end: Any) -> Any:
    """Of the block `words[begin:end]`, all but the word where it is written."""
    found = np.uint64(end - begin)
    for place in range(begin, end):
        if place != begin + CHECKSUM:
            found = (found ^ np.uint64(words[place])) * _ODD
            found ^= found >> _HALF
    return np.int64(found)


@kernel
def seal(words: Any, ends: Any) -> None:
    """Writes the checksums of blocks laid one behind the other, from each of `ends` to the next."""
    for block in range(len(ends) - 1):
        words[ends[block] + CHECKSUM] = checksum(words, ends[block], ends[block + 1])


@kernel
def are_whole(words: Any, ends: Any) -> Any:
    """Whether each of the blocks has its checksum."""
    found = np.zeros(len(ends) - 1, np.bool_)
    for block in range(len(found)):
        begin, end = ends[block], ends[block + 1]
        found[block] = end - begin > CHECKSUM and words[begin + CHECKSUM] == checksum(words, begin, end)
    return found
