"""Partials as the job makes them: what of a group-by it is told, and how its tiles are read.

The job keeps of a *place* (a key, a day of availability, the start of a tile) what the online store keeps, in words and
IRs of the same form (`zipline.algebra.layout`, `zipline.algebra.codec`). What is kept of a group-by is a JSON text,
which the Java classes of `zipline.flink.algebra` read: in SQL the option `tile` of a table of the connector
`zipline-tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, Reader
from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.layout import WORD
from zipline.byte_strings import is_first, listed, rows_of
from zipline.clock import DAY
from zipline.engines.flink.messages import PLACE_SUFFIX, Message
from zipline.engines.flink.sharing import Shared, Tiles

_SUFFIX = np.dtype([("day", ">i4"), ("start", ">i8")])
assert _SUFFIX.itemsize == PLACE_SUFFIX.size


def opened(shared: Shared, messages: Sequence[Message]) -> Tiles:
    """The newest tile of each place in messages in the order in which they came; CodecError where one is damaged."""
    came = pa.concat_arrays([message.places for message in messages])
    order = pc.array_sort_indices(came)  # of equal ones the newest is the last: the sort is stable
    places = came.take(order)
    is_newest = pa.array(np.append(is_first(places)[1:], np.ones(min(len(places), 1), np.bool_)))
    places, order = places.filter(is_newest), order.filter(is_newest)
    suffixes = rows_of(pc.binary_slice(places, -_SUFFIX.itemsize), _SUFFIX)
    if suffixes is None:
        raise CodecError("a tile has no place")
    words, irs = contents(shared, pa.concat_arrays([message.tiles for message in messages]).take(order))
    keys = pc.binary_slice(places, 0, -_SUFFIX.itemsize)
    fresh = is_first(keys)
    return Tiles(
        shared, keys.filter(pa.array(fresh)), np.cumsum(fresh) - 1, suffixes["day"].astype(np.int64) * DAY, words, irs
    )


def contents(shared: Shared, tiles: pa.Array) -> tuple[NDArray[np.int64], Irs]:
    """(the words of tiles, a row each, their IRs); CodecError where one is damaged."""
    size = shared.layout.words * WORD
    has_irs = bool(shared.reductions)
    words = rows_of(pc.binary_slice(tiles, 0, size) if has_irs else tiles, ("<i8", shared.layout.words))
    if words is None:
        raise CodecError("a tile has not the length that its group-by gives it")
    return words.astype(np.int64, copy=False), [_irs(shared, blob, size) for blob in listed(tiles)] if has_irs else []


def _irs(shared: Shared, blob: bytes, size: int) -> list[object]:
    reader = Reader(blob, size)
    try:
        return list(reader.finish([reader.read() for _ in shared.reductions]))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:  # of text, days, keys and sketches
        raise CodecError(f"the results of a tile are damaged: {error}") from error
