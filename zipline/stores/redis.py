"""Redis: a store that many machines share.

    <space>:generations                 those that can be read, the current one last, as JSON
    <space>:begun                       names of uploads that are going on, or were killed
    <space>:alive:<generation>          as long as somebody is at that upload
    <space>:<generation>:keys           a list of the generation's keys, so that it can be dropped without looking
    <space>:<generation>:<key>          a value of an upload
    <space>::<key>                      tiles; what is older than TILES_KEPT goes when an upload is published

A fetch is one MGET, whatever it reads. A reader looks for a new generation once a second; what is replaced stays for
the grace, which is longer. Readers wait for half a second at most, and spare a server that fails (`sparing`); writers,
for whom nobody waits, are patient. A listing that is damaged makes its space unavailable, and the next upload begins a
new one.

A batch of tiles is one MSET: a time to live for each would cost the server four times as much. Old ones are found by
looking through all keys, some at a time.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from types import TracebackType
from typing import Any

import msgspec
import redis

from zipline.clock import monotonic, now
from zipline.stores.contract import GRACE, TILES_KEPT, Ask, Generation, Item, Place, PlaceError, StoreError
from zipline.stores.sparing import Sparing
from zipline.stores.tiles import POSITION, PROGRESS, day_of
from zipline.stores.uploads import Ascending, batches, decoded, encoded, readable, succeeded

LOOK_AGAIN = 1.0
"""Seconds for which a reader does not ask whether there is a new generation."""
ALIVE = 60
"""Seconds after its last write in which an upload is taken to be going on."""
AT_ONCE = 2_000
"""Keys of one command."""
TIMEOUT = 0.5
"""Seconds in which the server answers a reader, else it is unavailable: less than what callers of a fetch wait."""
PATIENCE = 5.0
"""Seconds in which it answers a writer."""
LOOKED_AT = 1_000
"""Keys that the server looks through at once for old tiles."""

_ESCAPED = re.compile(r"([*?\[\]^\\-])")
"""What has a meaning in a pattern of Redis."""


class RedisStore:
    """See `Store`. `url` is redis://host:port/number, or rediss:// with TLS."""

    writers = 2

    def __init__(
        self, url: str, *, username: str = "", password: str = "", grace: float = GRACE, timeout: float = TIMEOUT
    ) -> None:
        self._grace = grace
        login = {"username": username, "password": password}
        given = {name: value for name, value in login.items() if value}
        self._client, self._patient = _client(url, timeout, given), _client(url, max(timeout, PATIENCE), given)
        self._sparing = Sparing()
        self._local = threading.local()
        self._listings: dict[str, tuple[float, list[Generation]]] = {}
        self._lock = threading.Lock()

    def current(self, space: str) -> Generation | None:
        generations = self._listing(space)
        return generations[-1] if generations else None

    def generations(self, space: str) -> list[Generation]:
        return list(self._listing(space))

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        names = [name for place, keys in asks for name in _names(place, keys)]
        if not names:
            return [[] for _ in asks]
        with self._sparing.asked(), _told():
            return self._found(asks, self._reader().mget(names))

    def _reader(self) -> _Reader:
        """That of this thread."""
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None or reader.process != os.getpid():
            reader = self._local.reader = _Reader(self._client.connection_pool.make_connection())
        return reader

    def _found(self, asks: Sequence[Ask], values: list[Any]) -> list[list[Any]]:
        found, at = [], 0
        for place, keys in asks:
            own = values[at : at + len(keys)]
            at += len(keys)
            if place.generation is not None and not any(value is not None for value in own):
                self._check_there(place)
            found.append(own)
        return found

    def remove(self, space: str) -> None:
        with _told():
            left = [each.name for each in readable(lambda: self._read_listing(space))]
            with self._patient.pipeline(transaction=True) as pipeline:
                if left:  # as if they were killed: whoever is at this may be killed, too
                    pipeline.hset(f"{space}:begun", mapping=dict.fromkeys(left, 1))
                pipeline.delete(f"{space}:generations", *(f"{space}:alive:{name}" for name in left))
                pipeline.execute()
            self.sweep(space)
            self._drop_tiles(space, None)
        with self._lock:
            self._listings.pop(space, None)

    def upload(self, space: str, *, end: int, fingerprint: str) -> _Upload:
        return _Upload(self, self._patient, space, end, fingerprint)

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        if not items:
            return
        names = _names(Place(space), [key for key, _ in items])
        with _told():
            self._patient.execute_command("MSET", *chain.from_iterable(zip(names, (v for _, v in items), strict=True)))

    def close(self) -> None:
        self._local = threading.local()
        self._client.close()
        self._patient.close()

    def _drop_tiles(self, space: str, before: int | None) -> None:
        """Deletes tiles that became available before that day; None are all."""
        begin = f"{space}::"
        if not self._patient.exists(*_names(Place(space), [PROGRESS, POSITION])):  # whoever writes tiles writes these
            return
        some: list[bytes] = []
        for name in self._patient.scan_iter(match=_ESCAPED.sub(r"\\\1", begin) + "*", count=LOOKED_AT):
            day = day_of(name[len(begin.encode()) :])
            if before is None or (day is not None and day < before):
                some.append(name)
            if len(some) == AT_ONCE:
                self._patient.unlink(*some)
                some.clear()
        if some:
            self._patient.unlink(*some)

    def published(self, space: str, generation: Generation) -> None:
        """Makes a generation current that is written, and drops those that have not been for the grace, and old
        tiles."""
        listing, dropped = succeeded(readable(lambda: self._read_listing(space)), generation, self._grace)
        with self._patient.pipeline(transaction=True) as pipeline:
            pipeline.set(f"{space}:generations", encoded(listing))
            pipeline.hdel(f"{space}:begun", generation.name)
            pipeline.execute()
        with self._lock:
            self._listings.pop(space, None)
        for each in dropped:
            self.drop(space, each.name)
        with suppress(redis.RedisError):  # the next upload tries it again
            self._drop_tiles(space, min(each.end for each in listing) - TILES_KEPT)

    def drop(self, space: str, name: str) -> None:
        """Deletes what a generation has."""
        listed = f"{space}:{name}:keys"
        while packed := self._patient.lpop(listed):
            keys: list[bytes] = msgspec.msgpack.decode(packed, type=list[bytes])
            self._patient.unlink(*_names(Place(space, name), keys))

    def sweep(self, space: str) -> None:
        """Deletes what killed uploads have left."""
        begun: Any = self._patient.hkeys(f"{space}:begun")
        for name in (each.decode() for each in begun):
            if not self._patient.exists(f"{space}:alive:{name}"):
                self.drop(space, name)
                self._patient.hdel(f"{space}:begun", name)

    def _listing(self, space: str) -> list[Generation]:
        looked, generations = self._listings.get(space, (-LOOK_AGAIN, []))
        at = monotonic()
        if at - looked < LOOK_AGAIN:
            return generations
        with self._sparing.asked(), _told():
            generations = self._read_listing(space)
        with self._lock:
            self._listings[space] = at, generations
        return generations

    def _read_listing(self, space: str) -> list[Generation]:
        stored: Any = self._client.get(f"{space}:generations")
        return [] if stored is None else decoded(stored, f"the listing of {space}")

    def _check_there(self, place: Place) -> None:
        """PlaceError for a generation that is not there any more: else it would look as if no key was known."""
        if all(each.name != place.generation for each in self._read_listing(place.space)):
            raise PlaceError(f"the generation {place.generation} of {place.space} is not there any more")


class _Reader:
    """A connection of one thread: to take one of the client's pool and to give it back costs a third of a read."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.process = os.getpid()
        self._has_answered = False
        """All that was asked: else an answer may come that is another question's."""

    def mget(self, names: Sequence[bytes]) -> list[Any]:
        command = self._connection.pack_command("MGET", *names)
        if self._has_answered:
            with suppress(redis.ConnectionError):  # the server has closed it meanwhile
                return self._asked(command)
        self._connection.disconnect()
        return self._asked(command)

    def _asked(self, command: Any) -> list[Any]:
        self._has_answered = False
        self._connection.send_packed_command(command, check_health=False)
        found: list[Any] = self._connection.read_response()
        self._has_answered = True
        return found


class _Upload:
    def __init__(self, store: RedisStore, client: Any, space: str, end: int, fingerprint: str) -> None:
        self._store, self._client, self._space = store, client, space
        self._end, self._fingerprint = end, fingerprint
        self._name = f"{now():017}"
        self._rows = self._size = 0
        self._order = Ascending(space)
        self._is_published = False

    def __enter__(self) -> _Upload:
        with _told():
            self._store.sweep(self._space)
            self._client.hset(f"{self._space}:begun", self._name, 1)
            self._live()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_published:
            with _told():
                self._store.drop(self._space, self._name)
                self._client.hdel(f"{self._space}:begun", self._name)

    def put(self, items: Iterable[Item]) -> None:
        place = Place(self._space, self._name)
        with _told():
            for batch in batches(items, AT_ONCE):
                self._order.check(batch)
                keys = [key for key, _ in batch]
                names = _names(place, keys)
                with self._client.pipeline(transaction=False) as pipeline:
                    pipeline.rpush(f"{self._space}:{self._name}:keys", msgspec.msgpack.encode(keys))
                    pipeline.mset({name: value for name, (_, value) in zip(names, batch, strict=True)})
                    pipeline.execute()
                self._live()
                self._rows += len(batch)
                self._size += sum(len(key) + len(value) for key, value in batch)

    def publish(self) -> Generation:
        with _told():
            done = Generation(self._name, self._end, self._fingerprint, self._rows, self._size, now())
            # From here on it may be the current one; if it is not, the next upload sweeps it.
            self._is_published = True
            self._store.published(self._space, done)
            return done

    def _live(self) -> None:
        self._client.set(f"{self._space}:alive:{self._name}", 1, ex=ALIVE)


def _client(url: str, timeout: float, login: Mapping[str, str]) -> Any:
    # What the URL says counts more. The client itself would take any certificate that the authority has signed.
    checked = {"ssl_check_hostname": True} if url.startswith("rediss://") else {}
    try:
        return redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, **checked, **login)
    except ValueError as wrong:
        raise StoreError(f"the URL of the online store is no URL of Redis: {wrong}") from None


def _names(place: Place, keys: Sequence[bytes]) -> list[bytes]:
    begin = f"{place.space}:{place.generation or ''}:".encode()
    return [begin + key for key in keys]


@contextmanager
def _told() -> Iterator[None]:
    """Failures of the server and of the way to it as StoreErrors."""
    try:
        yield
    except redis.RedisError as wrong:
        raise StoreError(f"Redis: {wrong}", hint="is the server of [online] running, and its memory enough?") from None
