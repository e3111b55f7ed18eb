"""What a server calls: events of a source into its journal, and from there into tiles by a thread of its own.

    log = EventLog(load_project())
    log.post("purchases", [{"user": "ann", "amount": 3.5, "bought_at": "2024-05-05T10:00:00Z"}])
    with log.following():                            # tiles within milliseconds, unless another process writes them
        ...

What `post` has accepted is on the disk: it reaches the tiles and the warehouse whatever happens to this process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from zipline.clock import now
from zipline.errors import LockedError, LockLostError, ZiplineError
from zipline.fetch.applied import served_definitions
from zipline.orchestration.events.journal import Journal
from zipline.orchestration.events.logs import Clock, journal_line
from zipline.orchestration.events.opening import Wanted, open_stream
from zipline.orchestration.events.sources import EventSources, event_sources, journal_of
from zipline.orchestration.events.standing import LOCAL
from zipline.orchestration.events.stream import Report, Stream
from zipline.plan.definitions import Definitions
from zipline.project import Project
from zipline.stores.contract import Store
from zipline.stores.opening import open_store
from zipline.tables.catalog import Catalog, open_catalog
from zipline.values import dataclass

TAKEN_OVER = 2.0
"""Seconds after which it is tried again to become the writer of the tiles."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a batch. `delivery` is what a sender can rely on that sends again what was not answered:
    "exactly-once" where every source over the table declares an event_id, else "at-least-once"."""

    source: str
    accepted: int
    delivery: str
    is_appended: bool = True
    """False where the events are in tiles only: the table cannot be appended to."""


class EventLog:
    """See the module. Thread-safe. `tiles_only` also takes events of tables that cannot be appended to."""

    def __init__(
        self,
        project: Project,
        *,
        definitions: Definitions | None = None,
        catalog: Catalog | None = None,
        tiles_only: bool = False,
        clock: Clock = now,
    ) -> None:
        self.project = project
        self._definitions = definitions or _served(project)
        self._catalog = catalog or open_catalog(project=project)
        self._sources: EventSources = event_sources(project, self._definitions, self._catalog)
        self._journals: dict[str, Journal] = {name: journal_of(project, name) for name in self._sources.tables}
        self._tiles_only, self._clock = tiles_only, clock
        self._followers: list[Follower] = []

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the tables that take events."""
        return tuple(self._sources.tables)

    def post(self, source: str, events: bytes | Sequence[Mapping[str, Any]]) -> Posted:
        """Accepts a batch: a list of objects, or the JSON text `{"events": [...]}`, which is quicker.

        UsageError for an unknown source and for too much at once, EventError (with `path` and `reason`) for the first
        event that does not fit its table, TableError where the table cannot be appended to, JournalError where the
        disk refuses: nothing of the batch is accepted then.
        """
        table = self._sources.table(source)
        if not self._tiles_only:
            table.check_appendable()
        checked = table.intake.encoded(table.intake.posted(events))
        if checked:
            self._journals[source].append(journal_line(self._clock(), checked))
            for follower in self._followers:
                follower.stir()
        return Posted(source, len(checked), table.delivery, table.uri is not None)

    @contextmanager
    def following(self, store: Store | None = None) -> Iterator[Follower]:
        """A thread that takes what is posted into the tiles and the warehouse, for the block; not where the project's
        engine for streams is another."""
        follower = Follower(self, store)
        self._followers.append(follower)
        if self.sources and self.project.stream_engine == LOCAL:
            follower.start()
        try:
            yield follower
        finally:
            self._followers.remove(follower)
            follower.stop()


def _served(project: Project) -> Definitions:
    store = open_store(project)
    try:
        return served_definitions(project, store)
    finally:
        store.close()


class Follower:
    """A stream in a thread. Where another process writes the tiles, it waits until that one has gone."""

    def __init__(self, log: EventLog, store: Store | None = None) -> None:
        self._log, self._store = log, store
        self._stream: Stream | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="following events", daemon=True)
        self.waits_for = ""
        """Why it does not follow; "" while it does."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after what it is at; positions are stored."""
        self._stopped.set()
        if (stream := self._stream) is not None:
            stream.stop()
        if self._thread.is_alive():
            self._thread.join()

    def stir(self) -> None:
        """Something was posted."""
        if (stream := self._stream) is not None:
            stream.stirred.set()

    @property
    def report(self) -> Report:
        """What it has done since it follows."""
        stream = self._stream
        return Report() if stream is None else stream.report

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except (LockedError, LockLostError) as held:
                self.waits_for = held.what
            except Exception as wrong:  # whatever it is, posted events are kept, and it is tried again
                self.waits_for = wrong.what if isinstance(wrong, ZiplineError) else f"{type(wrong).__name__}: {wrong}"
            self._stopped.wait(TAKEN_OVER)

    def _follow(self) -> None:
        log = self._log
        wanted = Wanted(appends=not log._tiles_only, takes_over=False)
        given = log._definitions, log._catalog
        with open_stream(
            log.project, wanted, *given, store=self._store, clock=log._clock, sources=log._sources
        ) as stream:
            self._stream, self.waits_for = stream, ""
            if self._stopped.is_set():
                return
            try:
                stream.run()
            finally:
                self._stream = None
