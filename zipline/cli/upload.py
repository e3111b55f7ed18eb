"""`zipline upload`: a group-by's features as of the end of a day, into the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zipline.cli.options import Day, load_definitions, open_project, project_options
from zipline.cli.screen import number, plural, print_json, size

if TYPE_CHECKING:
    from zipline.orchestration.upload import UploadReport
    from zipline.project import Project


@click.command()
@click.argument("group_by")
@click.option("--ds", required=True, type=Day(), help="The day as of whose end the features are.")
@click.option("--allow-missing", is_flag=True, help="Also where a source has nothing of the day yet.")
@project_options
def command(
    group_by: str, ds: str, allow_missing: bool, project: str | None, environment: str | None, as_json: bool
) -> None:
    """Put a group-by's features as of the end of a day online.

    Readers see the whole upload at once or nothing of it, and go on with the one before until then. Uploading a day
    again changes nothing but what its data changed. A day is refused of which a source has no data. What was posted to
    its sources is appended to their tables first.

    \b
    Example:
      zipline upload flights.carriers.carrier_arrivals --ds 2013-07-31
    """
    opened = open_project(project, environment)
    report = upload(opened, group_by, ds, allow_missing=allow_missing)
    done, per_key = report.generation, report.generation.size / max(1, report.generation.rows)
    rate = done.rows / max(report.seconds, 1e-9)
    if as_json:
        facts = {"keys": done.rows, "bytes": done.size, "seconds": round(report.seconds, 3)}
        named = {"group_by": report.group_by, "day": ds, "generation": done.name, "missing": list(report.missing)}
        print_json(named | facts)
        return
    click.echo(
        f"uploaded {plural(done.rows, 'key')}, {size(done.size)} ({per_key:.0f} bytes a key), "
        f"in {report.seconds:.1f} s ({number(round(rate))} keys/s)"
    )
    for missing in report.missing:
        click.echo(click.style("warning: ", fg="yellow") + missing)


def upload(project: Project, name: str, day: str, *, allow_missing: bool) -> UploadReport:
    """Uploads a group-by of the project, as a run of the registry."""
    from zipline.api import GroupBy
    from zipline.orchestration.events.opening import append_posted
    from zipline.orchestration.events.sources import event_tables_below
    from zipline.orchestration.runs import recorded_run
    from zipline.orchestration.upload import upload_day
    from zipline.plan.build import plan_group_by
    from zipline.plan.online import Kept
    from zipline.registry import open_registry
    from zipline.stores.opening import open_store, space_of
    from zipline.tables.catalog import open_catalog

    definitions = load_definitions(project)
    definition = definitions.find(name, GroupBy)
    append_posted(project, definitions, open_catalog(project=project), event_tables_below(definition))
    catalog = open_catalog(project=project)
    plan = plan_group_by(definition, lambda table: catalog.table(table).schema)
    space = space_of(project, plan.name)
    asked = {"day": day, "allow_missing": allow_missing}
    store = open_store(project)
    try:
        with (
            open_registry(project) as registry,
            recorded_run(
                registry,
                "upload",
                asked,
                subject=plan.name,
                output=f"online {space}",
                fingerprint=plan.fingerprint,
                days=[day],
            ) as run,
        ):
            report = upload_day(Kept(plan), catalog, store, space, day, allow_missing=allow_missing)
            run.count(rows=report.generation.rows, bytes_written=report.generation.size)
    finally:
        store.close()
    return report
