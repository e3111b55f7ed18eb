"""Redis from the system package, on a free port."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zipline.ports import await_listening, free_port

MISSING = "Redis is needed for this test: apt-get install -y redis-server"
START_UP = 10.0
"""Seconds."""


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a running server, for the tests of this process."""
    with running_redis() as (url, _):
        yield url


@contextmanager
def running_redis(
    port: int | None = None, kept: Path | None = None, certificate: tuple[Path, Path] | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """(URL, process) of a server of its own. With a folder its data are kept there, and found again by the next; with
    the files of a certificate and its key it speaks TLS alone, and asks who calls for no certificate."""
    program = shutil.which("redis-server")
    assert program is not None, MISSING
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        command = [program, "--bind", "127.0.0.1", "--save", "", "--dir", str(kept or folder)]
        command += ["--appendonly", "yes"] if kept else []
        if certificate is None:
            command += ["--port", str(port)]
        else:
            options = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
            command += ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            files = zip(options, (*certificate, certificate[0]), strict=True)
            command += [word for option, file in files for word in (option, str(file))]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            is_there = await_listening(port, lambda: server.poll() is None, START_UP)
            assert is_there, "the server of Redis has ended, or does not begin to listen"
            yield f"{'redis' if certificate is None else 'rediss'}://127.0.0.1:{port}/0", server
        finally:
            server.kill()
            server.wait(timeout=30)
