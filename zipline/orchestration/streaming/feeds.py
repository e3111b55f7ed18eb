"""The tiles of one group-by, fed with whole tiles: what a streaming job sends of them.

A tile is put in the place of the one that is there, so it may come again, and a message may be read again. How far the
messages have been read stands beside the tiles all the same (`zipline.orchestration.events.standing`): a store that is
lost takes it with it, and is filled anew from what messages there are.
"""

from __future__ import annotations

from zipline.engines.flink.sharing import Tiles
from zipline.orchestration.events import standing


class TileFeed(standing.Tiles):
    """See the module. One thread uses a feed, and one process has one of a group-by."""

    engine = standing.FLINK

    def put(self, log: str, tiles: Tiles | None, offset: int) -> None:
        """Writes tiles, of which this group-by takes its own, that stand in a log before an offset; None are none."""
        logs = {**self._logs, log: {"0": offset}}
        if tiles is None:
            self._logs = logs
            return
        own = tiles.of(self.kept)
        with self._writing(logs) as also:
            self._writer.replace(own.keys, own.key, own.day, own.words, own.irs, also)
