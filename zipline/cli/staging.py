"""`zipline backfill` of a staging query: its table, by days or whole."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from zipline.cli.screen import plural, print_json, ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zipline.orchestration.staging import Staging, StagingReport
    from zipline.plan.definitions import Definitions
    from zipline.project import Project
    from zipline.tables.catalog import Catalog


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
    dry_run: bool = False,
) -> None:
    """Makes what is due of the query's table, and of those that it reads: DuckDB does; of `engine` are the tables.

    With `dry_run` it is only said what that is.
    """
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
    if dry_run:
        _show_due(
            [*below(definitions, name, project), own], open_catalog(project=project, opener=opener), as_json=as_json
        )
        return
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


def _show_due(queries: Sequence[Staging], catalog: Catalog, *, as_json: bool) -> None:
    """What is missing of the queries' tables, or made otherwise; where one that others read is due, so may these be."""
    due = {}
    for query in queries:
        due[query.plan.name] = query.due(catalog)
        catalog = query.plannable(catalog)
    if as_json:
        print_json({"due": due})
        return
    for name, days in due.items():
        click.echo(f"{name}: {what_is_due(days)}")
    click.echo("\nnothing was done")


def what_is_due(days: Sequence[str]) -> str:
    """What of a staging query's table is made before who reads it."""
    from zipline.orchestration.staging import WHOLE

    return "up to date" if not days else "the whole table" if list(days) == [WHOLE] else f"{len(days)} days to make"
