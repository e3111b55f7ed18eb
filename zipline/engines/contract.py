"""What an engine gives back: a table, and a report of what it met on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa


@dataclass
class Report:
    """Counts of one run.

    `null_keys` counts left rows with a null key per set of keys, `without_time` source rows that are never seen
    because a clock is null per table, `immature` the rows left out because their labels are not complete, `undated` the
    left rows that no day of a range holds because they have no time. `waiting` are the days of a range with rows whose
    labels may still become complete.
    """

    rows: int = 0
    null_times: int = 0
    immature: int = 0
    undated: int = 0
    waiting: tuple[str, ...] = ()
    null_keys: dict[str, int] = field(default_factory=dict)
    without_time: dict[str, int] = field(default_factory=dict)
    rows_read: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One row per left row, in left order, and the report."""

    table: pa.Table
    report: Report
