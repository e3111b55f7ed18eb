"""How much memory reading takes: a generation of millions of keys in LMDB, and a process that fetches random ones.

    python -m tests.performance.memory [KEYS]

The values are those of a SNAPSHOT group-by of four features, written by the store's own upload. Anonymous memory is
what the reader has made; after the first reads it must stay as it is, however many keys are asked for. Mapped memory
are pages of the store's file, which the system gives and takes back. Every value is compared with what was written.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.performance.resident import Resident, resident
from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query
from zipline.clock import DAY, monotonic
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.plan.build import plan_join
from zipline.plan.online import Kept
from zipline.plan.steps import JoinPlan
from zipline.stores.contract import Generation, Item
from zipline.stores.key_columns import ordered_keys
from zipline.stores.lmdb import LmdbStore
from zipline.types import BIGINT, DOUBLE, TIMESTAMP

END = 19_800 * DAY
AT_ONCE, ROWS = 500_000, 100
READS = (0, 1_000, 10_000, 100_000, 1_000_000, 3_000_000)
"""Keys read when memory is looked at."""
ROOM = 8_000_000
"""Bytes by which anonymous memory may grow after the first thousand reads: caches and pools that fill up once."""


@dataclass(frozen=True)
class Look:
    """Memory after so many keys were read, and the seconds that the reads took."""

    reads: int
    seconds: float
    held: Resident


def join() -> Join:
    """Four features of a key: `n` and `x` over two windows each."""
    source = EventSource("events", query=Query(select=["key", "x", "n"], time="t"))
    aggregations = [
        Aggregation("n", Operation.MAX, windows=["1d", "30d"]),
        Aggregation("x", Operation.SUM, windows=["1d", "30d"]),
    ]
    group_by = GroupBy(["key"], [source], aggregations, accuracy=Accuracy.SNAPSHOT, online=True, name="g")
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    return Join(left, parts=[JoinPart(group_by)], name="join", online=True)


def planned(of: Join) -> JoinPlan:
    return plan_join(of, lambda _: {"key": BIGINT, "x": DOUBLE, "n": BIGINT, "t": TIMESTAMP})


def values_of(keys: Any) -> dict[str, Any]:
    """The features of keys, arrays or numbers alike."""
    return {"n_max_1d": keys, "n_max_30d": keys * 3 + 1, "x_sum_1d": keys / 2.0, "x_sum_30d": keys * -1.0}


def write(folder: Path, keys: int) -> Generation:
    """A generation with the keys from 0 on."""
    plan = planned(join()).parts[0].group_by
    store = LmdbStore(folder)
    with store.upload("g", end=END, fingerprint=plan.fingerprint) as upload:
        for first in range(0, keys, AT_ONCE):
            upload.put(_items(Kept(plan), np.arange(first, min(keys, first + AT_ONCE), dtype=np.int64)))
        done = upload.publish()
    store.close()
    return done


def _items(kept: Kept, keys: Any) -> Iterator[Item]:
    written, rows = ordered_keys([pa.array(keys)], [BIGINT], len(keys))
    own = values_of(keys[rows])
    table = pa.table({name: pa.array(own[name]) for name, _ in kept.values.columns})
    return zip(written, kept.values.written(table), strict=True)


def looks(folder: Path, keys: int, reads: tuple[int, ...] = READS) -> Iterator[Look]:
    """Fetches random keys in this process; AssertionError for a value that is not its key's."""
    definition, store = join(), LmdbStore(folder)
    fetch = join_fetch(planned(definition), definition, store, lambda kept: kept.group_by.name)
    draw, done, began = random.Random(0), 0, monotonic()
    for until in reads:
        while done < until:
            _check(fetch, [draw.randrange(keys) for _ in range(ROWS)])
            done += ROWS
        yield Look(done, monotonic() - began, resident())
    store.close()


def _check(fetch: JoinFetch, keys: list[int]) -> None:
    found = fetch.fetch([{"key": key} for key in keys], END + DAY // 2).rows()
    for key, row in zip(keys, found, strict=True):
        expected = {f"g_{name}": value for name, value in values_of(key).items()}
        assert row == expected, f"{key}: {row}"


def growth(found: list[Look]) -> int:
    """Bytes of anonymous memory that came after the first thousand reads."""
    return found[-1].held.anonymous - next(look for look in found if look.reads).held.anonymous


def _read(folder: Path, keys: int, out: Any) -> None:
    for look in looks(folder, keys):
        out.put(look)


def main(keys: int = 10_000_000) -> int:
    """0 where memory stayed flat."""
    with tempfile.TemporaryDirectory(prefix="zipline-memory-") as place:
        folder, began = Path(place), monotonic()
        done = write(folder, keys)
        seconds = monotonic() - began
        size = sum(file.stat().st_blocks * 512 for file in folder.rglob("data.mdb"))
        print(
            f"{done.rows:,} keys written in {seconds:.0f} s ({keys / seconds:,.0f} keys/s), {size / 1e9:.2f} GB of disk"
        )
        context = multiprocessing.get_context("spawn")
        out: Any = context.Queue()
        reader = context.Process(target=_read, args=(folder, keys, out))
        reader.start()
        found: list[Look] = []
        for _ in READS:
            found.append(out.get(timeout=600))
            print(f"after {found[-1].reads:>9,} keys, {found[-1].seconds:5.1f} s: {found[-1].held}", flush=True)
        reader.join()
    grown = growth(found)
    print(f"anonymous memory grew by {grown / 1e6:,.1f} MB after the first thousand (room: {ROOM / 1e6:.0f} MB)")
    return int(grown > ROOM)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
