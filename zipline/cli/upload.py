"""`zipline upload`: a group-by's features as of the end of a day, into the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zipline.cli.options import Day, load_served, open_project, project_options
from zipline.cli.screen import number, plural, print_json, size

if TYPE_CHECKING:
    from zipline.orchestration.upload import UploadReport
    from zipline.project import Project


@click.command()
@click.argument("group_by")
@click.option("--ds", required=True, type=Day(), help="The day as of whose end the features are.")
@click.option("--allow-missing", is_flag=True, help="Also where a source has nothing of the day yet.")
@click.option("--allow-older", is_flag=True, help="Also where a later day is served, whose place it takes.")
@project_options
def command(
    group_by: str,
    ds: str,
    allow_missing: bool,
    allow_older: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Put a group-by's features as of the end of a day online.

    Readers see the whole upload at once or nothing of it, and go on with the one before until then. Uploading a day
    again changes nothing but what its data changed. A day is refused of which a source has no data, and one before that
    which is served. What was posted to its sources is appended to their tables first.

    \b
    Example:
      zipline upload flights.carriers.carrier_arrivals --ds 2013-07-31
    """
    opened = open_project(project, environment)
    report = upload(opened, group_by, ds, allow_missing=allow_missing, allow_older=allow_older)
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


def upload(project: Project, name: str, day: str, *, allow_missing: bool, allow_older: bool = False) -> UploadReport:
    """Uploads a group-by of the definitions that are served, as a run of the registry."""
    from zipline.orchestration.upload_runs import run_upload
    from zipline.stores.opening import open_store

    store = open_store(project)
    try:
        definitions = load_served(project, store, name)
        allowed = {"allow_missing": allow_missing, "allow_older": allow_older}
        return run_upload(project, definitions, name, day, store, **allowed)
    finally:
        store.close()
