"""One column of a join for one row: found in a part, or followed through derivations and left columns to its origin.

Only what the column needs is planned: the one part, or for a derivation the whole join. A row may be given by its keys
and `ts`, or by the join's row_id, and is then read from the left. A value that bootstrap gives to the row is not
computed, so it is explained by the table that gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from zipline.api import ExternalSource, GroupBy, Join, JoinPart
from zipline.api.base import assign_place
from zipline.arrow import to_arrow
from zipline.clock import to_micros
from zipline.engines.explanation.asked import Found
from zipline.engines.explanation.contract import Explanation
from zipline.engines.explanation.left import left_row
from zipline.engines.explanation.parents import command
from zipline.engines.explanation.parts import evaluated, explain_part
from zipline.engines.explanation.values import key_array
from zipline.engines.local.bootstrap import read_given
from zipline.engines.local.session import connect
from zipline.errors import UsageError
from zipline.plan.build import Planned
from zipline.plan.steps import BootstrapRead, Derived, JoinPlan, PartPlan
from zipline.tables.catalog import Catalog
from zipline.types import TIMESTAMP, DataType
from zipline.values import dataclass


@dataclass
class JoinedRow:
    """A row of a join, of which columns can be asked; `depth` is how many parents down values are explained."""

    join: Join
    row: Mapping[str, Any]
    catalog: Catalog
    depth: int = 1

    def explain(self, column: str) -> Found:
        """The explanation of one column of the output."""
        given = self._given(column)
        if given is not None:
            return given
        found = self._computed(column)
        if self._may_be_given(column) and not self._has_row_id:
            note = f"bootstrap gives {column} to some rows: with row_id ({self._row_id}) in the row it is looked up"
            return replace(found, explanation=_noted(found.explanation, note))
        return found

    def _computed(self, column: str) -> Found:
        part = self._part(column)
        if part is not None:
            return self._of_part(*part, column)
        derived = next((d for d in self.plan.derivations if d.name == column), None)
        if derived is not None:
            return self._derived(derived)
        if column == "ts" or column in dict(self.plan.left_columns):
            return self._left(column)
        if column in dict(self.plan.feature_columns):
            return self._requested(column)
        valid = [name for name, _ in self.plan.columns]
        raise UsageError(f"{self.join.title} has no feature {column!r}", asked=column, valid=valid)

    @cached_property
    def plan(self) -> JoinPlan:
        """The whole join."""
        return self._planned.join(self.join)

    @cached_property
    def _planned(self) -> Planned:
        return Planned(lambda name: self.catalog.table(name).schema)

    def _part(self, column: str) -> tuple[PartPlan, GroupBy, JoinPlan] | None:
        for narrow, group_by in _narrowed(self.join, column):
            plan = self._planned.join(narrow)
            for part in (*plan.parts, *plan.labels):
                if column in dict(part.columns):
                    return part, group_by, plan
        return None

    def _of_part(self, part: PartPlan, group_by: GroupBy, plan: JoinPlan, column: str) -> Found:
        row = self._completed(plan, (*part.left_keys, "ts"))
        name = column[len(part.prefix) :]
        given = None if part.external else self._given
        found = explain_part(part, group_by, name, row, self.catalog, given=given, depth=self.depth)
        if part.external is None:
            return found
        note = f"offline this stands for the external source {part.external.name}, which a request asks"
        value = found.value.cast(to_arrow(dict(part.columns)[column]))
        return Found(replace(_noted(found.explanation, note), value=value[0].as_py()), value)

    def _completed(self, plan: JoinPlan, needed: tuple[str, ...]) -> Mapping[str, Any]:
        """The row with what it lacks read from the left, where its row_id is given."""
        if all(name in self.row for name in needed) or not self._has_row_id:
            return self.row
        return {**left_row(plan, self.join, self.row, self.catalog), **self.row}

    @property
    def _has_row_id(self) -> bool:
        return bool(self.join.row_id) and all(self.row.get(name) is not None for name in self.join.row_id)

    @property
    def _row_id(self) -> str:
        return ", ".join(self.join.row_id)

    def _may_be_given(self, column: str) -> bool:
        return any(column in part.columns for part in self.join.bootstrap)

    def _given(self, column: str) -> Found | None:
        """The value that bootstrap gives to this row; None where it gives none."""
        if not self._may_be_given(column) or not self._has_row_id:
            return None
        return next((found for read in self.plan.bootstrap if (found := self._given_by(read, column))), None)

    def _given_by(self, read: BootstrapRead, column: str) -> Found | None:
        if column not in dict(read.columns):
            return None
        types = dict(self.plan.left_columns)
        left = pa.table({name: typed(self.row[name], name, types[name]) for name in read.row_id})
        connection = connect()
        try:
            given, _ = read_given(connection, self.catalog, [read], left)
        finally:
            connection.close()
        if not given[column].covered[0]:
            return None
        ids = ", ".join(f"{name}={self.row[name]!r}" for name in read.row_id)
        source = f"taken from {read.source.table}, row {ids}; not computed"
        return Found(self._explanation(column, given[column].values, "bootstrap", source), given[column].values)

    def _derived(self, derived: Derived) -> Found:
        names = sorted(derived.expression.columns)
        inputs = [self.explain(name) for name in names]
        value = evaluated(derived, {name: each.value for name, each in zip(names, inputs, strict=True)})
        written = next(d for d in self.join.derivations if d.name == derived.name)
        explanation = self._explanation(derived.name, value, "derivation", derived.expression.text)
        times = [explanation.query_time, *(each.explanation.query_time for each in inputs)]
        explanation = replace(
            explanation,
            query_time=next((time for time in times if time is not None), None),
            location=str(written.location) if written.location else self.plan.location,
            inputs=tuple(each.explanation for each in inputs),
            deeper=tuple(command(self.join, name, self.row) for name in names if not self._is_of_left(name)),
        )
        return Found(explanation, value)

    def _left(self, column: str) -> Found:
        row = self._completed(self.plan, (column,))
        if column not in row:
            raise UsageError(f"the row needs {column!r}, a column of the left", valid=row, hint=self._needs(column))
        dtype = TIMESTAMP if column == "ts" else dict(self.plan.left_columns)[column]
        value = typed(row[column], column, dtype)
        left = self.plan.left
        expression = left.columns.get(column, left.time)
        table = left.parent.name if left.parent else left.table
        text = f"{_bare(expression.text)} of {table}" if expression is not None else f"the end of the day of {table}"
        explanation = self._explanation(column, value, "query time" if column == "ts" else "left column", text)
        return Found(replace(explanation, deeper=self._deeper(column)), value)

    def _deeper(self, column: str) -> tuple[str, ...]:
        """Of a column of a chained left the command that explains it there."""
        left, parent = self.plan.left, getattr(self.join.left, "join", None)
        if left.parent is None or parent is None or column not in left.columns:
            return ()
        names = sorted(left.columns[column].columns & {name for name, _ in left.parent.feature_columns})
        return tuple(command(parent, name, self.row) for name in names)

    def _requested(self, column: str) -> Found:
        """A column that arrives with a request: offline there is none, unless bootstrap gives it."""
        external = next((each for each in self.plan.externals if column in dict(each.columns)), None)
        kind = "contextual" if external is None else "external"
        value = pa.nulls(1, to_arrow(dict(self.plan.feature_columns)[column]))
        what = "arrives with the request" if external is None else f"asked of {external.name} at request time"
        explanation = self._explanation(column, value, kind, what)
        note = "offline it is null: the left has no such column, and no bootstrap gives it to this row"
        if external is not None:
            note = "offline it is null: the external source has no twin, and no bootstrap gives it to this row"
            explanation = replace(explanation, location=external.location)
        return Found(_noted(explanation, note), value)

    def _needs(self, column: str) -> str:
        ids = f", or the row_id ({self._row_id}) to read it from the left" if self.join.row_id else ""
        return f"give {column}{ids}"

    def _explanation(self, column: str, value: pa.Array, kind: str, expression: str | None) -> Explanation:
        ts = self.row.get("ts")
        return Explanation(
            column=column,
            value=value[0].as_py(),
            kind=kind,
            keys=self._identity(),
            query_time=None if ts is None else to_micros(ts),
            definition=self.join.title,
            location=str(self.join.location) if self.join.location else None,
            expression=expression,
        )

    def _is_of_left(self, column: str) -> bool:
        return column == "ts" or column in dict(self.plan.left_columns)

    def _identity(self) -> dict[str, Any]:
        """What says which row it is: its row_id, or else all that was given of it."""
        named = {name: self.row[name] for name in self.join.row_id if name in self.row}
        return named or {name: value for name, value in self.row.items() if name != "ts"}


def _noted(explanation: Explanation, note: str) -> Explanation:
    return replace(explanation, notes=(*explanation.notes, note))


def _bare(text: str) -> str:
    return text.strip('"')


def typed(value: Any, column: str, dtype: DataType) -> pa.Array:
    """A value of the row as an array of one of its column's type."""
    return pa.nulls(1, to_arrow(dtype)) if value is None else key_array(value, column, dtype)


def _narrowed(join: Join, column: str) -> Iterator[tuple[Join, GroupBy]]:
    """The join with one part alone, and its group-by, for each part that the column's name can be of."""
    bare: dict[str, Any] = {"parts": (), "labels": None, "derivations": (), "checks": (), "bootstrap": (), "row_id": ()}
    for part in join.parts:
        group_by = _group_by(part)
        if group_by is not None and _may_hold(part, column):
            yield _as_written(join, **{**bare, "parts": (part,)}), group_by
    labels = join.labels
    for part in labels.parts if labels else ():
        group_by = _group_by(part)
        if labels and group_by is not None and _may_hold(part, column):
            yield _as_written(join, **{**bare, "labels": replace(labels, parts=(part,))}), group_by


def _as_written(join: Join, **changes: Any) -> Join:
    """A copy with changes that stands at the author's line."""
    narrow = replace(join, online=False, **changes)
    assign_place(narrow, join)
    return narrow


def _may_hold(part: JoinPart, column: str) -> bool:
    return bool(part.source.short_name) and f"{part.source.short_name}_" in column


def _group_by(part: JoinPart) -> GroupBy | None:
    source = part.source
    found: GroupBy | None = source.offline if isinstance(source, ExternalSource) else source
    return found
