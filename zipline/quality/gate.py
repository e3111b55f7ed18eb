"""The gate of an output: which checks a day must pass before it is published.

A join's own checks see its rows. The checks of a group-by hold in every join that takes the columns they name: they
see the part's columns under the group-by's own names, its keys, and `ts`. `unique` and `row_count_change` of a group-by
speak of its own rows, which a join does not have, and are left to whoever publishes those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from zipline.api import Check
from zipline.engines.contract import DayRows
from zipline.plan.steps import JoinPlan, PartPlan
from zipline.quality.checks import CheckResult, mentions, run_checks, validate_checks
from zipline.types import DataType
from zipline.values import dataclass

_OF_OWN_ROWS = ("unique", "row_count_change")


@dataclass(frozen=True)
class _View:
    """Checks, and the output's columns under the names that the checks use; None is the output as it is."""

    checks: tuple[Check, ...]
    columns: Mapping[str, str] | None = None

    def of(self, rows: DayRows) -> pa.Table:
        """The columns that the checks may name, in memory."""
        if self.columns is None:
            return rows.select(rows.column_names)
        return rows.select(list(self.columns.values())).rename_columns(list(self.columns))

    def schema(self, columns: Mapping[str, DataType]) -> Mapping[str, DataType]:
        return columns if self.columns is None else {name: columns[column] for name, column in self.columns.items()}


class Gate:
    """Called with (rows of a day, rows of the day before or None, the day's end in microseconds)."""

    def __init__(self, plan: JoinPlan, *, training: bool = True) -> None:
        """Refuses, before any work, checks that do not fit the output."""
        columns = dict(plan.columns if training else plan.scoring_columns)
        self._views = tuple(_views(plan, columns, training))
        for view in self._views:
            validate_checks(view.checks, view.schema(columns))

    @property
    def checks(self) -> tuple[Check, ...]:
        return tuple(check for view in self._views for check in view.checks)

    def __call__(self, rows: DayRows, previous_rows: int | None, as_of: int) -> Sequence[CheckResult]:
        return [
            result
            for view in self._views
            for result in run_checks(view.checks, view.of(rows), previous_rows=previous_rows, as_of=as_of)
        ]


def _views(plan: JoinPlan, columns: Mapping[str, DataType], training: bool) -> Iterator[_View]:
    own = tuple(check for check in plan.checks if set(check.columns) <= set(columns))
    if own:
        yield _View(own)
    for part in (*plan.parts, *(plan.labels if training else ())):
        named = _named(part)
        checks = tuple(c for c in part.group_by.checks if c.kind not in _OF_OWN_ROWS and mentions(c) <= set(named))
        if checks:
            yield _View(checks, named)


def _named(part: PartPlan) -> dict[str, str]:
    keys = {key: column for (key, _), column in zip(part.group_by.keys, part.left_keys, strict=True)}
    return {**keys, "ts": "ts", **{name: part.prefix + name for name in part.chosen}}
