"""Where a project's stored hop partials are: beside its tables, in a folder that is no table."""

from __future__ import annotations

from zipline.project import Project
from zipline.tables.partials import PartialStore
from zipline.tables.storage import joined

FOLDER = "_partials"
LEAST_ROWS = 5_000_000
"""A second or so of reading and aggregating, which making the partials of a table costs several times over."""


def partial_store(project: Project) -> PartialStore:
    """The project's partials. Deleting them at any time is safe: they are made again."""
    return PartialStore(joined(project.warehouse, FOLDER), project.storage_options, LEAST_ROWS)
