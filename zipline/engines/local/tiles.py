"""Tiles from events, without a cluster: the embedded counterpart of the streaming job.

`TileWriter.add` takes the rows of a source as they arrive, in any order, and merges them into the tiles of their keys:
the finest first, then every coarser tile above one that changed, in one write. One process writes the tiles of a
group-by at a time.

What a stream must keep beside its tiles (how far it has read) is written with them, as `also`: where the store's
batches are whole or not at all, nothing is counted twice after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline import byte_strings
from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.layout import EVER_BEFORE, START, WIDTH
from zipline.algebra.windows import TILE_LEVELS, floor
from zipline.clock import DAY, HOUR
from zipline.engines.local.records import Available, Records, read_available, records
from zipline.plan.online import Kept
from zipline.stores.contract import Item, Place, Store
from zipline.stores.tiles import PROGRESS, Progress, all_coarse, all_fine
from zipline.tables.catalog import open_catalog

Ints = NDArray[np.int64]


class TileWriter:
    """Writes the tiles of one group-by. Where `own` is given, chunks not in it count as empty, and are added to it."""

    def __init__(self, kept: Kept, store: Store, space: str, own: set[bytes] | None = None) -> None:
        self._kept, self._store, self._space, self._own = kept, store, space, own
        self._form = kept.form

    def add(self, table: str, arrived: pa.Table) -> int:
        """Merges rows that arrived in the table of a source; gives how many the sources' conditions keep."""
        return self.take(read_available(self._kept, open_catalog({table: arrived}), only=table))

    def progress(self, until: int, also: Sequence[Item] = (), *, since: int = EVER_BEFORE) -> None:
        """Says that all events before `until` are in the tiles, but for some before `since`."""
        self._store.put_tiles(self._space, [(PROGRESS, Progress(until, since).written()), *also])

    def take(self, rows: Available, also: Sequence[Item] = ()) -> int:
        """Merges rows as they were read of the sources; gives how many there are. `also` is written with them."""
        tile = self._kept.tile
        found = records(self._kept, rows, lambda t: floor(t, tile), tile, floor(rows.available, DAY))
        if not len(found.words):
            if also:
                self._store.put_tiles(self._space, also)
            return 0
        self._write(
            byte_strings.of_values(found.keys), found.key, found.group, Tiles(found.words, found.irs, found.key), also
        )
        return int(sum(each.rows for each in rows.readings))

    def replace(self, keys: pa.Array, key: Ints, day: Ints, words: Ints, irs: Irs, also: Sequence[Item]) -> None:
        """Puts whole tiles of the finest level in the place of those there, each once.

        They are in the order of (key, day, start); `key` is the number of each one's key (`zipline.byte_strings`).
        One that has taken fewer rows than that which is there is an older one, and is left out.
        """
        self._write(keys, key, day, Tiles(words, irs, key), also, is_whole=True)

    def _write(
        self, keys: pa.Array, key: Ints, day: Ints, new: Tiles, also: Sequence[Item], *, is_whole: bool = False
    ) -> None:
        """Takes tiles of the finest level into their chunks, in the order of (key, day, start), and all above anew."""
        hours = floor(new.words[:, START], HOUR)
        chunk, firsts = _runs(key, day, hours)
        key, day = key[firsts], day[firsts]
        names = _named(keys, key, all_fine(day, hours[firsts]))
        levels = (self._kept.tile, *(width for width in TILE_LEVELS[:_HOURLY] if width > self._kept.tile))
        changed = self._merged(names, new._replace(chunk=chunk), levels, is_whole=is_whole)
        # Every hour that changed, as one tile, replaces the one that is in the coarse chunk.
        above, firsts = _runs(key, day)
        names_above = _named(keys, key[firsts], all_coarse(day[firsts]))
        top = changed.at(np.flatnonzero(changed.words[:, WIDTH] == TILE_LEVELS[_HOURLY - 1]))
        hourly = Tiles(*self._form.merged(_as_tiles(top.words, HOUR), top.irs, above[top.chunk]))
        done = self._merged(names_above, hourly, TILE_LEVELS[_HOURLY:], is_whole=True)
        items = [*self._items(names, changed), *self._items(names_above, done), *also]
        self._store.put_tiles(self._space, items)
        if self._own is not None:
            self._own.update(names, names_above)

    def _merged(self, names: list[bytes], new: Tiles, levels: Sequence[int], *, is_whole: bool) -> Tiles:
        """Chunks with these tiles of their finest level taken in, or in place of those there, and all above anew."""
        stored = self._stored(names)
        # What another definition's writer left is as nothing to this one: its chunks begin anew.
        opened = self._form.opened_alone(stored)
        chunk = np.repeat(np.arange(len(names)), np.diff(opened.offsets))
        old = Tiles(opened.words, self._form.irs_of(opened.packed), chunk)
        old = old.at(np.flatnonzero(old.words[:, WIDTH] == levels[0]))
        both = _together([old, new])
        if is_whole:
            both = both.at(self._newest(both, len(old.words)))
        level = Tiles(*self._form.merged(*both))
        found = [level]
        for width in levels[1:]:
            level = Tiles(*self._form.merged(_as_tiles(level.words, width), level.irs, level.chunk))
            found.append(level)
        return _by_chunk(found)

    def _newest(self, tiles: Tiles, old: int) -> Ints:
        """The places of the newest of each tile, of which the first `old` were there."""
        taken = tiles.words[:, self._kept.taken]
        order = np.lexsort((np.arange(len(tiles.words)) >= old, taken, tiles.words[:, START], tiles.chunk))
        same = (np.diff(tiles.words[order, START]) == 0) & (np.diff(tiles.chunk[order]) == 0)
        newest: Ints = order[np.append(~same, True)]
        return newest

    def _items(self, names: list[bytes], tiles: Tiles) -> Iterator[Item]:
        bounds = np.searchsorted(tiles.chunk, np.arange(len(names) + 1))
        blocks = chain.from_iterable(self._form.all_written(tiles.words, tiles.irs, bounds))
        return zip(names, blocks, strict=True)

    def _stored(self, names: list[bytes]) -> list[Any]:
        if self._own is None:
            return self._store.get([(Place(self._space), names)])[0]
        own = [name for name in names if name in self._own]
        found = dict(zip(own, self._store.get([(Place(self._space), own)])[0], strict=True))
        return [found.get(name) for name in names]


class Tiles(NamedTuple):
    """Records, and the number of the chunk in which each is."""

    words: Ints
    irs: Irs
    chunk: Ints

    def at(self, places: Ints) -> Tiles:
        """Those at these places."""
        return Tiles(self.words[places], [self.irs[n] for n in places.tolist()] if self.irs else [], self.chunk[places])


def with_tiles_from(end: int, kept: Kept, found: Records) -> Records:
    """Records of which those that begin at `end` or later are tiles of the finest level, with the levels above."""
    ahead = np.flatnonzero(found.words[:, START] >= end)
    if not len(ahead):
        return found
    found.words[ahead, WIDTH] = kept.tile
    level = Tiles(found.words, found.irs, found.key).at(ahead)
    every = [Tiles(found.words, found.irs, found.key)]
    for width in TILE_LEVELS:
        if width > kept.tile:
            level = Tiles(*kept.form.merged(_as_tiles(level.words, width), level.irs, level.chunk))
            every.append(level)
    words, irs, key = _by_chunk(every)
    return Records(found.keys, key, np.zeros(len(key), np.int64), words, irs)


_HOURLY = TILE_LEVELS.index(HOUR)


def _named(keys: pa.Array, key: Ints, places: NDArray[Any]) -> list[bytes]:
    """The names of chunks: of each its key, and what stands behind it."""
    return byte_strings.listed(byte_strings.joined(keys.take(pa.array(key)), byte_strings.of_rows(places)))


def _together(tiles: Sequence[Tiles]) -> Tiles:
    irs = [ir for each in tiles for ir in each.irs]
    return Tiles(np.concatenate([each.words for each in tiles]), irs, np.concatenate([each.chunk for each in tiles]))


def _by_chunk(tiles: Sequence[Tiles]) -> Tiles:
    every = _together(tiles)
    return every.at(np.argsort(every.chunk, kind="stable"))


def _runs(*columns: Ints) -> tuple[Ints, Ints]:
    """(the number of the run in which each place is, where each run begins): all columns are the same in a run."""
    fresh = np.ones(len(columns[0]), np.bool_)
    fresh[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.cumsum(fresh) - 1, np.flatnonzero(fresh)


def _as_tiles(words: Ints, level: int) -> Ints:
    """The records as those of the tiles of a coarser level in which they lie."""
    found = words.copy()
    found[:, START] = floor(words[:, START], level)
    found[:, WIDTH] = level
    return found
