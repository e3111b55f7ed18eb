"""Whether a stored day still is what a run would make of it, and if not, which columns are not and why.

The rows of a day are valid while the identity of the rows, the left's units and the maturity of its labels are as its
record says; a column while its identity and the digests of all that it reads are. Nothing else matters: not the
definition's other columns, not the step or the order in which days were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal

from zipline.orchestration.inputs import Inputs
from zipline.orchestration.presence import seen_by, seen_by_left
from zipline.orchestration.reaches import Reach
from zipline.orchestration.records import Definition, Record
from zipline.values import dataclass

Kind = Literal["missing", "forced", "unknown", "rows", "left", "labels", "columns", "sources", "carried", "changed"]

MEANING: Mapping[Kind, str] = {
    "missing": "not there yet",
    "forced": "asked for with --force",
    "unknown": "written without a record of what it was made from",
    "rows": "definition of the rows changed",
    "left": "left rows changed",
    "labels": "labels became complete",
    "columns": "definition changed",
    "sources": "input changed",
    "carried": "carried over to the new definition",
    "changed": "its files are not those that a run wrote",
}


@dataclass(frozen=True)
class Reason:
    """Why a day is done again: `names` are columns (of "columns") or tables (of "left" and "sources")."""

    kind: Kind
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DayWork:
    """A day to do. `columns` are computed, all others carried over; None: the whole day is made anew.

    `vanished` are days (of tables) that the stored day was made from and that are no longer there. Of a day that was
    `changed` by somebody else, or restored, nothing is known: it is neither valid nor carried over.
    """

    day: str
    reasons: tuple[Reason, ...]
    columns: tuple[str, ...] | None = None
    vanished: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_changed(self) -> bool:
        return self.reasons == (Reason("changed"),)

    @property
    def needs_force(self) -> bool:
        """Whether doing it would lose what cannot be made again, or undo what somebody did on purpose."""
        return bool(self.vanished) or self.is_changed


def judge(
    day: str, record: Record | None, definition: Definition, inputs: Inputs, left: str, *, forced: bool = False
) -> DayWork | None:
    """What is to be done of a day that is stored with this record; None where it is valid. `left` is its table."""
    if forced:
        return DayWork(day, (Reason("forced"),))
    if record is None:
        return DayWork(day, (Reason("unknown"),))
    now = inputs.of(day)
    held: tuple[tuple[Reason, str, str], ...] = (
        (Reason("rows"), record.definition.rows, definition.rows),
        (Reason("left", (left,)), record.left, now.left),
        (Reason("labels"), record.mature, now.mature),
    )
    whole = tuple(reason for reason, before, after in held if before != after)
    known = record.definition.columns
    redefined = [name for name, identity in definition.columns.items() if known.get(name) != identity]
    changed = [reach for reach in inputs.reaches if record.reaches.get(reach.key, "") != now.reaches.get(reach.key, "")]
    touched = [name for name in definition.columns if name not in redefined and inputs.columns[name] & set(changed)]
    found = (Reason("columns", tuple(redefined)), Reason("sources", _tables(inputs, touched, changed)))
    partly = tuple(reason for reason in found if reason.names)
    if not whole and not partly:
        return None
    columns = None if whole else tuple(name for name in definition.columns if name in {*redefined, *touched})
    anew = definition.columns if whole else redefined
    looked_at = {*changed, *(reach for name in anew for reach in inputs.columns[name])}
    return DayWork(day, whole or partly, columns, _vanished(day, record, inputs, looked_at, left))


def _tables(inputs: Inputs, columns: list[str], changed: list[Reach]) -> tuple[str, ...]:
    seen = frozenset[Reach]().union(*(inputs.columns[name] for name in columns))
    return tuple(sorted({reach.source.table for reach in changed if reach in seen}))


def _vanished(
    day: str, record: Record, inputs: Inputs, reaches: Iterable[Reach], left: str
) -> dict[str, tuple[int, ...]]:
    """Of what is read anew, the partitions that the record's commit saw, that the day sees, and that are gone.

    Those of a parent's tables count as the day's own: it was made from them.
    A partition that is there and has lost its rows was corrected; where there are no partitions none can go.
    """
    found: dict[str, set[int]] = {}
    if record.left and not inputs.of(day).left and inputs.has_lost(day):
        found[left] = {inputs.number(day)}
    of_left = seen_by_left(inputs, day) if record.left != inputs.of(day).left else ()
    for seen in (*seen_by(inputs, reaches, day), *of_left):
        if gone := set(seen.among(record.present.get(seen.place, {}))) - set(seen.labels):
            found.setdefault(seen.table, set()).update(gone)
    return {table: tuple(sorted(days)) for table, days in found.items()}
