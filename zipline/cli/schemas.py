"""The schemas of a project's tables, for commands that type definitions and read no rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from zipline.errors import TableError

if TYPE_CHECKING:
    from zipline.plan.definitions import Definitions
    from zipline.project import Project
    from zipline.types import DataType


def schemas_of(project: Project, definitions: Definitions) -> Callable[[str], Mapping[str, DataType]]:
    """Table -> its columns; what a staging query has not made yet has the columns that the query will give."""
    from zipline.tables.catalog import open_catalog

    catalog = open_catalog(project=project)

    def schema(table: str) -> Mapping[str, DataType]:
        try:
            return catalog.table(table).schema
        except TableError:
            made = _to_be_made(project, definitions, table)
            if made is None:
                raise
            return made

    return schema


def _to_be_made(project: Project, definitions: Definitions, table: str) -> Mapping[str, DataType] | None:
    from zipline.api import StagingQuery

    query = definitions.get(table)
    if not isinstance(query, StagingQuery):
        return None
    from zipline.orchestration.staging import Staging, upstream
    from zipline.plan.staging import plan_staging
    from zipline.tables.catalog import open_catalog

    catalog = open_catalog(project=project)
    for each in (*upstream(definitions, table), query):
        catalog = Staging(plan_staging(each), project, None, "9999-12-31").plannable(catalog)
    return catalog.table(table).schema
