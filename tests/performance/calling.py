"""Calls of a server over plain sockets: an HTTP client would take longer than what is measured.

The caller is another process on the same machine: one connection for latency, several for throughput.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
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


async def caller(port: int, requests: list[bytes], until: float) -> list[float]:
    """Asks one after another, and gives the seconds of each."""
    connection = await Connection.to(port)
    found = []
    number = 0
    while monotonic() < until:
        began = monotonic()
        await connection.ask(requests[number % len(requests)])
        found.append(monotonic() - began)
        number += 1
    connection.close()
    return found


def _load(port: int, requests: list[bytes], callers: int, seconds: float, out: Any) -> None:
    async def all_of_them() -> list[list[float]]:
        until = monotonic() + seconds
        return await asyncio.gather(*(caller(port, requests, until) for _ in range(callers)))

    out.put([each for found in asyncio.run(all_of_them()) for each in found])


def measured(port: int, requests: list[bytes], callers: int, seconds: float) -> list[float]:
    """Seconds of every call that so many callers made, from a process of their own."""
    context = multiprocessing.get_context("spawn")
    out: Any = context.Queue()
    process = context.Process(target=_load, args=(port, requests, callers, seconds, out))
    process.start()
    found: list[float] = out.get(timeout=seconds + 60)
    process.join()
    return found
