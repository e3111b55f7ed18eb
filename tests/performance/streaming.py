"""Streams: events a second from Kafka into the store, beside plain Flink SQL into a black hole.

    python -m tests.performance.streaming [EVENTS]

Both read the same topic with the same format, send bad and late messages to the same topics, and keep the same four
aggregates of a tile; the named alternative is what an experienced person would write by hand, SUM, COUNT, MIN and MAX
by key and tile, and it writes nothing. Ours ends when the last tile is in the store.

What Redis leaves of two cores is shown, too: the black hole beside a loop that computes nothing, and only gets and sets
values of the size that chunks of tiles have here, by the client that we use.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer
from redis import Redis

from tests.integration.servers.kafka import running_kafka
from tests.integration.servers.redis import running_redis
from tests.integration.streaming.jobs import make_topic
from zipline.clock import MINUTE, now, to_text
from zipline.engines.flink.launching import ended
from zipline.engines.flink.statements import taken
from zipline.orchestration.events.sources import event_sources
from zipline.orchestration.streaming.brokers import Admin
from zipline.orchestration.streaming.jobs import StreamJob, stream_job
from zipline.orchestration.streaming.running import open_streaming
from zipline.plan.definitions import load
from zipline.project import Project, load_project
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import write_source

Row = dict[str, Any]
CONFIG = """
from zipline import Aggregation, EventSource, GroupBy, Operation, Query, Topic

source = EventSource("events", topic=Topic("{topic}"), query=Query(["k", "v"], time="ts"))
features = GroupBy(
    keys=["k"],
    sources=[source],
    aggregations=[
        Aggregation("v", operation, windows=["1h", "1d", "7d", "30d"])
        for operation in (Operation.SUM, Operation.COUNT, Operation.MIN, Operation.MAX)
    ],
    online=True,
)
"""
ROUNDS = 2
BATCH, CHUNK = 16_384, bytes(211)
"""Values that are got and set at once, and one of them: as large as chunks of the group-by are on average."""
SPAN = 20 * MINUTE
"""Of event time, in which the events lie."""


ROW: Row = {"id": 1, "k": "none", "ts": 0, "v": 1.0, "ds": "1970-01-01"}


@contextmanager
def prepared(servers: str, topic: str, online: str, config: str = CONFIG, row: Row = ROW) -> Iterator[StreamJob]:
    """A project with one table of such rows, by default of one group-by of 16 features."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "configs" / "bench").mkdir(parents=True)
        (root / "configs" / "bench" / "team.py").write_text('from zipline import Team\n\nteam = Team(owner="bench")\n')
        (root / "configs" / "bench" / "events.py").write_text(config.format(topic=topic))
        brokers = f'[brokers]\nservers = "{servers}"\n[flink]\nparallelism = 2\nmemory = "3g"\ncheckpoint = "5s"\n'
        (root / "zipline.toml").write_text(f'name = "bench-{time.time_ns()}"\n{online}{brokers}')
        project = load_project(root)
        columns = {name: [each] for name, each in row.items()}
        times = pa.array(columns["ts"], pa.timestamp("us", "UTC"))
        write_source("events", pa.table({**columns, "ts": times}), "ds", project=project)
        yield _job(project)


def _job(project: Project) -> StreamJob:
    definitions = load(project.root / "configs")
    return stream_job(project, event_sources(project, definitions, open_catalog(project=project)))


def quick_producer(servers: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 50,
            "batch.size": 1 << 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def produced(servers: str, events: int, keys: int) -> str:
    """A topic of two partitions with so many events, one in a thousand of them bad and one late."""
    topic = f"events-{time.time_ns()}"
    make_topic(servers, topic)
    producer = quick_producer(servers)
    draw = np.random.default_rng(events + keys)
    end = now()
    # They come in order of time, a little shuffled, as a topic has them.
    times = np.sort(draw.integers(end - SPAN, end, events)) - draw.integers(0, MINUTE, events)
    chosen, values = draw.integers(0, keys, events).tolist(), draw.integers(0, 10_000, events).tolist()
    for number, (at, key, value) in enumerate(zip(times.tolist(), chosen, values, strict=True)):
        if number % 1000 == 7:
            text = b'{"id": "none"}'
        else:
            at -= 0 if number % 1000 != 8 else 72 * 60 * MINUTE
            text = b'{"id": %d, "k": "key%d", "ts": "%s", "v": %d.5}' % (number, key, to_text(at).encode(), value)
        producer.produce(topic, text, partition=key % 2)
        if number % 1000 == 0:
            producer.poll(0)
            while len(producer) > 800_000:
                producer.poll(0.05)
    assert producer.flush(120) == 0
    return topic


def plain(job: StreamJob) -> list[str]:
    """The same job as by hand: its tables, its letters, and plain aggregates into a black hole."""
    found = job.statements(ends=True)
    tiles = next(each for each in found if "zipline-tiles" in each)
    name = tiles.split("CREATE TEMPORARY TABLE ")[1].split(" (")[0]
    hole = (
        f"CREATE TEMPORARY TABLE {name} (k STRING, tile BIGINT, total DOUBLE, n BIGINT, least DOUBLE, most DOUBLE, "
        "PRIMARY KEY (k, tile) NOT ENFORCED) WITH ('connector' = 'blackhole')"
    )
    *letters, _ = found[-1].removeprefix("EXECUTE STATEMENT SET BEGIN\n").removesuffix(";\nEND").split(";\n")
    by_hand = (
        f"INSERT INTO {name} SELECT k, tile, SUM(v), COUNT(v), MIN(v), MAX(v) FROM "
        "(SELECT k, zipline_micros(ts) - MOD(zipline_micros(ts), 300000000) AS tile, v "
        f"FROM {taken(job.tables['events'], None)} WHERE k IS NOT NULL) GROUP BY k, tile"
    )
    replaced = [hole if each is tiles else each for each in found[:-1]]
    return [*replaced, "EXECUTE STATEMENT SET BEGIN\n" + ";\n".join([*letters, by_hand]) + ";\nEND"]


def main(events: int) -> None:
    print(f"{events:,} events in two partitions, parallelism 2; from the job's start, its JVM and its plan left out")
    with running_kafka() as servers, running_redis() as (redis, _):
        stores = {"LMDB": "", "Redis": f'[online]\nstore = "redis"\nurl = "{redis}"\n'}
        for keys in (10_000, 1_000_000):
            topic = produced(servers, events, keys)
            for _ in range(ROUNDS):
                hole = _hole(servers, topic)
                print(f"{keys:>9,} keys  black hole {events / hole:>9,.0f}/s", flush=True)
                for store, online in stores.items():
                    seconds, behind, tiles = ours(servers, topic, online)
                    shown = f"{keys:>9,} keys  {store:<10} {events / seconds:>9,.0f}/s  {hole / seconds:>4.0%}"
                    print(f"{shown}  {tiles:,} tiles, the last {behind:.1f} s behind the job", flush=True)
                beside, values = _hole_beside_redis(servers, topic)
                shown = f"{keys:>9,} keys  black hole {events / beside:>9,.0f}/s  {hole / beside:>4.0%}"
                print(f"{shown}  beside Redis, {values:,} values got and set", flush=True)


def took(told: str) -> float:
    """Seconds that a job took."""
    return int(told.split("TOOK ")[1].split()[0]) / 1000


def _hole(servers: str, topic: str) -> float:
    with prepared(servers, topic, "") as job, open_streaming(job):  # which makes the topics
        return took(ended(job.settings(), plain(job), job.folder, "3g"))


def _hole_beside_redis(servers: str, topic: str) -> tuple[float, int]:
    """(seconds that the black hole takes beside a loop of gets and sets, how many values these are meanwhile)."""
    with running_redis() as (url, _), ThreadPoolExecutor(1) as beside, closing(Redis.from_url(url)) as client:
        job = beside.submit(_hole, servers, topic)
        asked: list[float] = []
        while not job.done():
            keys = [b"bench.events.features@0123456789ab::key%016d" % (len(asked) * BATCH + n) for n in range(BATCH)]
            client.execute_command("MGET", *keys)
            client.execute_command("MSET", *(each for key in keys for each in (key, CHUNK)))
            asked.append(time.monotonic())
        seconds = job.result()
        return seconds, BATCH * sum(at > asked[-1] - seconds for at in asked)


def ours(servers: str, topic: str, online: str, **more: Any) -> tuple[float, float, int]:
    """(seconds until the last tile is in the store, seconds of that after the job had ended, tiles)."""
    with (
        prepared(servers, topic, online, **more) as job,
        open_streaming(job) as streaming,
        ThreadPoolExecutor(1) as beside,
        closing(Admin(job.project.brokers)) as admin,
    ):
        streaming._begin()
        ran = beside.submit(ended, job.settings(), job.statements(ends=True), job.folder, "3g")
        last = 0.0

        def step() -> None:
            nonlocal last
            last = time.time() if streaming._take_in() else last

        while not ran.done():
            step()
        told = ran.result()
        end = admin.end(job.tiles)
        while streaming._offset < end:
            step()
        behind = max(0.0, last - int(told.split("UNTIL ")[1].split()[0]) / 1000)
        return took(told) + behind, behind, streaming.report.tiles


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
