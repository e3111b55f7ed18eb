"""What is posted to a table, sent on to a topic that its job reads beside the table's own.

A topic of its own, so that those whose topic that is do not see it: what is posted is appended to the warehouse by
whoever takes posts. It is sent in transactions, each message with the place in the journal behind it, so a process that
is killed goes on after the last one that is there, and sends nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from zipline.errors import ZiplineError
from zipline.orchestration.events.logs import JournalLog
from zipline.orchestration.streaming.brokers import Outbox

IDLE = 0.05
"""Seconds between two looks at a journal in which nothing was new."""
AGAIN = 1.0


class Forwarder:
    """Sends the journals of some tables on, in a thread of its own."""

    def __init__(self, journals: Sequence[tuple[JournalLog, Outbox]]) -> None:
        self._journals = tuple(journals)
        self._until: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sending what was posted", daemon=True)
        self._wrong: ZiplineError | OSError | None = None

    @property
    def until(self) -> int | None:
        """All that was posted before is in the topics; None while that is not known."""
        known = [self._until.get(log.table) for log, _ in self._journals]
        return None if None in known else min((each for each in known if each is not None), default=1 << 62)

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
        """Sends all that there is."""
        for log, outbox in self._journals:
            while self._send(log, outbox):
                pass

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                sent = [self._send(log, outbox) for log, outbox in self._journals]
                self._wrong = None
                wait = 0.0 if any(sent) else IDLE
            except (ZiplineError, OSError) as wrong:
                self._wrong = wrong
                wait = AGAIN
            self._stopped.wait(wait)

    def _send(self, log: JournalLog, outbox: Outbox) -> int:
        """Sends some; gives how many records it were."""
        read = log.read(outbox.position())
        if read.records:
            outbox.send(
                [
                    (bytes(event), record.at, (record.part, record.after))
                    for record in read.records
                    for event in record.events
                ]
            )
        if read.is_all:
            self._until[log.table] = read.asked
        return len(read.records)
