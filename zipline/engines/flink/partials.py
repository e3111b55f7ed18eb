"""Partials as the job makes them: what of a group-by it is told, and how its tiles are read.

The job keeps of a *place* (a key, a day of availability, the start of a tile) what the online store keeps, in words and
IRs of the same form (`zipline.algebra.layout`, `zipline.algebra.codec`). What is kept of a group-by is a JSON text,
which the Java classes of `zipline.flink.algebra` read: in SQL the option `tile` of a table of the connector
`zipline-tiles`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, Reader
from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.layout import WORD
from zipline.clock import DAY
from zipline.engines.flink.messages import PLACE_SUFFIX
from zipline.engines.flink.sharing import Shared, Tiles

_SUFFIX = np.dtype([("day", ">i4"), ("start", ">i8")])
assert _SUFFIX.itemsize == PLACE_SUFFIX.size


def opened(shared: Shared, tiles: Mapping[bytes, bytes]) -> Tiles:
    """Tiles by their places; CodecError where one is damaged."""
    places = sorted(tiles)
    words, irs = contents(shared, [tiles[place] for place in places])
    suffixes = np.frombuffer(b"".join([place[-_SUFFIX.itemsize :] for place in places]), _SUFFIX)
    keys, key = _keys([place[: -_SUFFIX.itemsize] for place in places])
    return Tiles(shared, keys, key, suffixes["day"].astype(np.int64) * DAY, words, irs)


def contents(shared: Shared, blobs: Sequence[bytes]) -> tuple[NDArray[np.int64], Irs]:
    """(the words of tiles, a row each, their IRs); CodecError where one is damaged."""
    size = shared.layout.words * WORD
    has_irs = bool(shared.reductions)
    if any(len(blob) < size or (len(blob) > size and not has_irs) for blob in blobs):
        raise CodecError("a tile has not the length that its group-by gives it")
    words = np.frombuffer(b"".join([blob[:size] for blob in blobs]), "<i8").reshape(-1, shared.layout.words)
    return words.astype(np.int64, copy=False), [_irs(shared, blob, size) for blob in blobs] if has_irs else []


def _irs(shared: Shared, blob: bytes, size: int) -> list[object]:
    reader = Reader(blob, size)
    try:
        return list(reader.finish([reader.read() for _ in shared.reductions]))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:  # of text, days, keys and sketches
        raise CodecError(f"the results of a tile are damaged: {error}") from error


def _keys(each: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.int64]]:
    """(the distinct ones of what is in order, the number of each one's)."""
    found = list(dict.fromkeys(each))
    number = {key: n for n, key in enumerate(found)}
    return found, np.array([number[key] for key in each], np.int64)
