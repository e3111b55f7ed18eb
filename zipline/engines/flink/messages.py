"""Messages of tiles, as the job sends them: `zipline.flink.tiles.Message` says how they are laid out."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa

from zipline.byte_strings import of_lengths
from zipline.errors import DataError
from zipline.values import dataclass

VERSION = 1
PLACE_SUFFIX = struct.Struct(">iq")
"""What stands behind the key in a place: the day of availability (its number), and the tile's start."""
_HEADER = struct.Struct("<qqq")


@dataclass(frozen=True, eq=False)
class Message:
    """Whole tiles of one group-by: places, and the partial that each of them has (`zipline.byte_strings`)."""

    feed: int
    places: pa.Array
    tiles: pa.Array


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
    places = of_lengths(lengths[:count], content, begin)
    return Message(feed, places, of_lengths(lengths[count:], content, begin + int(lengths[:count].sum(dtype=np.int64))))
