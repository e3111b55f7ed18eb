"""A warehouse of small Parquet folders, and backfills of a join over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query
from zipline.clock import days, to_micros
from zipline.orchestration.backfill import run_backfill
from zipline.orchestration.report import BackfillReport
from zipline.orchestration.stages import BackfillPlan, plan_backfill
from zipline.plan.build import plan_join
from zipline.tables.catalog import Catalog, open_catalog
from zipline.tables.delta import DeltaOutput
from zipline.types import DataType

FIRST, LAST = "2024-05-01", "2024-05-06"
WEEK = days(FIRST, LAST)


def instant(text: str) -> int:
    return to_micros(text)


class Warehouse:
    """Tables are folders `<table>/ds=<day>/<file>.parquet`, or `<table>/<file>.parquet` where no day is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = 0

    def write(self, table: str, day: str | None, rows: Sequence[dict[str, Any]], name: str | None = None) -> Path:
        """Texts in columns that end in `at` are instants."""
        self._files += 1
        folder = self.root / table / f"ds={day}" if day else self.root / table
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name or f'part-{self._files}'}.parquet"
        columns = {key: [_value(key, row[key]) for row in rows] for key in rows[0]}
        pq.write_table(pa.table({key: _array(key, values) for key, values in columns.items()}), path)
        return path

    def catalog(self) -> Catalog:
        tables = [child for child in self.root.iterdir() if child.is_dir() and child.name not in ("out", "known")]
        return open_catalog({table.name: str(table) for table in tables if any(table.rglob("*.parquet"))})

    def output(self, name: str = "departures") -> DeltaOutput:
        return DeltaOutput(str(self.root / "out" / name))

    def plan(self, join: Join, asked: Sequence[str] = WEEK, **given: Any) -> tuple[BackfillPlan, Catalog]:
        catalog = self.catalog()
        plan = plan_join(join, lambda table: catalog.table(table).schema)
        given.setdefault("known", self.root / "known")
        return plan_backfill(plan, catalog, given.pop("output", self.output()), asked, **given), catalog

    def run(
        self,
        join: Join,
        asked: Sequence[str] = WEEK,
        *,
        step_days: int = 30,
        gate: Any = None,
        before_commit: Callable[[], None] = lambda: None,
        **given: Any,
    ) -> BackfillReport:
        todo, catalog = self.plan(join, asked, **given)
        return run_backfill(todo, catalog, step_days=step_days, gate=gate, before_commit=before_commit)


def _value(name: str, value: Any) -> Any:
    return to_micros(value) if name.endswith("at") and isinstance(value, str) else value


def _array(name: str, values: list[Any]) -> pa.Array:
    return pa.array(values, pa.timestamp("us", "UTC")) if name.endswith("at") else pa.array(values)


def computed(report: BackfillReport, columns: Iterable[str]) -> set[tuple[str, str]]:
    """The (day, column) that were computed."""
    everything = tuple(columns)
    return {(day.day, c) for day in report.published for c in (everything if day.computed is None else day.computed)}


def kinds(report: BackfillReport) -> dict[str, tuple[str, ...]]:
    """Reason -> days."""
    found: dict[str, set[str]] = {}
    for reason, listed in report.reasons:
        found.setdefault(reason.kind, set()).update(listed)
    return {kind: tuple(sorted(listed)) for kind, listed in found.items()}


def spending(windows: Sequence[str | None] = ("1d", "3d"), **query: Any) -> GroupBy:
    source = EventSource("payments", Query(["customer", "amount"], time="paid_at", **query))
    aggregations = [Aggregation("amount", Operation.SUM, windows=list(windows))]
    return GroupBy(keys=["customer"], sources=[source], aggregations=aggregations, name="spend")


def logins(*parts: GroupBy, **given: Any) -> Join:
    left = EventSource("logins", Query(["login", "customer"], time="at"))
    given = {"left": left, "parts": [JoinPart(part) for part in parts], "name": "departures"} | given
    return Join(**given)


def week_of(root: Path) -> Warehouse:
    """Two logins and one payment a day, the payments from three days before the first login."""
    warehouse = Warehouse(root)
    for n, day in enumerate(WEEK):
        rows = [
            {"login": 10 * n, "customer": "ann", "at": f"{day}T08:00:00Z"},
            {"login": 10 * n + 1, "customer": "bob", "at": f"{day}T20:00:00Z"},
        ]
        warehouse.write("logins", day, rows)
    for n, day in enumerate(days("2024-04-28", LAST)):
        warehouse.write("payments", day, [{"customer": "ann", "amount": 2**n, "paid_at": f"{day}T12:00:00Z"}])
    return warehouse


def columns_of(types: Iterable[tuple[str, DataType]]) -> list[str]:
    return [name for name, _ in types]
