"""Whatever is killed while events come, and whenever: in the end every value is that of the events, each once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.integration.servers.kafka import broker
from tests.integration.servers.redis import running_redis
from tests.integration.streaming.jobs import (
    QUICK,
    bought,
    fetching,
    make_streamed,
    produce,
    status,
    until,
    virtual_machines,
)
from zipline.ports import free_port
from zipline.project import Project

KILLS = int(os.environ.get("KILLS", "4"))
USERS = ("ann", "bob", "eva", "dora")


class Keeper:
    """`zipline stream --engine flink`, started again when it was killed."""

    def __init__(self, project: Project) -> None:
        self._command = [sys.executable, "-m", "zipline.cli.main", "stream", "--engine", "flink", "--json"]
        self._command += ["--project", str(project.root)]
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        # The locks of a process that died are taken at once.
        self.process = self._started()

    def kill_job(self) -> None:
        """Its mini cluster: job and task manager in one JVM."""
        for java in virtual_machines(self.process.pid):
            os.kill(java, signal.SIGKILL)

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=120)
        finally:
            self.process.kill()


class Store:
    """A server of Redis that keeps what it was told, killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._port, self._folder = free_port(), folder
        self._server = ExitStack()
        self.start()

    @property
    def settings(self) -> str:
        return f'[online]\nstore = "redis"\nurl = "redis://127.0.0.1:{self._port}/0"\n'

    def start(self) -> None:
        self._server.enter_context(running_redis(self._port, self._folder))

    def kill(self) -> None:
        self._server.close()


def test_values_are_those_of_all_events_whatever_is_killed(tmp_path: Path) -> None:
    draw = random.Random(time.time_ns())
    with broker() as kafka, ExitStack() as held, ThreadPoolExecutor(1) as beside:
        store = Store(tmp_path / "redis")
        held.callback(store.kill)
        project = make_streamed(tmp_path / "shop", kafka.address, settings=store.settings + QUICK)
        keeper = Keeper(project)
        held.callback(keeper.end)
        until(lambda: status(project).get("report", {}).get("state") == "running", within=180)

        def broker_away() -> None:
            kafka.kill()
            time.sleep(1)
            kafka.start()

        def store_away() -> None:
            store.kill()
            try:
                until(lambda: bool(status(project)["report"]["troubles"]))
            finally:
                store.start()

        kinds: dict[str, Callable[[], None]] = {
            "keeper": keeper.kill,
            "job": keeper.kill_job,
            "broker": broker_away,
            "store": store_away,
        }
        sent: list[dict[str, Any]] = []
        for number in range(KILLS):
            kind = list(kinds)[number % len(kinds)]
            killing = beside.submit(_after, draw.uniform(0.0, 2.0), kinds[kind])
            for _ in range(6):
                events = [bought(len(sent) + n, draw.choice(USERS), float(draw.randrange(1, 9))) for n in range(50)]
                sent += events
                # What is sent again, as producers do that got no answer, has its id.
                produce(project, [*events, *draw.sample(sent, 5)], **{"message.timeout.ms": 120_000})
                time.sleep(0.3)
            killing.result()
            began = time.monotonic()
            _await_all(project, sent)
            print(f"{kind} killed: all values were right {time.monotonic() - began:.1f} s after the last event")
        with fetching(project) as fetch:
            until(lambda: {fetch(user)["status"] for user in USERS} == {"ok"})
        until(lambda: not status(project)["report"]["troubles"])


def test_a_job_that_is_killed_before_it_runs_is_started_again(kafka_servers: str, tmp_path: Path) -> None:
    project = make_streamed(tmp_path / "shop", kafka_servers, settings=QUICK)
    keeper = Keeper(project)
    try:
        until(lambda: any(map(_is_job, virtual_machines(keeper.process.pid))), within=60)
        keeper.kill_job()
        until(lambda: "killed by signal 9" in status(project).get("report", {}).get("troubles", {}).get("job", ""))
        until(lambda: status(project)["report"]["state"] == "running", within=180)
        until(lambda: not status(project)["report"]["troubles"])
    finally:
        keeper.end()


def _is_job(process: int) -> bool:
    try:
        return b"zipline.flink.Main" in Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return False


def _after(seconds: float, do: Callable[[], None]) -> None:
    time.sleep(seconds)
    do()


def _await_all(project: Project, sent: list[dict[str, Any]]) -> None:
    """Until every user has the count and the total of its events."""
    expected = {user: [each["amount"] for each in sent if each["user"] == user] for user in USERS}
    with fetching(project) as fetch:

        def is_right() -> bool:
            found = {user: fetch(user) for user in USERS}
            counts = {user: found[user]["count_7d"] or 0 for user in USERS}
            assert all(counts[user] <= len(amounts) for user, amounts in expected.items()), "counted twice"
            return all(
                (found[user]["count_7d"], found[user]["sum_1d"]) == (len(amounts), sum(amounts) if amounts else None)
                for user, amounts in expected.items()
            )

        until(is_right, within=180)
