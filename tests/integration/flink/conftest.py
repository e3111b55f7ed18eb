"""One Java process that makes tiles of events without a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

import pytest

from tests.integration.servers.flink import flink_command
from tests.integration.servers.kafka import kafka_servers  # noqa: F401 (a fixture)

Replay = Callable[[Sequence[str]], list[list[str]]]


@pytest.fixture(scope="session")
def replay() -> Replay:
    """Of lines of JSON the blobs, in hexadecimal, that `zipline.flink.algebra.Replay` answers."""
    command = flink_command("zipline.flink.algebra.Replay")

    def asked(lines: Sequence[str]) -> list[list[str]]:
        done = subprocess.run(
            command, input="\n".join(lines) + "\n", capture_output=True, encoding="utf-8", check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return [line.split() for line in done.stdout.splitlines()]

    return asked
