"""A client of the feature server, for programs that have nothing else of the platform:

    with Client("http://127.0.0.1:8080", token="...") as client:
        found = client.fetch("shop.orders.checkout", [{"user": 5}])
        found.rows(), found.status(0, "spent_amount_sum_7d")

Every call has a deadline for all it does (but a call, other than an await, waits for headers that come byte by byte).
Within it, what was not answered for want of room or connection is asked again, after waits that grow and are drawn by
chance, so that many clients do not come back at once. What the server refuses is raised as it says it: `Refused`,
`Unauthorized`, `Overloaded`, `Unreachable`, all of them `ClientError`.

The conversation is a generator: it yields what to send, or how long to wait, and is given what came of it. `fetch` and
`afetch` drive it, one with calls, the other with awaits.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import random
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import quote

import httpx

from zipline.clock import monotonic, to_micros, to_text
from zipline.errors import UsageError, ZiplineError
from zipline.values import dataclass

Row: TypeAlias = Mapping[str, Any]
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0


class ClientError(ZiplineError):
    """A call to the server did not succeed. `status` is that of HTTP, None where there was no answer."""

    def __init__(self, what: str, *, status: int | None = None, code: str = "", path: str | None = None, **facts: Any):
        super().__init__(what if path is None else f"{what} (at {path})", **facts)
        self.status, self.code, self.path = status, code, path


class Refused(ClientError):
    """The request is wrong: `path` is the place in it."""


class Unauthorized(ClientError):
    """The token is missing, unknown, or may not."""


class Overloaded(ClientError):
    """The server had too much to do until the deadline, or is not ready."""


class Unreachable(ClientError):
    """There was no answer until the deadline."""


class ServerFailed(ClientError):
    """The server's own fault."""


class Fetched:
    """The features of the rows of one call, in their order."""

    def __init__(self, content: dict[str, Any]) -> None:
        with _expected():
            self._rows: list[dict[str, Any]] = [_whole(row) for row in content["rows"]]
            self.fingerprint: str = content["fingerprint"]

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[dict[str, Any]]:
        """Of every row its values by feature, as JSON has them: instants are ISO 8601 text."""
        return [row["values"] for row in self._rows]

    def status(self, row: int, feature: str) -> str:
        """`ok`, `default`, `stale`, `unavailable` or `error`."""
        self._check(row, feature)
        return str(self._rows[row]["status"].get(feature, "ok"))

    def time(self, row: int, feature: str) -> dt.datetime | None:
        """Until when the feature's input is complete."""
        self._check(row, feature)
        text = self._rows[row]["time"][feature]
        return None if text is None else dt.datetime.fromisoformat(text)

    def _check(self, row: int, feature: str) -> None:
        if feature not in self._rows[row]["values"]:
            valid = tuple(self._rows[row]["values"])
            raise UsageError(f"there is no feature {feature!r}", asked=feature, valid=valid)


@dataclass(frozen=True)
class Prediction:
    """A row's score, None where a feature that the model takes could not be had; `status` is what is not `ok`."""

    score: float | None
    status: Mapping[str, str]


@dataclass(frozen=True)
class Posted:
    """`delivery` is "exactly-once" where events that are sent again count once, else "at-least-once"."""

    accepted: int
    delivery: str


@dataclass(frozen=True)
class _Wait:
    seconds: float


_Conversation: TypeAlias = Generator["httpx.Request | _Wait", "httpx.Response | Exception | None", dict[str, Any]]


class Client:
    """See the module. `timeout` are the seconds of a whole call. Close it, or use it as a context."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 1.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no address of a server", hint="write http://127.0.0.1:8080")
        if token and not (token.isascii() and token.isprintable()):
            raise UsageError("the token has characters that no header can hold", hint="give it as it was issued")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._url, self._headers, self._timeout = url.rstrip("/"), headers, timeout
        self._sync: httpx.Client | None = None
        self._async: httpx.AsyncClient | None = None

    def fetch(self, join: str, rows: Sequence[Row], *, at: dt.datetime | str | None = None) -> Fetched:
        """The features of these rows of a join, by default now."""
        return Fetched(self._driven(self._asked(f"/v1/features/{quote(join, safe='')}", _features(rows, at))))

    async def afetch(self, join: str, rows: Sequence[Row], *, at: dt.datetime | str | None = None) -> Fetched:
        """The same beside other work."""
        return Fetched(await self._adriven(self._asked(f"/v1/features/{quote(join, safe='')}", _features(rows, at))))

    def post(self, source: str, events: Sequence[Row]) -> Posted:
        """Events of a source, by the name of its table. Sent once: whether to send again what was not answered, the
        `delivery` of answers says."""
        return _posted(self._driven(self._asked(*_events(source, events), is_repeatable=False)))

    async def apost(self, source: str, events: Sequence[Row]) -> Posted:
        """The same beside other work."""
        return _posted(await self._adriven(self._asked(*_events(source, events), is_repeatable=False)))

    def predict(self, model: str, rows: Sequence[Row], *, at: dt.datetime | str | None = None) -> list[Prediction]:
        """A model's scores of these rows of its join."""
        return _predictions(
            self._driven(self._asked(f"/v1/models/{quote(model, safe='')}/predict", _features(rows, at)))
        )

    async def apredict(
        self, model: str, rows: Sequence[Row], *, at: dt.datetime | str | None = None
    ) -> list[Prediction]:
        """The same beside other work."""
        asked = self._asked(f"/v1/models/{quote(model, safe='')}/predict", _features(rows, at))
        return _predictions(await self._adriven(asked))

    def joins(self) -> list[dict[str, Any]]:
        """The joins that are served: name, fingerprint, request columns, features."""
        content = self._driven(self._asked("/v1/joins", None))
        with _expected():
            found: list[dict[str, Any]] = content["joins"]
        return found

    def close(self) -> None:
        """Ends the connections of calls; those of awaits end by `aclose`."""
        if self._sync is not None:
            self._sync.close()
            self._sync = None

    async def aclose(self) -> None:
        if self._async is not None:
            await self._async.aclose()
            self._async = None
        self.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _asked(self, path: str, content: Any, *, is_repeatable: bool = True) -> _Conversation:
        """One call, with all its attempts."""
        until = monotonic() + self._timeout
        wait = _FIRST_WAIT
        while True:
            left = until - monotonic()
            answer = yield self._request(path, content, max(left, 0.001))
            pause = random.uniform(0, wait)
            if isinstance(answer, httpx.Response):
                if answer.status_code < 300:
                    return _content(answer)
                wrong = _error(answer)
                if answer.status_code == 503:
                    pause = max(pause, _retry_after(answer))
                is_over = answer.status_code != 503
            else:
                wrong = Unreachable(f"{self._url} did not answer: {type(answer).__name__}")
                is_over = not is_repeatable and not isinstance(answer, httpx.ConnectError)
            if is_over or monotonic() + pause >= until:
                raise wrong
            yield _Wait(pause)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _request(self, path: str, content: Any, left: float) -> httpx.Request:
        headers = self._headers | {"x-request-timeout-ms": str(max(1, int(left * 1000)))}
        extensions = {"timeout": httpx.Timeout(left).as_dict(), _UNTIL: monotonic() + left}
        if content is None:
            return httpx.Request("GET", self._url + path, headers=headers, extensions=extensions)
        headers["content-type"] = "application/json"
        return httpx.Request("POST", self._url + path, content=content, headers=headers, extensions=extensions)

    def _driven(self, conversation: _Conversation) -> dict[str, Any]:
        if self._sync is None:
            self._sync = httpx.Client(trust_env=False)
        given: httpx.Response | Exception | None = None
        while True:
            try:
                step = conversation.send(given)
            except StopIteration as done:
                return dict(done.value)
            given = None
            if isinstance(step, _Wait):
                time.sleep(step.seconds)
                continue
            try:
                given = _sent(self._sync, step)
            except httpx.RequestError as wrong:
                given = wrong

    async def _adriven(self, conversation: _Conversation) -> dict[str, Any]:
        if self._async is None:
            self._async = httpx.AsyncClient(trust_env=False)
        given: httpx.Response | Exception | None = None
        while True:
            try:
                step = conversation.send(given)
            except StopIteration as done:
                return dict(done.value)
            given = None
            if isinstance(step, _Wait):
                await asyncio.sleep(step.seconds)
                continue
            try:
                async with asyncio.timeout(step.extensions[_UNTIL] - monotonic()):
                    given = await self._async.send(step)
            except TimeoutError:
                given = httpx.ReadTimeout(_TOO_LONG)
            except httpx.RequestError as wrong:
                given = wrong


def _sent(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """The whole answer; ReadTimeout where it is not there in time, however much of it comes how slowly."""
    answer = client.send(request, stream=True)
    try:
        parts = []
        for part in answer.iter_bytes():
            parts.append(part)
            if monotonic() > request.extensions[_UNTIL]:
                raise httpx.ReadTimeout(_TOO_LONG)
    finally:
        answer.close()
    known = {name: answer.headers[name] for name in ("retry-after",) if name in answer.headers}
    return httpx.Response(answer.status_code, headers=known, content=b"".join(parts))


@contextmanager
def _expected() -> Iterator[None]:
    """While an answer is read that was JSON, and may be another server's."""
    try:
        yield
    except (KeyError, TypeError, AttributeError):
        raise ServerFailed("the answer is not that of a feature server: is the address right?") from None


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("values", "status", "time")}


def _events(source: str, events: Sequence[Row]) -> tuple[str, bytes]:
    return f"/v1/events/{quote(source, safe='')}", _json({"events": [dict(event) for event in events]})


def _posted(content: dict[str, Any]) -> Posted:
    with _expected():
        return Posted(content["accepted"], content["delivery"])


def _predictions(content: dict[str, Any]) -> list[Prediction]:
    with _expected():
        return [Prediction(row["score"], row["status"]) for row in content["rows"]]


def _features(rows: Sequence[Row], at: dt.datetime | str | None) -> bytes:
    asked: dict[str, Any] = {"rows": [dict(row) for row in rows]}
    if at is not None:
        asked["at"] = to_text(to_micros(at))
    return _json(asked)


def _json(content: Any) -> bytes:
    try:
        return json.dumps(content, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError) as wrong:
        raise UsageError(f"the rows are not JSON: {wrong}") from None


def _plain(value: Any) -> Any:
    """What JSON has no word for, as the server reads it."""
    if isinstance(value, dt.datetime):
        return to_text(to_micros(value))
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if hasattr(value, "item"):  # a number of numpy
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no value of a row")


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServerFailed("the answer is no JSON: is this a feature server?", status=answer.status_code)
    return found


def _error(answer: httpx.Response) -> ClientError:
    try:
        told = answer.json()["error"]
        facts = {
            "code": told["code"],
            "path": told.get("path"),
            "valid": told.get("valid", ()),
            "hint": told.get("hint"),
        }
        what = str(told["message"])
    except (ValueError, KeyError, TypeError):
        facts, what = {}, f"the server answered {answer.status_code}"
    kind = _KINDS.get(answer.status_code, Refused if answer.status_code < 500 else ServerFailed)
    return kind(what, status=answer.status_code, **facts)


def _retry_after(answer: httpx.Response) -> float:
    said = answer.headers.get("retry-after", "0")
    return float(said) if said.isdigit() else 0.0


_UNTIL, _TOO_LONG = "zipline.until", "the answer was not there in time"
_KINDS: dict[int, type[ClientError]] = {401: Unauthorized, 403: Unauthorized, 503: Overloaded, 504: Overloaded}
