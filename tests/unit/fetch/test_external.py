"""External sources: answers in order, and whatever a handler does is a status, never a number and never an error."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from zipline import ExternalSource, breaker
from zipline.fetch.external import THREADS, TOLERATED, Answer, ExternalClient


def client(handler: Any, timeout: str = "2s", name: str = "credit", **values: str) -> ExternalClient:
    types = values or {"limit": "DOUBLE", "grade": "VARCHAR"}
    return ExternalClient(ExternalSource({"user": "BIGINT"}, types, handler, timeout=timeout, name=name))


def echo(rows: Sequence[Any]) -> list[Any]:
    return [{"limit": row["user"] * 10, "grade": f"g{row['user']}"} for row in rows]


def nothing(status: str, reason: str | None = None) -> Answer:
    return Answer({"limit": None, "grade": None}, status, reason)  # type: ignore[arg-type]


def test_a_handler_sees_only_the_keys_and_answers_in_order() -> None:
    seen: list[Any] = []

    def handler(rows: Sequence[Any]) -> list[Any]:
        seen.extend(rows)
        return echo(rows)

    answers = client(handler).ask([{"user": 2, "secret": 1}, {"user": 1}])
    assert seen == [{"user": 2}, {"user": 1}]
    assert answers == [Answer({"limit": 20.0, "grade": "g2"}, "ok"), Answer({"limit": 10.0, "grade": "g1"}, "ok")]


def test_a_key_that_the_source_does_not_know_gets_the_default() -> None:
    assert client(lambda rows: [None for _ in rows]).ask([{"user": 1}]) == [nothing("default")]


def test_a_handler_that_raises_is_unavailable_and_counted() -> None:
    def handler(rows: Sequence[Any]) -> list[Any]:
        raise KeyError("boom")

    source = client(handler)
    assert source.ask([{"user": 1}, {"user": 2}]) == [nothing("unavailable", "KeyError: 'boom'")] * 2
    assert source.failures == 1


def test_a_handler_that_leaves_the_program_is_unavailable() -> None:
    def handler(rows: Sequence[Any]) -> list[Any]:
        raise SystemExit(3)

    assert client(handler).ask([{"user": 1}])[0].status == "unavailable"


def test_a_handler_that_hangs_is_unavailable_after_its_time_and_works_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(breaker, "monotonic", lambda: clock[0])
    gate = threading.Event()

    def handler(rows: Sequence[Any]) -> list[Any]:
        gate.wait(30)
        return echo(rows)

    source = client(handler, timeout="50ms", name="hanging")
    began = time.perf_counter()
    waiting = [source.begin([{"user": 1}]) for _ in range(THREADS + 2)]
    assert [wait() for wait in waiting] == [[nothing("unavailable", "no answer within 50ms")]] * (THREADS + 2)
    assert time.perf_counter() - began < 0.05 * (THREADS + 2) * 10
    assert len([t for t in threading.enumerate() if t.name == "external hanging" and t.is_alive()]) <= THREADS
    assert source.ask([{"user": 1}]) == [nothing("unavailable", f"not asked: it failed {TOLERATED} times in a row")]
    gate.set()
    until = time.perf_counter() + 60
    while source.ask([{"user": 1}])[0].status != "ok":
        assert time.perf_counter() < until
        time.sleep(0.05)
        clock[0] += breaker.PAUSE


def test_a_hanging_source_does_not_hold_up_another() -> None:
    gate = threading.Event()
    hanging = client(lambda rows: gate.wait(30), timeout="10s")
    thread = threading.Thread(target=lambda: hanging.ask([{"user": 1}]))
    thread.start()
    assert client(echo).ask([{"user": 1}])[0].status == "ok"
    gate.set()
    thread.join()


def test_calls_at_once_each_get_their_own_answer() -> None:
    source = client(echo)
    found: dict[int, float] = {}

    def ask(user: int) -> None:
        found[user] = source.ask([{"user": user}])[0].values["limit"]

    threads = [threading.Thread(target=ask, args=(user,)) for user in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {user: user * 10.0 for user in range(100)}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no list of 1 rows"),
        ([], "no list of 1 rows"),
        ("x", "no list of 1 rows"),
        ([1], "not a mapping"),
        ([{"limit": 1.0}], "has no 'grade'"),
        ([{"limit": "1", "grade": "a"}], "'1' is not a value of type DOUBLE"),
        ([{"limit": True, "grade": "a"}], "True is not a value of type DOUBLE"),
        ([{"limit": 1.0, "grade": 7}], "7 is not a value of type STRING"),
    ],
)
def test_an_answer_of_another_shape_or_type_is_an_error(answer: Any, said: str) -> None:
    (found,) = client(lambda rows: answer).ask([{"user": 1}])
    assert found.status == "error"
    assert found.values == {"limit": None, "grade": None}
    assert said in str(found.reason)


def test_values_come_as_their_declared_types_and_nan_as_null() -> None:
    types = {"n": "INT", "x": "FLOAT", "at": "TIMESTAMP", "tags": "ARRAY<STRING>"}
    answer = {"n": 3, "x": float("nan"), "at": "2013-01-01T00:00:00Z", "tags": ["a", None]}
    (found,) = client(lambda rows: [answer], **types).ask([{"user": 1}])
    assert found.status == "ok"
    assert (found.values["n"], found.values["x"], found.values["tags"]) == (3, None, ["a", None])
    assert found.values["at"].isoformat() == "2013-01-01T00:00:00+00:00"


def test_an_integer_beyond_its_type_is_an_error() -> None:
    assert client(lambda rows: [{"n": 2**31}], n="INT").ask([{"user": 1}])[0].status == "error"
    assert client(lambda rows: [{"n": 2**31 - 1}], n="INT").ask([{"user": 1}])[0].status == "ok"


Reply = Callable[[dict[str, Any]], tuple[int, bytes, float]]


class Server(ThreadingHTTPServer):
    """Closing it waits for every answer, so none ends, or says that its caller has left, within another test."""

    daemon_threads = False

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()


@pytest.fixture
def service() -> Iterator[Callable[[Reply], str]]:
    servers: list[Server] = []

    def start(reply: Reply) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status, body, wait = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                server.closing.wait(wait)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = Server(Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/credit?v=1"

    yield start
    for server in servers:
        server.close()


def test_a_service_is_asked_by_post(service: Callable[[Reply], str]) -> None:
    url = service(lambda body: (200, json.dumps({"rows": echo(body["rows"])}).encode(), 0))
    assert client(url).ask([{"user": 4}]) == [Answer({"limit": 40.0, "grade": "g4"}, "ok")]


@pytest.mark.parametrize(
    ("reply", "timeout", "said"),
    [
        ((500, b"", 0.0), "20s", "500"),
        ((200, b"no json", 0.0), "20s", "JSON"),
        ((200, b'{"other": 1}', 0.0), "20s", "rows"),
        ((200, b'{"rows": []}', 3.0), "300ms", "no answer within 300ms"),
    ],
)
def test_a_service_that_fails_is_unavailable(
    service: Callable[[Reply], str], reply: tuple[int, bytes, float], timeout: str, said: str
) -> None:
    (found,) = client(service(lambda _: reply), timeout=timeout).ask([{"user": 1}])
    assert found.status == "unavailable"
    assert said in str(found.reason)


def test_a_service_that_is_not_there_is_unavailable() -> None:
    (found,) = client("http://127.0.0.1:9/nothing").ask([{"user": 1}])
    assert found.status == "unavailable"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DOUBLE", 10**400),
        ("FLOAT", 1e39),
        ("TIMESTAMP", "0001-01-01T00:00:00+14:00"),
        ("STRUCT<a: BIGINT>", 5),
        ("STRUCT<a: BIGINT>", {"b": 1}),
        ("DECIMAL(5,2)", "abc"),
        ("DECIMAL(5,2)", 1.555),
        ("MAP<STRING, BIGINT>", {"a": "x"}),
        ("MAP<STRING, BIGINT>", "x"),
        ("STRING", "\ud800"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_an_error_and_raises_nothing(kind: str, value: Any) -> None:
    (found,) = client(lambda rows: [{"v": value}], v=kind).ask([{"user": 1}])
    assert (found.status, found.values) == ("error", {"v": None})


def test_numbers_of_json_are_decimals_and_floats_are_of_their_width() -> None:
    answer = {"d": 1.5, "f": 0.1, "m": {"a": 1}, "s": {"a": 1}}
    types = {"d": "DECIMAL(5,2)", "f": "FLOAT", "m": "MAP<STRING, BIGINT>", "s": "STRUCT<a: BIGINT, b: STRING>"}
    (found,) = client(lambda rows: [answer], **types).ask([{"user": 1}])
    assert found.status == "ok"
    assert found.values == {
        "d": Decimal("1.50"),
        "f": 0.10000000149011612,
        "m": {"a": 1},
        "s": {"a": 1, "b": None},
    }


class Odd(dict[str, Any]):
    """A row that can be anything but looked at."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("not for you")


class Endless(list[Any]):
    def __len__(self) -> int:
        raise RuntimeError("who knows")


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no word")


@pytest.mark.parametrize(
    "answer",
    [
        [{"limit": 10**5000, "grade": "a"}],
        [{"limit": Mute(), "grade": "a"}],
        [Odd(limit=1.0, grade="a")],
        Endless([{"limit": 1.0, "grade": "a"}]),
    ],
    ids=["beyond text", "mute", "odd", "endless"],
)
def test_an_answer_that_cannot_be_looked_at_is_in_error(answer: Any) -> None:
    (found,) = client(lambda rows: answer).ask([{"user": 1}])
    assert (found.status, found.values) == ("error", {"limit": None, "grade": None})


def test_a_row_that_cannot_be_looked_at_is_no_matter_of_the_others() -> None:
    answers = [Odd(limit=1.0, grade="a"), {"limit": 2.0, "grade": "b"}]
    one, other = client(lambda rows: answers).ask([{"user": 1}, {"user": 2}])
    assert (one.status, other) == ("error", Answer({"limit": 2.0, "grade": "b"}, "ok"))


def test_a_reason_is_short_however_long_the_value() -> None:
    (found,) = client(lambda rows: [{"limit": "x" * 100_000, "grade": "a"}]).ask([{"user": 1}])
    assert found.status == "error"
    assert len(found.reason or "") < 1000
