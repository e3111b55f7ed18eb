"""Explaining one value: the source events behind it, and what was left out and why.

Contract: `explain` gives the explanation of one column of a join or group-by for one row. The value comes from the
engine, over the few rows that the bounds select, and is computed again in plain Python from the events that are listed;
where the two differ the explanation says so. What each verdict means is in `explanation.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zipline.api import GroupBy, Join
from zipline.engines.explanation.contract import Event, Explanation
from zipline.engines.explanation.joins import JoinedRow
from zipline.engines.explanation.parts import explain_part
from zipline.errors import UsageError
from zipline.plan.build import plan_group_by
from zipline.plan.steps import PartPlan
from zipline.tables.catalog import Catalog


def explain(definition: Join | GroupBy, column: str, row: Mapping[str, Any], catalog: Catalog) -> Explanation:
    """The explanation of `column` for the keys and `ts` in `row`; for a join its row_id may stand for both."""
    if not isinstance(row, Mapping):
        raise UsageError(
            f"the row is {type(row).__name__}, not a mapping",
            hint='give one row: {"carrier": "UA", "ts": "2013-07-01"}',
        )
    if isinstance(definition, GroupBy):
        plan = plan_group_by(definition, lambda name: catalog.table(name).schema)
        names = tuple(name for name, _ in plan.columns)
        part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", names)
        return explain_part(part, definition, column, row, catalog).explanation
    if not isinstance(definition, Join):
        raise UsageError(f"explain takes a Join or a GroupBy, not {type(definition).__name__}")
    return JoinedRow(definition, row, catalog).explain(column).explanation


__all__ = ["Event", "Explanation", "explain"]
