"""A backfill over days, in stages: compute what is invalid, carry over the rest, check, publish.

Memory holds one stage. Its days are published in one commit with the record of what they were made from, so a run that
is killed leaves whole days, and the next run goes on with the first day that is missing or no longer valid. A critical
check keeps the old day and stops; the days before it are published. A new generation takes the output's place in one
commit when it has every day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa

from zipline.clock import DAY, FIRST_INSTANT, monotonic, to_micros
from zipline.engines.contract import Computed, DayRows
from zipline.errors import CheckError, UsageError
from zipline.orchestration.carry import DAY_COLUMN, mature, reduced, together
from zipline.orchestration.records import FINGERPRINT, Record, encoded, records_of
from zipline.orchestration.report import BackfillReport, DayReport, Progress
from zipline.orchestration.stages import BackfillPlan, Stage
from zipline.plan.steps import JoinPlan
from zipline.tables.catalog import Catalog
from zipline.tables.succession import remove, succeed, successors_of


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


Gate = Callable[[DayRows, int | None, int], Sequence[Verdict]]
"""(rows of a day, rows of the day before it or None, the day's end in microseconds) -> the verdicts."""


class Engine(Protocol):
    """Runs a plan over a range of days."""

    def __call__(
        self, plan: JoinPlan, catalog: Catalog, *, start: str, end: str, training: bool, as_of: int | None
    ) -> Computed:
        """The rows of these days, with their day in the last column `ds`."""
        ...


def run_backfill(
    todo: BackfillPlan,
    catalog: Catalog,
    *,
    step_days: int = 30,
    gate: Gate | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    arguments: str = "",
    engine: Engine | None = None,
    before_commit: Callable[[], None] = lambda: None,
    run_facts: Mapping[str, str] | None = None,
) -> BackfillReport:
    """Does what the plan says, in stages of at most `step_days`, and publishes it.

    CheckError names the day and the checks that kept it back, and the command that runs the day again, which ends with
    `arguments`. `engine` is the local one unless another is given. `before_commit` is called before each try to commit,
    with the table open: an error from it prevents the commit, and so does a commit of anyone else that it did not see.
    `run_facts` are kept with each commit: which run it was of, with which token.
    """
    if step_days < 1:
        raise UsageError(f"a step has at least one day, not {step_days}")
    run = _Run(todo, catalog, engine, gate, progress, arguments, before_commit, run_facts or {})
    for successor in successors_of(todo.output):
        if successor.uri != todo.target.uri:
            before_commit()
            remove(successor)
    return run.all(step_days)


def _local_engine() -> Engine:
    # Imported where there is something to compute: it brings the compiler.
    from zipline.engines.local.run import run_join

    return run_join


class _Run:
    """The state of one backfill: what is published so far."""

    def __init__(
        self,
        todo: BackfillPlan,
        catalog: Catalog,
        engine: Engine | None,
        gate: Gate | None,
        progress: Callable[[Progress], None],
        arguments: str,
        before_commit: Callable[[], None],
        run_facts: Mapping[str, str],
    ) -> None:
        self._todo, self._catalog, self._engine, self._gate = todo, catalog, engine, gate
        self._tell, self._arguments, self._before_commit = progress, arguments, before_commit
        self._facts = {**run_facts, FINGERPRINT: todo.plan.fingerprint}
        self._rows: dict[str, int | None] = dict.fromkeys(todo.target.days())
        self.report = BackfillReport(
            todo.plan.name,
            todo.plan.fingerprint,
            skipped=todo.skipped,
            kept=tuple(each.day for each in todo.kept),
            vanished=todo.vanished(),
            changed=todo.changed,
            written=todo.written,
            pending=todo.pending,
            blocked=todo.blocked,
            undated=todo.inputs.undated,
            backwards=todo.backwards,
        )

    def all(self, step_days: int) -> BackfillReport:
        began = monotonic()
        self._show(None)
        for stage in self._todo.stages(step_days):
            self._stage(stage)
        if self._todo.is_succession and not self._todo.pending:
            self._succeed()
        return replace(self.report, reasons=tuple(self._todo.reasons()), seconds=monotonic() - began)

    def _stage(self, stage: Stage) -> None:
        """Publishes the days of one stage, in order, up to the first that a critical check holds back."""
        passed: dict[str, Any] = {}
        judged: list[DayReport] = []
        refusal: CheckError | None = None
        for day, rows, computed in self._tables(stage):
            try:
                judged.append(replace(self._judge(day, rows), computed=computed))
            except CheckError as failed:
                refusal = failed
                break
            passed[day] = rows
            self._rows[day] = rows.num_rows
        if passed:
            self._publish(passed, judged)
        if refusal is not None:
            raise refusal

    def _tables(self, stage: Stage) -> Iterator[tuple[str, DayRows, tuple[str, ...] | None]]:
        """Each day's rows and the columns that were computed for them."""
        if stage.columns is None:
            yield from self._anew(stage.days)
            return
        fresh = self._part(stage.days, stage.columns) if stage.columns else {}
        for day in stage.days:
            stored = self._todo.places[day].read([day])
            if not stage.columns:
                yield day, stored.select([*self._columns, DAY_COLUMN]), ()
                continue
            table = together(self._todo.plan, fresh[day], stored, stage.columns, training=self._todo.training)
            if table is None:
                yield from self._anew([day])
            else:
                yield day, table, stage.columns

    @property
    def _columns(self) -> list[str]:
        plan = self._todo.plan
        columns = plan.columns if self._todo.training else plan.scoring_columns
        return [name for name, _ in columns if name != DAY_COLUMN]

    def _anew(self, days: Sequence[str]) -> Iterator[tuple[str, DayRows, None]]:
        result = self._ask(self._todo.plan, days, training=self._todo.training)
        self.report = self.report.with_step(result.report)
        for day, rows in result.by_day(days):
            yield day, rows, None

    def _part(self, days: Sequence[str], columns: Sequence[str]) -> dict[str, pa.Table]:
        """The left rows that the output has, with the columns that are not derived."""
        plan = reduced(self._todo.plan, columns)
        labels = self._todo.plan.labels if self._todo.training else ()
        result = self._ask(plan, days, training=self._todo.training and bool(plan.labels))
        found = {day: _in_memory(rows) for day, rows in result.by_day(days)}
        if labels and not plan.labels:
            kept = {
                day: mature(rows, labels[0].offset or 0, self._todo.inputs.label_end) for day, rows in found.items()
            }
            result.report.immature = sum(rows.num_rows - kept[day].num_rows for day, rows in found.items())
            found = kept
        self.report = self.report.with_step(result.report)
        return found

    def _ask(self, plan: JoinPlan, days: Sequence[str], *, training: bool) -> Computed:
        """Labels end where the inputs' record says that they do, whichever parts are computed."""
        end = self._todo.inputs.label_end if training and plan.labels else None
        as_of = FIRST_INSTANT if end is None else end
        engine = self._engine or _local_engine()
        return engine(plan, self._catalog, start=days[0], end=days[-1], training=training, as_of=as_of)

    def _publish(self, days: Mapping[str, Any], judged: Sequence[DayReport]) -> None:
        todo = self._todo
        metadata = encoded({day: todo.record(day) for day in days}) | self._facts
        todo.target.replace_days(days, metadata=metadata, fence=self._before_commit)
        carried = {each.day: columns for each in judged if (columns := todo.carried(each.computed))}
        self.report = replace(
            self.report, published=(*self.report.published, *judged), carried={**self.report.carried, **carried}
        )
        self._show(judged[-1].day)

    def _succeed(self) -> None:
        """Every day is in the successor now: it takes the output's place."""
        todo = self._todo
        metadata = encoded(_records(todo)) | self._facts
        succeed(todo.output, todo.target, metadata, fence=self._before_commit)
        remove(todo.target)
        self.report = replace(self.report, succeeded=True)

    def _show(self, day: str | None) -> None:
        done = len(self._todo.skipped) + len(self.report.published)
        self._tell(Progress(done, len(self._todo.asked), day, self.report.rows))

    def _judge(self, day: str, rows: DayRows) -> DayReport:
        verdicts: Sequence[Verdict] = ()
        if self._gate is not None:
            verdicts = self._gate(rows, self._rows_before(day), to_micros(day) + DAY)
        critical = [v for v in verdicts if v.is_critical]
        if critical:
            raise self._refused(day, critical)
        warnings = tuple(f"{v.check.title}: {v.message}" for v in verdicts if not v.passed)
        return DayReport(day, rows.num_rows, rows.nbytes, len(verdicts), warnings)

    def _rows_before(self, day: str) -> int | None:
        """The rows of the newest day before, in this run or an earlier one of this generation."""
        before = max((known for known in self._rows if known < day), default=None)
        if before is None:
            return None
        if self._rows[before] is None:
            self._rows[before] = self._todo.target.read([before], columns=[DAY_COLUMN]).num_rows
        return self._rows[before]

    def _refused(self, day: str, critical: Sequence[Verdict]) -> CheckError:
        failures = "; ".join(f"{v.check.title}: {v.message}" for v in critical)
        kept = "the day is as it was before" if day in self._todo.places else "the day is not published"
        before = "the days of this run before it are published"
        reasons = (reason.kind for work in self._todo.work if work.day == day for reason in work.reasons)
        force = " --force" if "forced" in reasons else ""
        return CheckError(
            f"{day} failed {_counted(len(critical), 'critical check')}: {failures}",
            subject=self._todo.plan.name,
            where=critical[0].check.location,
            hint=f"{kept}, {before}; mend the data or the definition, or say severity='warning'",
            next_command=f"zipline backfill {self._todo.plan.name} --start {day} --end {day}{force}{self._arguments}",
        )


def _records(todo: BackfillPlan) -> dict[str, Record]:
    found = records_of(todo.target.versions(), todo.target.days())
    return {day: record for day, record in sorted(found.items()) if record is not None}


def _in_memory(rows: DayRows) -> pa.Table:
    return rows if isinstance(rows, pa.Table) else rows.select(rows.column_names)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
