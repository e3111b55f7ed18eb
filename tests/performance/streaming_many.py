"""Eight group-bys on one topic, of 16 features each, into LMDB: events a second, beside one of them alone.

    python -m tests.performance.streaming_many [EVENTS]

Of the same keys they take the same rows, and are one aggregation; of different keys each has a shuffle of its own. The
named alternative is a job for each, one after another, as whoever runs Flink by hand has them: each reads the topic.
"""

from __future__ import annotations

import sys
import time
from itertools import chain

import numpy as np

from tests.integration.servers.kafka import running_kafka
from tests.integration.streaming.jobs import make_topic
from tests.performance.streaming import SPAN, Row, ours, quick_producer
from zipline.clock import now, to_text

COUNT = 8
KEYS = 2_000
SOURCE = """
from zipline import Aggregation, EventSource, GroupBy, Operation, Query, Topic

source = EventSource("events", topic=Topic("{topic}"), query=Query(time="ts"))
"""
FEATURES = """
features{number} = GroupBy(
    keys=["{key}"],
    sources=[source],
    aggregations=[
        Aggregation("v{number}", operation, windows=["1h", "1d", "7d", "30d"])
        for operation in (Operation.SUM, Operation.COUNT, Operation.MIN, Operation.MAX)
    ],
    online=True,
)
"""
ROW: Row = {
    "id": 1,
    **{f"k{number}": "none" for number in range(COUNT)},
    **{f"v{number}": 1.0 for number in range(COUNT)},
    "ts": 0,
    "ds": "1970-01-01",
}


def config(keys: list[str], numbers: range) -> str:
    """Group-bys over the values of these numbers, each by its key."""
    each = (FEATURES.replace("{number}", str(n)).replace("{key}", key) for key, n in zip(keys, numbers, strict=True))
    return "".join([SOURCE, *each])


def produced(servers: str, events: int) -> str:
    """A topic of two partitions with so many events of eight keys and eight values."""
    topic = f"events-{time.time_ns()}"
    make_topic(servers, topic)
    producer, draw, end = quick_producer(servers), np.random.default_rng(events), now()
    times = np.sort(draw.integers(end - SPAN, end, events))
    keys, values = draw.integers(0, KEYS, (events, COUNT)), draw.integers(0, 10_000, (events, COUNT))
    pairs = ", ".join(chain(*((f'"k{n}": "key%d"', f'"v{n}": %d.5') for n in range(COUNT))))
    text = '{"id": %d, "ts": "%s", ' + pairs + "}"
    mixed = np.stack([keys, values], axis=2).reshape(events, 2 * COUNT).tolist()
    for number, (at, of) in enumerate(zip(times.tolist(), mixed, strict=True)):
        producer.produce(topic, (text % (number, to_text(at), *of)).encode(), partition=of[0] % 2)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(300) == 0
    return topic


def main(events: int) -> None:
    print(f"{events:,} events in two partitions, {KEYS:,} values of each key, parallelism 2, into LMDB")
    with running_kafka() as servers:
        topic = produced(servers, events)

        def seconds(keys: list[str], numbers: range) -> float:
            return ours(servers, topic, "", config=config(keys, numbers), row=ROW)[0]

        one = seconds(["k0"], range(1))
        print(f"one group-by               {events / one:>9,.0f}/s", flush=True)
        same = seconds(["k0"] * COUNT, range(COUNT))
        print(f"eight of the same keys     {events / same:>9,.0f}/s  {one / same:.0%} of one", flush=True)
        other = seconds([f"k{n}" for n in range(COUNT)], range(COUNT))
        print(f"eight of different keys    {events / other:>9,.0f}/s", flush=True)
        apart = sum(seconds([f"k{n}"], range(n, n + 1)) for n in range(COUNT))
        ratio = f"one job for all is {apart / other:.1f} times as fast"
        print(f"eight jobs, each by itself {events / apart:>9,.0f}/s  {ratio}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
