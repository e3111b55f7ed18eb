"""A project whose purchases come by a topic, and its streaming job as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.integration.events.shop import make_shop
from zipline import Fetcher
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, day_text, now, to_text
from zipline.orchestration.events.sources import event_sources
from zipline.orchestration.streaming.jobs import StreamJob, stream_job
from zipline.plan.definitions import load
from zipline.project import Project, load_project
from zipline.tables.catalog import open_catalog

SPENDING = "shop.spending.spending"
QUICK = '[flink]\ncheckpoint = "1s"\nflush = "20ms"\nmemory = "512m"\n'


def make_streamed(folder: Path, servers: str, *, with_ids: bool = True, settings: str = QUICK) -> Project:
    """With an upload of yesterday and a topic of two partitions; `project.brokers` knows where."""
    topic = f"purchases-{uuid.uuid4().hex[:8]}"
    make_topic(servers, topic)
    brokers = f'[brokers]\nservers = "{servers}"\n'
    make_shop(folder, with_ids=with_ids, topic=topic, settings=brokers + settings)
    file = folder / "zipline.toml"
    file.write_text(file.read_text().replace('name = "shop"', f'name = "{topic}"'))  # it names topics, too
    project = load_project(folder)
    uploaded = ["upload", SPENDING, "--ds", day_text(now() - DAY), "--allow-missing", "--project", str(folder)]
    assert execute(uploaded) == 0
    return project


def make_topic(servers: str, topic: str, partitions: int = 2) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def topic_of(project: Project) -> str:
    text = (project.root / "configs" / "shop" / "spending.py").read_text()
    return text.split('Topic("')[1].split('"')[0]


def job_of(project: Project) -> StreamJob:
    """The job of the project's files."""
    definitions = load(project.root / project.configs)
    return stream_job(project, event_sources(project, definitions, open_catalog(project=project)))


def produce(project: Project, events: Sequence[Mapping[str, Any] | bytes | None], **settings: Any) -> None:
    """Each goes to the partition of its user, as a producer with keys does."""
    producer = Producer({"bootstrap.servers": project.brokers.servers, "linger.ms": 1, **settings})
    for number, each in enumerate(events):
        if isinstance(each, Mapping):
            producer.produce(topic_of(project), json.dumps(each).encode(), partition=len(str(each.get("user"))) % 2)
        else:
            producer.produce(topic_of(project), each, partition=number % 2)
        producer.poll(0)
    assert producer.flush(130) == 0


def bought(number: int, user: str, amount: float, ago: int = SECOND) -> dict[str, Any]:
    return {"event": f"e{number}", "user": user, "amount": amount, "bought_at": to_text(now() - ago)}


@contextmanager
def streaming(project: Project, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`zipline stream --engine flink`, from when its job runs; it is told to end with the block."""
    command = [sys.executable, "-m", "zipline.cli.main", "stream", "--engine", "flink", "--project", str(project.root)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        began = now()
        until(lambda: process.poll() is not None or _runs(project, began), within=180)
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=90)
            finally:
                process.kill()


def status(project: Project) -> dict[str, Any]:
    """What is told of the project's one job; {} before anything is."""
    files = list((project.root / ".zipline" / "stream").glob("*/status.json"))
    found: dict[str, Any] = json.loads(files[0].read_text()) if files else {}
    return found


def virtual_machines(keeper: int) -> list[int]:
    """The processes of Java that a process, any of its threads, has started."""
    children = " ".join(map(_read, Path(f"/proc/{keeper}/task").glob("*/children"))).split()
    return [int(child) for child in children if _read(Path(f"/proc/{child}/comm")) == "java\n"]


def _read(place: Path) -> str:
    """What stands there, "" of a process or thread that has ended meanwhile."""
    try:
        return place.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _runs(project: Project, since: int) -> bool:
    told = status(project)
    return bool(told) and told["at"] > since and told["report"]["state"] == "running"


def until(is_done: Callable[[], bool], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not is_done():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


@contextmanager
def fetching(project: Project) -> Iterator[Callable[..., dict[str, Any]]]:
    """Features of users as they are now, or at another time, and the `status` of one."""
    fetcher = Fetcher(project)

    def fetch(user: str, at: str | None = None) -> dict[str, Any]:
        found = fetcher.fetch("shop.visits.visits", [{"user": user}], at=at or to_text(now()))
        values = {name.removeprefix("spending_amount_"): value for name, value in found.rows()[0].items()}
        return {**values, "status": found.status(0, "spending_amount_count_7d")}

    try:
        yield fetch
    finally:
        fetcher.close()
