"""The hot path as an ASGI application: features, predictions, events. Everything else goes to the control plane.

Limits are kept before anything is decoded: the size of a body, the time in which it must arrive. A failure of any kind
is an answer with a `Problem`; the process stays up.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

import pyarrow as pa

from serving.access import Access
from serving.features.batching import Answer
from serving.features.events import EVENTS
from serving.features.metrics import Metrics
from serving.features.request_log import RequestLog
from serving.features.requests import Request
from serving.features.responses import ARROW, JSON, arrow
from serving.features.served import Definitions, ServedJoin
from serving.models.predict import MODELS, PREDICT, Models, join_of, predicted
from serving.problems import Problem
from zipline.clock import monotonic
from zipline.serve_settings import Serve

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Handler: TypeAlias = Callable[[str, Headers, bytes], Awaitable[tuple[bytes, bytes]]]
"""(name in the path, headers, body) -> (type of the answer, answer)"""

FEATURES = "/v1/features/"
SLOWEST_BODY = 10.0
"""Seconds in which a body must have arrived."""
_LONGEST_LENGTH = 12
"""Digits of the length of a body."""
_TIMEOUT = b"x-request-timeout-ms"
_log = logging.getLogger(__name__)


class Left(Exception):
    """The caller has left before his request was whole."""


class FeatureApp:
    """See the module."""

    def __init__(
        self,
        settings: Serve,
        definitions: Definitions,
        access: Callable[[], Access],
        metrics: Metrics,
        control: App,
        log: RequestLog | None = None,
        models: Models | None = None,
    ) -> None:
        self._settings, self._definitions, self._access = settings, definitions, access
        self._metrics, self._control, self._log = metrics, control, log
        self._models = models
        self._routes: dict[str, Handler] = {FEATURES: self._features, EVENTS: self._events}
        if models is not None:
            self._routes[MODELS] = self._model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._access().is_open and not _is_from_here(scope["headers"]):
                await _refused(send)
                return
            path: str = scope["path"]
            for prefix, handler in self._routes.items():
                if path.startswith(prefix):
                    await self._answered(scope, receive, send, handler, path[len(prefix) :])
                    return
        await self._control(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, handler: Handler, name: str) -> None:
        began, code = monotonic(), 200
        headers: list[tuple[bytes, bytes]]
        try:
            if scope["method"] != "POST":
                raise Problem(405, "method_not_allowed", "this is asked by POST")
            body = await self._body(scope, receive)
            kind, answer = await handler(name, scope["headers"], body)
            headers = [(b"content-type", kind)]
        except Left:
            return
        except Exception as wrong:
            problem = wrong if isinstance(wrong, Problem) else _internal(wrong)
            code, answer, headers = problem.status, problem.body(), problem.headers()
        self._metrics.answered(name if name in self._names() else "", code, began)
        headers.append((b"content-length", str(len(answer)).encode()))
        if code in (408, 413):
            headers.append((b"connection", b"close"))
        if code == 405:
            headers.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _names(self) -> Iterable[str]:
        current = self._definitions.current
        return current.joins if current is not None else ()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """All of it; Problem where it is too large or too slow."""
        for name, value in scope["headers"]:
            if name == b"content-length" and (len(value) > _LONGEST_LENGTH or int(value) > self._settings.body):
                raise self._too_large()
        try:
            async with asyncio.timeout(SLOWEST_BODY):
                return await self._received(receive)
        except TimeoutError:
            raise Problem(408, "slow_body", f"the body did not arrive within {SLOWEST_BODY:g} s") from None

    async def _received(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Left
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._settings.body:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> Problem:
        return Problem(413, "too_large", f"a body has at most {self._settings.body} bytes")

    async def _features(self, name: str, headers: Headers, body: bytes) -> tuple[bytes, bytes]:
        self._check(headers, name)
        join = self._definitions.served.join(name, self._access().told(headers))
        given = {key: value for key, value in headers if key in _READ}
        _, answer = await self._fetched(join, given, body)
        if _prefers_arrow(given.get(b"accept", b"")):
            return ARROW, arrow(answer.of.result, answer.first, answer.last)
        return JSON, answer.json()

    async def _events(self, source: str, headers: Headers, body: bytes) -> tuple[bytes, bytes]:
        access, events = self._access(), self._definitions.served.events
        if not access.is_open:
            access.check(headers, "write", [])
        assert events is not None
        access.check(headers, "write", events.teams(source, access.told(headers)))
        _check_json(headers)
        return JSON, await asyncio.to_thread(events.post, source, body)

    async def _model(self, name: str, headers: Headers, body: bytes) -> tuple[bytes, bytes]:
        assert self._models is not None
        if not name.endswith(PREDICT):
            raise Problem(404, "not_found", f"a model is asked under {MODELS}{{name}}{PREDICT}")
        access = self._access()
        if not access.is_open:
            access.check(headers, "read", [])
        model = self._models.model(name.removesuffix(PREDICT), access.told(headers))
        self._check(headers, model.facts.join)
        join = join_of(model, self._definitions.served)
        given = {key: value for key, value in headers if key in _READ}
        request, answer = await self._fetched(join, given, body)
        return JSON, await asyncio.to_thread(predicted, model, request, answer)

    async def _fetched(self, join: ServedJoin, given: dict[bytes, bytes], body: bytes) -> tuple[Request, Answer]:
        until = monotonic() + self._deadline(given)
        _check_plain(given)
        request = _read(join, given.get(b"content-type", JSON), body)
        answer = await join.batches.ask(request, until)
        if self._log is not None:
            self._log.take(join.name, join.fetch, request.rows, answer)
        return request, answer

    def _check(self, headers: Headers, join: str) -> None:
        """Whether who asks may read the join."""
        access = self._access()
        if not access.is_open:
            access.check(headers, "read", [join.partition(".")[0]])

    def _deadline(self, given: dict[bytes, bytes]) -> float:
        asked = given.get(_TIMEOUT)
        if asked is None:
            return self._settings.deadline
        if not asked.isdigit() or len(asked) > 9:
            raise Problem(400, "invalid_request", f"{_TIMEOUT.decode()} is a whole number of milliseconds")
        return min(self._settings.deadline, int(asked) / 1000)


def _internal(wrong: Exception) -> Problem:
    _log.error("a request failed: %s", type(wrong).__name__, exc_info=wrong)
    return Problem(500, "internal", "the request failed; the server's log says why")


def _is_from_here(headers: Headers) -> bool:
    """Whether it was asked for this machine by name: a page in a browser can have others lead here."""
    host = next((value for name, value in headers if name == b"host"), b"localhost")
    name = host.rpartition(b":")[0] if host.rpartition(b":")[2].isdigit() else host
    return name.lower() in _HERE


async def _refused(send: Send) -> None:
    problem = Problem(403, "forbidden", "without tokens this server answers to localhost and 127.0.0.1 alone")
    body = problem.body()
    headers = [*problem.headers(), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _prefers_arrow(accept: bytes) -> bool:
    """Whether Arrow is named, and JSON is not wanted more."""
    if ARROW not in accept:
        return False
    wanted = dict(map(_weight, accept.split(b",")))
    return wanted.get(ARROW, 0.0) > 0 and wanted.get(ARROW, 0.0) >= wanted.get(JSON, 0.0)


def _weight(kind: bytes) -> tuple[bytes, float]:
    name, *rest = (each.strip().lower() for each in kind.split(b";"))
    for each in rest:
        if each.startswith(b"q="):
            with suppress(ValueError):
                return name, float(each[2:])
    return name, 1.0


def _read(join: ServedJoin, kind: bytes, body: bytes) -> Request:
    kind = kind.partition(b";")[0].strip().lower()
    if kind == ARROW:
        return join.reader.read_table(_from_arrow(body))
    if kind == JSON:
        return join.reader.read(body)
    raise Problem(415, "unsupported_type", "a body is JSON, or a stream of Arrow's IPC", valid=_KINDS)


def _check_plain(given: Mapping[bytes, bytes]) -> None:
    if given.get(b"content-encoding", b"identity") != b"identity":
        raise Problem(415, "unsupported_type", "a body is not compressed: send it without content-encoding")


def _check_json(headers: Headers) -> None:
    given = {name: value for name, value in headers if name in _OF_BODY}
    _check_plain(given)
    kind = given.get(b"content-type", b"")
    if kind.partition(b";")[0].strip().lower() != JSON:
        raise Problem(415, "unsupported_type", "a body is JSON", valid=_KINDS[:1])


def _from_arrow(body: bytes) -> pa.Table:
    try:
        with pa.ipc.open_stream(io.BytesIO(body)) as stream:
            table = stream.read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowException, OSError, ValueError) as wrong:
        raise Problem(400, "invalid_arrow", f"the body is no stream of Arrow's IPC: {type(wrong).__name__}") from None


_OF_BODY = (b"content-type", b"content-encoding")
_READ = (*_OF_BODY, b"accept", _TIMEOUT)
"""The headers that a question is read by."""
_HERE = (b"localhost", b"127.0.0.1", b"[::1]")
_KINDS = (JSON.decode(), ARROW.decode())
