"""Feast's stores and servers, as its documentation says they are quickest: the registry is never read anew while it is
measured, workers are not exchanged, nothing is logged for a request, nothing is told to the network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.performance.feast.installing import PYTHON
from zipline.ports import await_listening, free_port

STORES = {
    "SQLite": "type: sqlite\n  path: online.db",
    "Redis": "type: redis\n  connection_string: {redis}",
    "Redis, GLIDE": "type: redis\n  client: glide\n  connection_string: {redis}",
}
_SETTINGS = """project: bench
provider: local
registry:
  path: registry.db
  cache_ttl_seconds: 0
online_store:
  {store}
offline_store:
  type: file
entity_key_serialization_version: 3
"""
ENVIRONMENT = os.environ | {"FEAST_USAGE": "False", "FEAST_TELEMETRY": "False"}
START_UP = 180.0
"""Seconds."""


def repository(folder: Path, store: str, redis: str, values: Path) -> Path:
    """A feature repository over one of STORES, with the values online."""
    folder.mkdir()
    text = _SETTINGS.format(store=STORES[store].format(redis=redis))
    (folder / "feature_store.yaml").write_text(text)
    there = ["there"] if store == "Redis, GLIDE" else []  # it reads what was written for redis-py
    subprocess.run([*_side("load"), str(folder), str(values), *there], check=True, env=ENVIRONMENT)
    return folder


def fetching(folder: Path) -> list[str]:
    """The command of a side that fetches in its process."""
    return [*_side("fetch"), str(folder)]


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """The port of `feast serve` with one worker."""
    port = free_port()
    command = [str(PYTHON.parent / "feast"), "-c", str(folder), "serve", "--port", str(port), "--workers", "1"]
    options = ["--no-access-log", "--max-requests", "0", "--registry_ttl_sec", "86400"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, *options], env=ENVIRONMENT, **quiet) as process:  # type: ignore[call-overload]
        try:
            assert await_listening(port, lambda: process.poll() is None, START_UP), "feast serve did not start"
            yield port
        finally:
            process.terminate()
            process.wait(timeout=60)


def _side(what: str) -> list[str]:
    return [str(PYTHON), "-m", "tests.performance.feast.theirs", what]
