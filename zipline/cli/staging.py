"""`zipline backfill` of a staging query: its table, by days or whole."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from zipline.cli.screen import plural, print_json, ranges

if TYPE_CHECKING:
    from zipline.orchestration.staging import StagingReport
    from zipline.plan.definitions import Definitions
    from zipline.project import Project


def backfill_staging(
    project: Project,
    definitions: Definitions,
    name: str,
    start: str | None,
    end: str | None,
    engine: str,
    *,
    step_days: int,
    force: bool,
    as_json: bool,
) -> None:
    """Makes what is due of the query's table, and of those that it reads: DuckDB does; of `engine` are the tables."""
    from zipline.api import StagingQuery
    from zipline.engines.frames import opener_of
    from zipline.orchestration.runs import recorded_run
    from zipline.orchestration.staging import Staging, below, bring_up
    from zipline.plan.staging import plan_staging
    from zipline.registry import open_registry
    from zipline.tables.catalog import open_catalog

    opener = opener_of(engine, project)
    own = Staging(plan_staging(definitions.find(name, StagingQuery)), project, start, end)
    facts = {"start": start, "end": end, "step_days": step_days, "force": force}
    with (
        open_registry(project) as registry,
        recorded_run(
            registry, "backfill", facts, subject=name, output=own.output.uri, fingerprint=own.plan.fingerprint
        ) as run,
    ):
        bring_up(
            below(definitions, name, project),
            step_days=step_days,
            tell=lambda report: None if as_json else tell(report),
            holding=lambda uri: registry.locks.acquire(uri, f"zipline backfill {name}"),
            opener=opener,
        )
        report = own.make(open_catalog(project=project, opener=opener), step_days=step_days, force=force)
        run.count(rows=report.rows if report else 0)
    if as_json:
        print_json({"name": name, "uri": own.output.uri, "made": dataclasses.asdict(report) if report else None})
    elif report:
        tell(report)
    else:
        click.echo(f"{name}: nothing to do")


def tell(report: StagingReport) -> None:
    """One line of what was made."""
    from zipline.orchestration.coverage import as_ranges

    days = f"{plural(len(report.days), 'day')} ({ranges(as_ranges(report.days))})" if report.days else "whole"
    anew = ", the table made anew" if report.rewritten and report.days else ""
    click.echo(f"{report.name}: {days}, {plural(report.rows, 'row')}{anew}")
