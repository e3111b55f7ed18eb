"""What stands in logs, sent on to topics that a job reads: posts, and the rows of joins that are aggregated.

What is posted to a table goes to a topic of its own, beside the table's: so those whose topic that is do not see it,
and it is appended to the warehouse by whoever takes posts. The rows of a join are made of the topics of its left, posts
included, and go to a topic that the job reads as that of a table. All is sent in transactions, with how far was read,
so a process that is killed goes on after the last that is there, and sends nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import now
from zipline.orchestration.events.enriching import EnrichedLog
from zipline.orchestration.events.kafka import KafkaLog
from zipline.orchestration.events.logs import JournalLog, Log
from zipline.orchestration.events.opening import enrichers
from zipline.orchestration.events.sources import journal_of
from zipline.orchestration.streaming.jobs import StreamJob
from zipline.orchestration.streaming.outboxes import Outbox, Relay, Sent
from zipline.stores.contract import Store

IDLE = 0.05
"""Seconds between two looks at a log in which nothing was new."""
AGAIN = 1.0
ALWAYS = 1 << 62


class Target(Protocol):
    """Where a log is sent on to. It knows how far."""

    def position(self) -> Mapping[str, int]: ...

    def send(self, messages: Sequence[Sent], position: Mapping[str, int]) -> None: ...

    def close(self) -> None: ...


class Forwarder:
    """Sends some logs on, in a thread of its own. `before` says until when all is in the logs that others fill; `lose`
    is told since when nothing is missing in them, before anything is sent of what comes after."""

    def __init__(
        self,
        logs: Sequence[tuple[Log, Target]],
        before: Callable[[], int | None] = lambda: ALWAYS,
        lose: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._logs, self._before, self._lose = tuple(logs), before, lose
        self._until: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._since = EVER_BEFORE
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sending on", daemon=True)
        self._wrong: Exception | None = None

    def until(self) -> int | None:
        """All that came before is in the topics; None while that is not known."""
        known = [self._until.get(log.name) for log, _ in self._logs]
        return None if None in known else min((each for each in known if each is not None), default=ALWAYS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends it after what it is at."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raises what keeps it from sending."""
        if self._wrong is not None:
            raise self._wrong

    def all(self) -> None:
        """Sends all that there is; not what comes meanwhile."""
        asked = now()
        for log, target in self._logs:
            while self._send(log, target) and self._read.get(log.name, 0) < asked:
                pass

    def close(self) -> None:
        """Gives the connections back."""
        for log, target in self._logs:
            log.close()
            target.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                sent = [self._send(log, target) for log, target in self._logs]
                self._wrong = None
                wait = 0.0 if any(sent) else IDLE
            except Exception as wrong:  # whatever it is, who keeps the job going is told, and it is tried again
                self._wrong = wrong
                wait = AGAIN
            self._stopped.wait(wait)

    def _send(self, log: Log, target: Target) -> bool:
        """Sends some; whether there may be more."""
        before = self._before()  # first: what others fill it with later is not in it yet
        position = target.position()
        read = log.read(position)
        since = read.lost_behind(position)
        if since > self._since:
            self._lose(since)
            self._since = since
        messages = [(bytes(event), record.at) for record in read.records for event in record.events]
        target.send(messages, read.position)
        if read.is_all:
            self._read[log.name] = read.asked
        if read.is_all and before is not None:
            self._until[log.name] = min(read.asked, before)
        return bool(read.records) or not read.is_all


def posts_of(job: StreamJob) -> Forwarder:
    """What sends on what is posted to a job's tables."""
    project = job.project
    return Forwarder(
        [
            (JournalLog(table, journal_of(project, table)), Outbox(project.brokers, topic))
            for table, topic in job.posted.items()
        ]
    )


def joins_of(job: StreamJob, store: Store, posts: Forwarder, lose: Callable[[int], None]) -> list[Forwarder]:
    """What makes the rows of each join that the job aggregates, those that others read first; see `Forwarder`."""
    project, made = job.project, dict[str, Forwarder]()
    for name, enricher in enrichers(project, job.sources, store, now).items():
        left, target = enricher.table.left.name, job.enriched[name]
        logs: list[tuple[Log, Target]] = []
        for topic in job.tables[left].inputs:
            log = EnrichedLog(enricher, KafkaLog(left, topic, project.brokers), is_sifted=True)
            logs.append((log, Relay(project.brokers, topic, target)))
        made[name] = Forwarder(logs, made.get(left, posts).until, lose)
    return list(made.values())
