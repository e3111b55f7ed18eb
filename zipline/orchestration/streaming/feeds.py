"""The tiles of one group-by, fed with whole tiles: what a streaming job sends of them.

A tile is put in the place of the one that is there, so it may come again, and a message may be read again. How far the
messages have been read stands beside the tiles all the same (`zipline.orchestration.events.standing`): a store that is
lost takes it with it, and is filled anew from what messages there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from zipline.clock import DAY
from zipline.engines.flink.messages import PLACE_SUFFIX
from zipline.engines.flink.partials import opened
from zipline.orchestration.events.standing import FLINK, Tiles

_SUFFIX = np.dtype([("day", ">i4"), ("start", ">i8")])
assert _SUFFIX.itemsize == PLACE_SUFFIX.size


class TileFeed(Tiles):
    """See the module. One thread uses a feed, and one process has one of a group-by."""

    engine = FLINK

    def put(self, log: str, tiles: Mapping[bytes, bytes], offset: int) -> None:
        """Writes tiles, by their places, that stand in a log before an offset."""
        logs = {**self._logs, log: {"0": offset}}
        if not tiles:
            self._logs = logs
            return
        places = sorted(tiles)
        words, irs = opened(self.kept, [tiles[place] for place in places])
        suffixes = np.frombuffer(b"".join([place[-_SUFFIX.itemsize :] for place in places]), _SUFFIX)
        keys, key = _keys([place[: -_SUFFIX.itemsize] for place in places])
        with self._writing(logs) as also:
            self._writer.replace(keys, key, suffixes["day"].astype(np.int64) * DAY, words, irs, also)


def _keys(each: Sequence[bytes]) -> tuple[list[bytes], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """(the distinct ones of what is in order, the number of each one's)."""
    found = list(dict.fromkeys(each))
    number = {key: n for n, key in enumerate(found)}
    return found, np.array([number[key] for key in each], np.int64)
