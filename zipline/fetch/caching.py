"""What was read of a key, used again for a while: the cache that a group-by declares, `GroupBy(cache="5s")`.

Kept of a key is all that a fetch reads of it: its block of the upload, its chunks of tiles, and how far their stream
had come, read in one question. A fetch of the present that comes at most `cache` later takes it instead of the store's:
it is computed as of its own time, over what had arrived when that was read, and says so by its data time. An entry is
of one generation and one set of chunks: a new upload, midnight, or a window that begins in another hour ends it, and so
does its time. Nothing is refreshed while it is kept, so no value is older than the bound.

Entries are bounded in number and in bytes; what was not used for longest goes first. Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from zipline.clock import SECOND, monotonic
from zipline.fetch.asked import RowKeys
from zipline.stores.contract import Generation
from zipline.stores.tiles import Progress

MOST_ENTRIES = 100_000
MOST_BYTES = 64 << 20
OVERHEAD, OF_CHUNK = 400, 40
"""Bytes that an entry takes besides its values, and for each of its chunks."""

Counted: TypeAlias = Callable[[str, int, int], None]
"""(space, hits, misses)"""
Key: TypeAlias = tuple[str, bytes]
"""(space, key)"""


class Entry(NamedTuple):
    """What was there of a key, and since when it may be older than that (microseconds of the cache's clock)."""

    generation: str
    suffixes: tuple[bytes, ...]
    at: int
    blob: bytes | None
    tiles: tuple[bytes | None, ...]
    progress: bytes | None

    def size(self, key: bytes) -> int:
        values = sum(len(value) for value in (self.blob, *self.tiles) if value is not None)
        return OVERHEAD + len(key) + values + OF_CHUNK * len(self.tiles)


def micros() -> int:
    """A clock that never goes back."""
    return int(monotonic() * SECOND)


class FetchCache:
    """See the module. `counted` is told of every look."""

    def __init__(
        self,
        *,
        entries: int = MOST_ENTRIES,
        size: int = MOST_BYTES,
        clock: Callable[[], int] = micros,
        counted: Counted | None = None,
    ) -> None:
        self.clock = clock
        self._most, self._most_bytes, self._counted = entries, size, counted
        self._guard = threading.Lock()
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._generations: dict[str, tuple[int, Generation]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def saw(self, space: str, generation: Generation) -> None:
        """The generation that is current now."""
        self._generations[space] = self.clock(), generation

    def seen(self, space: str, bound: int) -> Generation | None:
        """The one that was, while the store cannot be asked; None where that is longer ago than the bound."""
        at, generation = self._generations.get(space, (0, None))
        return generation if self.clock() - at <= bound else None

    def find(
        self, space: str, generation: str, suffixes: tuple[bytes, ...], keys: Iterable[bytes], bound: int
    ) -> dict[bytes, Entry]:
        """Those of the keys that are kept of this generation and these chunks, and no older than the bound."""
        found: dict[bytes, Entry] = {}
        oldest, asked = self.clock() - bound, 0
        with self._guard:
            for key in keys:
                asked += 1
                entry = self._entries.get((space, key))
                if (
                    entry is not None
                    and entry.at >= oldest
                    and entry.generation == generation
                    and entry.suffixes == suffixes
                ):
                    self._entries.move_to_end((space, key))
                    found[key] = entry
        if self._counted is not None:
            self._counted(space, len(found), asked - len(found))
        return found

    def keep(self, space: str, entries: Mapping[bytes, Entry]) -> None:
        """Keeps what was read, unless something newer is kept already."""
        with self._guard:
            for key, entry in entries.items():
                before = self._entries.pop((space, key), None)
                if before is not None:
                    self.size -= before.size(key)
                kept = before if before is not None and before.at > entry.at else entry
                self._entries[space, key] = kept
                self.size += kept.size(key)
            while len(self._entries) > self._most or self.size > self._most_bytes:
                (_, key), dropped = self._entries.popitem(last=False)
                self.size -= dropped.size(key)


class Cached:
    """One part of one fetch: what of its keys the cache has, what is to be read, and both together."""

    def __init__(
        self,
        cache: FetchCache,
        bound: int,
        space: str,
        generation: Generation,
        suffixes: Sequence[bytes],
        keys: RowKeys,
    ) -> None:
        self._cache, self._space, self._generation = cache, space, generation
        self._suffixes, self._keys = tuple(suffixes), keys
        self._at = cache.clock()
        self._hits = cache.find(space, generation.name, self._suffixes, keys.some, bound)
        self.missing = [key for key in keys.some if key not in self._hits]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to be read."""
        return bool(self._hits) and not self.missing

    def together(self, answer: Sequence[Sequence[Any]] | None) -> tuple[list[Sequence[Any]] | None, list[int]]:
        """(what a read of all keys would have given, the rows of which nothing is known); `answer` is of the missing
        ones, None where they could not be read.

        How far the stream had come is the least of what was read when.
        """
        if not self._hits:
            if answer is not None:
                self._keep(answer)
            return None if answer is None else list(answer), []
        entries = self._hits if answer is None or not self.missing else self._hits | self._keep(answer)
        of = [entries.get(key) for key in self._keys.some]
        blobs = [None if entry is None else entry.blob for entry in of]
        rows = [number for number, place in enumerate(self._keys.at) if place >= 0 and of[place] is None]
        if not self._suffixes:
            return [blobs], rows
        nothing = (None,) * len(self._suffixes)
        tiles = [value for entry in of for value in (nothing if entry is None else entry.tiles)]
        return [blobs, [_least({entry.progress for entry in entries.values()}), *tiles]], rows

    def _keep(self, answer: Sequence[Sequence[Any]]) -> dict[bytes, Entry]:
        blobs = [_copied(value) for value in answer[0]]
        progress, *tiles = [_copied(value) for value in answer[1]] if len(answer) > 1 else [None]
        width, name = len(self._suffixes), self._generation.name
        found = {
            key: Entry(name, self._suffixes, self._at, blob, tuple(tiles[n * width : (n + 1) * width]), progress)
            for n, (key, blob) in enumerate(zip(self.missing, blobs, strict=True))
        }
        self._cache.keep(self._space, found)
        return found


def _copied(value: Any) -> bytes | None:
    """What a store gives may hold until it is asked again, no longer."""
    return None if value is None else bytes(value)


def _least(progress: Collection[bytes | None]) -> bytes | None:
    """What all of them say; None, which says that no stream has come, is the least of all."""
    some = [Progress.of(each) for each in progress if each is not None]
    if len(some) < len(progress):
        return None
    return Progress(min(each.until for each in some), max(each.since for each in some)).written()
