"""The online path in this process: uploads into LMDB, tiles, and fetches of 50 features over 5 group-bys.

    python -m tests.performance.online [KEYS] [EVENTS OF A KEY]
    python -m tests.performance.online uploads [KEYS] [EVENTS OF A KEY]

Beside every fetch stands what the store alone takes: the bare reads of the same keys, before anything is made of them;
beside every upload the store's bare writing of the same bytes, and what the values alone take once they are computed.
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

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline.algebra.codec import pack
from zipline.arrow import to_arrow
from zipline.clock import DAY, HOUR, MINUTE, day_text, monotonic
from zipline.engines.local.upload import uploaded
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


def joined(cache: str | None = None) -> Join:
    """Ten features of each group-by: sums, averages, extremes and counts of an hour to 30 days."""
    stem = "g" if cache is None else "cached"
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
        name = f"{stem}{number}"
        parts.append(JoinPart(GroupBy(["key"], [source], aggregations, online=True, cache=cache, name=name)))
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


def daily() -> Join:
    """Fifty features of one group-by as of the end of the day."""
    source = EventSource("events0", query=Query(select=["key", "x", "n"], time="t"))
    aggregations = [
        Aggregation(column, operation, windows=["1d", "3d", "7d", "14d", "30d"])
        for column in ("x", "n")
        for operation in (Operation.SUM, Operation.AVERAGE, Operation.MIN, Operation.MAX, Operation.COUNT)
    ]
    group_by = GroupBy(["key"], [source], aggregations, accuracy=Accuracy.SNAPSHOT, online=True, name="daily")
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    return Join(left=left, parts=[JoinPart(group_by)], name="join", online=True)


def best(work: Callable[[], object], rounds: int = 3) -> float:
    """Seconds of the fastest call."""
    seconds = []
    for _ in range(rounds):
        began = monotonic()
        work()
        seconds.append(monotonic() - began)
    return min(seconds)


def upload_of(label: str, join: Join, tables: dict[str, Any], folder: str, keys: int) -> LocalPlatform:
    """Measures the upload of a join's group-bys."""
    store = LmdbStore(folder)
    platform = LocalPlatform(join, tables=tables, store=store)
    platform.advance(END)
    platform.upload(day_text(END - DAY))
    catalog, kept = platform._catalog(), platform._kept([join.name or ""])
    items = {each.group_by.name: list(uploaded(each, catalog, END)) for each in kept}

    def written() -> None:
        for name, own in items.items():
            with store.upload(f"bare {name}", end=END, fingerprint="") as writing:
                writing.put(own)
                writing.publish()

    size = sum(len(key) + len(value) for own in items.values() for key, value in own)
    whole, bare = best(lambda: platform.upload(day_text(END - DAY))), best(written)
    made = best(lambda: [list(uploaded(each, catalog, END)) for each in kept])
    for what, seconds in (("uploaded", whole), ("made", made), ("bare puts of the same bytes", bare)):
        print(
            f"{label}, {what}: {keys / seconds:,.0f} keys/s, {size / keys:,.0f} bytes a key, "
            f"{size / seconds / 1e6:.1f} MB/s"
        )
    return platform


def packed(platform: LocalPlatform) -> None:
    """Blocks of finalised values, written and read by themselves."""
    own = platform._kept(["join"])[0].values
    rows = 100_000
    draw = np.random.default_rng(0)
    table = pa.table({name: pa.array(draw.integers(0, 99, rows)).cast(to_arrow(t)) for name, t in own.columns})
    blocks = list(own.written(table))
    for what, seconds in (
        ("written", best(lambda: list(own.written(table)))),
        ("read", best(lambda: [own.opened(blocks[first : first + 100]) for first in range(0, rows, 100)])),
        ("by the codec, value by value, of every hundredth", 100 * best(lambda: codec_packed(table, rows // 100))),
    ):
        print(f"blocks of {len(own.columns)} values, {what}: {rows / seconds:,.0f} keys/s")


def codec_packed(table: pa.Table, rows: int) -> list[bytes]:
    columns = [column.to_pylist() for column in table.slice(0, rows).columns]
    return [pack(bytes(32), row) for row in zip(*columns, strict=True)]


def uploads(keys: int = 20_000, of_a_key: int = 30) -> None:
    """Five TEMPORAL group-bys, and one SNAPSHOT group-by of 50 features."""
    tables: dict[str, Any] = {
        f"events{n}": events(END - 30 * DAY, END, keys * of_a_key, keys, n) for n in range(GROUP_BYS)
    }
    tables["asked"] = [{"key": 1, "t": day_text(END)}]
    with tempfile.TemporaryDirectory() as folder:
        upload_of("five TEMPORAL blobs", joined(), tables, f"{folder}/temporal", keys)
        platform = upload_of("50 SNAPSHOT features", daily(), tables, f"{folder}/snapshot", keys)
        fetches("50 SNAPSHOT features", platform.join("join"), platform._store, keys)  # type: ignore[arg-type]
        packed(platform)


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
    arguments = sys.argv[1:]
    if arguments[:1] == ["uploads"]:
        uploads(*map(int, arguments[1:]))
    else:
        main(*map(int, arguments))
