"""A server that does nothing but wait busily for a set time before each answer: what its longest calls take is what the
machine and the caller add to any server's.

    python -m tests.performance.bare SECONDS

It prints its port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

from zipline.clock import monotonic

_BODY = b" " * 1_800
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class _Busy(asyncio.Protocol):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        until = monotonic() + self._seconds
        while monotonic() < until:
            pass
        self._transport.write(_ANSWER)


async def _serve(seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Busy(seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def busy_server(seconds: float) -> Iterator[int]:
    """The port of one, for the block."""
    command = [sys.executable, "-m", "tests.performance.bare", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=60)


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1])))
