"""A hot key with half of all events against the same number of events evenly over the keys, on Spark.

    python -m tests.performance.spark.skew [EVENTS] [LEFT ROWS] [ROWS PER TASK]

Both sides run in one session, in turn, each from Parquet files to an Arrow table; the first round is not counted. The
aim is that the hot key costs at most 1.5 times the even case.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query
from zipline.clock import DAY
from zipline.engines.spark.run import run_join
from zipline.engines.spark.session import local_session
from zipline.engines.spark.sizes import Sizing
from zipline.plan.build import plan_join
from zipline.plan.steps import JoinPlan
from zipline.tables.catalog import Catalog, open_catalog

BEGIN, DAYS, KEYS, ROUNDS = 19_700 * DAY, 90, 10_000, 3
OPERATIONS = ("SUM", "COUNT", "AVERAGE", "MAX")


def table(rows: int, share: float, seed: int) -> pa.Table:
    """Rows of which `share` are of one key."""
    draw = np.random.default_rng(seed)
    keys = draw.integers(1, KEYS, rows)
    keys[draw.random(rows) < share] = 0
    times = pa.array(BEGIN + draw.integers(0, DAYS * DAY, rows)).cast(pa.timestamp("us", tz="UTC"))
    return pa.table({"key": keys, "value": draw.random(rows), "t": times})


def written(folder: Path, events: int, left: int, share: float) -> dict[str, str]:
    found = {}
    for seed, (name, rows) in enumerate((("events", events), ("left", left))):
        place = folder / f"{name}_{share}"
        place.mkdir()
        pq.write_table(table(rows, share, seed), place / "part-0.parquet", row_group_size=500_000)
        found[name] = str(place)
    return found


def join() -> Join:
    windows = ["1d", "7d", "30d", None]
    totals = [Aggregation("value", Operation[name], windows=windows) for name in OPERATIONS]
    source = EventSource("events", query=Query(select=["key", "value"], time="t"))
    left = EventSource("left", query=Query(select=["key"], time="t"))
    return Join(left=left, parts=[JoinPart(GroupBy(["key"], [source], totals, name="totals"))], name="skew")


def opened(tables: dict[str, str]) -> tuple[JoinPlan, Catalog]:
    catalog = open_catalog(tables)
    return plan_join(join(), lambda name: catalog.table(name).schema), catalog


def main(events: int = 10_000_000, left: int = 1_000_000, rows_per_task: int = Sizing.rows_per_task) -> None:
    spark = local_session()
    sizing = Sizing(rows_per_task, cores=2)
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: written(Path(folder), events, left, share) for name, share in (("even", 0.0), ("hot", 0.5))}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(ROUNDS + 1):
            for name, tables in sides.items():
                plan, catalog = opened(tables)
                began = time.perf_counter()
                rows = run_join(plan, catalog, spark=spark, sizing=sizing).table.num_rows
                assert rows == left
                if number:
                    seconds[name].append(time.perf_counter() - began)
    spark.stop()
    even, hot = (statistics.median(seconds[name]) for name in ("even", "hot"))
    print(f"{events:,} events, {left:,} left rows: even {even:.1f} s, hot {hot:.1f} s, {hot / even:.2f} times")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
