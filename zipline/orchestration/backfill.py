"""A backfill over days, in steps: run, split by day, check, publish.

Memory holds one step. Each day is published in one commit, so a run that is killed leaves whole days, and the next run
goes on with the first day that is missing, was written by another definition or for another `as_of`, or had rows whose
labels were not complete. A critical check keeps the old day and stops; the days before it are published.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from zipline.clock import DAY, monotonic, to_micros, to_text
from zipline.engines.contract import Result
from zipline.errors import CheckError, DataError, UsageError
from zipline.orchestration.coverage import as_ranges

FINGERPRINT, AS_OF, IMMATURE = "fingerprint", "as_of", "immature"
DAY_COLUMN = "ds"


class Verdict(Protocol):
    """What a gate says of one check."""

    @property
    def check(self) -> Any: ...
    @property
    def passed(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def is_critical(self) -> bool:
        """True where the day must not be published."""
        ...


class Commit(Protocol):
    """One version of an output and what its writer stored with it."""

    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def days(self) -> tuple[str, ...]: ...


class Output(Protocol):
    """A table that is written in whole days."""

    def days(self) -> set[str]: ...
    def versions(self) -> Sequence[Commit]:
        """Every commit, newest first."""
        ...

    def replace_days(self, days: Mapping[str, pa.Table], *, metadata: Mapping[str, str] | None = None) -> None: ...
    def read(
        self, days: Collection[str] | None = None, version: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table: ...


class Planned(Protocol):
    """What a backfill must know of a plan."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


RunStep = Callable[[str, str], Result]
"""(first day, last day) -> the rows of these days, with their day in the last column `ds`."""
Gate = Callable[[pa.Table, int | None, int], Sequence[Verdict]]
"""(rows of a day, rows of the day before it or None, the day's end in microseconds) -> the verdicts."""


@dataclass(frozen=True)
class DayReport:
    """One published day; `bytes` is the size of its rows in memory, `warnings` what its checks complained of."""

    day: str
    rows: int
    bytes: int
    checks: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a backfill is: `done` of `total` days, skipped ones included."""

    done: int
    total: int
    day: str | None = None
    rows: int = 0


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did. `null_keys` counts rows with a null key per set of keys, `null_times` those without a time.

    `immature` are the rows left out because their labels were not complete, `undated` the left rows that are in no day
    because they have no time. `without_time` counts the rows of a source that are never seen because a clock is null.
    """

    name: str
    fingerprint: str
    published: tuple[DayReport, ...]
    skipped: tuple[str, ...]
    steps: int
    seconds: float
    immature: int = 0
    undated: int = 0
    null_times: int = 0
    null_keys: Mapping[str, int] | None = None
    without_time: Mapping[str, int] | None = None

    @property
    def rows(self) -> int:
        return sum(day.rows for day in self.published)

    @property
    def bytes(self) -> int:
        return sum(day.bytes for day in self.published)

    @property
    def checks(self) -> int:
        return sum(day.checks for day in self.published)

    @property
    def empty(self) -> tuple[str, ...]:
        """The published days that have no rows."""
        return tuple(day.day for day in self.published if not day.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{day.day}: {warning}" for day in self.published for warning in day.warnings)


def backfill_range(
    plan: Planned,
    output: Output,
    days: Sequence[str],
    run_step: RunStep,
    *,
    step_days: int = 30,
    gate: Gate | None = None,
    as_of: int | None = None,
    force: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    arguments: str = "",
) -> BackfillReport:
    """Publishes `days` (sorted, each once) in steps of at most `step_days`; `force` also those that are done.

    CheckError names the day and the checks that kept it back, and the command that runs the day again, which ends with
    `arguments`.
    """
    if step_days < 1:
        raise UsageError(f"a step has at least one day, not {step_days}")
    began = monotonic()
    done = set() if force else set(finished_days(output, plan.fingerprint, as_of)) & set(days)
    run = _Run(plan, output, gate, as_of, progress, len(days), len(done), arguments)
    progress(Progress(len(done), len(days)))
    steps = list(steps_of([day for day in days if day not in done], step_days))
    for step in steps:
        run.step(step, run_step(step[0], step[-1]))
    return replace(run.report, skipped=tuple(sorted(done)), steps=len(steps), seconds=monotonic() - began)


def finished_days(output: Output, fingerprint: str, as_of: int | None = None) -> tuple[str, ...]:
    """The days that a run would skip: written by this definition, for this `as_of`, with nothing left to mature."""
    newest: dict[str, Mapping[str, str]] = {}
    for version in output.versions():
        for day in version.days:
            newest.setdefault(day, version.metadata)
    wanted = _metadata(fingerprint, as_of)
    present = output.days()
    return tuple(
        day
        for day in sorted(newest)
        if day in present and all(newest[day].get(key, "") == wanted.get(key, "") for key in (FINGERPRINT, AS_OF))
        if as_of is not None or day not in newest[day].get(IMMATURE, "").split()
    )


def steps_of(days: Sequence[str], step_days: int) -> Iterator[list[str]]:
    """The days in unbroken runs of at most `step_days`."""
    for first, last in as_ranges(days):
        run = [day for day in days if first <= day <= last]
        for place in range(0, len(run), step_days):
            yield run[place : place + step_days]


def _metadata(fingerprint: str, as_of: int | None) -> dict[str, str]:
    return {FINGERPRINT: fingerprint, **({} if as_of is None else {AS_OF: to_text(as_of)})}


class _Run:
    """The state of one backfill: what is published so far."""

    def __init__(
        self,
        plan: Planned,
        output: Output,
        gate: Gate | None,
        as_of: int | None,
        progress: Callable[[Progress], None],
        total: int,
        done: int,
        arguments: str,
    ) -> None:
        self._plan, self._output, self._gate, self._as_of = plan, output, gate, as_of
        self._progress, self._total, self._done, self._arguments = progress, total, done, arguments
        self._rows: dict[str, int | None] = dict.fromkeys(output.days())
        self.report = BackfillReport(plan.name, plan.fingerprint, (), (), 0, 0.0)

    def step(self, days: Sequence[str], result: Result) -> None:
        """Publishes the days of one step, in order."""
        parts = list(_by_day(result.table, days))
        found = result.report
        self.report = replace(
            self.report,
            immature=self.report.immature + found.immature,
            undated=max(self.report.undated, found.undated),
            null_times=self.report.null_times + found.null_times,
            null_keys=_summed(self.report.null_keys, found.null_keys),
            without_time=_most(self.report.without_time, found.without_time),
        )
        metadata = _metadata(self._plan.fingerprint, self._as_of)
        if found.waiting:
            metadata[IMMATURE] = " ".join(found.waiting)
        passed: dict[str, pa.Table] = {}
        judged: list[DayReport] = []
        refusal: CheckError | None = None
        for day, rows in parts:
            try:
                judged.append(self._judge(day, rows))
            except CheckError as failed:
                refusal = failed
                break
            passed[day] = rows
            self._rows[day] = rows.num_rows
        if passed:
            self._publish(passed, judged, metadata)
        if refusal is not None:
            raise refusal

    def _publish(self, days: Mapping[str, pa.Table], judged: Sequence[DayReport], metadata: Mapping[str, str]) -> None:
        self._output.replace_days(days, metadata=metadata)
        self.report = replace(self.report, published=(*self.report.published, *judged))
        self._done += len(judged)
        self._progress(Progress(self._done, self._total, judged[-1].day, self.report.rows))

    def _judge(self, day: str, rows: pa.Table) -> DayReport:
        verdicts: Sequence[Verdict] = ()
        if self._gate is not None:
            verdicts = self._gate(rows, self._rows_before(day), to_micros(day) + DAY)
        critical = [v for v in verdicts if v.is_critical]
        if critical:
            raise self._refused(day, critical)
        warnings = tuple(f"{v.check.title}: {v.message}" for v in verdicts if not v.passed)
        return DayReport(day, rows.num_rows, rows.nbytes, len(verdicts), warnings)

    def _rows_before(self, day: str) -> int | None:
        """The rows of the newest day before, in this run or an earlier one."""
        before = max((known for known in self._rows if known < day), default=None)
        if before is None:
            return None
        if self._rows[before] is None:
            self._rows[before] = self._output.read([before], columns=[DAY_COLUMN]).num_rows
        return self._rows[before]

    def _refused(self, day: str, critical: Sequence[Verdict]) -> CheckError:
        failures = "; ".join(f"{v.check.title}: {v.message}" for v in critical)
        kept = "the day is as it was before" if day in self._rows else "the day is not published"
        before = "the days of this run before it are published"
        return CheckError(
            f"{day} failed {_counted(len(critical), 'critical check')}: {failures}",
            subject=self._plan.name,
            where=critical[0].check.location,
            hint=f"{kept}, {before}; mend the data or the definition, or say severity='warning'",
            next_command=f"zipline backfill {self._plan.name} --start {day} --end {day}{self._arguments}",
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _by_day(table: pa.Table, days: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """Each day's rows in their order, days without rows too; DataError where a row is of no day asked for."""
    column = table.column(DAY_COLUMN)
    counts = {value["values"]: value["counts"] for value in pc.value_counts(column).to_pylist()}
    strange = sorted(map(str, set(counts) - set(days)))
    if strange:
        raise DataError(
            f"{_counted(len(strange), 'day')} came back that nobody asked for, such as {strange[0]}",
            hint="the left's partition column holds the days YYYY-MM-DD",
        )
    for day in days:
        yield day, table if counts.get(day) == table.num_rows else table.filter(pc.equal(column, day))


def _summed(one: Mapping[str, int] | None, other: Mapping[str, int]) -> dict[str, int]:
    total = dict(one or {})
    for name, count in other.items():
        total[name] = total.get(name, 0) + count
    return total


def _most(one: Mapping[str, int] | None, other: Mapping[str, int]) -> dict[str, int]:
    """Steps read overlapping source rows, so their counts are not added up (nor are `undated` left rows)."""
    names = {*(one or {}), *other}
    return {name: max((one or {}).get(name, 0), other.get(name, 0)) for name in sorted(names)}
