"""Many byte strings in one Arrow array (`large_binary`, without nulls): keys and values of a store, a batch at a time.

What a loop over bytes costs a microsecond for each is done here for all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BYTES = pa.large_binary()


def of_values(values: Iterable[bytes]) -> pa.Array:
    """These."""
    return pa.array(values, BYTES)


def of_lengths(lengths: NDArray[Any], content: bytes, begin: int = 0) -> pa.Array:
    """Those that lie in `content` one behind the other, from `begin` on."""
    return _laid(np.append(0, np.cumsum(lengths, dtype=np.int64)) + begin, content)


def of_rows(rows: NDArray[Any]) -> pa.Array:
    """The bytes of each row of a table, all of which are of one width."""
    found = np.ascontiguousarray(rows)
    width = found.dtype.itemsize * found.shape[1]
    return _laid(np.arange(len(found) + 1, dtype=np.int64) * width, found)


def _laid(offsets: NDArray[np.int64], content: Any) -> pa.Array:
    return pa.Array.from_buffers(BYTES, len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def joined(*parts: pa.Array) -> pa.Array:
    """Each of the first, with each of the others behind it."""
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", BYTES))


def listed(found: pa.Array) -> list[bytes]:
    """Each as `bytes`."""
    offsets, content = _buffers(found)
    return pieces(content.to_pybytes(), offsets.tolist())


def pieces(content: bytes, offsets: Sequence[int]) -> list[bytes]:
    """What lies from each of `offsets` to the next."""
    return [content[first:last] for first, last in pairwise(offsets)]


def rows_of(found: pa.Array, dtype: Any) -> NDArray[Any] | None:
    """A row of such values for each, or None where they are not all of that length."""
    offsets, content = _buffers(found)
    size = np.dtype(dtype).itemsize
    if (np.diff(offsets) != size).any():
        return None
    return np.frombuffer(content, dtype, len(found), offsets[0] if len(found) else 0)


def is_first(found: pa.Array) -> NDArray[np.bool_]:
    """Whether each is another than the one before."""
    fresh = np.ones(len(found), np.bool_)
    fresh[1:] = pc.not_equal(found[1:], found[:-1]).to_numpy(zero_copy_only=False)
    return fresh


def _buffers(found: pa.Array) -> tuple[NDArray[np.int64], Any]:
    _, offsets, content = found.buffers()
    places = np.frombuffer(offsets, np.int64)[found.offset : found.offset + len(found) + 1]
    return places, pa.py_buffer(b"") if content is None else content
