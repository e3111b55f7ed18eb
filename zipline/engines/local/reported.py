"""What readings say of the data that they held, for the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zipline.engines.contract import Report, most_keys
from zipline.engines.local.read import Rows
from zipline.plan.reads import read_key
from zipline.plan.steps import PartPlan


def count_orphans(report: Report, readings: Mapping[tuple[Any, ...], Rows], parts: Sequence[PartPlan]) -> None:
    """Reversals of rows that were not there."""
    counts = report.orphan_reversals
    for changes in (each for part in parts for each in part.projections if each.kind == "mutations"):
        rows = readings.get(read_key(changes))
        if rows is not None and rows.orphans:
            counts[changes.table] = max(counts.get(changes.table, 0), rows.orphans)


def count_strange_snapshots(
    report: Report, readings: Mapping[tuple[Any, ...], Rows], parts: Sequence[PartPlan]
) -> None:
    """Keys with several rows in a snapshot, or an older one in a later snapshot."""
    for source in (each for part in parts for each in part.projections if each.kind == "snapshots"):
        if (rows := readings.get(read_key(source))) is None:
            continue
        repeated, older = (
            {f"{source.title} by {keys}": count for keys, count in found.items()}
            for found in (rows.repeated, rows.older)
        )
        report.repeated_keys = most_keys(report.repeated_keys, repeated)
        report.older_keys = most_keys(report.older_keys, older)
