"""An incremental day against a full backfill of the same day: the same rows, from stored partials or from all files.

A year of events lies on disk as a Delta table, a file a day. The days before the measured ones are run
first, as they would have been; then every measured day is run from the partials there are, and in full, each in a
process of its own. Bytes are all that the process asked the kernel for while it opened the tables, planned and ran
(`rchar` of /proc/self/io), whether cached or not: table logs, footers, data, partials.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.performance.data import BEGIN, DAY, TIME
from tests.performance.measure import Figures, measure, median

if TYPE_CHECKING:
    from tests.performance.cases import Bench, Row

FIRST_DAY = dt.date(1970, 1, 1) + dt.timedelta(days=BEGIN // DAY)
DAYS = 365
OPERATIONS = ("SUM", "AVERAGE", "COUNT", "MIN", "MAX", "LAST")
WINDOW = "30d"
SEED = 365
BEFORE = 2
"""Days run before the measured ones: the first makes the partials of files, the second those of several."""


@dataclass(frozen=True)
class Year:
    """The size of the year: events in all, keys, queries a day; a shorter one is for rehearsals."""

    events: int
    keys: int
    queries: int
    days: int = DAYS

    def folder(self, base: Path) -> Path:
        return base / f"year_{self.events}_{self.keys}_{self.queries}"

    def rows(self, kind: str) -> int:
        """A day's rows."""
        return self.events // self.days if kind == "events" else self.queries


def day_text(number: int) -> str:
    return str(FIRST_DAY + dt.timedelta(days=number))


def make(base: Path, year: Year, measured: range) -> Path:
    """The folder of `events` and `queries` by day, made once; queries only of the measured days and those before."""
    folder = year.folder(base)
    asked = [("events", n) for n in range(year.days)]
    asked += [("queries", n) for n in range(measured[0] - BEFORE, measured[-1] + 1)]
    make_days(folder, asked, year)
    return folder


def make_days(folder: Path, asked: Sequence[tuple[str, int]], year: Year) -> None:
    """Delta tables below the folder of the (kind, day) asked for: what is missing is written, and the log anew."""
    missing = [(kind, n) for kind, n in asked if not _file(folder, kind, n).exists()]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write, [folder] * len(missing), missing, [year] * len(missing), chunksize=8))
    for kind in dict.fromkeys(kind for kind, _ in asked):
        log = folder / kind / "_delta_log"
        if any(kind == written for written, _ in missing):
            shutil.rmtree(log, ignore_errors=True)
        if not log.exists():
            by_day = deltalake.Schema([deltalake.Field("ds", "string")])
            deltalake.convert_to_deltalake(folder / kind, partition_by=by_day, partition_strategy="hive")


def _file(folder: Path, kind: str, number: int) -> Path:
    return folder / kind / f"ds={day_text(number)}" / "rows.parquet"


def _write(folder: Path, which: tuple[str, int], year: Year) -> None:
    kind, number = which
    rng = np.random.default_rng([SEED, number, kind == "events"])
    rows = year.rows(kind)
    keys = rng.integers(0, year.keys, rows)
    times = np.sort(rng.integers(0, DAY, rows)) + BEGIN + number * DAY
    columns: dict[str, Any] = {"k": pa.array(keys), "t": pa.array(times).view(TIME)}
    if kind == "events":
        columns["v"] = pa.array(rng.normal(50, 20, rows).round(2))
    path = _file(folder, kind, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(pa.table(columns), unfinished)
    unfinished.rename(path)


def run_day(folder: str, day: str, store: str | None, out: str | None = None) -> Figures:
    """One day's output, from partials where there is a store: seconds and bytes read."""
    from tests.performance.tasks import timed_io
    from zipline.engines.local.run import run_join
    from zipline.plan.build import plan_join
    from zipline.tables.catalog import open_catalog
    from zipline.tables.partials import PartialStore

    def run() -> pa.Table:
        catalog = open_catalog({"events": f"{folder}/events", "queries": f"{folder}/queries"})
        plan = plan_join(definition(), lambda name: catalog.table(name).schema)
        partials = PartialStore(store) if store else None
        found = run_join(plan, catalog, start=day, end=day, training=False, partials=partials)
        notes.update(found.report.partials)
        steps.update(found.report.seconds)
        return found.table

    notes: dict[str, str] = {}
    steps: dict[str, float] = {}
    figures, table = timed_io(run)
    if out:
        pq.write_table(table, out)
    return {**figures, "notes": notes, "steps": steps}


def rehearse() -> None:
    """A short year, run in both ways: kernels are loaded before the clock starts."""
    with tempfile.TemporaryDirectory() as base:
        year = Year(40_000, 20, 50, days=40)
        folder = str(make(Path(base), year, range(39, 40)))
        for store in (None, f"{base}/partials", f"{base}/partials"):
            run_day(folder, day_text(39), store)


def definition() -> Any:
    """Six features over thirty days."""
    from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query

    aggregations = [Aggregation("v", operation, windows=[WINDOW]) for operation in OPERATIONS]
    features = GroupBy(["k"], [EventSource("events", Query(time="t"))], aggregations, name="g")
    return Join(EventSource("queries", Query(time="t")), [JoinPart(features)], name="daily")


def rows(bench: Bench) -> Iterator[Row]:
    """The last days of the year, both ways in turn; the two days before them have been run already."""
    from tests.performance.cases import Row

    year = Year(bench.scale.year, max(bench.scale.year // 10_000, 2), max(bench.scale.year // 1_000, 2))
    measured = range(DAYS - bench.scale.rounds, DAYS)
    folder = make(bench.folder, year, measured)
    store = folder / "partials"
    shutil.rmtree(store, ignore_errors=True)
    for number in range(measured[0] - BEFORE, measured[0]):
        _measure(folder, number, store, bench.out("incremental"))
    pairs = [_both(bench, folder, number, store) for number in measured]
    ours, full = ([pair[n] for pair in pairs] for n in (0, 1))
    name = f"incremental day, {year.events:,} events a year"
    figures = {"ours": ours, "alternative": full}
    seconds, whole = median(ours), median(full)
    yield Row(name, seconds, "full backfill of the day", whole, False, ">= 5x", whole / seconds >= 5, figures=figures)
    share = median(ours, "bytes") / median(full, "bytes")
    yield Row(f"{name}: bytes read", share, aim="<= 0.1", is_met=share <= 0.1, note="times")


def _both(bench: Bench, folder: Path, number: int, store: Path) -> tuple[Figures, Figures]:
    outs = bench.out("incremental"), bench.out("full_day")
    ours = _measure(folder, number, store, outs[0])
    full = _measure(folder, number, None, outs[1])
    if not measure("same_bits", {"ours": str(outs[0]), "theirs": str(outs[1])})["same"]:
        raise AssertionError(f"{day_text(number)} from partials is not what it is from all files")
    return ours, full


def _measure(folder: Path, number: int, store: Path | None, out: Path) -> Figures:
    given = {"folder": str(folder), "day": day_text(number), "store": str(store) if store else None, "out": str(out)}
    return measure("incremental_day", given)
