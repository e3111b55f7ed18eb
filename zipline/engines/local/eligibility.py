"""Whether a part is looked for among stored partials, and if not why: what `zipline plan` says and a run goes by.

What only the days asked for decide is left to the run: where most that the queries see must be read as rows (the
window is short, or all days are computed at once), everything is. Light to import.
"""

from __future__ import annotations

from zipline.plan.condensed import describe, refusal
from zipline.plan.steps import PartPlan
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table


def refused(part: PartPlan, catalog: Catalog, least_rows: int) -> str | None:
    """Why a part is computed from rows, whatever days are asked for; None where partials serve."""
    reason = refusal(part)
    if reason is not None:
        return reason
    for source in part.group_by.sources:
        if source.parent is not None and not catalog.is_given(source.table):
            return f"{source.title} is computed in the same run"
        table = catalog.table(source.table)
        rows = table.statistics().rows
        if rows is None and least_rows:
            return f"{source.title} does not tell its rows before it is read"
        if rows is not None and rows < least_rows:
            return f"{source.title} has {rows:,} rows and is read as quickly (partials are for {least_rows:,} and more)"
        if not table.schema or not _is_of_files(table):
            return f"{source.title} is not made of files"
    return None


def described(part: PartPlan, catalog: Catalog, least_rows: int) -> str:
    """What a part's features are computed from, in one line."""
    reason = refused(part, catalog, least_rows)
    return describe(part) if reason is None else f"rows: {reason}"


def _is_of_files(table: Table) -> bool:
    # It takes a while to import, and few tables get here.
    from zipline.tables.memory import MemoryTable

    return not isinstance(table, MemoryTable)
