"""A standalone cluster of Flink: a JobManager and TaskManagers, each a JVM of its own, as docs/stream.md starts them.

It has none of our classes: a job brings them.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers.flink import ROOT, flink_jar
from zipline.ports import free_ports

TITLE = "## A cluster of one machine"
JOB_MANAGER, TASK_MANAGER = "StandaloneSessionClusterEntrypoint", "TaskManagerRunner"


@contextmanager
def flink_cluster() -> Iterator["Cluster"]:
    """A cluster with one TaskManager; its processes end with the block."""
    flink_jar()
    with tempfile.TemporaryDirectory(prefix="flink-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start_job_manager()
            cluster.start_task_manager()
            yield cluster
        finally:
            cluster.end()


class Cluster:
    """`address` is that of its REST endpoint; `task_managers` are those that were started and not killed."""

    def __init__(self, folder: Path) -> None:
        rest, rpc = free_ports(2)
        self.address, self._folder = f"http://127.0.0.1:{rest}", folder
        self.task_managers: list[subprocess.Popen[bytes]] = []
        self._job_manager: subprocess.Popen[bytes] | None = None
        blocks = _documented()
        self._commands = blocks[""].splitlines()
        settings = blocks["yaml"].replace("rest.port: 8081", f"rest.port: {rest}")
        own = f"jobmanager.rpc.port: {rpc}\nio.tmp.dirs: {folder}\n"
        (folder / "cluster").mkdir()
        (folder / "cluster" / "config.yaml").write_text(
            f"{settings}{own}heartbeat.interval: 2000\nheartbeat.timeout: 10000\n"
        )

    def start_job_manager(self) -> None:
        self._job_manager = self._started(JOB_MANAGER)
        self._await(self._job_manager, lambda: self.ask("/overview") is not None)

    def start_task_manager(self) -> None:
        """One more, from when it is known."""
        before = self._known()
        started = self._started(TASK_MANAGER)
        self.task_managers.append(started)
        self._await(started, lambda: not self._known() <= before)

    def kill_task_manager(self) -> None:
        """At once: the cluster finds it out."""
        killed = self.task_managers.pop(0)
        killed.kill()
        killed.wait()

    def kill_job_manager(self) -> None:
        """At once; it forgets its jobs."""
        assert self._job_manager is not None
        self._job_manager.kill()
        self._job_manager.wait()

    def end(self) -> None:
        for process in [*self.task_managers, self._job_manager]:
            if process is not None:
                process.kill()
                process.wait()

    def states(self) -> dict[str, str]:
        """Of all jobs that it knows, by their ids."""
        return {job["jid"]: job["state"] for job in self.ask("/jobs/overview")["jobs"]}

    def _known(self) -> set[str]:
        """The TaskManagers, those too of which it has not found out that they were killed."""
        return {each["id"] for each in self.ask("/taskmanagers")["taskmanagers"]}

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            return json.load(answer)

    def _started(self, main: str) -> "subprocess.Popen[bytes]":
        start = next(line for line in self._commands if main in line).removesuffix(" &")
        script = "\n".join([self._commands[0], f"exec {start}"])
        own = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "JAVA_TOOL_OPTIONS": f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} -Dorg.apache.logging.log4j.level=INFO",
        }
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["bash", "-ec", script], stdout=log, stderr=log, cwd=self._folder, env=os.environ | own
            )

    def _await(self, process: "subprocess.Popen[bytes]", is_done: Callable[[], bool]) -> None:
        until = time.monotonic() + 180
        while time.monotonic() < until and process.poll() is None:
            try:
                if is_done():
                    return
            except OSError:  # not yet
                pass
            time.sleep(0.2)
        told = (self._folder / "log").read_text("utf-8", "replace")
        pytest.fail(f"Flink's cluster did not start:\n{told[-4000:]}", pytrace=False)


def _documented() -> dict[str, str]:
    """The blocks below the title, by language."""
    text = (ROOT / "docs" / "stream.md").read_text().split(f"\n{TITLE}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^```(\w*)\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL))
