"""Messages of tiles, as the job sends them: `zipline.flink.tiles.Message` says how they are laid out."""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise

import numpy as np

from zipline.errors import DataError
from zipline.values import dataclass

VERSION = 1
PLACE_SUFFIX = struct.Struct(">iq")
"""What stands behind the key in a place: the day of availability (its number), and the tile's start."""
_HEADER = struct.Struct("<qqq")


@dataclass(frozen=True, eq=False)
class Message:
    """Whole tiles of one group-by: each place once, and the partial that it has."""

    feed: int
    places: list[bytes]
    tiles: list[bytes]


def read_message(content: bytes) -> Message:
    """DataError where it is none, or is of another release."""
    if len(content) < _HEADER.size:
        raise DataError(f"a message of tiles is cut off: it has {len(content)} bytes")
    version, feed, count = _HEADER.unpack_from(content)
    if version != VERSION:
        raise DataError(f"a message of tiles of version {version}, this release reads version {VERSION}")
    begin = _HEADER.size + 8 * count
    if count < 0 or len(content) < begin:
        raise DataError("a message of tiles is cut off")
    lengths = np.frombuffer(content, "<i4", 2 * count, _HEADER.size)
    if (lengths < 0).any() or begin + int(lengths.sum(dtype=np.int64)) != len(content):
        raise DataError("a message of tiles has not the length that it says")
    ends = list(accumulate(lengths.tolist(), initial=begin))
    parts = [content[first:last] for first, last in pairwise(ends)]
    return Message(feed, parts[:count], parts[count:])
