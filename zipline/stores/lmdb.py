"""LMDB, the embedded default: memory-mapped files below one folder, read by any number of processes, no server.

    <folder>/<space>/generations.json      those that can be read, the current one last; replaced in one step
    <folder>/<space>/<generation>/         an environment that is never written again
    <folder>/<space>/tiles/                an environment of its own, so that an upload does not hold up tiles;
                                           what is older than TILES_KEPT goes when an upload is published
    <folder>/<space>/.upload-*/            an upload that is going on, or that was killed
    <folder>/<space>/.lock                 held by who uploads

Generations are written in the order of their keys, without syncing until the end, and renamed when they are whole.

**Damage.** Files are mapped, so what is promised depends on when they are damaged. A file that is cut off, empty, no
LMDB or not there when it is opened is a PlaceError, whichever of its bytes are missing. A page that is overwritten is
one where LMDB sees that, and a value that is gives no number (blocks have checksums, see `zipline.algebra.layout`). A
file that is cut off under a process that has it open ends that process at the next read behind the cut (SIGBUS, which
nothing in a process can get over); the one that is started in its place finds out when it opens the file. A listing
that is damaged is a DamagedError of its space, and the next upload begins a new one: that mends everything but tiles,
which a stream makes anew once their folder is deleted and who has it open was started again.

**A full disk or map** is a StoreError, and nothing of the batch or upload is there. The table of readers is allocated
before it is mapped: filling a hole of a mapped file on a full disk would end the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import lmdb

from zipline.clock import monotonic, now
from zipline.stores.contract import GRACE, TILES_KEPT, Ask, Generation, Item, Place, PlaceError, StoreError
from zipline.stores.lmdb_environments import DATA, given_back, is_of, taken
from zipline.stores.tiles import POSITION, behind, day_of
from zipline.stores.uploads import batches, decoded, encoded, readable, succeeded

LISTING, TILES, LOCK, UNFINISHED = "generations.json", "tiles", ".lock", ".upload-"
READERS = "lock.mdb"
MAP_SIZE = 1 << 40
"""Of addresses that a file may come to take; what it takes of the disk is what is in it."""
MOST_READERS = 1024
READERS_SIZE = 64 * MOST_READERS + 4096
"""Bytes of a table of readers: each is a line of the cache, and what is said of all of them fits a page."""
LOOK_AGAIN = 0.05
"""Seconds for which a reader does not look whether another process has published."""
AT_ONCE = 50_000
"""Items of one transaction, of an upload or of a sweep of tiles."""


class LmdbStore:
    """See `Store`."""

    writers = 1  # the binding lets go of Python's lock for every item, and waits for it beside another thread

    def __init__(self, folder: str | Path, grace: float = GRACE) -> None:
        self._folder = Path(folder)
        self._grace = grace
        self._lock = threading.Lock()
        self._environments: dict[Place, lmdb.Environment] = {}
        self._listings: dict[str, _Listing] = {}
        self._tile_files: dict[str, str] = {}
        self._forgotten = 0
        self._local = threading.local()

    def current(self, space: str) -> Generation | None:
        generations = self._listing(space).generations
        return generations[-1] if generations else None

    def generations(self, space: str) -> list[Generation]:
        return list(self._listing(space).generations)

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        self._let_go()
        readers = self._of_thread("readers")
        # Tiles are read in one transaction of the whole question: what it gave of them holds until the next one.
        fresh: dict[Place, Any] = {}
        found: list[list[Any]] = []
        for place, keys in asks:
            try:
                if place.generation is None:
                    if place not in fresh:
                        if len(keys) == 1 and keys[0] == POSITION:  # who writes tiles asks, before he goes on
                            self._forget_tiles(place.space)
                        fresh[place] = self._fresh_reader(place)
                    read = fresh[place]
                else:
                    read = readers.get(place) or self._reader(place, readers)
                found.append([None] * len(keys) if read is None else [read(key) for key in keys])
            except lmdb.Error as wrong:
                raise PlaceError(
                    f"{place.space} cannot be read: {wrong}", hint="is a file damaged? upload again"
                ) from None
        return found

    def remove(self, space: str) -> None:
        with _told(f"what is removed of {space}"), suppress(FileNotFoundError):
            beside = self._folder / f".removed-{now():017}"
            os.rename(self._of(space), beside)
            shutil.rmtree(beside, ignore_errors=True)
        with self._lock:
            for place in [place for place in self._environments if place.space == space]:
                del self._environments[place]
            self._listings.pop(space, None)
            self._forgotten += 1

    def upload(self, space: str, *, end: int, fingerprint: str) -> _Upload:
        return _Upload(self, self._of(space), space, end, fingerprint)

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        environment = self._tiles(space, is_written=True)
        assert environment is not None
        with _told(f"tiles of {space}"):
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(items)
            _fill(environment)

    def close(self) -> None:
        with self._lock:
            environments = list(self._environments.values())
            self._environments.clear()
            self._listings.clear()
            self._local = threading.local()
        for environment in environments:
            given_back(environment)

    def published(self, space: str, generation: Generation) -> None:
        """Makes a generation current that lies in its place, and drops those that have not been for the grace."""
        folder = self._of(space)
        listing, _ = succeeded(readable(lambda: _read_listing(folder)), generation, self._grace)
        _write_listing(folder, listing)
        if space in self._listings:
            self._listings[space].is_old = True
        # Of those that are dropped, of a listing that was damaged, and of who was killed before he wrote it.
        for left in {path.name for path in folder.glob("[0-9]*")} - {each.name for each in listing}:
            shutil.rmtree(folder / left, ignore_errors=True)
        with suppress(StoreError):  # the next upload tries it again
            self._expire(space, min(each.end for each in listing) - TILES_KEPT)

    def _expire(self, space: str, before: int) -> None:
        """Deletes tiles that became available before that day; some at a time, so that others can write tiles."""
        environment = self._tiles(space, is_written=False)
        at: bytes | None = b""
        while environment is not None and at is not None:
            with _told(f"tiles of {space}"):
                with environment.begin(write=True) as transaction:
                    at = _expired(transaction.cursor(), at, before)
                _fill(environment)

    def _of(self, space: str) -> Path:
        name = quote(space, safe=" ._-@")
        return self._folder / (f"%2E{name[1:]}" if name.startswith(".") else name)

    def _listing(self, space: str) -> _Listing:
        listing = self._listings.get(space)
        if listing is None:
            listing = self._listings.setdefault(space, _Listing(self._of(space), partial(self._forget, space)))
        listing.look()
        return listing

    def _forget(self, space: str, listed: Sequence[Generation]) -> None:
        """Closes generations that are not listed any more, as soon as no thread has them, and tiles of a space that was
        removed, and may have been made anew.

        None is closed here: a thread may be reading it, or what it was given of it, whatever the clock says.
        """
        names = {each.name for each in listed}
        with self._lock:
            own = [place for place in self._environments if place.space == space and place.generation is not None]
            for place in own:
                if place.generation not in names:
                    del self._environments[place]
            self._forgotten += 1
        self._forget_tiles(space)

    def _forget_tiles(self, space: str) -> bool:
        """Those of a file that is not there any more, if so: a version that comes back has the name that it had."""
        tiles = self._environments.get(Place(space))
        if tiles is None or is_of(tiles, self._of(space) / TILES):
            return False
        with self._lock:
            if self._environments.get(Place(space)) is tiles:
                del self._environments[Place(space)]
        return True

    def _let_go(self) -> None:
        """Ends what this thread has of forgotten generations: it asks again, so it has done with what it was given."""
        forgotten = self._forgotten
        if getattr(self._local, "forgotten", 0) != forgotten:
            readers = self._of_thread("readers")
            for place in [place for place in readers if place not in self._environments]:
                del readers[place]
            self._local.forgotten = forgotten

    def _reader(self, place: Place, readers: dict[Place, Any]) -> Any:
        """The function that reads a key of a generation, in one transaction for as long as it is there."""
        read = readers[place] = self._generation(place).begin(buffers=True).get
        return read

    def _fresh_reader(self, place: Place) -> Any:
        """The same of tiles as they are now; None where there are none yet."""
        environment = self._environments.get(place) or self._tiles(place.space, is_written=False)
        if environment is None:
            return None
        transactions = self._of_thread("transactions")
        # What an earlier read gave has been read by now; its transaction is taken up anew.
        earlier = transactions.get(place)
        if earlier is not None:
            earlier.abort()
        transaction = transactions[place] = environment.begin()  # of what is short a copy costs less than a view
        return transaction.get

    def _of_thread(self, name: str) -> dict[Place, Any]:
        found: dict[Place, Any] | None = getattr(self._local, name, None)
        if found is None:
            found = {}
            setattr(self._local, name, found)
        return found

    def _generation(self, place: Place) -> lmdb.Environment:
        with self._lock:
            environment = self._environments.get(place)
            if environment is None:
                assert place.generation is not None
                folder = self._of(place.space) / place.generation
                if not folder.is_dir():
                    raise PlaceError(f"the generation {place.generation} of {place.space} is not there any more")
                with _told(f"{place.space} in {folder}", PlaceError):
                    environment = self._environments[place] = taken(folder, partial(_opened_generation, folder))
            return environment

    def _tile_file(self, space: str) -> str:
        """Looked for by every fetch as long as nobody has written tiles."""
        found = self._tile_files.get(space)
        if found is None:
            found = self._tile_files[space] = str(self._of(space) / TILES / "data.mdb")
        return found

    def _tiles(self, space: str, *, is_written: bool) -> lmdb.Environment | None:
        place = Place(space)
        if is_written and self._forget_tiles(space):
            raise StoreError(f"the tiles of {space} were removed while they were written")
        environment = self._environments.get(place)
        if environment is not None:
            return environment
        with self._lock:
            if not is_written and not os.path.exists(self._tile_file(space)):
                return None
            folder = self._of(space) / TILES
            if place not in self._environments:
                with _told(f"tiles of {space} in {folder}", PlaceError):
                    self._environments[place] = taken(folder, partial(_opened_tiles, folder))
            return self._environments[place]


class _Listing:
    """The generations of a space, as far as was seen when last looked at; `changed` is told of them when they do."""

    def __init__(self, folder: Path, changed: Callable[[Sequence[Generation]], None]) -> None:
        self._folder, self._changed = folder, changed
        self._lock = threading.Lock()
        self._looked, self._stamp = 0.0, None
        self.is_old = True
        self.generations: list[Generation] = []

    def look(self) -> None:
        if self.is_old or monotonic() - self._looked >= LOOK_AGAIN:
            # One at a time: else who has looked earlier could say last what there is.
            with self._lock:
                self._look()

    def _look(self) -> None:
        at = monotonic()
        if not self.is_old and at - self._looked < LOOK_AGAIN:
            return
        self.is_old = False
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self.generations, self._stamp = _read_listing(self._folder), stamp
            self._changed(self.generations)
        self._looked = at

    def _stamp_now(self) -> Any:
        try:
            status = os.stat(self._folder / LISTING)
        except FileNotFoundError:
            return None
        except OSError as wrong:
            raise _unreadable(self._folder, wrong) from None
        return status.st_mtime_ns, status.st_ino


class _Upload:
    def __init__(self, store: LmdbStore, folder: Path, space: str, end: int, fingerprint: str) -> None:
        self._store, self._folder, self._space = store, folder, space
        self._end, self._fingerprint = end, fingerprint
        self._name = f"{now():017}"
        self._place = folder / f"{UNFINISHED}{self._name}"
        self._rows = self._size = 0
        self._is_published = False

    def __enter__(self) -> _Upload:
        with _told(f"the upload of {self._space}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise StoreError(
                    f"another upload of {self._space} is going on", hint="wait until it has ended"
                ) from None
            try:
                self._begin()
            except BaseException:
                os.close(self._lock)
                raise
        return self

    def _begin(self) -> None:
        for killed in self._folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(killed, ignore_errors=True)
        self._place.mkdir()
        self._environment = lmdb.open(
            str(self._place), map_size=MAP_SIZE, lock=False, sync=False, metasync=False, max_dbs=0
        )

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_published:
            self._environment.close()
            shutil.rmtree(self._place, ignore_errors=True)
        os.close(self._lock)

    def put(self, items: Iterable[Item]) -> None:
        with _told(f"the upload of {self._space}"):
            for batch in batches(items, AT_ONCE):
                with self._environment.begin(write=True) as transaction:
                    taken, added = transaction.cursor().putmulti(batch, append=True)
                if added != len(batch):
                    raise StoreError(f"{taken - added} items of {self._space} are out of order or repeated")
                self._rows += added
                self._size += sum(len(key) + len(value) for key, value in batch)

    def publish(self) -> Generation:
        with _told(f"the upload of {self._space}"):
            _fill(self._environment)
            self._environment.sync(True)
            self._environment.close()
            os.rename(self._place, self._folder / self._name)
            self._is_published = True
            done = Generation(self._name, self._end, self._fingerprint, self._rows, self._size, now())
            self._store.published(self._space, done)
            return done


def _opened_generation(folder: Path) -> lmdb.Environment:
    environment = lmdb.open(str(folder), readonly=True, lock=False, create=False, readahead=False)
    _check_whole(environment, hint="upload again")
    return environment


def _opened_tiles(folder: Path) -> lmdb.Environment:
    folder.mkdir(parents=True, exist_ok=True)
    _allocate(folder / READERS)
    environment = lmdb.open(
        str(folder),
        map_size=MAP_SIZE,
        sync=False,
        map_async=True,
        max_readers=MOST_READERS,
        max_spare_txns=64,
        readahead=False,
    )
    _check_whole(environment, hint=f"delete {folder} and start again what reads it: the stream makes the tiles anew")
    return environment


def _allocate(path: Path) -> None:
    """Space on the disk for a table of readers; one that is there keeps its size, for others have it mapped."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _reserve(file, 0, os.fstat(file).st_size or READERS_SIZE)
    finally:
        os.close(file)


def _reserve(file: int, first: int, end: int) -> None:
    """Space on the disk for these bytes of a file, which is then at least so long: another process may have written
    more. Where the system has no word for that, as macOS, the file is made longer and nothing else."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, first, end - first)
    elif os.fstat(file).st_size < end:
        os.ftruncate(file, end)


def _needed(environment: lmdb.Environment) -> tuple[str, int, int]:
    """(the file of an environment, bytes that its pages need, bytes that it has)."""
    path = os.path.join(environment.path(), DATA)
    return path, (environment.info()["last_pgno"] + 1) * environment.stat()["psize"], os.stat(path).st_size


def _check_whole(environment: lmdb.Environment, *, hint: str) -> None:
    """PlaceError, before anything behind the end is read, for a file that was cut off. It is closed then."""
    path, needed, size = _needed(environment)
    if size < needed:
        environment.close()
        raise PlaceError(f"{path} is cut off: it has {size:,} of {needed:,} bytes", hint=hint)


def _fill(environment: lmdb.Environment) -> None:
    """Makes the file as long as its pages say, also where the last of them were given up before they were written."""
    path, needed, size = _needed(environment)
    if size < needed:
        file = os.open(path, os.O_RDWR)
        try:
            _reserve(file, needed - 1, needed)
        finally:
            os.close(file)


def _expired(cursor: Any, start: bytes, before: int) -> bytes | None:
    """Deletes old chunks from `start` on. Where to go on; None at the end.

    The chunks of a key stand in the order of their days, so one look at each key tells whether it has old ones.
    """
    cursor.set_range(start)
    for _ in range(AT_ONCE):
        key = cursor.key()
        if not key:
            return None
        day = day_of(key)
        if day is None:
            cursor.next()
        elif day < before:
            cursor.delete()
        else:
            cursor.set_range(behind(key))
    return cursor.key() or None


def _read_listing(folder: Path) -> list[Generation]:
    try:
        return decoded((folder / LISTING).read_bytes(), folder / LISTING)
    except FileNotFoundError:
        return []
    except OSError as wrong:
        raise _unreadable(folder, wrong) from None


def _unreadable(folder: Path, wrong: OSError) -> PlaceError:
    return PlaceError(f"{folder / LISTING} cannot be read: {wrong.strerror}", hint="may this process read the folder?")


def _write_listing(folder: Path, generations: Sequence[Generation]) -> None:
    beside = folder / f"{LISTING}.{os.getpid()}"
    with open(beside, "wb") as file:
        file.write(encoded(generations))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, folder / LISTING)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _told(what: str, error: type[StoreError] = StoreError) -> Iterator[None]:
    """Failures of LMDB and of the disk as StoreErrors."""
    try:
        yield
    except lmdb.MapFullError as wrong:
        raise error(
            f"{what}: {wrong}", hint="the store has come to the end of its addresses: divide its keys"
        ) from None
    except lmdb.Error as wrong:
        raise error(f"{what}: {wrong}", hint="is the disk full, or the file damaged? upload again") from None
    except OSError as wrong:
        raise error(f"{what}: {wrong}") from None
