"""What one measuring process does. Each task takes plain arguments and gives plain figures; `seconds` is what counts.

Imports and the loading of compiled kernels happen before the clock starts, on both sides; how long a process takes to
come up is measured on its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Figures = dict[str, Any]


def ours(case: str, events: str, queries: str, out: str) -> Figures:
    """The product's path: a join over files to a written table."""
    from zipline.engines.frames import run

    join = _definition(case)
    run(join, {"events": _few(events), "queries": _few(queries)})
    cpu, began = time.process_time(), time.perf_counter()
    result = run(join, {"events": events, "queries": queries})
    computed = time.perf_counter()
    pq.write_table(result.table, out)
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "cpu_seconds": time.process_time() - cpu,
        "steps": {**result.report.seconds, "write": ended - computed},
    }


def _definition(case: str) -> Any:
    from tests.performance import definitions

    kind, _, name = case.partition(":")
    return definitions.operation(name) if kind == "operation" else getattr(definitions, kind)()


def _few(path: str) -> pa.Table:
    return pa.Table.from_batches([next(pq.ParquetFile(path).iter_batches(100))])


def duckdb(statements: list[str]) -> Figures:
    """The statements, one after another, in a new database in memory."""
    import duckdb as library

    connection = library.connect()
    connection.execute("SET TimeZone = 'UTC'")
    cpu, began = time.process_time(), time.perf_counter()
    for statement in statements:
        connection.execute(statement)
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def kernels(events: str, queries: str) -> Figures:
    """The sixteen features alone, from arrays to arrays."""
    from tests.performance.definitions import WINDOWED, WINDOWS
    from zipline.algebra import windows
    from zipline.algebra.columnar import hashing
    from zipline.algebra.columnar.order import arrange, frozen
    from zipline.algebra.columnar.parallel import in_threads, slices
    from zipline.algebra.columnar.series import Call, Series, evaluate
    from zipline.algebra.columnar.values import values_of
    from zipline.api import Window
    from zipline.types import DOUBLE

    def compute(event: pa.Table, query: pa.Table) -> list[pa.Array]:
        arrays = [table.column(name).combine_chunks() for table, name in ((event, "k"), (query, "k"))]
        event_keys, query_keys = (frozen(np.asarray(array)) for array in arrays)
        event_times, query_times = (
            frozen(np.asarray(table.column(name).combine_chunks().view(pa.int64())))
            for table, name in ((event, "t"), (query, "ts"))
        )
        value = event.column("v").combine_chunks()
        began.append(time.perf_counter())
        every = frozen(np.zeros(0, np.bool_))
        table, numbers, count = hashing.build(query_keys, every)
        codes = []
        for keys in (event_keys, query_keys):
            code = np.empty(len(keys), np.int32)
            in_threads(lambda a, b, k=keys, c=code: hashing.find(table, numbers, k, every, c, a, b), slices(len(keys)))
            codes.append(code)
        permutation, offsets, t, _ = arrange(codes[0], count, event_times, None)
        _, query_offsets, asked, _ = arrange(codes[1], count, query_times, None)
        values = values_of(value, DOUBLE)
        series = Series(offsets, t, None, values.at(permutation), DOUBLE, values.restore)
        run = np.repeat(np.arange(count), np.diff(query_offsets))

        def one(number: int) -> None:
            seen = series.spans(run, *windows.bounds(asked, Window(WINDOWS[number]).micros, "TEMPORAL"))
            out.extend(evaluate(series, Call(name), run, seen) for name in WINDOWED)

        out: list[pa.Array] = []
        in_threads(lambda first, last: [one(n) for n in range(first, last)], [(0, 2), (2, 4)])
        ended.append(time.perf_counter())
        return out

    began: list[float] = []
    ended: list[float] = []
    compute(_few(events), _few(queries))
    compute(pq.read_table(events), pq.read_table(queries))
    return {"seconds": ended[-1] - began[-1]}


def ten_rows(call: str) -> Figures:
    """`aggregate` or `backfill` over ten rows as dicts, as in an author's test: the median after the first call."""
    import datetime as dt

    import zipline
    from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query

    day = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
    events = [{"k": "ab"[n % 2], "t": day + dt.timedelta(hours=n), "v": float(n)} for n in range(10)]
    queries = [{"k": "ab"[n % 2], "ts": day + dt.timedelta(hours=n)} for n in range(10)]
    operations = ("SUM", "AVERAGE", "MAX", "LAST")
    features = GroupBy(
        ["k"],
        [EventSource("events", Query(time="t"))],
        [Aggregation("v", operation, windows=["3h", "1d"]) for operation in operations],
        name="g",
    )
    join = Join(EventSource("queries", Query(time="ts")), [JoinPart(features)], name="j")
    calls: dict[str, Callable[[], pa.Table]] = {
        "aggregate": lambda: zipline.aggregate(features, queries, {"events": events}),
        "backfill": lambda: zipline.backfill(join, {"events": events, "queries": queries}),
    }
    taken = _timed(calls[call], 21)
    return {"seconds": statistics.median(taken[1:]), "first_seconds": taken[0]}


def _timed(call: Callable[[], Any], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def process(code: str) -> Figures:
    """How long a new interpreter takes to run the code, our modules compiled before, as those of a user are."""
    import zipline

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    package = os.path.dirname(zipline.__file__)
    subprocess.run([sys.executable, "-m", "compileall", "-q", package], check=True, env=environment)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    return {"seconds": time.perf_counter() - began}


def compare(ours: str, theirs: str) -> Figures:
    """Whether two files hold the same rows: floats to 1e-9 of the value (or of 1), all else exactly."""
    from tests.performance.comparison import differences

    found = differences(pq.read_table(ours), pq.read_table(theirs))
    return {"seconds": 0.0, "differences": found}


def timed_io(call: Callable[[], Any]) -> tuple[Figures, Any]:
    """(seconds and bytes that the process read, what the call gave)."""
    before, began = _bytes_read(), time.perf_counter()
    found = call()
    return {"seconds": time.perf_counter() - began, "bytes": _bytes_read() - before}, found


def _bytes_read() -> int:
    """All that this process read so far, from disk or cache."""
    with open("/proc/self/io") as opened:
        return int(opened.readline().split()[1])


def incremental_day(folder: str, day: str, store: str | None, out: str) -> Figures:
    """One day of the year's join, after a rehearsal on a shorter one, so that no kernel is loaded late."""
    from tests.performance.incremental import rehearse, run_day

    rehearse()
    return run_day(folder, day, store, out)


def backfill_year(events: str, queries: str, first: str, last: str) -> Figures:
    """A year backfilled in steps, as the command does it, after a rehearsal on a shorter one."""
    from tests.performance.incremental import rehearse
    from tests.performance.stepping import backfill

    rehearse()
    return backfill(events, queries, first, last)


def explain(project: str, column: str, row: dict[str, Any]) -> Figures:
    """One value of the demo company explained, in this process again and again."""
    from tests.performance import explaining

    return explaining.explain(project, column, row)


def same_bits(ours: str, theirs: str) -> Figures:
    """Whether two files hold the same rows, to the bit."""
    one, other = pq.read_table(ours), pq.read_table(theirs)
    return {"seconds": 0.0, "same": one.equals(other)}
