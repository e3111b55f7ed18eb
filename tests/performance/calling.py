"""Calls of a server over plain sockets: an HTTP client would take longer than what is measured.

The caller is another process on the same machine: one connection for latency, several for throughput.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import re
import selectors
import socket
from collections.abc import Sequence
from typing import Any

from zipline.clock import monotonic

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Refused(Exception):
    """An answer that is not 200."""


def request(path: str, content: bytes) -> bytes:
    """A POST of JSON, as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Connection:
    """One that is kept: a request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer; Refused."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await self._reader.readexactly(int(length[1]) if length else 0)
        if not head.startswith(b"HTTP/1.1 200"):
            raise Refused(f"{head.splitlines()[0].decode()} {body[:300].decode()}")
        return body

    def close(self) -> None:
        self._writer.close()


def asked_once(port: int, request: bytes) -> bytes:
    """The body of one answer."""

    async def ask() -> bytes:
        connection = await Connection.to(port)
        body = await connection.ask(request)
        connection.close()
        return body

    return asyncio.run(ask())


class Caller:
    """Asks one request after another over a bare socket, and keeps the seconds of each: on the two cores of a small
    machine a client that does more would be most of what is measured."""

    def __init__(self, port: int, requests: Sequence[bytes], first: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seconds: list[float] = []
        self._requests = itertools.cycle([*requests[first:], *requests[:first]])
        self._ask()

    def _ask(self) -> None:
        self._answer, self._missing = b"", 1
        self._began = monotonic()
        self.socket.sendall(next(self._requests))

    def read(self) -> bool:
        """Takes what has come; whether the answer was whole, and the next request is on its way."""
        part = self.socket.recv(1 << 20)
        if not part:
            raise Refused("the server has hung up")
        if self._answer:
            self._missing -= len(part)
        else:
            head, _, body = part.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            self._missing = (int(length[1]) if length else 0) - len(body)
        self._answer = self._answer or part
        if self._missing > 0:
            return False
        self.seconds.append(monotonic() - self._began)
        if not self._answer.startswith(b"HTTP/1.1 200"):
            raise Refused(self._answer[:300].decode())
        self._ask()
        return True


def _load(port: int, requests: list[bytes], callers: int, seconds: float, out: Any) -> None:
    until = monotonic() + seconds
    of = [Caller(port, requests, number * len(requests) // callers) for number in range(callers)]
    if callers == 1:
        while monotonic() < until:
            of[0].read()
    else:
        with selectors.DefaultSelector() as selector:
            for each in of:
                selector.register(each.socket, selectors.EVENT_READ, each)
            while monotonic() < until:
                for key, _ in selector.select(1.0):
                    key.data.read()
    for each in of:
        each.socket.close()
    out.put([second for each in of for second in each.seconds])


def measured(port: int, requests: list[bytes], callers: int, seconds: float) -> list[float]:
    """Seconds of every call that so many callers made, from a process of their own."""
    context = multiprocessing.get_context("spawn")
    out: Any = context.Queue()
    process = context.Process(target=_load, args=(port, requests, callers, seconds, out))
    process.start()
    found: list[float] = out.get(timeout=seconds + 60)
    process.join()
    return found
