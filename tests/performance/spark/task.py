"""One side in a process and a session of its own: `python -m tests.performance.spark.task SIDE`, arguments on stdin.

The answer on stdout: `seconds` of each round, `session_seconds`, and `peak_bytes`, the most that this process, its JVM
and its Python workers held together (pages that several share are counted once), seen every tenth of a second.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Figures = dict[str, Any]


def ours(project: str, arguments: Sequence[str], rounds: int) -> Figures:
    """The command, again and again in one process; each round computes and replaces every day."""
    from zipline.cli.main import execute

    def start() -> Any:
        from zipline.engines.spark.session import session_of
        from zipline.project import load_project

        return session_of(load_project(project))

    def once(_: Any) -> None:
        code = execute(["backfill", *arguments, "--engine", "spark", "--force", "--json", "--project", project])
        if code:
            raise SystemExit(code)

    return _measured(start, once, rounds)


def by_hand(formulation: str, tables: dict[str, str], out: str, rounds: int, settings: dict[str, str]) -> Figures:
    """Plain Spark SQL, settings as Spark has them but for `settings`."""
    from tests.performance.spark.by_hand import sixteen_windows

    views, result = sixteen_windows(formulation)

    def start() -> Any:
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[*]").appName("by hand")
        for name, value in settings.items():
            builder = builder.config(name, value)
        return builder.getOrCreate()

    def once(spark: Any) -> None:
        for name, place in tables.items():
            spark.read.parquet(place).createOrReplaceTempView(name)
        for name, statement in views:
            spark.sql(statement).createOrReplaceTempView(name)
        spark.catalog.cacheTable("q")  # the row's number is given once
        spark.sql(result).write.mode("overwrite").parquet(out)
        spark.catalog.clearCache()

    return _measured(start, once, rounds)


def _measured(start: Callable[[], Any], once: Callable[[Any], None], rounds: int) -> Figures:
    with _watched() as peak:
        began = time.perf_counter()
        spark = start()
        session = time.perf_counter() - began
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            once(spark)
            seconds.append(time.perf_counter() - began)
    return {"session_seconds": session, "seconds": seconds, "peak_bytes": peak[0], "load": os.getloadavg()[0]}


@contextmanager
def _watched() -> Iterator[list[int]]:
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(_held, _tree(os.getpid()))))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield peak
    finally:
        done.set()
        watching.join()


def _tree(root: int) -> list[int]:
    found, pending = [], [root]
    while pending:
        found.append(process := pending.pop())
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children") as children:
                    pending += map(int, children.read().split())
        except OSError:
            continue
    return found


def _held(process: int) -> int:
    """Proportional set size in bytes."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    stdout, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(globals()[sys.argv[1]](**json.load(sys.stdin))), file=stdout, flush=True)
