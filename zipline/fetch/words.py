"""What a store gave, as a kernel takes it: one behind the other, as words, and the bytes of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.columnar.folding import CROOKED
from zipline.algebra.layout import WORD
from zipline.fetch.results import Block

Ints = NDArray[np.int64]
BROKEN = bytes(WORD)
"""What no kernel takes for a block."""
_NO_WORDS = np.zeros(0, np.int64)
_NO_WORDS.flags.writeable = False


def computed(
    kernel: Callable[..., int],
    values: Sequence[Any],
    tables: Sequence[Any],
    shape: tuple[int, int],
    times: Sequence[int | None],
) -> Block:
    """What the kernel makes of values (bytes, views of them, or None) and tables: (rows, features)."""
    found = [b"" if value is None else value or BROKEN for value in values]
    out, present, status = np.zeros(shape, np.int64), np.zeros(shape, np.bool_), np.zeros(shape, np.uint8)
    said = kernel(*_words(found), *tables, out, present, status)
    if said == CROOKED:
        whole = [value if len(value) % WORD == 0 else BROKEN for value in found]
        said = kernel(*_words(whole), *tables, out, present, status)
    return Block(out, present, status, times, said)


def _words(values: Sequence[Any]) -> tuple[Ints, Ints]:
    joined = b"".join(values)
    words = np.frombuffer(joined, np.int64, len(joined) // WORD) if joined else _NO_WORDS
    return words, np.fromiter(map(len, values), np.int64, len(values))
