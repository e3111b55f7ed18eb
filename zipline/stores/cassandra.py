"""Cassandra: a store that many machines share, and that grows with them.

    spaces        a row for each space: its generations, and uploads that are going on or are to be deleted, as JSON
    generations   a generation's values, in BUCKETS partitions
    tiles         a partition for each key, with its chunks in the order of their days and hours

The tables are created where they are missing, and so is the keyspace if the cluster is a single node; elsewhere it must
be there, for only who runs a cluster knows where copies are to lie.

**Partitions.** A bucket is a hash of the key, so each has a thousandth of a generation's keys, however they are spread,
and stays under 100 MB up to some hundred million keys. Dropping a generation is one partition deletion for each bucket:
no list of its keys is kept, and since the generation is part of the partition's key, nobody who reads another one meets
the deleted rows. All chunks of one key are one read of one small partition.

**Atomicity.** A space's row is replaced by compare-and-set (`space_states`), which is how an upload begins, goes on
and is published: who reads the row has the generation before or the one after. Of two uploads at once both are
published, in the order in which they end. One that is killed is never seen, and deleted by a later one.

**Consistency.** Uploaded rows are written at EACH_QUORUM before the row that names them, and that is replaced at
SERIAL, so whoever sees a generation, at LOCAL_QUORUM in any data centre, reads all of it; an upload needs all data
centres, a fetch one. Tiles are written and read at LOCAL_QUORUM: a data centre sees the others' when they come. At less
than a quorum a key that one replica has missed would look as if it was unknown. The chunks of a key in one batch of
tiles are seen together or not at all. Every statement but the compare-and-set is idempotent and marked so.

**Time to live.** Tiles live for TILES_KEPT from their last write. Rows of a generation live for ROWS_KEPT, which is no
rule of freshness but bounds what is left of a space that nobody uploads to any more, and of uploads whose deletion was
missed. Each upload writes every key anew. A generation is refused as a whole, so its features are unavailable, an hour
before the first of its rows goes: it never reads as if its keys were unknown.
"""

from __future__ import annotations

import secrets
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from cassandra import ConsistencyLevel, OperationTimedOut, WriteTimeout
from cassandra.query import BatchStatement, BatchType

from zipline.clock import DAY, HOUR, SECOND, monotonic, now
from zipline.stores import space_states
from zipline.stores.cassandra_session import CassandraSession, Query, Statement, address_of, told
from zipline.stores.contract import GRACE, TILES_KEPT, Ask, Generation, Item, Place, PlaceError, StoreError
from zipline.stores.space_states import SpaceState
from zipline.stores.sparing import Sparing
from zipline.stores.tiles import SUFFIX
from zipline.stores.uploads import Ascending, batches

LOOK_AGAIN = 1.0
"""Seconds for which a reader does not ask whether there is a new generation."""
TIMEOUT = 1.0
"""Seconds in which a read or a tile is answered, else the store is unavailable."""
ROWS_KEPT = 90 * DAY
"""Microseconds for which rows of a generation are kept where nobody deletes them."""
BUCKETS = 1024
"""Changing it makes generations unreadable that are there."""
AT_ONCE = 20_000
"""Items of an upload between two signs of life."""
CONTENDED = 20
"""Times that a row is tried to be replaced."""

TABLES = (
    ("spaces", "CREATE TABLE IF NOT EXISTS %s.spaces (space text PRIMARY KEY, state text)"),
    (
        "generations",
        """CREATE TABLE IF NOT EXISTS %s.generations (
            space text, generation text, bucket smallint, key blob, value blob,
            PRIMARY KEY ((space, generation, bucket), key)
        ) WITH gc_grace_seconds = 86400""",
    ),
    # Whole files go when their day has expired, for what is written to a chunk is written on one day.
    (
        "tiles",
        """CREATE TABLE IF NOT EXISTS %s.tiles (
            space text, key blob, chunk blob, value blob, PRIMARY KEY ((space, key), chunk)
        ) WITH gc_grace_seconds = 86400 AND compaction = {
            'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 1
        }""",
    ),
)
NEAR, FAR, SERIAL = ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.EACH_QUORUM, ConsistencyLevel.SERIAL
STATE = Query("SELECT state FROM %s.spaces WHERE space = ?", NEAR)
NEWEST_STATE = STATE._replace(consistency=SERIAL)
REPLACE = Query("UPDATE %s.spaces SET state = ? WHERE space = ? IF state = ?", NEAR, is_idempotent=False)
REMOVE = Query("DELETE FROM %s.spaces WHERE space = ? IF state = ?", NEAR, is_idempotent=False)
VALUE = Query("SELECT value FROM %s.generations WHERE space = ? AND generation = ? AND bucket = ? AND key = ?", NEAR)
PUT = Query(
    "INSERT INTO %s.generations (space, generation, bucket, key, value) VALUES (?, ?, ?, ?, ?) "
    f"USING TTL {ROWS_KEPT // SECOND}",
    FAR,
)
DELETE = Query("DELETE FROM %s.generations WHERE space = ? AND generation = ? AND bucket = ?", NEAR)
CHUNKS = Query("SELECT chunk, value FROM %s.tiles WHERE space = ? AND key = ? AND chunk IN ?", NEAR)
PUT_CHUNK = Query(
    f"INSERT INTO %s.tiles (space, key, chunk, value) VALUES (?, ?, ?, ?) USING TTL {TILES_KEPT // SECOND}", NEAR
)
QUERIES = (STATE, NEWEST_STATE, REPLACE, REMOVE, VALUE, PUT, DELETE, CHUNKS, PUT_CHUNK)


class CassandraStore:
    """See `Store`. `url` is cassandra://host:port,host:port/keyspace?local_dc=name&ssl=true."""

    writers = 2

    def __init__(
        self, url: str, *, username: str = "", password: str = "", grace: float = GRACE, timeout: float = TIMEOUT
    ) -> None:
        self.grace = grace
        self._session = CassandraSession(address_of(url), username, password, timeout, TABLES, QUERIES)
        self._listings: dict[str, tuple[float, list[Generation]]] = {}
        self._sparing = Sparing()

    def current(self, space: str) -> Generation | None:
        generations = self._listing(space)
        return generations[-1] if generations else None

    def generations(self, space: str) -> list[Generation]:
        return list(self._listing(space))

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        with self._sparing.asked():
            found = self._found(asks)
            answers = [[found.get((place, key)) for key in keys] for place, keys in asks]
            for (place, keys), values in zip(asks, answers, strict=True):
                if keys and place.generation is not None and all(value is None for value in values):
                    self._check_there(place)
            return answers

    def remove(self, space: str) -> None:
        self.delete(space, self.change(space, SpaceState.emptied).dropped)
        with told(), suppress(WriteTimeout, OperationTimedOut):
            # Where somebody uploads to it meanwhile it stays, and where no answer comes it may.
            self._session.is_applied(REMOVE, (space, space_states.written(SpaceState())))

    def upload(self, space: str, *, end: int, fingerprint: str) -> _Upload:
        return _Upload(self, space, end, fingerprint)

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        partitions = defaultdict(list)
        for key, value in dict(items).items():
            begin, chunk = key[:-SUFFIX], key[-SUFFIX:]
            partitions[begin].append((space, begin, chunk, value))
        put = self._session.prepared(PUT_CHUNK)
        self._session.rows([_together(put, rows) for rows in partitions.values()])

    def close(self) -> None:
        self._session.close()

    def put(self, space: str, generation: str, batch: Sequence[Item]) -> None:
        """Writes values of a generation that nobody sees yet."""
        partitions = defaultdict(list)
        for key, value in batch:
            bucket = bucket_of(key)
            partitions[bucket].append((space, generation, bucket, key, value))
        put = self._session.prepared(PUT)
        self._session.patient_rows([_together(put, rows) for rows in partitions.values()])

    def change(self, space: str, transition: Callable[[SpaceState], SpaceState]) -> SpaceState:
        """Replaces the state of a space, in one step, by what the transition makes of it."""
        for _ in range(CONTENDED):
            stored = _text(self._session.patient_rows([(self._session.prepared(NEWEST_STATE), (space,))])[0])
            before = space_states.readable(stored, space)
            after = transition(before)
            if after == before:  # also where it was replaced, and no answer told so
                self._listings.pop(space, None)
                return after
            with told(), suppress(WriteTimeout, OperationTimedOut):
                # Where no answer comes it may have been replaced: the next look tells.
                if self._session.is_applied(REPLACE, (space_states.written(after), space, stored)):
                    self._listings.pop(space, None)
                    return after
        raise StoreError(f"the listing of {space} is replaced by others all the time", hint="try again")

    def delete(self, space: str, names: list[str]) -> None:
        """Deletes what generations have that are dropped."""
        delete = self._session.prepared(DELETE)
        for name in names:
            self._session.patient_rows([(delete, (space, name, bucket)) for bucket in range(BUCKETS)])
        if names:
            self.change(space, lambda state: state.deleted(names))

    def _found(self, asks: Sequence[Ask]) -> dict[tuple[Place, bytes], bytes]:
        """Everything that is there of what is asked, each key asked for once and all at the same time."""
        values = list({(place, key): None for place, keys in asks if place.generation is not None for key in keys})
        chunks: dict[tuple[Place, bytes], dict[bytes, None]] = defaultdict(dict)
        for place, key in ((place, key) for place, keys in asks if place.generation is None for key in keys):
            chunks[place, key[:-SUFFIX]][key[-SUFFIX:]] = None
        value, some = self._session.prepared(VALUE), self._session.prepared(CHUNKS)
        questions: list[Statement] = [
            *((value, (place.space, place.generation, bucket_of(key), key)) for place, key in values),
            *((some, (place.space, begin, list(ends))) for (place, begin), ends in chunks.items()),
        ]
        rows = self._session.rows(questions)
        found = {asked: own[0][0] for asked, own in zip(values, rows, strict=False) if own}
        for (place, begin), own in zip(chunks, rows[len(values) :], strict=True):
            found |= {(place, begin + chunk): content for chunk, content in own}
        return found

    def _listing(self, space: str) -> list[Generation]:
        looked, generations = self._listings.get(space, (-LOOK_AGAIN, []))
        at = monotonic()
        if at - looked < LOOK_AGAIN:
            return generations
        with self._sparing.asked():
            generations = self._read_listing(space)
        self._listings[space] = at, generations
        return generations

    def _read_listing(self, space: str) -> list[Generation]:
        rows = self._session.rows([(self._session.prepared(STATE), (space,))])[0]
        return [each for each in space_states.read(_text(rows), space).generations if is_whole(each.name, now())]

    def _check_there(self, place: Place) -> None:
        """PlaceError for a generation that is not there any more: else it would look as if no key was known."""
        looked, generations = self._listings.get(place.space, (-LOOK_AGAIN, []))
        # What was current a moment ago cannot have been dropped, for it has the grace: an unknown key asks no more.
        is_young = monotonic() - looked < min(LOOK_AGAIN, self.grace)
        if is_young and generations and generations[-1].name == place.generation:
            return
        if all(each.name != place.generation for each in self._read_listing(place.space)):
            raise PlaceError(f"the generation {place.generation} of {place.space} is not there any more")


class _Upload:
    def __init__(self, store: CassandraStore, space: str, end: int, fingerprint: str) -> None:
        self._store, self._space, self._end, self._fingerprint = store, space, end, fingerprint
        self._name = name_of(now())
        self._rows = self._size = 0
        self._order = Ascending(space)
        self._is_published = False

    def __enter__(self) -> _Upload:
        state = self._store.change(
            self._space, lambda state: state.swept(now()).with_seen(self._name, now(), is_new=True)
        )
        self._store.delete(self._space, state.dropped)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_published:
            self._sweep(lambda state: state.without(self._name))

    def put(self, items: Iterable[Item]) -> None:
        for batch in batches(items, AT_ONCE):
            self._order.check(batch)
            self._store.change(self._space, lambda state: state.with_seen(self._name, now()))
            self._store.put(self._space, self._name, batch)
            self._rows += len(batch)
            self._size += sum(len(key) + len(value) for key, value in batch)

    def publish(self) -> Generation:
        done = Generation(self._name, self._end, self._fingerprint, self._rows, self._size, now())
        self._store.change(self._space, lambda state: state.with_published(done, self._store.grace))
        self._is_published = True
        self._sweep(lambda state: state)
        return done

    def _sweep(self, transition: Callable[[SpaceState], SpaceState]) -> None:
        # What cannot be deleted now is deleted by the next upload.
        with suppress(StoreError):
            self._store.delete(self._space, self._store.change(self._space, transition).dropped)


def _text(rows: Sequence[Sequence[Any]]) -> str | None:
    """The state of a space as it is stored; None before its first upload."""
    return rows[0][0] if rows else None


def _together(put: Any, rows: Sequence[Sequence[Any]]) -> Statement:
    """Rows of one partition as one statement, which is one write of that partition."""
    if len(rows) == 1:
        return put, rows[0]
    batch = BatchStatement(BatchType.UNLOGGED, consistency_level=put.consistency_level)
    for row in rows:
        batch.add(put, row)
    batch.is_idempotent = True
    return batch, ()


def name_of(at: int) -> str:
    """A new upload's name: when it begins, and something that no other has."""
    return f"{at:017}-{secrets.token_hex(4)}"


def is_whole(name: str, at: int) -> bool:
    """Whether every row of a generation is there for an hour yet."""
    return at < int(name[:17]) + ROWS_KEPT - HOUR


def bucket_of(key: bytes) -> int:
    return zlib.crc32(key) % BUCKETS
