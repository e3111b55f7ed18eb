"""What a client makes of servers that are slow, or not those it takes them for."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal

import pytest

from zipline import Client
from zipline.client import ClientError, Refused, ServerFailed
from zipline.errors import UsageError

ANSWER = b'{"rows":[{"values":{"a":1},"status":{},"time":{"a":null}}],"fingerprint":"x"}'


@contextmanager
def answering(body: bytes, status: bytes = b"200 OK", seconds_a_byte: float = 0.0) -> Iterator[str]:
    """A server that answers whatever is asked with this; its address."""
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    is_over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not is_over.is_set() and connection.recv(65536):
                connection.sendall(head)
                for at in range(len(body)) if seconds_a_byte else ():
                    connection.sendall(body[at : at + 1])
                    is_over.wait(seconds_a_byte)
                if not seconds_a_byte:
                    connection.sendall(body)

    def listen(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        is_over.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_a_deadline_is_for_the_whole_answer() -> None:
    """Byte by byte the answer comes in 7 s, and no single read takes longer than 0.1 s: without one it is there."""
    with answering(ANSWER, seconds_a_byte=0.1) as url, Client(url, timeout=0.5) as client, pytest.raises(ClientError):
        client.fetch("x", [{"a": 1}])


def test_a_deadline_is_for_the_whole_answer_that_is_awaited() -> None:
    async def asked(url: str) -> None:
        async with Client(url, timeout=0.5) as client:
            await client.afetch("x", [{"a": 1}])

    with answering(ANSWER, seconds_a_byte=0.1) as url, pytest.raises(ClientError):
        asyncio.run(asked(url))


def test_an_answer_in_time_is_read() -> None:
    with answering(ANSWER, seconds_a_byte=0.001) as url, Client(url, timeout=60) as client:
        assert client.fetch("x", [{"a": 1}]).rows() == [{"a": 1}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"hello":1}', b"200 OK"),
        (b"[]", b"200 OK"),
        (b'{"rows":null,"fingerprint":"x"}', b"200 OK"),
        (b'{"rows":[{"values":{}}],"fingerprint":"x"}', b"200 OK"),
        (b"<html>", b"200 OK"),
        (b"\xff", b"200 OK"),
        (b"[1]", b"500 Wrong"),
    ],
)
def test_an_answer_of_another_server_is_told(body: bytes, status: bytes) -> None:
    with answering(body, status) as url, Client(url, timeout=5) as client:
        with pytest.raises(ServerFailed):
            client.fetch("x", [{"a": 1}])
        with pytest.raises(ServerFailed):
            client.joins()


def test_a_client_follows_nobody_elsewhere() -> None:
    with answering(b"", b"302 Found") as url, Client(url, timeout=5) as client, pytest.raises(Refused, match="302"):
        client.fetch("x", [{"a": 1}])


def test_a_token_that_no_header_can_hold_is_refused_at_once() -> None:
    for token in ("secret\n", "secret\r\nhost: x", "sécret"):
        with pytest.raises(UsageError, match="the token") as refused:
            Client("http://127.0.0.1:1", token=token)
        assert "cret" not in str(refused.value)


def test_values_are_sent_as_a_server_reads_them() -> None:
    got: list[bytes] = []

    def listen(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while b"]}" not in b"".join(got):
                got.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))

    row = {"d": Decimal("12.30"), "b": b"\x00\xff", "t": dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=10) as client:
            client.fetch("x", [row])
        thread.join()
    assert b'"d": "12.30"' in b"".join(got)
    assert b'"b": "AP8="' in b"".join(got)
    assert b'"t": "2024-03-01T00:00:00' in b"".join(got)
