"""The lives of a few rows, seeded: what was inserted, updated, deleted and restored, and the snapshots of some days.

Each change says in its `note`, which no definition selects, what it is: so `tallies` can count what was drawn. Dumps
and changes agree as a rule, and at times do not: rows are missing in a dump, or in it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .instants import DAY, day_of, instant
from .streams import Draw
from .tables import Row

DUMP_COLUMNS = {"t": "TIMESTAMP", "kept": "BOOLEAN", "note": "STRING", "ds": "STRING"}
LOG_COLUMNS = {"t": "TIMESTAMP", "kept": "BOOLEAN", "note": "STRING", "changed": "TIMESTAMP", "before": "BOOLEAN"}
STEPS = ("insert",) * 5 + ("update",) * 5 + ("delete",) * 3 + ("restore",) * 2 + ("copy",) * 2 + ("orphan",) * 3


@dataclass
class History:
    """One table of states in the making. `new_row` draws a row, without `note`; `days` are those with a snapshot."""

    draw: Draw
    new_row: Callable[[], Row]
    keys: Sequence[str]
    days: Sequence[int]
    queries: Sequence[int]
    live: list[Row] = field(default_factory=list)
    gone: list[Row] = field(default_factory=list)
    dumped: list[Row] = field(default_factory=list)
    log: list[Row] = field(default_factory=list)

    def play(self, steps: int) -> tuple[list[Row], list[Row]]:
        """The rows of the dump and of the log, in no order."""
        self.live = [self.new_row() for _ in range(self.draw.number(0, 6))]
        waiting = sorted(self.days)
        for time in self._times(steps):
            while waiting and waiting[0] + DAY <= time:
                self._dump(waiting.pop(0))
            self._step(time)
        for day in waiting:
            self._dump(day)
        self.draw.random.shuffle(self.dumped)
        self.draw.random.shuffle(self.log)
        return self.dumped, self.log

    def _times(self, steps: int) -> list[int]:
        times = [self.change_time() for _ in range(steps)]
        return sorted(self.draw.one(times) if self.draw.chance(0.12) else time for time in times)

    def change_time(self) -> int:
        """When a row changes: at or beside a query or a midnight, on a day that has a snapshot, or anywhere."""
        beside = self.draw.one([0, 0, 0, -1, 1])
        query, day = self.draw.one(self.queries), self.draw.one(self.days)
        kind = self.draw.number(0, 9)
        if kind <= 1:
            return query + beside
        if kind == 2:
            return day + DAY + beside
        if kind == 3:
            return day_of(query) + beside
        if kind <= 5:
            return self.draw.number(day_of(query), query)
        if kind == 6:
            return day + self.draw.number(0, DAY - 1)
        return self.draw.number(min(self.days) - DAY, max(self.days) + 3 * DAY)

    def _dump(self, day: int) -> None:
        """The day's snapshot; it has a row of no key in any case, so the day is there; at times none of `where`."""
        rows = [row for row in self.live if not self.draw.chance(0.04)]
        if self.draw.chance(0.1):
            rows.append(self.new_row())
        rows.append(self.new_row() | dict.fromkeys(self.keys))
        if self.draw.chance(0.2):
            rows = [row | {"kept": False} for row in rows]
        self.dumped += [row | {"ds": instant(day).date().isoformat(), "note": "dump"} for row in rows]

    def _step(self, time: int) -> None:
        kind = self.draw.one(STEPS)
        if kind == "insert" or (kind == "restore" and not self.gone) or (kind != "restore" and not self.live):
            self._insert(time, self.new_row(), "insert")
        elif kind == "restore":
            self._insert(time, self.draw.one(self.gone), "restore")
        elif kind == "copy":
            self._insert(time, self.draw.one(self.live), "copy")
        elif kind == "delete":
            self._reverse(time, self.draw.one(self.live), "delete")
        elif kind == "update":
            self._update(time, self.draw.one(self.live))
        else:
            self._note(time, self._stranger(), "orphan", before=True)

    def _insert(self, time: int, row: Row, note: str) -> None:
        self.live.append(row)
        self._note(time, row, note, before=False)

    def _reverse(self, time: int, row: Row, note: str) -> None:
        self.live.remove(row)
        self.gone.append(row)
        self._note(time, row, note, before=True)

    def _update(self, time: int, old: Row) -> None:
        """A row with one column of another, or another altogether; at times the row moves, or nothing changes."""
        other = self.new_row()
        changed = self.draw.random.sample(sorted(other), self.draw.number(0, 2))
        new = other if self.draw.chance(0.3) else old | {name: other[name] for name in changed}
        self._reverse(time, old, "update")
        self._insert(time, new, "update")

    def _stranger(self) -> Row:
        """A row that is not there: of no time, gone, or almost one that is."""
        row = self.draw.one([self.new_row(), *self.gone[-3:], *self.live[-3:]])
        name = self.draw.one([*sorted(row), "t", "t"])
        return row if row in self.gone and self.draw.chance(0.6) else row | {name: self.new_row()[name]}

    def _note(self, time: int, row: Row, note: str, *, before: bool) -> None:
        made: Any = None if self.draw.chance(0.03) else instant(time)
        self.log.append(row | {"note": note, "changed": made, "before": before})
