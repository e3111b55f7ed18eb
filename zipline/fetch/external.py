"""Asking external sources: their handlers are called for a batch of keys, within the source's time limit.

A handler is a Python callable, `handler(rows) -> rows`, or the URL of a service that takes `{"rows": [...]}` by POST
and answers `{"rows": [...]}`: one mapping of values for each mapping of keys, in order, or None where it has nothing.

Contract: `ask` never raises for what a handler does and returns after at most the source's timeout. What a handler
raises, or does not answer in time, is `unavailable`; an answer of another shape or type is `error`; neither is ever a
value. A handler that raises for some of the keys is asked again by halves, so that a key that it cannot take costs no
other key its answer; where it raises for all quarters of the keys it is the source that fails, and where the way to it
does, it is not asked again. A callable that hangs keeps its thread, so a source has a few threads of its own; when all
of them hang, calls wait for one until their time is over. So a hanging source costs no other source, and no growing
memory. A source that fails again and again is not asked for a while: its values are `unavailable` at once.
"""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from zipline.algebra.nested import from_algebra
from zipline.algebra.values import typed
from zipline.api import ExternalSource
from zipline.api.fields import duration_micros
from zipline.breaker import TOLERATED, Breaker
from zipline.clock import monotonic
from zipline.errors import DataError
from zipline.types import DataType, parse_type
from zipline.values import dataclass

Row = Mapping[str, Any]
Handler = Callable[[Sequence[Row]], Sequence["Row | None"]]
Status = Literal["ok", "default", "unavailable", "error"]

THREADS = 16
MOST_CALLS = 64
"""Of a handler, for the keys of one batch."""
_QUARTERS = 7
OF_THE_WAY = (ConnectionError, TimeoutError, socket.gaierror)
"""What is raised on the way to a source, and for no row."""
_LOG = logging.getLogger("zipline.fetch.external")


@dataclass(frozen=True, slots=True)
class Answer:
    """The values for one row of keys, all null unless `ok`; `default` where the source has nothing for the key."""

    values: Mapping[str, Any]
    status: Status
    reason: str | None = None


class ExternalClient:
    """Asks one source. Thread-safe; its threads end when nobody has it any more, or by `close`."""

    def __init__(self, source: ExternalSource) -> None:
        self._source = source
        self._fits = {name: fitted(parse_type(text)) for name, text in source.values.items()}
        self._seconds = duration_micros(source.timeout) / 1_000_000
        self._handler = _of_url(source.handler, self._seconds) if isinstance(source.handler, str) else source.handler
        self._workers = _Workers(source.title)
        weakref.finalize(self, self._workers.close)
        self._breaker = Breaker()
        self.failures = 0

    def ask(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer for each row, in order."""
        return self.begin(rows)()

    def begin(self, rows: Sequence[Row]) -> Callable[[], list[Answer]]:
        """The same in two halves: what it gives waits for the answers, until the time that counts from now is over."""
        asked = [{key: row.get(key) for key in self._source.keys} for row in rows]
        if not asked:
            return list
        if not self._breaker.may_ask():
            return lambda: self._all(len(asked), "unavailable", f"not asked: it failed {TOLERATED} times in a row")
        ends = monotonic() + self._seconds
        future = self._workers.begin(lambda: _spared(self._handler, asked, ends, self._reason))
        return lambda: self._answers(len(asked), future, ends)

    def _answers(self, count: int, future: Future[Any], ends: float) -> list[Answer]:
        try:
            answers = future.result(max(0.0, ends - monotonic()))
        except Exception as wrong:
            self._breaker.failed()
            return self._all(count, "unavailable", self._reason(wrong))
        finally:
            future.cancel()
        self._breaker.answered()
        try:
            some = list(answers) if _is_list(answers) and len(answers) == count else None
        except Exception:  # objects of the handler's own kinds may do anything when they are looked at
            some = None
        if some is None:
            return self._all(count, "error", _shapeless(count))
        return [self._answer(answer) for answer in some]

    def close(self) -> None:
        """No more questions; a thread that hangs is left behind."""
        self._workers.close()

    def _all(self, count: int, status: Status, reason: str) -> list[Answer]:
        self.failures += 1
        _LOG.warning("%s: %s", self._source.title, reason)
        return [self._nothing(status, reason)] * count

    def _reason(self, wrong: Exception) -> str:
        if isinstance(wrong, TimeoutError):
            return f"no answer within {self._source.timeout}"
        return f"{type(wrong).__name__}: {wrong}"

    def _nothing(self, status: Status, reason: str | None = None) -> Answer:
        return Answer(dict.fromkeys(self._fits), status, reason)

    def _answer(self, answer: object) -> Answer:
        if answer is None:
            return self._nothing("default")
        if isinstance(answer, _Failed):
            return self._wrong(answer.reason, answer.status)
        if not isinstance(answer, Mapping):
            return self._wrong(f"a row of the answer is {type(answer).__name__}, not a mapping")
        try:
            missing = [name for name in self._fits if name not in answer]
            if missing:
                return self._wrong(f"the answer has no {missing[0]!r}")
            return Answer({name: fit(answer[name]) for name, fit in self._fits.items()}, "ok")
        except DataError as misfit:
            return self._wrong(misfit.what)
        except Exception as wrong:  # as above; the other rows may be other callers'
            return self._wrong(f"a row of the answer cannot be read: {type(wrong).__name__}")

    def _wrong(self, reason: str, status: Status = "error") -> Answer:
        self.failures += 1
        _LOG.warning("%s: %s", self._source.title, reason)
        return self._nothing(status, reason)


def fitted(dtype: DataType) -> Callable[[Any], Any]:
    """What takes a value as its declared type, NaN as null; DataError where it is another. Nothing is parsed but times
    of ISO 8601, nothing rounded but a FLOAT to its width. Decimals may be numbers of JSON."""
    clean = typed(dtype)
    return lambda value: from_algebra(clean(value), dtype)


class _Failed(NamedTuple):
    """What became of a row of which the handler gave no answer, in the place of it."""

    status: Status
    reason: str


def _spared(handler: Handler, rows: Sequence[Row], ends: float, reason: Callable[[Exception], str]) -> Any:
    """What a handler answers, with `_Failed` for the rows that it raises for; what it raises, where that is for all.

    Where it raises it is asked by halves, and those by halves: a source that is down seven times for a batch, one that
    cannot take one key of n about 2 log2(n) times, and never more than `MOST_CALLS`. Every call has rows of its own,
    for a handler may do with them what it likes.
    """
    try:
        return handler(_own(rows))
    except Exception as wrong:
        if isinstance(wrong, OF_THE_WAY) or len(rows) == 1:
            raise
        first = wrong
    answers: list[Any] = [None] * len(rows)
    pending: deque[tuple[int, int, Exception]] = deque([(0, len(rows), first)])
    calls, answered = 1, 0
    while pending:
        start, stop, raised = pending.popleft()
        if calls >= _QUARTERS and not answered:
            raise first
        if stop - start == 1 or calls >= MOST_CALLS or monotonic() > ends or isinstance(raised, OF_THE_WAY):
            answers[start:stop] = [_Failed("unavailable", reason(raised))] * (stop - start)
            continue
        middle = (start + stop) // 2
        for low, high in ((start, middle), (middle, stop)):
            calls += 1
            try:
                found = handler(_own(rows[low:high]))
                whole = list(found) if _is_list(found) and len(found) == high - low else None
            except Exception as again:
                pending.append((low, high, again))
                continue
            answered += high - low
            answers[low:high] = [_Failed("error", _shapeless(high - low))] * (high - low) if whole is None else whole
    if not answered:
        raise first
    return answers


def _own(rows: Sequence[Row]) -> list[Row]:
    return [dict(row) for row in rows]


def _shapeless(count: int) -> str:
    return f"the handler answered no list of {count} rows"


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


class _Workers:
    """A few daemon threads, started when needed: one that hangs does not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._threads = self._open = 0

    def begin(self, task: Callable[[], Any]) -> Future[Any]:
        """What the task will return or raise."""
        future: Future[Any] = Future()
        with self._guard:
            self._open += 1
            if self._threads < min(self._open, THREADS):
                self._threads += 1
                threading.Thread(target=self._work, name=f"external {self._name}", daemon=True).start()
        self._tasks.put((task, future))
        return future

    def close(self) -> None:
        for _ in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (item := self._tasks.get()) is not None:
            task, future = item
            if future.set_running_or_notify_cancel():
                _settle(future, task)
            del item, task, future  # they know the client, which is to go when nobody else has it
            with self._guard:
                self._open -= 1


def _settle(future: Future[Any], task: Callable[[], Any]) -> None:
    try:
        future.set_result(task())
    except Exception as wrong:
        future.set_exception(wrong)
    except BaseException as wrong:  # a handler that calls sys.exit() ends itself, not the platform
        future.set_exception(RuntimeError(repr(wrong)))


def _of_url(url: str, seconds: float) -> Handler:
    """A handler that asks a service. A connection for each call: no state that a broken one could poison."""
    place = urlsplit(url)

    def ask(rows: Sequence[Row]) -> Sequence[Row | None]:
        ends = monotonic() + seconds
        connection = _connection(place, seconds)
        try:
            body = json.dumps({"rows": list(rows)}, default=str)
            path = (place.path or "/") + (f"?{place.query}" if place.query else "")
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            if connection.sock is not None:
                connection.sock.settimeout(max(ends - monotonic(), 0.001))
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(f"the service answered {response.status} {response.reason}")
            answers: Sequence[Row | None] = json.loads(content)["rows"]
            return answers
        finally:
            connection.close()

    return ask


def _connection(place: SplitResult, seconds: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    return kind(place.hostname or "", place.port, timeout=seconds)
