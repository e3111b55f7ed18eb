"""Calls of a server over plain sockets: an HTTP client would take longer than what is measured.

The caller is another process on the same machine: one connection for latency, several for throughput, and for what a
call takes under a load that does not wait for its answers.
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
    """A bare socket that has one question out at a time, and keeps the seconds of each: on the two cores of a small
    machine a client that does more would be most of what is measured."""

    def __init__(self, port: int, requests: Sequence[bytes], first: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seconds: list[float] = []
        self._requests = itertools.cycle([*requests[first:], *requests[:first]])

    def ask(self, due: float | None = None) -> None:
        """Sends the next question, whose time counts from when it was due."""
        self._answer, self._missing = b"", 1
        self._began = monotonic() if due is None else due
        self.socket.sendall(next(self._requests))

    def read(self) -> bool:
        """Takes what has come; whether the answer is whole."""
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
        return True


def _one_by_one(caller: Caller, until: float) -> None:
    caller.ask()
    while monotonic() < until:
        if caller.read():
            caller.ask()


def _all_the_time(callers: Sequence[Caller], selector: selectors.BaseSelector, until: float) -> None:
    for each in callers:
        each.ask()
    while monotonic() < until:
        for key, _ in selector.select(1.0):
            if key.data.read():
                key.data.ask()


def _at_a_rate(callers: Sequence[Caller], selector: selectors.BaseSelector, until: float, rate: float) -> None:
    """Evenly; a question that finds all connections waiting is asked late, and its time counts from when it was due."""
    free, due = list(callers), monotonic()
    while due < until or len(free) < len(callers):
        while free and due < until and monotonic() >= due:
            free.pop().ask(due)
            due += 1 / rate
        wait = max(0.0, due - monotonic()) if free and due < until else 1.0
        free += [key.data for key, _ in selector.select(wait) if key.data.read()]


def _load(port: int, requests: list[bytes], callers: int, seconds: float, rate: float | None, out: Any) -> None:
    until = monotonic() + seconds
    of = [Caller(port, requests, number * len(requests) // callers) for number in range(callers)]
    with selectors.SelectSelector() as selector:  # it waits to the microsecond, others to the millisecond
        for each in of:
            selector.register(each.socket, selectors.EVENT_READ, each)
        if rate is not None:
            _at_a_rate(of, selector, until, rate)
        elif callers == 1:
            _one_by_one(of[0], until)
        else:
            _all_the_time(of, selector, until)
    for each in of:
        each.socket.close()
    out.put([second for each in of for second in each.seconds])


def measured(port: int, requests: list[bytes], callers: int, seconds: float, rate: float | None = None) -> list[float]:
    """Seconds of every call that so many callers made, from a process of their own: each as soon as its last question
    is answered, or all together `rate` a second."""
    context = multiprocessing.get_context("spawn")
    out: Any = context.Queue()
    process = context.Process(target=_load, args=(port, requests, callers, seconds, rate, out))
    process.start()
    found: list[float] = out.get(timeout=seconds + 60)
    process.join()
    return found
