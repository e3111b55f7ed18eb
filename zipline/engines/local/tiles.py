"""Tiles from events, without a cluster: the embedded counterpart of the streaming job.

`TileWriter.add` takes the rows of a source as they arrive, in any order, and merges them into the tiles of their keys:
the finest first, then every coarser tile above one that changed, in one write. One process writes the tiles of a
group-by at a time.

What a stream must keep beside its tiles (how far it has read) is written with them, as `also`: where the store's
batches are whole or not at all, nothing is counted twice after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.layout import START, WIDTH
from zipline.algebra.windows import TILE_LEVELS, floor
from zipline.clock import DAY, HOUR
from zipline.engines.local.records import Available, read_available, records
from zipline.plan.online import Kept
from zipline.stores.contract import Item, Place, Store
from zipline.stores.tiles import PROGRESS, coarse, fine
from zipline.tables.catalog import open_catalog

Ints = NDArray[np.int64]


class TileWriter:
    """Writes the tiles of one group-by. Where `own` is given, chunks not in it count as empty, and are added to it."""

    def __init__(self, kept: Kept, store: Store, space: str, own: set[bytes] | None = None) -> None:
        self._kept, self._store, self._space, self._own = kept, store, space, own
        self._form = kept.form

    def add(self, table: str, arrived: pa.Table) -> int:
        """Merges rows that arrived in the table of a source; gives how many the sources' conditions keep."""
        return self.take(read_available(self._kept.group_by, open_catalog({table: arrived}), only=table))

    def progress(self, until: int, also: Sequence[Item] = ()) -> None:
        """Says that all events before `until` are in the tiles."""
        self._store.put_tiles(self._space, [(PROGRESS, until.to_bytes(8, "little")), *also])

    def take(self, rows: Available, also: Sequence[Item] = ()) -> int:
        """Merges rows as they were read of the sources; gives how many there are. `also` is written with them."""
        tile = self._kept.tile
        found = records(self._kept, rows, lambda t: floor(t, tile), tile, floor(rows.available, DAY))
        if not len(found.words):
            if also:
                self._store.put_tiles(self._space, also)
            return 0
        hours = floor(found.words[:, START], HOUR)
        names = [found.keys[k] + fine(d, h) for k, d, h in _listed(found.key, found.group, hours)]
        changed = self._merged(names, found.words, found.irs, TILE_LEVELS[: TILE_LEVELS.index(HOUR)])
        # Every hour that changed, as one tile, replaces the one that is in the coarse chunk.
        keys = [name[:-8] + coarse(int(day)) for name, day in zip(names, found.group.tolist(), strict=True)]
        above = dict(zip(names, keys, strict=True))
        hour_names, hour_words, hour_irs = [], [], []
        for name, (words, irs) in changed.items():
            top = words[:, WIDTH] == TILE_LEVELS[TILE_LEVELS.index(HOUR) - 1]
            hour_words.append(_as_tiles(words[top], HOUR))
            hour_irs += [irs[n] for n in np.flatnonzero(top).tolist()] if irs else []
            hour_names += [above[name]] * int(top.sum())
        merged, merged_irs, groups = self._form.merged(
            np.concatenate(hour_words), hour_irs, _codes(hour_names, order := list(dict.fromkeys(hour_names)))
        )
        hourly = [order[n] for n in groups.tolist()]
        done = self._merged(hourly, merged, merged_irs, TILE_LEVELS[TILE_LEVELS.index(HOUR) :], replace=True)
        items = [(name, self._form.written(*records_)) for name, records_ in (changed | done).items()]
        self._store.put_tiles(self._space, [*items, *also])
        if self._own is not None:
            self._own.update(name for name, _ in items)
        return int(sum(each.rows for each in rows.readings))

    def _merged(
        self, names: list[bytes], words: Ints, irs: Irs, levels: tuple[int, ...], *, replace: bool = False
    ) -> dict[bytes, tuple[Ints, Irs]]:
        """Chunks with these tiles of their finest level taken in, or in place of those there, and all above anew."""
        order = list(dict.fromkeys(names))
        finest = self._kept.tile if not replace else levels[0]
        levels = tuple(level for level in levels if level >= finest)
        stored = self._stored(order)
        # What another definition's writer left is as nothing to this one: its chunks begin anew.
        opened = self._form.opened([[block] if self._form.is_own(block) else [] for block in stored])
        old_irs = self._form.irs_of(opened.packed)
        groups = np.repeat(np.arange(len(order)), np.diff(opened.offsets))
        new = _codes(names, order)
        kept = opened.words[:, WIDTH] == finest
        if replace:
            replaced = set(zip(new.tolist(), words[:, START].tolist(), strict=True))
            pairs = zip(groups.tolist(), opened.words[:, START].tolist(), strict=True)
            kept &= np.array([pair not in replaced for pair in pairs], np.bool_)
        all_words = np.concatenate([opened.words[kept], words])
        all_irs = [old_irs[n] for n in np.flatnonzero(kept).tolist()] + irs if self._kept.reductions else []
        level_words, level_irs, level_groups = self._form.merged(
            all_words, all_irs, np.concatenate([groups[kept], new])
        )
        found_words, found_irs, found_groups = [level_words], [level_irs], [level_groups]
        for level in levels[1:]:
            level_words, level_irs, level_groups = self._form.merged(
                _as_tiles(level_words, level), level_irs, level_groups
            )
            found_words.append(level_words)
            found_irs.append(level_irs)
            found_groups.append(level_groups)
        return _by_chunk(order, np.concatenate(found_words), [ir for some in found_irs for ir in some], found_groups)

    def _stored(self, names: list[bytes]) -> list[Any]:
        if self._own is None:
            return self._store.get([(Place(self._space), names)])[0]
        own = [name for name in names if name in self._own]
        found = dict(zip(own, self._store.get([(Place(self._space), own)])[0], strict=True))
        return [found.get(name) for name in names]


def _by_chunk(names: list[bytes], words: Ints, irs: Irs, groups: Sequence[Ints]) -> dict[bytes, tuple[Ints, Irs]]:
    """The records of each chunk, by its name; `groups` are the chunks' numbers."""
    group = np.concatenate(groups)
    order = np.argsort(group, kind="stable")
    words = words[order]
    irs = [irs[n] for n in order.tolist()] if irs else []
    ends = np.cumsum(np.bincount(group, minlength=len(names))).tolist()
    begins = [0, *ends[:-1]]
    found = zip(names, begins, ends, strict=True)
    return {name: (words[begin:end], irs[begin:end]) for name, begin, end in found}


def _as_tiles(words: Ints, level: int) -> Ints:
    """The records as those of the tiles of a coarser level in which they lie."""
    found = words.copy()
    found[:, START] = floor(words[:, START], level)
    found[:, WIDTH] = level
    return found


def _codes(names: list[bytes], order: list[bytes]) -> Ints:
    place = {name: number for number, name in enumerate(order)}
    return np.array([place[name] for name in names], np.int64)


def _listed(*arrays: Any) -> Any:
    return zip(*(array.tolist() for array in arrays), strict=True)
