"""Where a project's stored hop partials are, beside its tables, in a folder that is no table; and what they serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zipline.engines.local.eligibility import described
from zipline.plan.steps import JoinPlan, PartPlan
from zipline.project import Project
from zipline.tables.catalog import Catalog
from zipline.tables.storage import joined

if TYPE_CHECKING:
    from zipline.tables.partials import PartialStore

FOLDER = "_partials"
LEAST_ROWS = 1_000_000
"""From here on a day of a month's windows is sooner by more than a tenth of a second and reads a tenth of the bytes.

Making the partials takes what five such days save, whatever the table's size; below, nobody would notice either.
"""


def partial_store(project: Project) -> PartialStore:
    """The project's partials. Deleting them at any time is safe: they are made again."""
    # It takes a while to import, and a plan needs none of it.
    from zipline.tables.partials import PartialStore

    return PartialStore(joined(project.warehouse, FOLDER), project.storage_options, LEAST_ROWS)


def uses_of_partials(plan: JoinPlan, catalog: Catalog, *, training: bool = True) -> tuple[tuple[str, str], ...]:
    """(part, what it is computed from and why) of every part, those of parents after `join: `."""
    own = [("", plan, (*plan.parts, *(plan.labels if training else ())))]
    own += [(f"{parent.name}: ", parent, parent.parts) for parent in plan.parents_for(training=training)]
    return tuple(use for user, join, parts in own for use in _uses(user, join, parts, catalog))


def _uses(user: str, plan: JoinPlan, parts: tuple[PartPlan, ...], catalog: Catalog) -> Iterator[tuple[str, str]]:
    given = {name for read in plan.bootstrap for name, _ in read.columns}
    for part in parts:
        covered = any(name in given for name, _ in part.columns) and part.offset is None
        told = "rows: bootstrap gives values of it" if covered else described(part, catalog, LEAST_ROWS)
        yield user + (part.prefix.removesuffix("_") or part.group_by.short_name), told
