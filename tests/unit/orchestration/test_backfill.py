"""A backfill in stages: what is run, checked, published, refused and told, over real tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.unit.orchestration.warehouse import WEEK, Warehouse, logins, spending, week_of
from zipline import Check
from zipline.clock import DAY, to_micros
from zipline.engines.contract import Report, Result
from zipline.errors import CheckError, DataError, UsageError
from zipline.orchestration.backfill import run_backfill
from zipline.orchestration.report import BackfillReport, Progress

JOIN = logins(spending())


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return week_of(tmp_path)


@dataclass(frozen=True)
class Verdict:
    check: Check
    passed: bool
    message: str = "too many"

    @property
    def is_critical(self) -> bool:
        return not self.passed and self.check.severity == "critical"


def gate_on(day: str, severity: str = "critical") -> Callable[..., list[Verdict]]:
    def gate(rows: pa.Table, previous: int | None, as_of: int) -> list[Verdict]:
        return [Verdict(Check.not_null("customer", severity=severity), rows.column("ds")[0].as_py() != day)]

    return gate


def ask(warehouse: Warehouse, engine: Any, **given: Any) -> BackfillReport:
    todo, catalog = warehouse.plan(JOIN)
    return run_backfill(todo, catalog, engine=engine, **given)


def test_days_are_run_in_steps_and_published_step_by_step(warehouse: Warehouse) -> None:
    asked: list[tuple[str, str]] = []

    def engine(plan: Any, catalog: Any, *, start: str, end: str, training: bool, as_of: int | None) -> Result:
        asked.append((start, end))
        assert len(warehouse.output().days()) == 4 * (len(asked) - 1)
        days = [day for day in WEEK if start <= day <= end]
        rows = pa.table({"customer": days, "ds": days})
        return Result(rows, Report(immature=1, null_times=2, null_keys={"customer": 3}, without_time={"payments": 4}))

    report = ask(warehouse, engine, step_days=4)
    assert asked == [(WEEK[0], WEEK[3]), (WEEK[4], WEEK[5])]
    assert [(day.day, day.rows) for day in report.published] == [(day, 1) for day in WEEK]
    assert (report.immature, report.null_times, report.null_keys) == (2, 4, {"customer": 6})
    assert report.without_time == {"payments": 4}, "steps read the same rows"


def test_a_day_without_rows_is_published_too(warehouse: Warehouse) -> None:
    report = warehouse.run(JOIN, ["2024-05-07"])
    assert report.empty == ("2024-05-07",)
    assert warehouse.output().days() == {"2024-05-07"}


def test_rows_of_a_day_that_nobody_asked_for_publish_nothing(warehouse: Warehouse) -> None:
    def strays(*_: Any, **__: Any) -> Result:
        return Result(pa.table({"ds": [WEEK[0], "2025-01-01"]}), Report())

    with pytest.raises(DataError, match="2025-01-01"):
        ask(warehouse, strays)
    assert not warehouse.output().exists()


def test_a_step_has_at_least_a_day(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError):
        warehouse.run(JOIN, step_days=0)


def test_a_critical_check_keeps_the_old_day_and_names_what_failed(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    before = warehouse.output().read()
    for day in WEEK:
        warehouse.write("logins", day, [{"login": 99, "customer": "ann", "at": f"{day}T09:00:00Z"}])
    with pytest.raises(CheckError) as caught:
        warehouse.run(JOIN, gate=gate_on(WEEK[2]))
    assert caught.value.what == f"{WEEK[2]} failed 1 critical check: Check.not_null(customer): too many"
    assert (caught.value.subject, caught.value.exit_code) == ("departures", 1)
    assert "as it was before" in str(caught.value.hint)
    counts = [warehouse.output().read([day]).num_rows for day in WEEK]
    assert counts == [3, 3, 2, 2, 2, 2]
    assert warehouse.output().read(WEEK[2:]).equals(before.slice(4))
    assert [day.day for day in warehouse.run(JOIN).published] == WEEK[2:]


def test_a_critical_check_keeps_the_old_generation(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    before = warehouse.output().read()
    with pytest.raises(CheckError):
        warehouse.run(logins(spending(["2d"])), gate=gate_on(WEEK[5]))
    assert warehouse.output().read().equals(before)
    report = warehouse.run(logins(spending(["2d"])))
    assert ([day.day for day in report.published], report.succeeded) == ([WEEK[5]], True)


def test_a_warning_is_reported_and_publishes(warehouse: Warehouse) -> None:
    report = warehouse.run(JOIN, gate=gate_on(WEEK[2], "warning"))
    assert report.warnings == (f"{WEEK[2]}: Check.not_null(customer): too many",)
    assert report.checks == 6
    assert warehouse.output().days() == set(WEEK)


def test_the_gate_is_told_the_rows_of_the_day_before_and_the_days_end(warehouse: Warehouse) -> None:
    warehouse.run(JOIN, WEEK[:1])
    warehouse.write("logins", WEEK[2], [{"login": 99, "customer": "ann", "at": f"{WEEK[2]}T09:00:00Z"}])
    told: list[tuple[int | None, int]] = []

    def gate(rows: pa.Table, previous: int | None, as_of: int) -> list[Verdict]:
        told.append((previous, as_of))
        return []

    warehouse.run(JOIN, WEEK[2:4], gate=gate)
    assert told == [(2, to_micros(WEEK[2]) + DAY), (3, to_micros(WEEK[3]) + DAY)]
    told.clear()
    warehouse.run(JOIN, ["2024-04-30"], gate=gate)
    assert told == [(None, to_micros("2024-05-01"))]


def test_progress_counts_the_days_that_are_skipped(warehouse: Warehouse) -> None:
    warehouse.run(JOIN, WEEK[:2])
    told: list[Progress] = []
    todo, catalog = warehouse.plan(JOIN)
    run_backfill(todo, catalog, step_days=3, progress=told.append)
    assert [(p.done, p.total, p.day, p.rows) for p in told] == [
        (2, 6, None, 0),
        (5, 6, WEEK[4], 6),
        (6, 6, WEEK[5], 8),
    ]


def test_stages_are_unbroken_days_of_the_same_columns(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    warehouse.write("payments", "2024-05-06", [{"customer": "bob", "amount": 1, "paid_at": "2024-05-02T12:00:00Z"}])
    todo, _ = warehouse.plan(JOIN, [*WEEK, "2024-05-07", "2024-05-09"])
    both, one = ("spend_amount_sum_1d", "spend_amount_sum_3d"), ("spend_amount_sum_3d",)
    assert [(stage.days, stage.columns) for stage in todo.stages(30)] == [
        ((WEEK[1], WEEK[2]), both),
        ((WEEK[3], WEEK[4]), one),
        (("2024-05-07",), None),
        (("2024-05-09",), None),
    ]
    assert [stage.days for stage in todo.stages(1)][:2] == [(WEEK[1],), (WEEK[2],)]


def test_an_error_before_a_commit_prevents_it(warehouse: Warehouse) -> None:
    def refuse() -> None:
        raise UsageError("another run has the table")

    with pytest.raises(UsageError):
        warehouse.run(JOIN, before_commit=refuse)
    assert not warehouse.output().exists()


def test_forced_days_are_made_anew_with_all_their_columns(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    report = warehouse.run(JOIN, WEEK[:2], force=True)
    assert [(day.day, day.computed) for day in report.published] == [(WEEK[0], None), (WEEK[1], None)]
    assert [reason.kind for reason, _ in report.reasons] == ["forced"]
