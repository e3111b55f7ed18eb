"""How fast one value of the demo company is explained: in a process that has explained before, and the first time."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.performance.measure import Figures, measure, median

if TYPE_CHECKING:
    from tests.performance.cases import Bench, Row

JOIN = "flights.departures.departures"
ROW = {"origin": "LGA", "ts": "2013-07-10T21:00:00Z"}
FLIGHT = {"flight_id": "UA1545-EWR-20130101"}
ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "an average over 1 h": ("origin_departures_dep_delay_average_1h", ROW),
    "a lookup of a snapshot": ("fleet_departures", FLIGHT),
    "a count over all time": ("flight_history_disrupted_count", FLIGHT),
    "a label": ("label_flight_outcome_late_max_2d", FLIGHT),
}
AIM = 0.100
TIMES = 11


def rows(bench: Bench) -> Iterator[Row]:
    """A row for each kind of value, warm, and one for the first explanation of a process."""
    from tests.performance.cases import Row

    project = prepared(bench.folder / "demo")
    firsts = []
    for name, (column, row) in ASKED.items():
        runs = [
            measure("explain", {"project": str(project), "column": column, "row": row})
            for _ in range(bench.scale.rounds)
        ]
        seconds = median(runs)
        yield Row(f"explain {name} of the demo", seconds, aim="< 100 ms", is_met=seconds < AIM, figures={"ours": runs})
        firsts += runs
    yield Row("explain: the first of a process", median(firsts, "first_seconds"), note="kernels are loaded, files read")


def prepared(folder: Path) -> Path:
    """A project of the demo company with its source tables."""
    if not (folder / ".zipline").exists():
        from training.demo import prepare
        from zipline.project import load_project

        shutil.copytree(Path(__file__).parents[2] / "configs", folder / "configs")
        (folder / "zipline.toml").touch()
        prepare(load_project(str(folder)))
    return folder


def explain(project: str, column: str, row: dict[str, Any]) -> Figures:
    """The median of all explanations but the first, which are equal, and the first."""
    from zipline.api import Join
    from zipline.engines.explain import explain as explain_one
    from zipline.plan.definitions import load
    from zipline.project import load_project
    from zipline.tables.catalog import open_catalog

    opened = load_project(project)
    join = load(opened.root / opened.configs).find(JOIN, Join)
    catalog = open_catalog(project=opened)
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        found = explain_one(join, column, row, catalog)
        taken.append(time.perf_counter() - began)
        assert found.is_consistent
    return {"seconds": statistics.median(taken[1:]), "first_seconds": taken[0]}
