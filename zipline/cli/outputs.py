"""What `plan` and `backfill` share: the join, its plan, its output table and the days asked for."""

from __future__ import annotations

from zipline.api import Join
from zipline.cli.options import (
    arguments_again,
    check_range,
    load_definitions,
    open_project,
    with_known_expressions,
)
from zipline.engines.frames import opener_of
from zipline.errors import TableError, UsageError
from zipline.orchestration.staging import Staging, below
from zipline.plan.build import plan_join
from zipline.plan.definitions import Definitions
from zipline.plan.steps import Column, JoinPlan
from zipline.project import Project
from zipline.tables.catalog import Catalog, open_catalog
from zipline.tables.delta import DeltaOutput
from zipline.tables.stored_rows import output_name
from zipline.values import dataclass


@dataclass(frozen=True)
class Work:
    """A join over a range of days, planned and not yet run. `training` has labels, scoring has not."""

    project: Project
    definitions: Definitions
    join: Join
    plan: JoinPlan
    catalog: Catalog
    output: DeltaOutput
    table: str
    training: bool
    start: str
    end: str
    arguments: str = ""
    """What a suggested command must repeat of this one."""
    staging: tuple[Staging, ...] = ()
    """The staging queries whose tables it reads, those that others read first. Tables not made yet are empty here."""
    engine: str = "local"
    """What computes it: Spark's own opens the tables of its catalog."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.plan.columns if self.training else self.plan.scoring_columns


def open_work(
    name: str,
    project: str | None,
    environment: str | None,
    start: str | None,
    end: str | None,
    training: bool,
    as_of: int | None = None,
    engine: str = "local",
) -> Work:
    """Plans the join; DefinitionError and UsageError say what does not fit."""
    opened = open_project(project, environment)
    again = arguments_again(training, project, environment, as_of)
    return work_of(opened, load_definitions(opened), name, start, end, training, again, engine)


def work_of(
    opened: Project,
    definitions: Definitions,
    name: str,
    start: str | None,
    end: str | None,
    training: bool,
    again: str = "",
    engine: str = "local",
) -> Work:
    """The same for a project and definitions that are loaded; `again` is what a suggested command must repeat."""
    join: Join = definitions.find(name, Join)
    if start is not None and end is not None:
        check_range(start, end)
    catalog = _plannable(opened, definitions, name, engine)
    table = output_name(name, training)
    output = DeltaOutput(opened.table_uri(table), opened.storage_options)
    with with_known_expressions(opened):
        plan = plan_join(join, lambda table: catalog.table(table).schema)
        first, last = _days(plan, join, catalog, output, start, end)
    staging = tuple(below(definitions, name, opened))
    work = Work(opened, definitions, join, plan, catalog, output, table, training, first, last, again, staging, engine)
    _check_types(work)
    return work


def replanned(work: Work) -> Work:
    """The same work over the tables as they are now."""
    days = (work.start, work.end)
    return work_of(work.project, work.definitions, work.plan.name, *days, work.training, work.arguments, work.engine)


def _plannable(project: Project, definitions: Definitions, name: str, engine: str) -> Catalog:
    """The warehouse, where tables that staging queries have not made yet are empty."""
    catalog = open_catalog(project=project, opener=opener_of(engine, project))
    for staging in below(definitions, name, project):
        catalog = staging.plannable(catalog)
    return catalog


def _check_types(work: Work) -> None:
    """Refuses, before any work, columns that the stored days have in another type though the definition is the same."""
    stored = work.output.schema()
    if stored and work.output.fingerprint() not in (work.plan.fingerprint, None):
        return
    for name, dtype in work.columns:
        before = stored.get(name, dtype)
        if before != dtype and not any("NULL" in str(each) for each in (before, dtype)):
            raise TableError(
                f"the column {name!r} is {dtype} now, but {before} in the days that are stored at {work.output.uri}",
                subject=work.plan.name,
                hint="mend the source, give the column another name, or move the stored table away and backfill anew",
            )


def _days(
    plan: JoinPlan, join: Join, catalog: Catalog, output: DeltaOutput, start: str | None, end: str | None
) -> tuple[str, str]:
    """The range asked for; by default every day that the left or the output has."""
    left = plan.left
    while left.parent is not None:
        left = left.parent.left
    start = start or join.start
    # Asked whatever the range: a partition that is no day is an error, not a row that is in no day.
    partitions = catalog.table(left.table).partitions(left.partition) if left.partition else []
    if start is None or end is None:
        if not partitions:
            raise UsageError(
                f"which days? The left table {left.table!r} has no partitions that would say",
                subject=plan.name,
                hint="give --start and --end",
            )
        known = {partitions[0].day, partitions[-1].day, *output.days()}
        start, end = start or min(known), end or max(known)
    check_range(start, end)
    return start, end
