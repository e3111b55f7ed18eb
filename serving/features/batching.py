"""Requests that wait for their turn, and are answered together: whatever waits when the loop comes round is one fetch.

A fetch of many rows costs a fraction of as many fetches, so a server under load answers in larger batches instead of
falling behind. What waits is bounded: above `waiting` rows a request is refused at once, and one whose time is over is
not fetched any more. One request alone does not wait for others.

A store in this machine is read on the loop itself, without another thread. One that is asked over the network is read
in threads, a few batches at a time, so that its slowness holds up nobody's connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias

from serving.features.requests import Request
from serving.features.responses import Answered, answered
from serving.problems import Problem
from zipline.clock import MINUTE, monotonic, now
from zipline.errors import UsageError, ZiplineError
from zipline.fetch.results import Result, Status
from zipline.values import dataclass

Fetch: TypeAlias = Callable[[Sequence[dict[str, Any]], int, bool], Result]
"""(rows, instant, whether that is the present) -> features"""
MOST_ROWS = 256
"""Rows of one fetch, unless one request has more."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answer:
    """One request's share of an answer: rows `first` to `last`, asked as of `at`."""

    of: Answered
    first: int
    last: int
    at: int

    def json(self) -> bytes:
        return self.of.json(self.first, self.last)

    def values(self) -> list[dict[str, Any]]:
        """Of every row its features."""
        return self.of.result.rows()[self.first : self.last]

    def statuses(self) -> list[dict[str, Status]]:
        """Of every row what is not `ok`."""
        return self.of.statuses[self.first : self.last]


@dataclass(frozen=True, eq=False)
class _Waiting:
    request: Request
    until: float
    answer: asyncio.Future[Answer]


class Batches:
    """The requests of one join. To be used on one loop."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        waiting: int,
        executor: Executor | None = None,
        at_once: int = 4,
        seen: Callable[[Result, int], None] | None = None,
    ) -> None:
        self._fetch, self._most, self._executor, self._free = fetch, waiting, executor, at_once
        self._queue: deque[_Waiting] = deque()
        self._last = 0
        self._rows = 0
        self._is_called = False
        self._seen = seen

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return self._rows

    def ask(self, request: Request, until: float) -> asyncio.Future[Answer]:
        """The answer to come, or a Problem: too many wait (503), too late (504), not to be answered (400, 500)."""
        loop = asyncio.get_running_loop()
        if self._rows and self._rows + len(request.rows) > self._most:
            raise Problem(503, "overloaded", "too many rows are waiting", retry_after=1)
        waiting = _Waiting(request, until, loop.create_future())
        self._queue.append(waiting)
        self._rows += len(request.rows)
        self._call(loop)
        return waiting.answer

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._queue and not self._is_called and self._free:
            self._is_called = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_called = False
        batch = self._next()
        if batch and self._executor is None:
            _settle(batch, self._fetched(batch))
        elif batch:
            self._free -= 1
            done = loop.run_in_executor(self._executor, self._fetched, batch)
            done.add_done_callback(lambda found: self._returned(loop, batch, found))
        self._call(loop)

    def _returned(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], found: asyncio.Future[Any]) -> None:
        self._free += 1
        _settle(batch, found.result())
        self._call(loop)

    def _next(self) -> list[_Waiting]:
        """What is to be fetched together: of one time, and not too late. Who has left is left out."""
        found: list[_Waiting] = []
        rows, clock = 0, monotonic()
        while self._queue:
            first = self._queue[0]
            count = len(first.request.rows)
            if found and (rows + count > MOST_ROWS or first.request.at != found[0].request.at):
                break
            self._queue.popleft()
            self._rows -= count
            if first.answer.done():
                continue
            if clock > first.until:
                first.answer.set_exception(Problem(504, "deadline_exceeded", "the request waited for too long"))
                continue
            found.append(first)
            rows += count
        return found

    def _fetched(self, batch: Sequence[_Waiting]) -> list[Answer | Exception]:
        """Of every request its answer, or why there is none."""
        asked = batch[0].request.at
        at = self._present() if asked is None else asked
        rows = [row for each in batch for row in each.request.rows] if len(batch) > 1 else batch[0].request.rows
        try:
            result = self._fetch(rows, at, asked is None)
            if self._seen is not None:
                self._seen(result, len(batch))
            found = answered(result)
        except Exception as wrong:
            if len(batch) > 1:  # whose fault it is shows when each is asked alone
                return [answer for each in batch for answer in self._fetched([each])]
            return [_problem(wrong)]
        answers: list[Answer | Exception] = []
        first = 0
        for each in batch:
            last = first + len(each.request.rows)
            answers.append(Answer(found, first, last, at))
            first = last
        return answers

    def _present(self) -> int:
        """The time: never earlier than before, if the clock was set back by less than a minute."""
        clock = now()
        self._last = self._last if 0 < self._last - clock < MINUTE else clock
        return self._last


def _settle(batch: Sequence[_Waiting], found: Sequence[Answer | Exception]) -> None:
    for waiting, answer in zip(batch, found, strict=True):
        if waiting.answer.done():
            continue
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)


def _problem(wrong: Exception) -> Problem:
    if isinstance(wrong, UsageError):
        return Problem(400, "invalid_request", wrong.what, valid=wrong.valid, hint=wrong.hint)
    if isinstance(wrong, ZiplineError):
        # Its place is all that is told of it, for `what` has the value.
        path = f"$.{wrong.subject}" if wrong.subject and wrong.subject.startswith("rows[") else "$.rows"
        return Problem(400, "invalid_request", "a value of the request does not fit its column", path=path)
    _log.error("a fetch failed: %s", type(wrong).__name__, exc_info=wrong)
    return Problem(500, "internal", "the fetch failed; the server's log says why")
