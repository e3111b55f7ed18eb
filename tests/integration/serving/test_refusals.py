"""What a feature server says to what it cannot answer: a typed error with the place, and it goes on answering."""

import gzip
import io
import json
import socket
import struct
import time
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.integration.servers.features import JOIN, Server, rows_of
from zipline import Client
from zipline.client import Refused, Unreachable

JSON = {"content-type": "application/json"}
GOOD = {"user": "u1", "item": "a"}


def asked(server: Server, content: bytes | str, headers: dict[str, str] = JSON, join: str = JOIN) -> tuple[int, Any]:
    answer = httpx.post(f"{server.url}/v1/features/{join}", content=content, headers=headers, timeout=30)
    return answer.status_code, answer.json()["error"]


@pytest.fixture(autouse=True)
def still_answers(server: Server) -> Any:
    yield
    with Client(server.url, timeout=60) as client:
        assert client.fetch(JOIN, rows_of(("u1", "a"))).rows()[0]["spent_amount_sum_7d"] == 30.0


@pytest.mark.parametrize(
    ("row", "path", "message"),
    [
        ({**GOOD, "colour": 1}, "$.rows[0]", "unknown field `colour`"),
        ({**GOOD, "user": 12}, "$.rows[0].user", "Expected `str | null`, got `int`"),
        ({**GOOD, "basket": "12"}, "$.rows[0].basket", "Expected `int | null`, got `str`"),
        ({**GOOD, "basket": 1.0}, "$.rows[0].basket", "Expected `int | null`, got `float`"),
        ({**GOOD, "basket": 2**63}, "$.rows[0].basket", "<= 9223372036854775807"),
        ({**GOOD, "amount": True}, "$.rows[0].amount", "Expected `float | null`, got `bool`"),
        ({**GOOD, "user": "u" * 5000}, "$.rows[0].user", "of length <= 4096"),
        ([], "$.rows[0]", "Expected `object`, got `array`"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_place(server: Server, row: Any, path: str, message: str) -> None:
    status, error = asked(server, json.dumps({"rows": [row]}))
    assert (status, error["code"], error["path"]) == (400, "invalid_request", path)
    assert message in error["message"]


def test_a_compressed_body_is_refused_as_what_it_is(server: Server) -> None:
    packed = gzip.compress(json.dumps({"rows": [GOOD]}).encode())
    status, error = asked(server, packed, JSON | {"content-encoding": "gzip"})
    assert (status, error["code"]) == (415, "unsupported_type")
    assert "not compressed" in error["message"]


def test_an_error_lists_what_would_have_been_right(server: Server) -> None:
    _, error = asked(server, json.dumps({"rows": [GOOD, {**GOOD, "usr": "u1"}]}))
    assert error["path"] == "$.rows[1]"
    assert error["valid"] == ["user", "item", "amount", "basket"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"rows": [{"user": "\xff", "item": "a"}]}',
        b'{"rows": [{"user": "\\ud800", "item": "a"}]}',
        b'{"rows": [{"user": "u1", "item": "a", "amount": NaN}]}',
        b'{"rows": []} and more',
    ],
)
def test_what_is_no_json_is_refused(server: Server, content: bytes) -> None:
    status, error = asked(server, content)
    assert (status, error["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    "content", [b"[" * 500_000, b'{"rows":' * 100_000, b'{"rows": [{"user": ' + b'{"a":' * 100_000]
)
def test_nesting_does_no_harm(server: Server, content: bytes) -> None:
    status, error = asked(server, content)
    assert status == 400
    assert error["code"] in ("invalid_json", "invalid_request")


def test_nothing_that_was_sent_is_in_the_answer(server: Server) -> None:
    for content in (
        '{"rows": [{"user": "secret-1", "item": "a", "basket": "secret-2"}]}',
        '{"rows": ["secret-3"]',
        "secret-4",
    ):
        answer = httpx.post(f"{server.url}/v1/features/{JOIN}", content=content, headers=JSON)
        assert answer.status_code == 400
        assert "secret" not in answer.text


def test_a_time_before_all_uploads_is_refused(server: Server) -> None:
    status, error = asked(server, json.dumps({"rows": [GOOD], "at": "2001-01-01T00:00:00Z"}))
    assert status == 400
    assert "is kept from" in error["message"]


def test_too_many_rows_are_refused(server: Server) -> None:
    status, error = asked(server, json.dumps({"rows": [GOOD] * 1001}))
    assert (status, error["path"]) == (400, "$.rows")


@pytest.mark.parametrize("is_said", [True, False])
def test_a_body_that_is_too_large_is_refused_whether_it_says_its_length_or_not(server: Server, is_said: bool) -> None:
    content = b" " * (1 << 20) + b"{}"
    parts = content if is_said else iter([content[: 1 << 19], content[1 << 19 :]])
    answer = httpx.post(f"{server.url}/v1/features/{JOIN}", content=parts, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_other_types_methods_paths_and_joins_are_refused(server: Server) -> None:
    assert asked(server, "a=1", {"content-type": "application/x-www-form-urlencoded"})[0] == 415
    assert asked(server, b"nothing", {"content-type": "application/vnd.apache.arrow.stream"})[0] == 400
    assert asked(server, "{}", join="shop.orders.nothing") == (
        404,
        {"code": "unknown_join", "message": "there is no online join of that name", "valid": [JOIN]},
    )
    got = httpx.get(f"{server.url}/v1/features/{JOIN}")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    unknown = httpx.get(f"{server.url}/v1/nothing").json()["error"]
    assert unknown["code"] == "not_found"
    assert {"/v1/features/{join}", "/v1/events/{source}", "/v1/models/{name}/predict"} <= set(unknown["valid"])


@pytest.mark.parametrize(
    ("columns", "path", "message"),
    [
        ({"user": ["u1"], "item": ["a"], "amount": ["5"]}, "$.rows[*].amount", "Expected `DOUBLE`, got `STRING`"),
        ({"user": [1], "item": ["a"]}, "$.rows[*].user", "Expected `STRING`, got `BIGINT`"),
        ({"user": ["u1"], "item": ["a"], "basket": [1.5]}, "$.rows[*].basket", "Expected `BIGINT`, got `DOUBLE`"),
        ({"user": ["u1"], "item": ["a"], "colour": [1]}, "$.rows", "unknown field `colour`"),
        ({"user": ["u" * 4097], "item": ["a"]}, "$.rows[*].user", "at most 4,096 characters"),
    ],
)
def test_arrow_columns_that_do_not_fit_are_refused(server: Server, columns: Any, path: str, message: str) -> None:
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    status, error = asked(server, sink.getvalue(), {"content-type": "application/vnd.apache.arrow.stream"})
    assert (status, error["path"]) == (400, path)
    assert message in error["message"]


def test_a_damaged_stream_of_arrow_is_refused(server: Server) -> None:
    sink, table = io.BytesIO(), pa.table({"user": ["x" * 50, "y"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    good, body = struct.pack("<iii", 0, 50, 51), sink.getvalue()
    assert body.count(good) == 1
    for offsets in ((0, 51, 20), (0, 60, 51), (0, 50, 2**30)):  # texts of less than nothing, and beyond the end
        damaged = body.replace(good, struct.pack("<iii", *offsets))
        status, error = asked(server, damaged, {"content-type": "application/vnd.apache.arrow.stream"})
        assert (status, error["code"]) == (400, "invalid_arrow")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T00:00:00Z"])
def test_a_time_beyond_the_calendar_or_far_ahead_is_refused(server: Server, at: str) -> None:
    status, error = asked(server, json.dumps({"rows": [GOOD], "at": at}))
    assert (status, error["path"]) == (400, "$.at")


def test_a_page_of_a_browser_that_has_its_own_name_lead_here_is_refused(server: Server) -> None:
    answer = httpx.post(
        f"{server.url}/v1/features/{JOIN}",
        content=json.dumps({"rows": [GOOD]}),
        headers={**JSON, "host": "evil.example"},
    )
    assert answer.status_code == 403
    assert httpx.get(f"{server.url}/metrics", headers={"host": "evil.example"}).status_code == 403


def test_a_caller_that_leaves_in_the_middle_harms_nobody(server: Server) -> None:
    head = f"POST /v1/features/{JOIN} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    for sent in (head + "content-length: 500\r\n\r\n{", head, "POST"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(sent.encode())


@pytest.mark.parametrize("sent", ["", '{"rows": ['])
def test_a_body_that_does_not_arrive_is_not_waited_for(server: Server, sent: str) -> None:
    head = f"POST /v1/features/{JOIN} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=40) as connection:
        connection.sendall(f"{head}content-length: 500\r\n\r\n{sent}".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_request_whose_time_is_over_is_not_answered_late(server: Server) -> None:
    headers = {**JSON, "x-request-timeout-ms": "0"}
    status, error = asked(server, json.dumps({"rows": [GOOD]}), headers)
    assert (status, error["code"]) == (504, "deadline_exceeded")


def test_the_client_raises_what_the_server_says(server: Server) -> None:
    with Client(server.url, timeout=60) as client, pytest.raises(Refused, match="Expected `str") as caught:
        client.fetch(JOIN, [{"user": 1, "item": "a"}])
    assert (caught.value.status, caught.value.path) == (400, "$.rows[0].user")


def test_the_client_gives_up_at_its_deadline() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with Client(f"http://127.0.0.1:{nobody.getsockname()[1]}", timeout=0.3) as client, pytest.raises(Unreachable):
            client.fetch(JOIN, [GOOD])
        assert time.monotonic() - began < 30
