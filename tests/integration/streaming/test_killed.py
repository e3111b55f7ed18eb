"""Whatever is killed while events come, and whenever: in the end every value is that of the events, each once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.servers.kafka import Broker, broker
from tests.integration.servers.redis import running_redis
from tests.integration.streaming.jobs import QUICK, bought, fetching, make_streamed, produce, status, until
from zipline.ports import free_port
from zipline.project import Project

KILLS = int(os.environ.get("KILLS", "3"))
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
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            if "java" in Path(f"/proc/{child}/comm").read_text():
                os.kill(int(child), signal.SIGKILL)

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=120)
        finally:
            self.process.kill()


def test_values_are_those_of_all_events_whatever_is_killed(tmp_path: Path) -> None:
    draw = random.Random(time.time_ns())
    with broker() as kafka:
        project = make_streamed(tmp_path, kafka.address, settings=QUICK)
        sent: list[dict[str, Any]] = []
        keeper = Keeper(project)
        try:
            until(lambda: status(project).get("report", {}).get("state") == "running", within=180)
            kinds: dict[str, Callable[[], None]] = {
                "keeper": keeper.kill,
                "job": keeper.kill_job,
                "broker": lambda: _restarted(kafka),
            }
            for number in range(KILLS):
                kind = list(kinds)[number % len(kinds)]
                killing = threading.Timer(draw.uniform(0.0, 2.0), kinds[kind])
                killing.start()
                for _ in range(6):
                    events = [bought(len(sent) + n, draw.choice(USERS), float(draw.randrange(1, 9))) for n in range(50)]
                    sent += events
                    # What is sent again, as producers do that got no answer, has its id.
                    produce(project, [*events, *draw.sample(sent, 5)], **{"message.timeout.ms": 120_000})
                    time.sleep(0.3)
                killing.join()
                began = time.monotonic()
                _await_all(project, sent)
                print(f"{kind} killed: all values were right {time.monotonic() - began:.1f} s after the last event")
        finally:
            keeper.end()
        _await_all(project, sent)


def _restarted(kafka: Broker) -> None:
    kafka.kill()
    time.sleep(1)
    kafka.start()


def _await_all(project: Project, sent: list[dict[str, Any]]) -> None:
    """Until every user has the count and the total of its events."""
    expected = {user: [each["amount"] for each in sent if each["user"] == user] for user in USERS}
    with fetching(project) as fetch:

        def is_right() -> bool:
            found = {user: fetch(user) for user in USERS}
            assert all(found[user]["count_7d"] <= len(amounts) for user, amounts in expected.items()), "counted twice"
            return all(
                (found[user]["count_7d"], found[user]["sum_1d"]) == (len(amounts), sum(amounts) if amounts else None)
                for user, amounts in expected.items()
            )

        until(is_right, within=180)


def test_a_store_that_is_away_for_a_while_has_all_when_it_is_back(tmp_path: Path, kafka_servers: str) -> None:
    port, kept = free_port(), tmp_path / "redis"
    kept.mkdir()
    online = f'[online]\nstore = "redis"\nurl = "redis://127.0.0.1:{port}/0"\n'
    with running_redis(port, kept):
        project = make_streamed(tmp_path / "shop", kafka_servers, settings=online + QUICK)
        keeper = Keeper(project)
        until(lambda: status(project).get("report", {}).get("state") == "running", within=180)
        with fetching(project) as fetch:
            produce(project, [bought(1, "ann", 1.0)])
            until(lambda: fetch("ann")["count_7d"] == 1)
    try:
        produce(project, [bought(2, "ann", 2.0)])
        until(lambda: bool(status(project)["report"]["troubles"]))
        with running_redis(port, kept), fetching(project) as fetch:
            until(lambda: fetch("ann")["count_7d"] == 2)
            assert fetch("ann")["sum_1h"] == 3.0
            until(lambda: not status(project)["report"]["troubles"])
    finally:
        keeper.end()
