"""`zipline backfill`: a join over a range of days, checked and published day by day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.findings import finding_rows, warning_texts
from zipline.cli.options import project_options, range_options
from zipline.cli.screen import console, number, plural, print_json, print_table, ranges, size
from zipline.engines import ENGINES

if TYPE_CHECKING:
    from zipline.cli.outputs import Work
    from zipline.errors import DataError
    from zipline.orchestration.backfill import Engine
    from zipline.orchestration.report import BackfillReport, Progress
    from zipline.orchestration.stages import BackfillPlan
    from zipline.orchestration.validity import Reason
    from zipline.quality.gate import Gate


STEP_DAYS = {"local": 30, "spark": 92}
"""Of the local engine a step is held in memory; each step reads once more what its first day sees of earlier ones."""


def _said(days: Mapping[str, int]) -> str:
    return f"[default: {', '.join(f'{count} ({engine})' for engine, count in days.items())}]"


@click.command()
@click.argument("join")
@range_options
@click.option("--step-days", type=click.IntRange(min=1), help=f"Days computed at a time. {_said(STEP_DAYS)}")
@click.option("--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="What computes.")
@click.option("--force", is_flag=True, help="Also the days that are finished, and those that lost input.")
@click.option("--dry-run", is_flag=True, help="Only show which days would be computed, and why.")
@project_options
def command(
    join: str,
    start: str | None,
    end: str | None,
    training: bool,
    as_of: int | None,
    step_days: int | None,
    engine: str,
    force: bool,
    dry_run: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Compute a join for a range of days.

    Each day is checked, and published in the warehouse in one piece. Of a day only the columns are computed that its
    inputs or the definition changed; finished days are skipped, so a run that was stopped goes on. With a changed
    definition the old days stay readable until every one of them has been done. A critical check keeps the old day and
    stops; a day whose input vanished is kept too (exit code 1).

    \b
    Example:
      zipline backfill flights.training.departures --start 2013-07-01 --end 2013-07-31
    """
    from zipline.api import StagingQuery
    from zipline.cli.options import arguments_again, load_definitions, open_project
    from zipline.cli.outputs import work_of

    step_days = step_days or STEP_DAYS[engine]
    opened = open_project(project, environment)
    definitions = load_definitions(opened)
    if isinstance(definitions.get(join), StagingQuery):
        from zipline.cli.staging import backfill_staging

        asked = (join, start, end, engine)
        backfill_staging(
            opened, definitions, *asked, step_days=step_days, force=force, as_json=as_json, dry_run=dry_run
        )
        return
    again = arguments_again(training, project, environment, as_of)
    again += f" --engine {engine}" if engine != "local" else ""
    work = work_of(opened, definitions, join, start, end, training, again, engine)
    if dry_run:
        from zipline.cli.dry_run import show_dry_run

        show_dry_run(work, step_days=step_days, as_of=as_of, force=force, as_json=as_json)
        return
    with progress_bar(shown=not as_json) as progress:
        report = backfill(work, step_days=step_days, as_of=as_of, force=force, progress=progress)
    lost = lost_input(work, report)
    if as_json:
        print_json(report_facts(work, report) | (lost.facts() if lost else {}))
        click.get_current_context().exit(1 if lost else 0)
    _show(work, report)
    if lost:
        raise lost


def backfill(
    work: Work,
    *,
    step_days: int,
    as_of: int | None,
    force: bool,
    progress: Callable[[Progress], None],
) -> BackfillReport:
    """Checks are proved to fit the output before any work. What has something to do is recorded, and runs alone."""
    from zipline.quality.gate import Gate

    gate = Gate(work.plan, training=work.training)
    with _made_known(work):
        if not any(staging.due(work.catalog) for staging in work.staging):
            todo = planned(work, as_of, force=force)
            if todo.is_done:
                return _run(todo, work, gate, step_days, progress)
        return _recorded(work, gate, step_days=step_days, as_of=as_of, force=force, progress=progress)


def _made_known(work: Work) -> AbstractContextManager[None]:
    """Within, what Spark publishes can be read by name in its catalog, where the project says so."""
    if work.engine != "spark":
        return nullcontext()
    from zipline.engines.spark.published import published

    return published(work.project, work.table, work.output)


def _recorded(
    work: Work,
    gate: Gate,
    *,
    step_days: int,
    as_of: int | None,
    force: bool,
    progress: Callable[[Progress], None],
) -> BackfillReport:
    """One run at a time for each output. What is to be done is found once nobody else is at it."""
    from zipline.cli.outputs import replanned
    from zipline.cli.recording import expect, recorded_work

    arguments = {"step_days": step_days, "as_of": as_of, "force": force, "engine": work.engine}
    with recorded_work(work, "backfill", arguments) as run:
        if _bring_up(work, step_days=step_days, force=force):
            work = replanned(work)
        todo = planned(work, as_of, force=force)
        expect(run, work, [each.day for each in todo.work], step_days, as_of)
        computing = run.counting(_engine(work, todo, progress))
        report = _run(todo, work, gate, step_days, progress, computing, run.check, run.facts)
        run.count(rows=report.rows, bytes_written=report.bytes)
        return report


def _engine(work: Work, todo: BackfillPlan, progress: Callable[[Progress], None]) -> Engine:
    from zipline.orchestration.partials import partial_store

    if work.engine == "spark":
        from zipline.engines.spark.run import run_days
        from zipline.engines.spark.session import session_of
        from zipline.orchestration.report import Progress

        def tell(step: str) -> None:
            progress(Progress(0, 0, step=step))

        spark = session_of(work.project)
        return partial(run_days, spark=spark, output=todo.target, tell=tell, partials=partial_store(work.project))
    from zipline.engines.local.run import run_join

    return partial(run_join, partials=partial_store(work.project))


def _bring_up(work: Work, *, step_days: int, force: bool) -> bool:
    """Makes what is due of staging tables, each under a lock of its own: other joins may need them too."""
    if not work.staging:
        return False
    from zipline.engines.frames import opener_of
    from zipline.orchestration.staging import bring_up
    from zipline.registry import open_registry

    with open_registry(work.project) as registry:
        return bring_up(
            work.staging,
            step_days=step_days,
            force=force,
            holding=lambda uri: registry.locks.acquire(uri, f"zipline backfill {work.plan.name}"),
            opener=opener_of(work.engine, work.project),
        )


def _run(
    todo: BackfillPlan,
    work: Work,
    gate: Gate,
    step_days: int,
    progress: Callable[[Progress], None],
    engine: Engine | None = None,
    before_commit: Callable[[], None] = lambda: None,
    run_facts: Mapping[str, str] | None = None,
) -> BackfillReport:
    from zipline.orchestration.backfill import run_backfill

    return run_backfill(
        todo,
        work.catalog,
        step_days=step_days,
        gate=gate if gate.checks else None,
        progress=progress,
        arguments=work.arguments,
        engine=engine,
        before_commit=before_commit,
        run_facts=run_facts,
    )


def planned(work: Work, as_of: int | None, *, force: bool = False) -> BackfillPlan:
    """What is to be done of the days asked for: `zipline plan` shows it, `zipline backfill` does it."""
    from zipline.clock import days
    from zipline.orchestration.stages import plan_backfill

    return plan_backfill(
        work.plan,
        work.catalog,
        work.output,
        days(work.start, work.end),
        training=work.training,
        as_of=as_of,
        force=force,
        known=work.project.root / ".zipline" / "extents",
    )


def lost_input(work: Work, report: BackfillReport) -> DataError | None:
    """The error that days were kept: partitions that they were made from are gone, or somebody else changed them."""
    from zipline.errors import DataError
    from zipline.orchestration.coverage import as_ranges

    if not report.kept:
        return None
    gone = "; ".join(f"{table} {ranges(as_ranges(days))}" for table, days in report.vanished.items())
    why = [f"partitions that they were made from are gone ({gone})"] if gone else []
    remedies = ["put the partitions back"] if gone else []
    if report.changed:
        why.append(
            f"the files of {ranges(as_ranges(report.changed))} are not those that a run wrote: the table was restored "
            "to an older version, or changed by hand"
        )
        as_written = "the days" if report.written is None else f"version {report.written} of {work.output.uri}"
        remedies.append(f"restore {as_written}, which is as runs wrote it")
    return DataError(
        f"{plural(len(report.kept), 'day')} kept: {'; '.join(why)}",
        subject=work.plan.name,
        hint=f"{', or '.join(remedies)}; --force makes the days anew from what is there",
        next_command=kept_command(work, report.kept),
    )


def report_facts(work: Work, report: BackfillReport) -> dict[str, Any]:
    """The report as JSON-ready facts."""
    return {
        **dataclasses.asdict(report),
        "reasons": reason_facts(report.reasons),
        "next": next_command(work, report.pending, report.blocked),
        "table": work.table,
        "uri": work.output.uri,
        "rows": report.rows,
        "bytes": report.bytes,
        "checks": report.checks,
        "warnings": list(report.warnings),
    }


def reason_facts(reasons: Iterable[tuple[Reason, tuple[str, ...]]]) -> list[dict[str, Any]]:
    """Why days are done, as JSON-ready facts."""
    from zipline.orchestration.coverage import as_ranges
    from zipline.orchestration.validity import MEANING

    return [
        {"kind": why.kind, "meaning": MEANING[why.kind], "names": list(why.names), "days": as_ranges(days)}
        for why, days in reasons
    ]


def reason_row(fact: Mapping[str, Any]) -> tuple[str, str]:
    """One reason as a line of a table."""
    names = ", ".join(fact["names"][:8]) + (f" and {len(fact['names']) - 8} more" if len(fact["names"]) > 8 else "")
    return "because", f"{fact['meaning']}{f' ({names})' if names else ''}: {ranges(fact['days'])}"


def next_command(work: Work, pending: Sequence[str], blocked: Sequence[str]) -> str | None:
    """The command for days that the new definition still lacks: those `blocked`, which lost input, come last.

    It takes --force to do these, which also does finished days again: so it is given the first unbroken ones alone.
    """
    from zipline.orchestration.coverage import as_ranges

    if not pending:
        return None
    free = [day for day in pending if day not in set(blocked)]
    if not free:
        return _command(work, *as_ranges(blocked)[0], force=True)
    until = next((day for day in blocked if day > free[0]), None)
    return _command(work, free[0], max(day for day in free if until is None or day < until))


def kept_command(work: Work, kept: Sequence[str]) -> str | None:
    """The command that makes days anew that lost input."""
    return _command(work, kept[0], kept[-1], force=True) if kept else None


def run_command(work: Work, todo: BackfillPlan) -> str:
    """The command that does what a plan shows; where all there is to do are days that lost input, with force."""
    forced = None if todo.work else kept_command(work, [each.day for each in todo.kept])
    return forced or _command(work, work.start, work.end)


def repeated(work: Work, *, force: bool) -> str:
    """The command again."""
    return _command(work, work.start, work.end, force=force)


def _command(work: Work, start: str, end: str, *, force: bool = False) -> str:
    forced = " --force" if force else ""
    return f"zipline backfill {work.plan.name} --start {start} --end {end}{forced}{work.arguments}"


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar on the screen from the first day that is to do; a run without any shows none."""
    with ExitStack() as stack:
        bars: list[Callable[[Progress], None]] = []

        def show(progress: Progress) -> None:
            if shown and not bars and progress.done < progress.total:
                bars.append(_started_bar(stack))
            if bars:
                bars[0](progress)

        yield show


def _started_bar(stack: ExitStack) -> Callable[[Progress], None]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"))
    bar = stack.enter_context(Bar(*columns, TimeElapsedColumn(), console=console(stderr=True), transient=True))
    task = bar.add_task("backfill", total=None)

    def show(progress: Progress) -> None:
        if progress.step:
            bar.update(task, description=f"backfill, {progress.step:.70}")
            return
        text = f"backfill {progress.day}, {progress.rows:,} rows" if progress.day else "backfill"
        bar.update(task, completed=progress.done, total=progress.total, description=text)

    return show


def _show(work: Work, report: BackfillReport) -> None:
    from zipline.orchestration.coverage import as_ranges

    rows: list[tuple[str, str]] = [
        ("days", f"{len(report.published):,} published, {len(report.skipped):,} finished before"),
        *(reason_row(fact) for fact in reason_facts(report.reasons) if fact["kind"] != "missing"),
        *_carried_rows(report),
        ("rows", f"{number(report.rows)} ({size(report.bytes)} in memory)"),
        ("time", f"{report.seconds:.1f} s in {plural(report.steps, 'step')}"),
        ("checks", f"{plural(report.checks, 'check')}, {plural(len(report.warnings), 'warning')}"),
        ("output", report_place(work)),
    ]
    if report.empty:
        rows.append(("empty", f"{plural(len(report.empty), 'day')} without rows: {ranges(as_ranges(report.empty))}"))
    rows += finding_rows(report)
    if report.succeeded:
        rows.append(("definition", "the output is of the new definition now"))
    if report.pending:
        days = f"{plural(len(report.pending), 'day')} to be done: {ranges(as_ranges(report.pending))}"
        rows.append(("definition", f"the output stays as it is until all days are of the new one; {days}"))
        rows.append(("next", next_command(work, report.pending, report.blocked) or ""))
    print_table(f"Backfilled {report.name}", ["", ""], rows)
    for warning in (*report.warnings, *(each.message for each in report.backwards), *warning_texts(report)):
        click.echo(click.style("warning: ", fg="yellow") + warning)


def _carried_rows(report: BackfillReport) -> Iterator[tuple[str, str]]:
    if report.carried:
        columns = {column for names in report.carried.values() for column in names}
        yield "carried over", f"{plural(len(columns), 'column')} on {plural(len(report.carried), 'day')}"


def report_place(work: Work) -> str:
    return f"table {work.table} at {work.output.uri}"
