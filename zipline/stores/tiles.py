"""Where tiles stand in a store: in chunks, few enough that a fetch reads a handful for a key.

A tile is what became available on one day and happened in one hop. The tiles of a key that became available on a day
stand in one chunk for the coarse ones (1 h, 6 h, 1 d) and one for each hour of event time that has finer ones. A chunk
is a block of records (`zipline.algebra.layout`), so a reader takes from it what its windows see, and nothing is listed.

So a fetch reads, for each day since the upload, the coarse chunk; the fine chunk of the query's own hour; and that of
each hour in which a window begins. The hours between are covered by coarse tiles. What became available on a day has
happened by its end; but a change may be of a row whose time is yet to come, so of changes later hours are read too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import DAY, HOUR

PROGRESS = b"\0"
"""The key of a space's tiles under which its writer says until when it has seen all events."""
POSITION = b"\xfe"
"""The key under which the writer says how far it has read its logs. No group-by's key begins with this byte."""
COARSE = -(1 << 31)
_PLACE = struct.Struct(">ii")
SUFFIX = _PLACE.size
"""Bytes that stand behind the key of what the chunk is of."""
_NEVER = _PLACE.pack((1 << 31) - 1, COARSE)
_PROGRESS = struct.Struct("<qq")


class Progress(NamedTuple):
    """All events that came before `until` and not before `since` are in the tiles (microseconds). Some of those before
    `since` were gone before they were read."""

    until: int
    since: int = EVER_BEFORE

    def written(self) -> bytes:
        """What stands under PROGRESS."""
        return _PROGRESS.pack(*self)

    @classmethod
    def of(cls, found: bytes) -> Progress:
        """What was written."""
        return cls(*_PROGRESS.unpack(found))


def coarse(day: int) -> bytes:
    """What stands behind the key of the coarse tiles that became available on the day that begins at `day`."""
    return _PLACE.pack(day // DAY, COARSE)


def fine(day: int, t: int) -> bytes:
    """The same of the fine tiles of the hour of `t`."""
    return _PLACE.pack(day // DAY, t // HOUR)


def all_coarse(days: NDArray[np.int64]) -> NDArray[Any]:
    """`coarse` of each day, as rows."""
    return _placed(days, np.full(len(days), COARSE))


def all_fine(days: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[Any]:
    """`fine` of each day and time, as rows."""
    return _placed(days, times // HOUR)


def _placed(days: NDArray[np.int64], hours: NDArray[np.int64]) -> NDArray[Any]:
    found: NDArray[Any] = np.stack([days // DAY, hours], axis=1).astype(">i4")
    return found


def seen(number: int, bucket: bytes) -> bytes:
    """The key under which the writer keeps ids of events. It ends as the chunks of a day that never comes, so that a
    store that deletes old chunks, or keeps a key's chunks together, has no rule of its own for it."""
    return POSITION + bytes([number]) + bucket + _NEVER


def day_of(key: bytes) -> int | None:
    """The availability day of a chunk with this key; None for what is no chunk."""
    return _PLACE.unpack(key[-SUFFIX:])[0] * DAY if len(key) > SUFFIX else None


def behind(key: bytes) -> bytes:
    """Where the chunks of the next key may begin: behind all those of the key that this chunk is of.

    No key is the beginning of another one (`zipline.stores.keys`), so none lies in between.
    """
    return key[:-SUFFIX] + b"\xff" * SUFFIX


def chunks(first_day: int, q: int, high: int, starts: Iterable[int], *, ahead: bool = False) -> list[bytes]:
    """What stands behind the keys of all chunks that a query at `q` needs of what became available from `first_day` on.

    `high` is where its finest tile ends, `starts` are where its windows begin. With `ahead` a row may have become
    available before it happens.
    """
    edges = {start // HOUR * HOUR for start in starts if start % HOUR}
    edges |= {high - high % HOUR} if high % HOUR else set()
    found = []
    for day in range(first_day, q - q % DAY + 1, DAY):
        found.append(coarse(day))
        found += [fine(day, hour) for hour in sorted(edges) if ahead or hour < day + DAY]
    return found
