"""Work on large arrays by all cores: kernels release the interpreter lock, so plain threads do.

Small arrays are done in the caller's thread. How the work is divided never changes a result.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREADS = os.cpu_count() or 1
WORTHWHILE = 200_000
"""Rows below which starting threads costs more than they save."""


def slices(rows: int) -> list[tuple[int, int]]:
    """The rows 0..rows in as many equal parts as are worth a thread of their own."""
    parts = min(THREADS, rows // WORTHWHILE) or 1
    return [(rows * n // parts, rows * (n + 1) // parts) for n in range(parts)]


def balanced(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The runs in parts of about as many rows."""
    bounds = np.searchsorted(offsets, [last for _, last in slices(int(offsets[-1]))][:-1])
    places = [0, *(int(place) for place in bounds), len(offsets) - 1]
    return list(itertools.pairwise(places))


def in_threads(work: Callable[..., Any], parts: Sequence[tuple[int, ...]]) -> None:
    """work(*part) for every part."""
    if len(parts) == 1:
        work(*parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        for future in [pool.submit(work, *part) for part in parts]:
            future.result()
