"""A key with a million events today, and one with a single event in each of the same tiles: how long a fetch takes.

    python -m tests.performance.hot_key [EVENTS]

In this process and in memory, so that nothing but the merging of partials is measured; fetches of both in turn.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import numpy as np
import pyarrow as pa

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline.clock import DAY, HOUR, MINUTE, to_micros

TODAY = to_micros("2024-05-05")
ROUNDS = 3_000


def platform(events: int) -> LocalPlatform:
    """Two keys: "hot" with so many events since midnight, "cold" with one in each tile of them."""
    source = EventSource("events", topic=Topic("events"), query=Query(["k", "v"], time="t"))
    wanted = [
        Aggregation("v", operation, windows=["1h", "1d", "7d", "30d"])
        for operation in (Operation.SUM, Operation.AVERAGE, Operation.MAX, Operation.LAST)
    ]
    features = GroupBy(["k"], [source], wanted, online=True, name="features")
    join = Join(EventSource("asked", Query(["k"], time="t")), [JoinPart(features)], online=True, name="join")
    found = LocalPlatform(join)
    found.advance(TODAY)
    until = 20 * 60 * MINUTE
    hot = TODAY + np.sort(np.random.default_rng(1).integers(0, until, events))
    cold = TODAY + np.arange(0, until, 5 * MINUTE)
    empty = pa.table({"k": ["hot", "cold"], "v": [1.0, 1.0], "t": _times(np.array([TODAY - DAY] * 2))})
    found.publish("events", empty)
    found.publish("asked", empty.select(["k", "t"]))
    found.upload("2024-05-04")
    found.advance(TODAY + until)
    for name, times in (("hot", hot), ("cold", cold)):
        found.publish("events", pa.table({"k": [name] * len(times), "v": [1.5] * len(times), "t": _times(times)}))
    return found


def _times(micros: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Array:
    return pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))


def main(events: int) -> None:
    made = platform(events)
    at = TODAY + 20 * HOUR + MINUTE
    counts = {"hot": 1.5 * events, "cold": 1.5 * 240}
    for name, total in counts.items():
        assert made.fetch("join", [{"k": name}], at).rows()[0]["features_v_sum_1d"] == total, name
    took: dict[str, list[float]] = {name: [] for name in counts}
    for _ in range(ROUNDS):
        for name, times in took.items():
            began = time.perf_counter()
            made.fetch("join", [{"k": name}], at)
            times.append(time.perf_counter() - began)
    hot, cold = (median(took[name]) * 1e6 for name in ("hot", "cold"))
    print(f"hot key, {events:,} events: {hot:.0f} us; one event in each of the same tiles: {cold:.0f} us", end="; ")
    print(f"{hot / cold:.2f} times")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
