"""Redis from the system package, in memory only, on a free port."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

MISSING = "Redis is needed for this test: apt-get install -y redis-server"


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a running server, for the tests of this process."""
    with running_redis() as (url, _):
        yield url


@contextmanager
def running_redis(port: int | None = None) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """(URL, process) of a server of its own."""
    program = shutil.which("redis-server")
    assert program is not None, MISSING
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(port, server)
            yield f"redis://127.0.0.1:{port}/0", server
        finally:
            server.kill()
            server.wait(timeout=30)


def _await(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        assert server.poll() is None, "the server of Redis has ended"
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("Redis did not begin to listen in 10 seconds")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
