"""Freshness: from an event's being produced until the feature server answers with it.

    python -m tests.performance.freshness [SECONDS]

A job of Flink on a mini cluster into LMDB, 5,000 events a second of 10,000 keys and 16 features, late ones and bad ones
among them; the feature server in a process of its own; uploads of all keys one after another beside them. Callers send
an event of a key of their own and ask for it until it is there. Beside it, in the same run: how long a message takes
from the same producer to a consumer, which no stream can be faster than.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, Producer

from tests.integration.servers.features import serving
from tests.integration.servers.kafka import running_kafka
from tests.integration.streaming.jobs import make_topic, streaming
from tests.performance.streaming import CONFIG
from zipline.clock import DAY, SECOND, day_text, now, to_datetime, to_text
from zipline.project import Project, load_project
from zipline.tables.delta import write_source

RATE, KEYS, CALLERS = 5_000, 10_000, 3
JOIN = """
join = Join(left=EventSource("asked", Query(["k"], time="ts")), parts=[JoinPart(features)], online=True)
"""
NAME = "bench.events.features"


def project_in(root: Path, servers: str, topic: str) -> Project:
    config = CONFIG.replace(
        "import Aggregation, EventSource, GroupBy,", "import Aggregation, EventSource, GroupBy, Join, JoinPart,"
    )
    (root / "configs" / "bench").mkdir(parents=True)
    (root / "configs" / "bench" / "team.py").write_text('from zipline import Team\n\nteam = Team(owner="bench")\n')
    (root / "configs" / "bench" / "events.py").write_text(config.format(topic=topic) + JOIN)
    flink = '[stream]\nengine = "flink"\n[flink]\nparallelism = 2\nmemory = "2g"\n'
    (root / "zipline.toml").write_text(f'name = "fresh-{time.time_ns()}"\n[brokers]\nservers = "{servers}"\n{flink}')
    project = load_project(root)
    yesterday = now() // DAY * DAY - DAY
    days = pa.array([day_text(yesterday)] * KEYS)
    times = pa.array([to_datetime(yesterday)] * KEYS, pa.timestamp("us", "UTC"))
    keys = [f"key{n}" for n in range(KEYS)]
    write_source(
        "events",
        pa.table({"id": range(KEYS), "k": keys, "ts": times, "v": [1.0] * KEYS, "ds": days}),
        "ds",
        project=project,
    )
    write_source("asked", pa.table({"k": keys[:1], "ts": times[:1]}), project=project)
    return project


class Load:
    """What comes all the time, at a rate, until it is stopped."""

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 5})
        self._topic, self.over, self.sent = topic, threading.Event(), 0

    def run(self) -> None:
        draw, began = np.random.default_rng(1), time.monotonic()
        while not self.over.is_set():
            due = int((time.monotonic() - began) * RATE) - self.sent
            for key, value in draw.integers(0, KEYS, (max(0, due), 2)).tolist():
                number = self.sent = self.sent + 1
                at = now() - (SECOND if number % 1000 else 3 * DAY)
                text = f'{{"id": {number}, "k": "key{key}", "ts": "{to_text(at)}", "v": {value}.5}}'
                self._producer.produce(self._topic, text if number % 1000 != 1 else "{", partition=key % 2)
            self._producer.poll(0)
            time.sleep(0.005)
        self._producer.flush(30)


def asking(url: str, servers: str, topic: str, caller: int, over: threading.Event, found: list[float]) -> None:
    """Sends events of keys that nobody else has, one after another, and waits for each."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    number = 0
    with httpx.Client() as client:
        while not over.is_set():
            number += 1
            key = f"asked{caller}-{number}"
            text = f'{{"id": 1, "k": "{key}", "ts": "{to_text(now() - 1000)}", "v": 7.0}}'
            began = time.monotonic()
            producer.produce(topic, text, partition=number % 2)
            producer.poll(0)
            while not over.is_set() and _of(client, url, key) != 7.0:
                time.sleep(0.004)
            if not over.is_set():
                found.append(time.monotonic() - began)
            time.sleep(0.03)


def _of(client: httpx.Client, url: str, key: str) -> Any:
    answer = client.post(f"{url}/v1/features/bench.events.join", json={"rows": [{"k": key}]}).json()
    return answer["rows"][0]["values"]["features_v_sum_1h"]


def round_trips(servers: str, topic: str, count: int = 200) -> list[float]:
    """Seconds from producing to consuming, one message after another."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0})
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "floor", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found = []
    for number in range(count + 20):
        began = time.monotonic()
        producer.produce(topic, b"x", partition=0)
        producer.poll(0)
        while (message := consumer.poll(10)) is not None and message.error() is not None:
            continue
        if number >= 20:  # the first wait for the group
            found.append(time.monotonic() - began)
    consumer.close()
    return found


def uploads(project: Project, over: threading.Event, done: list[float]) -> None:
    command = [sys.executable, "-m", "zipline.cli.main", "upload", NAME, "--project", str(project.root)]
    day = day_text(now() // DAY * DAY - DAY)
    while not over.is_set():
        began = time.monotonic()
        subprocess.run([*command, "--ds", day], check=True, capture_output=True)
        done.append(time.monotonic() - began)


def main(seconds: float) -> None:
    with running_kafka() as servers, tempfile.TemporaryDirectory() as folder:
        topic, beside = f"events-{time.time_ns()}", f"beside-{time.time_ns()}"
        make_topic(servers, topic)
        make_topic(servers, beside, 1)
        project, over = project_in(Path(folder), servers, topic), threading.Event()
        found: list[float] = []
        uploaded: list[float] = []
        day = day_text(now() // DAY * DAY - DAY)
        upload = [sys.executable, "-m", "zipline.cli.main", "upload", NAME, "--ds", day, "--project", folder]
        subprocess.run(upload, check=True, capture_output=True)
        with streaming(project), serving(Path(folder)) as server:
            load = Load(servers, topic)
            threads = [threading.Thread(target=load.run)]
            threads += [
                threading.Thread(target=asking, args=(server.url, servers, topic, n, over, found))
                for n in range(CALLERS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(20)  # while the JVM compiles what it runs
            found.clear()
            uploading = threading.Thread(target=uploads, args=(project, over, uploaded))
            uploading.start()
            began, sent = time.monotonic(), load.sent
            time.sleep(seconds)
            rate = (load.sent - sent) / (time.monotonic() - began)
            floor = round_trips(servers, beside)
            over.set()
            load.over.set()
            for thread in [*threads, uploading]:
                thread.join()
        print(f"{rate:,.0f} events a second, {len(uploaded)} uploads beside them, {len(found)} events asked for")
        for name, times in (("produced to readable by HTTP", found), ("produced to consumed", floor)):
            p50, p99 = np.percentile(np.array(times) * 1e3, [50, 99])
            print(f"{name:<30} p50 {p50:>7.0f} ms  p99 {p99:>7.0f} ms")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
