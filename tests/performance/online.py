"""The online path in this process: uploads into LMDB, tiles, and fetches of 50 features over 5 group-bys.

    python -m tests.performance.online [KEYS] [EVENTS OF A KEY]

Beside every fetch stands what the store alone takes: the bare reads of the same keys, before anything is made of them.
Times are medians in milliseconds of this machine, on which other things may run: compare them with each other.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline.clock import DAY, HOUR, MINUTE, day_text, monotonic
from zipline.fetch.joins import JoinFetch
from zipline.stores.lmdb import LmdbStore

END = 19_800 * DAY
NOW = END + 20 * HOUR + 17 * MINUTE
GROUP_BYS, ROUNDS = 5, 300


def events(first: int, last: int, count: int, keys: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    times = pa.array(draw.integers(first, last, count)).cast(pa.timestamp("us", tz="UTC"))
    return pa.table(
        {"key": draw.integers(0, keys, count), "x": draw.random(count), "n": draw.integers(0, 99, count), "t": times}
    )


def joined() -> Join:
    """Ten features of each group-by: sums, averages, extremes and counts of an hour to 30 days."""
    parts = []
    for number in range(GROUP_BYS):
        query = Query(select=["key", "x", "n"], time="t")
        source = EventSource(f"events{number}", topic=Topic(f"events{number}"), query=query)
        aggregations = [
            Aggregation("x", Operation.SUM, windows=["1h", "1d", "7d", "30d"]),
            Aggregation("x", Operation.AVERAGE, windows=["1d", "7d"]),
            Aggregation("n", Operation.MAX, windows=["1d", "7d"]),
            Aggregation("n", Operation.COUNT, windows=["1d", "30d"]),
        ]
        parts.append(JoinPart(GroupBy(["key"], [source], aggregations, online=True, name=f"g{number}")))
    return Join(left=EventSource("asked", query=Query(select=["key"], time="t")), parts=parts, name="join", online=True)


def median(work: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Milliseconds of one call, warm."""
    for argument in arguments:
        work(argument)
    seconds = []
    for argument in arguments:
        began = monotonic()
        work(argument)
        seconds.append(monotonic() - began)
    return statistics.median(seconds) * 1e3


def fetches(label: str, fetch: JoinFetch, store: LmdbStore, keys: int) -> None:
    draw = random.Random(0)
    for count in (1, 100):
        asked = [
            [{"key": draw.randrange(keys)} for _ in range(count)] for _ in range(ROUNDS // (1 if count == 1 else 6))
        ]
        reads = [next(fetch.steps(rows, NOW)).reads for rows in asked]
        bare = median(store.get, reads)
        rows = median(lambda rows: fetch.fetch(rows, NOW).rows(), asked)
        columns = median(lambda rows: fetch.fetch(rows, NOW).columns(), asked)
        print(f"{label}, {count:>3} x 50: as rows {rows:.3f} ms, as columns {columns:.3f} ms, bare reads {bare:.3f} ms")


def main(keys: int = 2_000, of_a_key: int = 60) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbStore(folder)
        tables: dict[str, Any] = {
            f"events{n}": events(END - 30 * DAY, END, keys * of_a_key, keys, n) for n in range(GROUP_BYS)
        }
        tables["asked"] = [{"key": 1, "t": "2024-03-01"}]
        platform = LocalPlatform(joined(), tables=tables, store=store)
        platform.advance(END)
        platform.upload(day_text(END - DAY))
        began = monotonic()
        generations = platform.upload(day_text(END - DAY))
        seconds = monotonic() - began
        size = sum(each.size for each in generations)
        print(f"upload: {keys / seconds:,.0f} keys/s, {size / keys:,.0f} bytes a key, {size / seconds / 1e6:.1f} MB/s")
        fetch = platform.join("join")
        gc.freeze()
        fetches("upload alone", fetch, store, keys)
        arrived = keys * of_a_key // 30
        began = monotonic()
        for number in range(GROUP_BYS):
            platform.publish(f"events{number}", events(END, NOW, arrived, keys, 100 + number))
        print(f"tiles: {GROUP_BYS * arrived / (monotonic() - began):,.0f} events/s")
        platform.advance(NOW)
        fetches("with the day's tiles", fetch, store, keys)
        gc.unfreeze()
        store.close()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
