"""Uploads as runs of the registry, which one process at a time makes of a version of a group-by."""

from __future__ import annotations

from zipline.api import GroupBy
from zipline.orchestration.events.opening import append_posted
from zipline.orchestration.events.sources import event_tables_below
from zipline.orchestration.runs import recorded_run
from zipline.orchestration.upload import UploadReport, upload_day
from zipline.plan.build import plan_group_by
from zipline.plan.definitions import Definitions
from zipline.plan.online import Kept
from zipline.project import Project
from zipline.registry import open_registry
from zipline.stores.contract import Store
from zipline.stores.opening import space_of
from zipline.tables.catalog import open_catalog


def run_upload(
    project: Project,
    definitions: Definitions,
    name: str,
    day: str,
    store: Store,
    *,
    allow_missing: bool = False,
    allow_older: bool = False,
) -> UploadReport:
    """Uploads a group-by as of the end of a day, after what was posted to its sources is in their tables."""
    definition = definitions.find(name, GroupBy)
    append_posted(project, definitions, open_catalog(project=project), event_tables_below(definition))
    catalog = open_catalog(project=project)
    kept = Kept(plan_group_by(definition, lambda table: catalog.table(table).schema))
    space = space_of(project, kept)
    allowed = {"allow_missing": allow_missing, "allow_older": allow_older}
    asked = {"day": day, **allowed}
    output, fingerprint = f"online {space}", kept.group_by.fingerprint
    with (
        open_registry(project) as registry,
        recorded_run(
            registry, "upload", asked, subject=name, output=output, fingerprint=fingerprint, days=[day]
        ) as run,
    ):
        report = upload_day(kept, catalog, store, space, day, **allowed)
        run.count(rows=report.generation.rows, bytes_written=report.generation.size)
    return report
