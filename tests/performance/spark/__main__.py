"""The command: `python -m tests.performance.spark [--scale small|full] [--rounds N] [--out FILE]`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tests.performance import data
from tests.performance.comparison import differences
from tests.performance.measure import Figures, measure, median
from tests.performance.spark.by_hand import FORMULATIONS
from zipline.algebra.columnar.kernel import warm_up
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

MILLION = 1_000_000
SCALES = {"tiny": 20_000, "small": MILLION, "full": 10 * MILLION}
FIRST, LAST = (
    (dt.date(1970, 1, 1) + dt.timedelta(data.BEGIN // data.DAY + day)).isoformat()
    for day in (data.WARM_UP_DAYS, data.DAYS - 1)
)
ALONE = {"spark.driver.memory": "8g", "spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC"}
"""Of the alternative. Its JVM does all the work, so it gets the memory that ours gives to Python workers."""
AIM = 6.0
_CONFIG = '''"""Sixteen features: four operations over four windows."""

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query

totals = GroupBy(
    ["k"],
    [EventSource({events!r}, Query(time="t"))],
    [Aggregation("v", operation, windows=["1h", "1d", "7d", "30d"]) for operation in ("SUM", "COUNT", "MIN", "MAX")],
    owner="bench",
)
features = Join(EventSource({queries!r}, Query(time="ts")), [JoinPart(totals)], owner="bench")
'''


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    case: str
    seconds: float
    alternative: str = ""
    alternative_seconds: float | None = None
    aim: str = ""
    is_met: bool | None = None
    note: str = ""
    figures: Figures = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return None if self.alternative_seconds is None else self.alternative_seconds / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every aim is met."""
    asked = _parse(arguments)
    rows: list[Row] = []
    for row in measured(Path(asked.data).absolute(), SCALES[asked.scale], asked.rounds):
        rows.append(row)
        print(f"  {row.case}: {row.seconds:.1f} s", file=sys.stderr)
        _write(Path(asked.out), asked.scale, rows)
    Console(width=160 if not sys.stdout.isatty() else None).print(_table(rows))
    return 0 if all(row.is_met is not False for row in rows) else 1


def measured(folder: Path, events: int, rounds: int) -> Iterator[Row]:
    """One row for each comparison."""
    warm_up()
    files = data.make(folder, events, max(events // 10, 1), max(events // 100, 2), "time")
    tables = dict(zip(("events", "queries"), map(str, files), strict=True))
    project = _project(folder / "spark_project", tables)
    ours = _side(
        "ours", project=str(project), arguments=["bench.features", "--start", FIRST, "--end", LAST], rounds=rounds
    )
    mine = _ordered(DeltaOutput(load_project(project).table_uri("bench.features")).read().drop_columns(["ds"]))
    size = f"{events // 1000:,}k events x {events // 10_000:,}k rows x 16 features"
    by_hand: dict[str, Figures] = {}
    for formulation in FORMULATIONS:
        out = str(folder / "by_hand.parquet")
        named = {"tables": tables, "out": out, "rounds": rounds, "settings": ALONE}
        by_hand[formulation] = _side("by_hand", formulation=formulation, **named)
        if found := differences(mine, _ordered(pq.read_table(out))):
            raise AssertionError(f"{formulation} does not compute the same: {'; '.join(found)}")
    best = min(by_hand, key=lambda name: _warm(by_hand[name]))
    others = "; ".join(f"{name}: {_warm(run):.1f} s" for name, run in by_hand.items() if name != best)
    figures = {"ours": ours, **by_hand}
    for kind, of, absolute in (("fresh", _fresh, 18.0), ("warm", _warm, 9.0)):
        seconds, theirs = of(ours), of(by_hand[best])
        met = theirs / seconds >= AIM
        aim = f">= {AIM:g}x (and near {absolute:g} s)"
        yield Row(
            f"{size}, {kind}",
            seconds,
            f"Spark SQL, {best}",
            theirs,
            aim,
            met,
            others if kind == "warm" else "",
            figures,
        )
    peaks = f"ours {ours['peak_bytes'] / 1e9:.1f} GB, Spark SQL {by_hand[best]['peak_bytes'] / 1e9:.1f} GB"
    local = [_local(tables, folder) for _ in range(rounds)]
    yield Row(
        f"{size}, warm",
        _warm(ours),
        "the local engine",
        median(local),
        note=f"peak memory: {peaks}",
        figures={"local": local},
    )


def _project(folder: Path, tables: dict[str, str]) -> Path:
    """Without a warehouse: how many versions an output has had is not what is measured."""
    shutil.rmtree(folder, ignore_errors=True)
    config = folder / "configs" / "bench.py"
    config.parent.mkdir(parents=True, exist_ok=True)
    (folder / "zipline.toml").write_text('name = "bench"\n')
    config.write_text(_CONFIG.format(**tables))
    return folder


def _side(side: str, **arguments: Any) -> Figures:
    """What it measured; its words where it failed."""
    command = [sys.executable, "-m", "tests.performance.spark.task", side]
    done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _fresh(figures: Figures) -> float:
    """From no JVM to the first result."""
    return float(figures["session_seconds"] + figures["seconds"][0])


def _warm(figures: Figures) -> float:
    return float(statistics.median(figures["seconds"][1:] or figures["seconds"]))


def _local(tables: dict[str, str], folder: Path) -> Figures:
    return measure("ours", {"case": "windows", **tables, "out": str(folder / "local.parquet")})


def _ordered(rows: pa.Table) -> pa.Table:
    """In one order whatever wrote them; rows of one key and time have the same values."""
    return rows.sort_by([("k", "ascending"), ("ts", "ascending")])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.spark", description=__doc__)
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    parser.add_argument("--rounds", type=int, default=3, help="of each side; the first is its fresh one")
    parser.add_argument("--out", default="build/bench_spark.json", help="where the figures are written as JSON")
    parser.add_argument("--data", default="build/bench", help="where the measured files are kept")
    return parser.parse_args(arguments)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="Spark engine against named alternatives, same files in, same values out")
    for heading in ("case", "ours", "alternative", "its time", "ratio", "aim", "met", "note"):
        table.add_column(heading, justify="right" if heading in ("ours", "its time", "ratio") else "left")
    for row in rows:
        theirs = row.alternative_seconds
        table.add_row(
            row.case,
            f"{row.seconds:.1f} s",
            row.alternative,
            "" if theirs is None else f"{theirs:.1f} s",
            "" if row.ratio is None else f"{row.ratio:.2f}x",
            row.aim,
            {True: "yes", False: "NO", None: ""}[row.is_met],
            row.note,
        )
    return table


def _write(path: Path, scale: str, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    found: dict[str, Any] = {"scale": scale, "machine": machine, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
