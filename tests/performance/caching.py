"""What a cache is worth: fetches of 50 features over 5 group-bys from Redis, of hot keys, with and without `cache`.

    python -m tests.performance.caching [KEYS] [EVENTS OF A KEY]

Both are in one process and one run, over one server of Redis on this machine, whose way is as short as can be. Times
are medians and 99th percentiles in milliseconds: compare them with each other.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np

from tests.integration.servers.redis import running_redis
from tests.performance.online import END, GROUP_BYS, NOW, events, joined
from zipline import LocalPlatform
from zipline.clock import DAY, day_text, monotonic
from zipline.fetch.joins import JoinFetch
from zipline.stores.redis import RedisStore

ROUNDS, HOT = 600, 200


def timed(sides: dict[str, JoinFetch], asked: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Milliseconds of each fetch, warm; the sides take turns."""
    for rows in asked:
        for fetch in sides.values():
            fetch.fetch(rows, NOW, True)
    seconds: dict[str, list[float]] = {what: [] for what in sides}
    for rows in asked:
        for what, fetch in sides.items():
            began = monotonic()
            fetch.fetch(rows, NOW, True).rows()
            seconds[what].append(monotonic() - began)
    return {what: np.array(found) * 1e3 for what, found in seconds.items()}


def main(keys: int = 1_000, of_a_key: int = 60) -> None:
    tables: dict[str, Any] = {
        f"events{n}": events(END - 30 * DAY, END, keys * of_a_key, keys, n) for n in range(GROUP_BYS)
    }
    tables["asked"] = [{"key": 1, "t": day_text(END)}]
    with running_redis() as (url, _):
        store = RedisStore(url)
        found = {}
        for what, cache in (("without", None), ("with", "1h")):
            platform = LocalPlatform(joined(cache), tables=tables, store=store)
            platform.advance(END)
            platform.upload(day_text(END - DAY))
            found[what] = platform.join("join")
            for number in range(GROUP_BYS):
                platform.publish(f"events{number}", events(END, NOW, keys * 2, keys, 100 + number))
            platform.advance(NOW)
        draw = random.Random(0)
        for count in (1, 100):
            asked = [[{"key": draw.randrange(HOT)} for _ in range(count)] for _ in range(ROUNDS // (1 + count // 20))]
            for what, times in timed(found, asked).items():
                print(
                    f"Redis, {count:>3} x 50, {what:>7} a cache: "
                    f"p50 {np.median(times):.2f} ms, p99 {np.quantile(times, 0.99):.2f} ms"
                )
        store.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
