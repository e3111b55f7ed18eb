"""PostgreSQL from the system package: a cluster of its own in a temporary folder.

The server refuses to run as root, so root starts it as the package's user `postgres`.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from zipline.ports import free_port

USER = "zipline"
SERVER_USER = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
}
IMMEDIATE_SHUTDOWN = signal.SIGQUIT
MISSING = "PostgreSQL is needed for this test: apt-get install -y postgresql"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """Each call gives the URL of a new, empty schema, which is much quicker to make than a database."""
    with running_postgresql() as server:
        names = (f"schema_{number}" for number in range(1_000_000))

        def new_schema() -> str:
            name = next(names)
            engine = create_engine(server.replace("://", "+psycopg://"))
            with engine.begin() as connection:
                connection.execute(text(f"CREATE SCHEMA {name}"))
            engine.dispose()
            return f"{server}?options=-csearch_path%3D{name}"

        yield new_schema


@contextmanager
def running_postgresql() -> Iterator[str]:
    """The URL of a running server's own database."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    log = folder / "log"
    try:
        if os.getuid() == 0:
            shutil.chown(folder, SERVER_USER, SERVER_USER)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **_as_server_user())
        port = free_port()
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [programs / "postgres", "-D", data, "-p", str(port), *settings]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, **_as_server_user())
        try:
            _await(programs, port, server, log)
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(IMMEDIATE_SHUTDOWN)
            server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of the newest installed server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        pytest.fail(MISSING, pytrace=False)
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _as_server_user() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    return {"user": SERVER_USER, "group": SERVER_USER, "extra_groups": []}


def _await(programs: Path, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", USER, "-d", "postgres"]
    for _ in range(300):
        if server.poll() is None and subprocess.run(ready, check=False).returncode == 0:
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}", pytrace=False)
