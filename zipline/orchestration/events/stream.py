"""A stream: every log of some tables followed, into the tiles of the group-bys over them and into the warehouse.

`step` reads each log once, from where the slowest of its feeds stands, and gives every feed the rows that it has not
had. Once a second the feeds' progress is stored, idle logs included. The rule for it: where everything had been read
that was in a log at a moment, all events that came before that moment are in; while a log is behind, those that came
before the last one read (the moment when a post was accepted, or when Kafka took the message; a file does not tell, and
progress waits for its end). A group-by's progress is the least of its logs'. A log that cannot be read moves nothing,
so its features turn `stale`.

The warehouse is appended to by a thread of its own, every `APPENDED_EVERY` seconds and at the end.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field

import numpy as np
import pyarrow as pa

from zipline.algebra.columnar.values import micros, validity
from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import monotonic, now
from zipline.errors import LockLostError, ZiplineError
from zipline.orchestration.events.appending import Appender
from zipline.orchestration.events.arrived import values_of
from zipline.orchestration.events.decoding import DeadLetters, Decoded, decoded
from zipline.orchestration.events.logs import Clock, Log, Read, Record
from zipline.orchestration.events.tables import EventTable
from zipline.orchestration.events.tiling import Feed
from zipline.registry import Lock
from zipline.types import TIMESTAMP
from zipline.values import dataclass

PROGRESS_EVERY = 1.0
APPENDED_EVERY = 60.0
CHECKED_EVERY = 10.0
"""Seconds between two looks whether the locks of the tiles are still held."""
IDLE = 0.02
"""Seconds between two looks at logs in which nothing was new."""
AGAIN = 1.0
"""Seconds after a failure until it is tried again."""


@dataclass
class Counts:
    """What became of a table's events since the stream began."""

    delivery: str = ""
    not_appended: str = ""
    """Why its events are in tiles only."""
    events: int = 0
    refused: int = 0
    late: int = 0
    appended: int = 0
    lost_before: int | None = None
    """When messages had come that were deleted before they were read."""


@dataclass
class FeedCounts:
    """What became of them in a group-by."""

    rows: int = 0
    repeated: int = 0
    failed: int = 0


@dataclass
class Report:
    """What a stream has done. `troubles` are failures that it goes on trying to get over, by what fails."""

    tables: dict[str, Counts] = field(default_factory=dict)
    group_bys: dict[str, FeedCounts] = field(default_factory=dict)
    progress: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)


class Stream:
    """See the module. One thread calls `step`; `stop` may be called by any."""

    def __init__(
        self,
        tables: Mapping[str, EventTable],
        logs: Sequence[Log],
        feeds: Sequence[Feed],
        appenders: Mapping[str, Appender],
        dead: Mapping[str, DeadLetters],
        clock: Clock,
        locks: Sequence[Lock] = (),
    ) -> None:
        self._tables, self._logs, self._feeds = tables, tuple(logs), tuple(feeds)
        self._appenders, self._dead, self._clock, self._locks = appenders, dead, clock, locks
        counts = {
            name: Counts(table.delivery, "" if name in appenders else table.refused or "as was asked")
            for name, table in tables.items()
        }
        self.report = Report(counts, {feed.name: FeedCounts() for feed in feeds})
        self._until: dict[tuple[str, str], int] = {}
        self._has_all: dict[tuple[str, str], bool] = {}
        self._came: dict[tuple[str, str], tuple[int, int | None]] = {}
        self._nothing: dict[str, Decoded] = {}
        self._resting: dict[str, float] = {}
        self._told, self._checked = -PROGRESS_EVERY, monotonic()
        self._is_strict = False
        self._wrong: BaseException | None = None
        self._stopped = threading.Event()
        self.stirred = threading.Event()
        """Set by who knows that something is new."""

    def once(self) -> Report:
        """Takes in all that the logs hold now, tiles and warehouse; the first failure is raised."""
        self._is_strict, asked = True, now()
        while self.step() or not self._is_through():
            if self._stopped.is_set():
                return self.report
            if self._has_all_before(asked):  # more may come all the time
                break
        self._tell(force=True)
        for name, appender in self._appenders.items():
            self._appended(name, appender)
        return self.report

    def run(self) -> Report:
        """Follows the logs until `stop`. What fails of a log, a group-by or the warehouse is reported and tried again,
        and holds up nothing else; LockLostError ends it."""
        appending = threading.Thread(target=self._append_all_the_time, name="appending events", daemon=True)
        appending.start()
        try:
            while not self._stopped.is_set():
                began = monotonic()
                if not self.step():
                    # However many logs there are, looking at idle ones takes a tenth of the time.
                    self.stirred.wait(max(IDLE, 9 * (monotonic() - began)))
                    self.stirred.clear()
            self._tell(force=True)
        finally:
            self._stopped.set()
            appending.join()
        if self._wrong is not None:
            raise self._wrong
        return self.report

    def stop(self) -> None:
        """Ends `run` after what it is at."""
        self._stopped.set()
        self.stirred.set()

    def step(self) -> int:
        """Reads every log once; gives how many records came."""
        self._check_locks()
        count = sum(self._take(log) for log in self._logs)
        self._tell()
        return count

    @contextmanager
    def _tried(self, name: str) -> Iterator[None]:
        """What fails is reported and rests for a while."""
        try:
            yield
            self.report.troubles.pop(name, None)
        except LockLostError:
            raise
        except (ZiplineError, OSError) as wrong:
            if self._is_strict:
                raise
            self.report.troubles[name] = wrong.what if isinstance(wrong, ZiplineError) else str(wrong) or repr(wrong)
            self._resting[name] = monotonic() + AGAIN

    def _is_awake(self, name: str) -> bool:
        return monotonic() >= self._resting.get(name, 0.0)

    def _check_locks(self) -> None:
        """LockLostError where another process may write the tiles."""
        if monotonic() - self._checked >= CHECKED_EVERY:
            for lock in self._locks:
                lock.check()
            self._checked = monotonic()

    def _take(self, log: Log) -> int:
        """Reads a log once, and gives each feed what it has not had."""
        feeds = [feed for feed in self._feeds if log.table in feed.tables and self._is_awake(feed.name)]
        if not feeds or not self._is_awake(log.name):
            return 0
        counts: list[int] = []
        with self._tried(log.name):
            counts.append(self._hand_out(log, feeds))
        return sum(counts)

    def _hand_out(self, log: Log, feeds: Sequence[Feed]) -> int:
        read = log.read(_least([feed.position(log.name) for feed in feeds]))
        found = self._decoded(log, read.records)
        self._count(log.table, read, found)
        self._came |= {(log.name, record.part): (record.after, record.at) for record in read.records}
        for feed in feeds:
            with self._tried(feed.name):
                if not read.records or feed.look():
                    self._give(feed, log, read, found)
                    self._note(feed, log, read)
        return len(read.records)

    def _decoded(self, log: Log, records: Sequence[Record]) -> Decoded:
        intake = self._tables[log.table].intake
        if records:
            return decoded(intake, log, records, self._dead.get(log.table))
        if log.table not in self._nothing:  # most looks at a log find nothing, fifty times a second
            self._nothing[log.table] = decoded(intake, log, [])
        return self._nothing[log.table]

    def _give(self, feed: Feed, log: Log, read: Read, found: Decoded) -> None:
        """The rows of the records that lie behind the feed's position."""
        stands = feed.position(log.name)
        self._lose(log.table, lost := read.lost_behind(stands))
        feed.lose(lost)
        before = read.known(stands)
        reached = {part: max(offset, before.get(part, 0)) for part, offset in read.position.items()}
        if reached.items() <= stands.items():
            return
        is_new = np.array([record.after > before.get(record.part, -1) for record in read.records], np.bool_)
        places = np.flatnonzero(is_new[found.record]) if len(found.record) else found.record
        rows = found.rows if len(places) == found.rows.num_rows else found.rows.take(pa.array(places))
        taken = feed.take(log.name, log.table, rows, reached)
        counts = self.report.group_bys[feed.name]
        counts.rows, counts.repeated = counts.rows + taken.kept, counts.repeated + taken.repeated
        counts.failed += len(taken.failed)
        dead = self._dead[log.table]
        for number in taken.failed:
            record = read.records[int(found.record[places[number]])]
            dead.keep(log, record, _shown(rows.slice(number, 1)), f"{feed.name}: {taken.reason}")

    def _lose(self, table: str, since: int) -> None:
        counts = self.report.tables[table]
        if since > (counts.lost_before or EVER_BEFORE):
            counts.lost_before = since

    def _note(self, feed: Feed, log: Log, read: Read) -> None:
        """Until when the events of a log are in a feed; see the module."""
        if not read.position.items() <= dict(feed.position(log.name)).items():
            return
        pair = feed.name, log.name
        self._has_all[pair] = read.is_all
        times = [self._complete_until(log, read, part) for part in read.behind]
        if None not in times:
            found = min([read.asked, *(at for at in times if at is not None)])
            self._until[pair] = max(self._until.get(pair, 0), found)

    def _complete_until(self, log: Log, read: Read, part: str) -> int | None:
        """When what was read last of a part came that is behind; None where that is not known."""
        offset, at = self._came.get((log.name, part), (-1, None))
        return at if offset == read.position[part] else None

    def _is_through(self) -> bool:
        """Whether every feed has had all that was there."""
        return all(self._has_all.get(pair, False) for pair in self._pairs())

    def _has_all_before(self, moment: int) -> bool:
        """Whether every feed has had all that came before."""
        return all(self._until.get(pair, moment - 1) >= moment for pair in self._pairs())

    def _pairs(self) -> list[tuple[str, str]]:
        return [(feed.name, log.name) for feed in self._feeds for log in self._logs if log.table in feed.tables]

    def _tell(self, *, force: bool = False) -> None:
        """Stores the progress of every feed, once a second."""
        if not force and monotonic() - self._told < PROGRESS_EVERY:
            return
        self._told = monotonic()
        for feed in self._feeds:
            pairs = [(feed.name, log.name) for log in self._logs if log.table in feed.tables]
            is_whole = feed.tables <= {log.table for log in self._logs}
            if not is_whole or not all(pair in self._until for pair in pairs) or not self._is_awake(feed.name):
                continue
            until = min((self._until[pair] for pair in pairs), default=0)
            with self._tried(feed.name):
                if feed.look():
                    feed.progress(until, is_all=all(self._has_all[pair] for pair in pairs))
                    self.report.progress[feed.name] = until

    def _count(self, table: str, read: Read, found: Decoded) -> None:
        counts = self.report.tables[table]
        counts.events += found.rows.num_rows
        counts.refused += found.refused
        counts.late += self._late(table, read, found)

    def _late(self, table: str, read: Read, found: Decoded) -> int:
        """Events that came later than the topic's lateness after they happened; they are in the tiles all the same."""
        came = np.array([-1 if record.at is None else record.at for record in read.records], np.int64)
        if not found.rows.num_rows or not (came >= 0).any():
            return 0
        try:
            times = values_of(self._tables[table].time, found.rows, table, TIMESTAMP)
        except ZiplineError:  # those that cannot be evaluated are told by the feeds
            return 0
        valid = validity(times)
        is_late = came[found.record] - micros(times) > self._tables[table].lateness
        is_late &= came[found.record] >= 0
        return int((is_late if valid is None else is_late & valid).sum())

    def _append_all_the_time(self) -> None:
        try:
            while not self._stopped.wait(APPENDED_EVERY):
                self._append()
            self._append()
        except BaseException as wrong:  # `run` raises it
            self._wrong = wrong
            self.stop()

    def _appended(self, name: str, appender: Appender) -> None:
        self.report.tables[name].appended += appender.append()
        self._lose(name, appender.lost_before)

    def _append(self) -> None:
        for name, appender in self._appenders.items():
            with self._tried(f"table {name}"):
                self._appended(name, appender)
        for log in self._logs:
            if log.table not in self._appenders:
                positions = [feed.position(log.name) for feed in self._feeds if log.table in feed.tables]
                log.forget(_least(positions) if positions else {})


def _shown(row: pa.Table) -> bytes:
    return json.dumps(row.to_pylist()[0], default=str).encode()


def _least(positions: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Of each part where the slowest stands; a part that one of them has not begun is none."""
    parts = set(positions[0]).intersection(*positions[1:])
    return {part: min(position[part] for position in positions) for part in parts}
