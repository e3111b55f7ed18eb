"""The tiles of one group-by, fed with whole tiles: what a streaming job sends of them.

A tile is put in the place of the one that is there, so it may come again, and a message may be read again: many are
written in several batches, so that no store is busy with one for long, each of other keys, so that some can be written
side by side. How far the messages have been read stands beside the tiles all the same, and is in the last of the
batches (`zipline.orchestration.events.standing`): a store that is lost takes it with it, and is filled anew from what
messages there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from zipline.engines.flink.sharing import Tiles
from zipline.orchestration.events import standing
from zipline.stores.contract import Item

AT_ONCE = 8192
"""Tiles of a batch."""


class TileFeed(standing.Tiles):
    """See the module. One thread uses a feed, and one process has one of a group-by."""

    engine = standing.FLINK

    def skip(self, log: str, offset: int) -> None:
        """What stands in a log before an offset cannot be had."""
        self._logs = {**self._logs, log: {"0": offset}}

    def put(self, log: str, tiles: Tiles | None, offset: int) -> None:
        """Writes tiles, of which this group-by takes its own, that stand in a log before an offset; None are none."""
        logs = {**self._logs, log: {"0": offset}}
        if tiles is None:
            self._logs = logs
            return
        *parts, last = tiles.of(self.kept).parts(AT_ONCE)
        with self._writing(logs) as also:
            self._write(parts)
            self._replace(last, also)

    def _write(self, parts: Sequence[Tiles]) -> None:
        """All of them, or, when one fails, some: then none is being written any more."""
        if self._store.writers == 1 or len(parts) <= 1:
            for part in parts:
                self._replace(part)
            return
        with ThreadPoolExecutor(self._store.writers) as threads:
            for _ in threads.map(self._replace, parts):
                pass

    def _replace(self, part: Tiles, also: Sequence[Item] = ()) -> None:
        self._writer.replace(part.keys, part.key, part.day, part.words, part.irs, also)
