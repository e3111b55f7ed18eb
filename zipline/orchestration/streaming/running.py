"""Who keeps a streaming job going: starts it, puts its tiles into the store, and starts it again where it ends.

`Streaming.run` reads the topic of tiles and puts the newest of each into the store, group-by by group-by, and with the
last of them how far was read. A thread beside it looks at the job once a second: until when all events are in the
tiles, and whether the job goes on. A job that has ended is started again from its newest checkpoint; a store or broker
that fails is tried again, and nothing is lost by it, for the topic of tiles waits.

One process has a job: it holds its lock, and those of its group-bys' tiles. Where another version of the job writes the
tiles of some (the definition of others was changed), the process may begin *beside* it: it waits for these tiles, and
writes all that its own job made of them when the other one has gone.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import monotonic, now
from zipline.engines.flink.launching import KilledError, Running, ended, start
from zipline.engines.flink.messages import Message, read_message
from zipline.engines.flink.partials import opened
from zipline.engines.flink.rest import RUNNING, Jobs, UnknownJobError
from zipline.engines.flink.sharing import shared
from zipline.errors import EngineError, LockLostError, ZiplineError
from zipline.orchestration.events.stream import AGAIN, CHECKED_EVERY, PROGRESS_EVERY
from zipline.orchestration.streaming.brokers import Admin, Tile, TileReader
from zipline.orchestration.streaming.feeds import TileFeed
from zipline.orchestration.streaming.forwarding import joins_of, posts_of
from zipline.orchestration.streaming.jobs import StreamJob
from zipline.orchestration.streaming.locks import Locks
from zipline.orchestration.streaming.progress import JobProgress
from zipline.orchestration.streaming.status import STOPPED, Report, write_status
from zipline.registry import open_registry
from zipline.stores.contract import TILES_KEPT, Store
from zipline.stores.opening import open_store, space_of

MOST = 256
"""Messages of tiles that are written at once; each has up to half a megabyte."""
WAITED = 0.02
MANY = 4096
"""Tiles that are written at once under load, time after time: then throughput counts more than how soon each is
there."""
REST, LONGEST_REST = 3.0, 1.0
"""How long tiles gather after such a write, in times that it took and in seconds, if all that came were of one place:
of each that changes meanwhile only the newest is written. The fewer of those that came were written, the longer."""
STOPPED_WITHIN = 60.0
"""Seconds for a savepoint."""


class Streaming:
    """See the module. One thread calls `run` or `once`; `stop` may be called by any."""

    def __init__(self, job: StreamJob, store: Store, admin: Admin, reader: TileReader, locks: Locks) -> None:
        self.job, self._store, self._admin, self._reader, self._locks = job, store, admin, reader, locks
        self.report = Report(job.version)
        self._feeds: list[TileFeed] = []
        self._waiting = list(job.feeds)
        self._shared = shared(job.feeds)
        self._take_up()
        posts = posts_of(job)
        self._forwarders = [posts, *joins_of(job, store, posts, partial(admin.tell_lost, job.tiles))]
        self._progress = JobProgress(admin, job.topics, job.group, job.tiles)
        self._began = 0
        self.running: Running | None = None
        self._offset = 0
        self._until = 0
        self._rests_until = 0.0
        self._came = 0
        """Tiles in the messages that are taken in."""
        self._had_many = False
        self._ends_job = False
        self._checked = monotonic()
        self._stopped = threading.Event()
        self._restarted = threading.Event()
        self._has_begun = False
        self._forgotten = ""
        self._wrong: BaseException | None = None

    def run(self) -> Report:
        """Keeps the job going until `stop`, which ends it with a savepoint."""
        write_status(self.job.folder, self.report)
        try:
            self.running = self._started()
        except KilledError as killed:  # it is started again as if it had run
            self.report.troubles["job"] = killed.what
            write_status(self.job.folder, self.report)
        watching = threading.Thread(target=self._watch, name="watching the job", daemon=True)
        watching.start()
        for forwarder in self._forwarders:
            forwarder.start()
        try:
            while not self._stopped.is_set():
                self._step()
        finally:
            self._stopped.set()
            for forwarder in self._forwarders:
                forwarder.stop()
            watching.join()
            self._end()
            write_status(self.job.folder, self.report)
        if self._wrong is not None:
            raise self._wrong
        return self.report

    def once(self) -> Report:
        """Takes in all that the topics hold now; the first failure is raised."""
        asked = now()
        for forwarder in self._forwarders:
            forwarder.all()
        self._begin()
        self.job.forget_once()
        progress = JobProgress(self._admin, self.job.topics, self.job.once_group, self.job.tiles)
        progress.begin(now() - TILES_KEPT)
        with ThreadPoolExecutor(1) as beside:
            memory = self.job.project.flink.memory
            settings, statements = self.job.settings(ends=True), self.job.statements(ends=True)
            ran = beside.submit(ended, settings, statements, self.job.folder, memory)
            while not ran.done():
                self._take_in()
            ran.result()
        self.job.forget_once()
        progress.look_for_lost()
        end = self._admin.end(self.job.tiles)
        while self._offset < end:
            self._take_in()
        self._progressed(asked, is_all=True)
        self.report.until, self.report.state = asked, "ended"
        self._count()
        return self.report

    def stop(self, *, with_job: bool = False) -> None:
        """Ends `run` after what it is at; the job of a cluster goes on, unless it is to end too."""
        self._ends_job = with_job
        self._stopped.set()

    def close(self) -> None:
        """Gives connections back."""
        for forwarder in self._forwarders:
            forwarder.close()

    def restart(self) -> None:
        """Ends the job with a savepoint, and starts it again from there."""
        self._restarted.set()

    def _started(self) -> Running:
        """The job, which goes on from its newest checkpoint; on a cluster, the one that runs there already."""
        project = self.job.project
        if project.flink.cluster:
            jobs = Jobs(project.flink.cluster)
            found = next((job for job, name in jobs.names().items() if name == self.job.version), None)
            if found is not None:
                self._progress.follow()
                self.report.id, self.report.state = found, "running"
                return Running(found, jobs, self.job.folder / "submit.log", None)
        restored = self.job.newest_state()
        self._progress.begin(None if restored else now() - TILES_KEPT)
        running = start(project.flink, self.job.settings(restored), self.job.statements(), self.job.folder)
        self.report.id, self.report.state = running.id, "running"
        return running

    def _begin(self) -> None:
        """Reads the tiles from where the slowest of the feeds stands; until it is through, no progress is told."""
        for feed in self._feeds:
            feed.look()
        self.report.until, self._until, self._began = None, 0, now()
        self._lose(EVER_BEFORE)
        self._offset, is_lost = self._reader.begin([self._stands(feed) for feed in self._feeds])
        if is_lost:
            self._lose(now())
            for feed in self._feeds:
                feed.skip(self.job.tiles, self._offset)
        self._has_begun = True

    def _stands(self, feed: TileFeed) -> int:
        """The message of tiles before which it has all."""
        return feed.position(self.job.tiles).get("0", 0)

    def _step(self) -> None:
        with self._tried("locks"):
            self._check_locks()
        if self._wrong is not None:
            return
        with self._tried("tiles"):
            self._take_in()
        if "tiles" in self.report.troubles:
            self._has_begun = False
            self._stopped.wait(AGAIN)
        if not self._has_begun:  # the offset is not that of all feeds
            return
        mark = self._progress.reached(self._offset)
        if mark is not None:
            self.report.until = max(mark.until, self._until)
        # All that came until it began to read: then what is made anew is whole, though more may come all the time.
        self._tell(is_through=mark is not None and mark.until >= self._began)

    def _check_locks(self) -> None:
        """LockLostError where another process may write the tiles. What was let go is taken up."""
        if monotonic() - self._checked >= (PROGRESS_EVERY if self._waiting else CHECKED_EVERY):
            self._checked = monotonic()
            self._locks.check()
            if self._take_up():
                self._has_begun = False

    def _take_up(self) -> bool:
        """Whether there are group-bys more whose tiles nobody else writes now."""
        before = len(self._feeds)
        for kept in tuple(self._waiting):
            space = space_of(self.job.project, kept)
            if self._locks.take(space):
                self._feeds.append(TileFeed(kept, self._store, space))
                self._waiting.remove(kept)
        self.report.waits_for = [kept.group_by.name for kept in self._waiting]
        return len(self._feeds) > before

    def _take_in(self) -> int:
        """Writes the tiles that have come; gives how many messages there were."""
        if not self._has_begun:
            self._begin()
        self._stopped.wait(self._rests_until - monotonic())
        messages = self._reader.read(MOST, WAITED)
        began, before, self._came = monotonic(), self.report.tiles, 0
        for some in self._parts(messages):
            if not self._put(some):
                break
        written = self.report.tiles - before
        is_many = written >= MANY
        if is_many and self._had_many and len(messages) < MOST:
            rest = min(LONGEST_REST, REST * (monotonic() - began))
            self._rests_until = monotonic() + rest * (1 - written / self._came)
        self._had_many = is_many
        return len(messages)

    def _parts(self, messages: Sequence[Tile]) -> Iterator[Sequence[Tile]]:
        """The messages, divided where a feed stands: from there on it takes them, too."""
        cuts = sorted(stands for stands in set(map(self._stands, self._feeds)) if stands > self._offset)
        first = 0
        for cut in cuts:
            number = bisect_right(messages, cut, key=lambda message: message.after)
            if first < number:
                yield messages[first:number]
                first = number
        if first < len(messages):
            yield messages[first:]

    def _put(self, messages: Sequence[Tile]) -> bool:
        """Writes the newest of each tile in these messages, and how far they go. Where the store is not as it was left,
        as one that was emptied, nothing is written, and all is read again."""
        self._has_begun = all(feed.look() for feed in self._feeds)
        if not self._has_begun:
            return False
        came: dict[int, list[Message]] = {each.tag: [] for each in self._shared}
        after = self._offset
        for message in messages:
            if message.after != after + 1:  # the topic has deleted what was not read
                self._lose(now())
            after = message.after
            if message.since > EVER_BEFORE:
                self._lose(message.since)
                continue
            found = read_message(message.content)
            if found.feed in came and len(found.places):
                came[found.feed].append(found)
        feeds = {feed.kept: feed for feed in self._feeds if self._stands(feed) <= self._offset}
        for each in self._shared:
            own = [feeds[kept] for kept in each.members if kept in feeds]
            tiles = opened(each, came[each.tag]) if own and came[each.tag] else None
            for feed in own:
                feed.put(self.job.tiles, tiles, after)
                self.report.tiles += 0 if tiles is None else len(tiles.key)
                self._came += sum(len(message.places) for message in came[each.tag])
        self._offset = after
        return True

    def _tell(self, *, is_through: bool) -> None:
        """Stores the progress of every group-by, once a second."""
        until = self.report.until
        if until is None or until <= self._until:
            return
        with self._tried("progress"):
            if not all(feed.look() for feed in self._feeds):
                self._has_begun = False
                return
            self._progressed(until, is_all=is_through)
            self._until = until

    def _progressed(self, until: int, *, is_all: bool) -> None:
        """All that came before `until` is in the tiles, but what was lost."""
        for feed in self._feeds:
            feed.progress(until, is_all=is_all)

    def _lose(self, since: int) -> None:
        """Of what came before some is lost for the tiles; it is stored with how far these were read."""
        for feed in self._feeds:
            feed.lose(since)
        lost = max((feed.since for feed in self._feeds), default=EVER_BEFORE)
        self.report.since = None if lost == EVER_BEFORE else lost

    def _watch(self) -> None:
        try:
            while not self._stopped.wait(PROGRESS_EVERY):
                self._watch_once()
        except BaseException as wrong:  # `run` raises it
            self._wrong = wrong
            self._stopped.set()

    def _watch_once(self) -> None:
        with self._tried("job"):
            self._look()
        with self._tried("brokers"):
            known = [forwarder.until() for forwarder in self._forwarders]
            self._progress.look(None if None in known else min(each for each in known if each is not None))
            self.report.lag = self._progress.lag
            self._count()
        with self._tried("sending on"):
            for forwarder in self._forwarders:
                forwarder.check()
        with self._tried("status"):
            write_status(self.job.folder, self.report)

    def _look(self) -> None:
        """Starts the job again where it has ended."""
        if self._restarted.is_set():
            self._restarted.clear()
            self._save()
        running = self.running
        if running is None or running.has_ended:
            self._restart()
            return
        try:
            state = running.jobs.state(running.id)
        except UnknownJobError:
            state = "LOST"
        self.report.state = state.lower()
        if state not in RUNNING:
            self._restart()
            return
        newest = running.jobs.checkpoint(running.id)
        if newest is not None and self._forgotten != running.id:
            self.job.forget_state(running.id)
            self._forgotten = running.id
        self.report.checkpoint = newest or self.report.checkpoint
        if state == "RESTARTING":
            raise EngineError(f"the job is being restarted: {running.jobs.failure(running.id)}")

    def _restart(self) -> None:
        self.report.state = "restarting"
        if self.running is not None:
            self.running.kill()
        self.running = None
        self.running = self._started()
        self.report.restarts += 1

    def _end(self) -> None:
        """Ends the job with a savepoint, from which the next one goes on; that of a cluster only where it is asked."""
        running = self.running
        is_own = not self.job.project.flink.cluster
        if running is None:
            self.report.state = STOPPED if is_own else self.report.state
        if running is None or not (is_own or self._ends_job):
            return
        with self._tried("savepoint"):
            self._save()
        running.kill()
        if is_own or "savepoint" not in self.report.troubles:
            self.report.state = STOPPED
        with self._tried("brokers"):
            self._progress.look(None)
        if self._wrong is not None:  # another process may write the tiles
            return
        with self._tried("tiles"):
            end = self._admin.end(self.job.tiles)
            until = monotonic() + STOPPED_WITHIN
            while self._offset < end and monotonic() < until:
                self._take_in()

    def _save(self) -> None:
        """Asks the job for a savepoint and for its end, and waits for both."""
        running = self.running
        if running is None or running.has_ended:
            return
        running.jobs.stop(running.id, self.job.saved, STOPPED_WITHIN)

    def _count(self) -> None:
        """Messages that were put aside since their topics were made."""
        for counts, topics in ((self.report.dead, self.job.dead), (self.report.late, self.job.late)):
            counts.update((table, self._admin.end(topic)) for table, topic in topics.items())

    @contextmanager
    def _tried(self, name: str) -> Iterator[None]:
        """What fails is reported, and tried again with the next step."""
        try:
            yield
            self.report.troubles.pop(name, None)
        except LockLostError as lost:
            self._wrong = lost
            self._stopped.set()
        except (ZiplineError, OSError) as wrong:
            self.report.troubles[name] = wrong.what if isinstance(wrong, ZiplineError) else str(wrong) or repr(wrong)


@contextmanager
def open_streaming(job: StreamJob, *, store: Store | None = None, beside: bool = False) -> Iterator[Streaming]:
    """A job with its locks, topics and connections. LockedError names who has it already; of its group-bys' tiles only
    where it is not to be begun `beside` who writes them."""
    project = job.project
    with ExitStack() as held:
        admin = Admin(project.brokers)
        held.callback(admin.close)
        admin.check_topics(job.given)
        registry = held.enter_context(open_registry(project))
        admin.make([job.tiles], kept=TILES_KEPT)
        letters, own = (*job.dead.values(), *job.late.values()), (*job.posted.values(), *job.enriched.values())
        admin.make([*letters, *own], kept=7 * TILES_KEPT)
        if store is None:
            store = open_store(project)
            held.callback(store.close)
        reader = TileReader(project.brokers, job.tiles)
        held.callback(reader.close)
        locks = Locks(registry, held, beside=beside)
        streaming = Streaming(job, store, admin, reader, locks)
        held.callback(streaming.close)
        locks.take_job(job.version)
        yield streaming


__all__ = ["Streaming", "open_streaming"]
