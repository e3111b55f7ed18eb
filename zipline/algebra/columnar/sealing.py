"""Checksums of blocks (`zipline.algebra.layout`): what was damaged is never read.

Every step of `checksum` is one to one, so a block in which any one word is another has another checksum; of blocks that
differ in more, one in 2^64 has the same. Words go round four lanes, as one would wait for each multiplication.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.layout import CHECKSUM

_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
FIRST = CHECKSUM + 1


@kernel
def checksum(words: Any, begin: Any, end: Any) -> Any:
    """Of the block `words[begin:end]`, all but the word where it is written."""
    a = np.uint64(end - begin)
    b = c = d = a
    place = begin + FIRST
    while place + 4 <= end:
        a, b = _with(a, words[place]), _with(b, words[place + 1])
        c, d = _with(c, words[place + 2]), _with(d, words[place + 3])
        place += 4
    while place < end:
        a = _with(a, words[place])
        place += 1
    for rest in range(begin, begin + FIRST):
        if rest != begin + CHECKSUM:
            b = _with(b, words[rest])
    return np.int64(_with(_with(_with(a, b), c), d))


@kernel
def _with(found: Any, word: Any) -> Any:
    found = (found ^ np.uint64(word)) * _ODD
    return found ^ (found >> _HALF)


@kernel
def seal(words: Any, ends: Any) -> None:
    """Writes the checksums of blocks laid one behind the other, from each of `ends` to the next."""
    for block in range(len(ends) - 1):
        words[ends[block] + CHECKSUM] = checksum(words, ends[block], ends[block + 1])


def are_whole(words: Any, ends: Any) -> Any:
    """Whether each of the blocks that lie from one of `ends` to the next has its checksum."""
    return blocks_are_whole(words, ends[:-1], ends[1:])


@kernel
def blocks_are_whole(words: Any, begins: Any, ends: Any) -> Any:
    """Whether each of the blocks has its checksum."""
    found = np.zeros(len(begins), np.bool_)
    for block in range(len(found)):
        begin, end = begins[block], ends[block]
        found[block] = end - begin > CHECKSUM and words[begin + CHECKSUM] == checksum(words, begin, end)
    return found
