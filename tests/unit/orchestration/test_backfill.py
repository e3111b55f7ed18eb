"""A backfill in steps: what is run, published, skipped, refused, and what a killed run leaves."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from zipline import Check
from zipline.clock import DAY, to_micros
from zipline.engines.contract import Report, Result
from zipline.errors import CheckError, DataError, UsageError
from zipline.orchestration.backfill import Progress, backfill_range, finished_days, steps_of
from zipline.tables.delta import DeltaOutput

WEEK = [f"2013-07-0{n}" for n in range(1, 8)]


@dataclass(frozen=True)
class Plan:
    name: str = "flights.departures"
    fingerprint: str = "abc"


@dataclass(frozen=True)
class Commit:
    metadata: Mapping[str, str]
    days: tuple[str, ...]


@dataclass
class MemoryOutput:
    """The seam to the tables: days and commits in lists."""

    stored: dict[str, pa.Table] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)

    def days(self) -> set[str]:
        return set(self.stored)

    def versions(self) -> list[Commit]:
        return self.commits[::-1]

    def replace_days(self, days: Mapping[str, pa.Table], *, metadata: Mapping[str, str] | None = None) -> None:
        self.stored |= days
        self.commits.append(Commit(dict(metadata or {}), tuple(days)))

    def read(
        self, days: Collection[str] | None = None, version: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        return pa.concat_tables(self.stored[day] for day in sorted(days or self.stored))


@dataclass(frozen=True)
class Verdict:
    check: Check
    passed: bool
    message: str = "too many"

    @property
    def is_critical(self) -> bool:
        return not self.passed and self.check.severity == "critical"


class Engine:
    """Gives `rows` rows a day and remembers the steps it was asked for."""

    def __init__(self, rows: int = 2, **report: Any) -> None:
        self.asked: list[tuple[str, str]] = []
        self.rows, self.report = rows, report

    def __call__(self, start: str, end: str) -> Result:
        self.asked.append((start, end))
        days = [day for day in WEEK if start <= day <= end for _ in range(self.rows)]
        table = pa.table({"x": pa.array(range(len(days)), pa.int64()), "ds": pa.array(days, pa.string())})
        return Result(table, Report(rows=len(days), **self.report))


def test_days_are_run_in_steps_and_published_step_by_step() -> None:
    output, engine = MemoryOutput(), Engine()
    report = backfill_range(Plan(), output, WEEK, engine, step_days=3)
    assert engine.asked == [
        ("2013-07-01", "2013-07-03"),
        ("2013-07-04", "2013-07-06"),
        ("2013-07-07", "2013-07-07"),
    ]
    assert sorted(output.stored) == WEEK
    assert output.stored["2013-07-02"].to_pydict() == {"x": [2, 3], "ds": ["2013-07-02"] * 2}
    assert [day.day for day in report.published] == WEEK
    assert (report.rows, report.steps, report.skipped) == (14, 3, ())


def test_a_day_without_rows_is_published_too() -> None:
    output = MemoryOutput()
    backfill_range(Plan(), output, WEEK, Engine(rows=0))
    assert {day: rows.num_rows for day, rows in output.stored.items()} == dict.fromkeys(WEEK, 0)


def test_days_that_are_done_are_skipped_and_gaps_split_the_steps() -> None:
    output, engine = MemoryOutput(), Engine()
    backfill_range(Plan(), output, ["2013-07-02", "2013-07-05"], Engine())
    report = backfill_range(Plan(), output, WEEK, engine)
    assert engine.asked == [
        ("2013-07-01", "2013-07-01"),
        ("2013-07-03", "2013-07-04"),
        ("2013-07-06", "2013-07-07"),
    ]
    assert report.skipped == ("2013-07-02", "2013-07-05")


def test_a_killed_run_goes_on_at_the_first_missing_day() -> None:
    class Killed(Exception):
        pass

    def dies_on_the_fourth(start: str, end: str) -> Result:
        if start >= "2013-07-04":
            raise Killed
        return Engine()(start, end)

    output, engine = MemoryOutput(), Engine()
    with pytest.raises(Killed):
        backfill_range(Plan(), output, WEEK, dies_on_the_fourth, step_days=1)
    backfill_range(Plan(), output, WEEK, engine)
    assert engine.asked == [("2013-07-04", "2013-07-07")]


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        ({}, {}, False),
        ({}, {"plan": Plan(fingerprint="other")}, True),
        ({}, {"as_of": to_micros("2014-01-01")}, True),
        ({"as_of": to_micros("2014-01-01")}, {"as_of": to_micros("2014-01-01")}, False),
        ({"as_of": to_micros("2014-01-01")}, {"as_of": to_micros("2014-01-02")}, True),
        ({"as_of": to_micros("2014-01-01")}, {}, True),
        ({}, {"force": True}, True),
    ],
)
def test_a_day_is_done_when_nothing_that_it_was_made_from_differs(
    first: dict[str, Any], second: dict[str, Any], runs: bool
) -> None:
    output, engine = MemoryOutput(), Engine()
    backfill_range(output=output, days=WEEK, run_step=Engine(), **{"plan": Plan(), **first})
    backfill_range(output=output, days=WEEK, run_step=engine, **{"plan": Plan(), **second})
    assert bool(engine.asked) == runs


def test_days_whose_labels_were_not_complete_are_run_again() -> None:
    output, engine = MemoryOutput(), Engine()
    backfill_range(Plan(), output, WEEK[:3], Engine())
    backfill_range(Plan(), output, WEEK[3:], Engine(immature=5, waiting=("2013-07-06", "2013-07-07")))
    assert finished_days(output, "abc") == tuple(WEEK[:5])
    report = backfill_range(Plan(), output, WEEK, engine)
    assert engine.asked == [("2013-07-06", "2013-07-07")]
    assert report.immature == 0


def test_days_whose_labels_end_at_a_fixed_time_are_not() -> None:
    output, engine, as_of = MemoryOutput(), Engine(immature=5), to_micros("2013-07-06")
    backfill_range(Plan(), output, WEEK, Engine(immature=5, waiting=tuple(WEEK)), as_of=as_of)
    backfill_range(Plan(), output, WEEK, engine, as_of=as_of)
    assert engine.asked == []


def gate_on(day: str, severity: str = "critical") -> Callable[..., list[Verdict]]:
    def gate(rows: pa.Table, previous: int | None, as_of: int) -> list[Verdict]:
        return [Verdict(Check.not_null("x", severity=severity), rows.column("ds")[0].as_py() != day)]

    return gate


def test_a_critical_check_keeps_the_old_day_and_names_what_failed() -> None:
    output = MemoryOutput()
    backfill_range(Plan(fingerprint="old"), output, WEEK, Engine(rows=1))
    with pytest.raises(CheckError) as caught:
        backfill_range(Plan(), output, WEEK, Engine(), gate=gate_on("2013-07-03"))
    assert caught.value.what == "2013-07-03 failed 1 critical check: Check.not_null(x): too many"
    assert caught.value.subject == "flights.departures"
    assert caught.value.exit_code == 1
    assert "as it was before" in str(caught.value.hint)
    assert [output.stored[day].num_rows for day in WEEK] == [2, 2, 1, 1, 1, 1, 1]
    assert finished_days(output, "abc") == ("2013-07-01", "2013-07-02")


def test_a_warning_is_reported_and_publishes() -> None:
    output = MemoryOutput()
    report = backfill_range(Plan(), output, WEEK, Engine(), gate=gate_on("2013-07-03", "warning"))
    assert sorted(output.stored) == WEEK
    assert report.warnings == ("2013-07-03: Check.not_null(x): too many",)
    assert report.checks == 7


def test_the_gate_is_told_the_rows_of_the_day_before_and_the_days_end() -> None:
    output = MemoryOutput()
    backfill_range(Plan(), output, ["2013-07-01"], Engine(rows=5))
    seen: list[tuple[int | None, int]] = []

    def gate(rows: pa.Table, previous: int | None, as_of: int) -> list[Verdict]:
        seen.append((previous, as_of))
        return []

    backfill_range(Plan(), output, ["2013-07-03", "2013-07-04"], Engine(rows=3), gate=gate)
    assert seen == [
        (5, to_micros("2013-07-03") + DAY),
        (3, to_micros("2013-07-04") + DAY),
    ]


def test_the_first_day_has_none_before_it() -> None:
    seen: list[int | None] = []

    def gate(rows: pa.Table, previous: int | None, as_of: int) -> list[Verdict]:
        seen.append(previous)
        return []

    backfill_range(Plan(), MemoryOutput(), WEEK[:1], Engine(), gate=gate)
    assert seen == [None]


def test_progress_counts_the_days_that_are_skipped() -> None:
    output, told = MemoryOutput(), list[Progress]()
    backfill_range(Plan(), output, WEEK[:2], Engine())
    backfill_range(Plan(), output, WEEK[:4], Engine(), progress=told.append)
    assert [(p.done, p.total, p.day, p.rows) for p in told] == [
        (2, 4, None, 0),
        (4, 4, "2013-07-04", 4),
    ]


def test_counts_of_rows_are_summed_over_steps_and_counts_of_source_rows_are_not() -> None:
    engine = Engine(immature=1, null_times=2, null_keys={"carrier": 3}, without_time={"flights": 4})
    report = backfill_range(Plan(), MemoryOutput(), WEEK[:4], engine, step_days=2)
    assert (report.immature, report.null_times) == (2, 4)
    assert report.null_keys == {"carrier": 6}
    assert report.without_time == {"flights": 4}


def test_rows_of_a_day_that_nobody_asked_for_publish_nothing() -> None:
    def strays(start: str, end: str) -> Result:
        return Result(pa.table({"ds": ["2013-07-01", "2013-08-01"]}), Report())

    output = MemoryOutput()
    with pytest.raises(DataError, match="2013-08-01"):
        backfill_range(Plan(), output, WEEK, strays)
    assert output.stored == {}


def test_a_step_has_at_least_a_day() -> None:
    with pytest.raises(UsageError):
        backfill_range(Plan(), MemoryOutput(), WEEK, Engine(), step_days=0)


@pytest.mark.parametrize(
    ("days", "step", "expected"),
    [
        ([], 3, []),
        (["2013-07-01"], 3, [["2013-07-01"]]),
        (["2013-06-30", "2013-07-01", "2013-07-03"], 9, [["2013-06-30", "2013-07-01"], ["2013-07-03"]]),
        (["2012-02-28", "2012-02-29", "2012-03-01"], 2, [["2012-02-28", "2012-02-29"], ["2012-03-01"]]),
    ],
)
def test_steps_are_unbroken_runs(days: list[str], step: int, expected: list[list[str]]) -> None:
    assert list(steps_of(days, step)) == expected


def test_a_delta_table_holds_each_day_and_what_it_was_made_for(tmp_path: Path) -> None:
    output = DeltaOutput(str(tmp_path / "departures"))
    backfill_range(Plan(), output, WEEK[:3], Engine(), as_of=to_micros("2014-01-01"))
    backfill_range(Plan(fingerprint="new"), output, WEEK[1:2], Engine(rows=3))
    assert output.fingerprints() == {"2013-07-01": "abc", "2013-07-02": "new", "2013-07-03": "abc"}
    assert finished_days(output, "abc", to_micros("2014-01-01")) == ("2013-07-01", "2013-07-03")
    assert finished_days(output, "new") == ("2013-07-02",)
    assert output.read(["2013-07-02"]).column("x").to_pylist() == [0, 1, 2]
