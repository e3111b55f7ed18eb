"""A year backfilled in steps of thirty days as the command does it: planned, computed, published; time and peak memory.

The events and the join are those of the incremental day; the queries, a tenth as many a day, are of every day.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.performance.incremental import DAYS, Year, day_text, definition, make, make_days
from tests.performance.measure import Figures, measure

if TYPE_CHECKING:
    from tests.performance.cases import Bench, Row

STEP_DAYS = 30
GIGABYTE = 1e9
MOST = 6 * GIGABYTE


def rows(bench: Bench) -> Iterator[Row]:
    """One run of the whole year in a process of its own."""
    from tests.performance.cases import Row

    year = Year(bench.scale.year, max(bench.scale.year // 10_000, 2), max(bench.scale.year // 1_000, 2))
    folder = make(bench.folder, year, range(DAYS - bench.scale.rounds, DAYS))
    asked = dataclasses.replace(year, queries=max(year.queries // 10, 2))
    make_days(folder / "steps", [("queries", number) for number in range(DAYS)], asked)
    run = measure(
        "backfill_year",
        {
            "events": str(folder / "events"),
            "queries": str(folder / "steps" / "queries"),
            "first": day_text(0),
            "last": day_text(DAYS - 1),
        },
    )
    if run["rows"] != asked.queries * DAYS:
        raise AssertionError(f"{run['rows']} rows came out of {asked.queries * DAYS} queries")
    name = f"{year.events:,} events in steps of {STEP_DAYS} days"
    pace = f"{year.events / run['seconds'] / 1e6:.1f} million events/s, {run['rows']:,} rows out"
    yield Row(name, run["seconds"], note=pace, figures={"ours": [run]})
    peak = run["peak_bytes"]
    yield Row(f"{name}: peak memory", peak / GIGABYTE, aim="< 6 GB", is_met=peak < MOST, note="GB")


def backfill(events: str, queries: str, first: str, last: str) -> Figures:
    """Seconds and rows of a backfill of these days into a new table."""
    from zipline.clock import days
    from zipline.engines.local.run import run_join
    from zipline.orchestration.backfill import run_backfill
    from zipline.orchestration.stages import plan_backfill
    from zipline.plan.build import plan_join
    from zipline.tables.catalog import open_catalog
    from zipline.tables.delta import DeltaOutput
    from zipline.tables.partials import PartialStore

    with tempfile.TemporaryDirectory() as made:
        cpu, began = time.process_time(), time.perf_counter()
        catalog = open_catalog({"events": events, "queries": queries})
        plan = plan_join(definition(), lambda name: catalog.table(name).schema)
        output, known = DeltaOutput(f"{made}/daily"), Path(made, "extents")
        todo = plan_backfill(plan, catalog, output, days(first, last), known=known)
        engine = partial(run_join, partials=PartialStore(f"{made}/partials"))
        report = run_backfill(todo, catalog, step_days=STEP_DAYS, engine=engine)
        ended, used = time.perf_counter(), time.process_time() - cpu
        return {"seconds": ended - began, "cpu_seconds": used, "rows": report.rows, "stages": report.steps}
