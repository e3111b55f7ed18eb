"""`zipline backfill`: a join over a range of days, checked and published day by day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.findings import finding_rows
from zipline.cli.options import project_options, range_options
from zipline.cli.screen import console, number, plural, print_json, print_table, ranges, size

if TYPE_CHECKING:
    from zipline.cli.outputs import Work
    from zipline.orchestration.backfill import BackfillReport, Progress


@click.command()
@click.argument("join")
@range_options
@click.option("--step-days", type=click.IntRange(min=1), default=30, show_default=True, help="Days held in memory.")
@click.option("--force", is_flag=True, help="Also the days that are finished.")
@project_options
def command(
    join: str,
    start: str | None,
    end: str | None,
    training: bool,
    as_of: int | None,
    step_days: int,
    force: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Compute a join for a range of days.

    Each day is checked, and published in the warehouse in one piece. Days that are finished are skipped, so a run that
    was stopped goes on. A critical check keeps the old day and stops (exit code 1).

    \b
    Example:
      zipline backfill flights.training.departures --start 2013-07-01 --end 2013-07-31
    """
    from zipline.cli.outputs import open_work

    work = open_work(join, project, environment, start, end, training)
    with progress_bar(shown=not as_json) as progress:
        report = backfill(work, step_days=step_days, as_of=as_of, force=force, progress=progress)
    if as_json:
        print_json(report_facts(work, report))
    else:
        _show(work, report)


def backfill(
    work: Work, *, step_days: int, as_of: int | None, force: bool, progress: Callable[[Progress], None]
) -> BackfillReport:
    """Checks are proved to fit the output before any work."""
    from zipline.clock import days
    from zipline.engines.local.run import run_join
    from zipline.orchestration.backfill import backfill_range
    from zipline.quality.gate import Gate

    plan = work.plan
    gate = Gate(plan, training=work.training)
    return backfill_range(
        plan,
        work.output,
        days(work.start, work.end),
        lambda first, last: run_join(plan, work.catalog, start=first, end=last, training=work.training, as_of=as_of),
        step_days=step_days,
        gate=gate if gate.checks else None,
        as_of=as_of,
        force=force,
        progress=progress,
        arguments=work.arguments,
    )


def report_facts(work: Work, report: BackfillReport) -> dict[str, Any]:
    """The report as JSON-ready facts."""
    return {
        **dataclasses.asdict(report),
        "table": work.table,
        "uri": work.output.uri,
        "rows": report.rows,
        "bytes": report.bytes,
        "checks": report.checks,
        "warnings": list(report.warnings),
    }


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[Callable[[Progress], None]]:
    if not shown:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("days"))
    with Bar(*columns, TimeElapsedColumn(), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("backfill", total=None)

        def show(progress: Progress) -> None:
            text = f"backfill {progress.day}, {progress.rows:,} rows" if progress.day else "backfill"
            bar.update(task, completed=progress.done, total=progress.total, description=text)

        yield show


def _show(work: Work, report: BackfillReport) -> None:
    from zipline.orchestration.coverage import as_ranges

    rows: list[tuple[str, str]] = [
        ("days", f"{len(report.published):,} published, {len(report.skipped):,} finished before"),
        ("rows", f"{number(report.rows)} ({size(report.bytes)} in memory)"),
        ("time", f"{report.seconds:.1f} s in {plural(report.steps, 'step')}"),
        ("checks", f"{plural(report.checks, 'check')}, {plural(len(report.warnings), 'warning')}"),
        ("output", report_place(work)),
    ]
    if report.empty:
        rows.append(("empty", f"{plural(len(report.empty), 'day')} without rows: {ranges(as_ranges(report.empty))}"))
    rows += finding_rows(report)
    print_table(f"Backfilled {report.name}", ["", ""], rows)
    for warning in report.warnings:
        click.echo(click.style("warning: ", fg="yellow") + warning)


def report_place(work: Work) -> str:
    return f"table {work.table} at {work.output.uri}"
