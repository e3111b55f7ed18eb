"""The store in this process's memory: for tests and for an author's `LocalPlatform`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from zipline.clock import now
from zipline.stores.contract import GRACE, Ask, Generation, Item, Place, PlaceError
from zipline.stores.uploads import succeeded


class MemoryStore:
    """See `Store`."""

    writers = 1

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._lock = threading.Lock()
        self._values: dict[Place, dict[bytes, bytes]] = {}
        self._generations: dict[str, list[Generation]] = {}
        self._begun = 0

    def current(self, space: str) -> Generation | None:
        generations = self._generations.get(space)
        return generations[-1] if generations else None

    def generations(self, space: str) -> list[Generation]:
        return list(self._generations.get(space, ()))

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        with self._lock:
            return [self._found(place, keys) for place, keys in asks]

    def _found(self, place: Place, keys: Sequence[bytes]) -> list[Any]:
        values = self._values.get(place)
        if values is None:
            if place.generation is not None:
                raise PlaceError(f"the generation {place.generation} of {place.space} is not there any more")
            return [None] * len(keys)
        return [values.get(key) for key in keys]

    def remove(self, space: str) -> None:
        with self._lock:
            self._generations.pop(space, None)
            for place in [place for place in self._values if place.space == space]:
                del self._values[place]

    def upload(self, space: str, *, end: int, fingerprint: str) -> _Upload:
        with self._lock:
            self._begun += 1
            return _Upload(self, Generation(f"{self._begun:06}", end, fingerprint), space)

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        with self._lock:
            self._values.setdefault(Place(space), {}).update(items)

    def close(self) -> None:
        """Nothing is to be given back."""

    def publish(self, space: str, generation: Generation, values: dict[bytes, bytes]) -> None:
        """Makes a generation current, and drops those that have not been for a grace."""
        with self._lock:
            listing, dropped = succeeded(self._generations.get(space, []), generation, self._grace)
            for each in dropped:
                self._values.pop(Place(space, each.name), None)
            self._values[Place(space, generation.name)] = values
            self._generations[space] = listing


class _Upload:
    def __init__(self, store: MemoryStore, generation: Generation, space: str) -> None:
        self._store, self._generation, self._space = store, generation, space
        self._values: dict[bytes, bytes] = {}
        self._size = 0

    def __enter__(self) -> _Upload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._values = {}

    def put(self, items: Iterable[Item]) -> None:
        for key, value in items:
            self._values[key] = bytes(value)
            self._size += len(key) + len(value)

    def publish(self) -> Generation:
        begun = self._generation
        done = Generation(begun.name, begun.end, begun.fingerprint, len(self._values), self._size, now())
        self._store.publish(self._space, done, self._values)
        return done
