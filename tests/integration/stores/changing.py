"""An entity as it changes at random: its rows, its changes in the order in which they arrive, and its snapshots."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from typing import Any

START = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
DAY, TILE = 86_400, 300
ON_TIME, NO_KEY = "on time", "no key"
LATE, OVER_MIDNIGHT, KNOWN_LATE, AHEAD = "late", "over midnight", "known late", "ahead"
UPDATED, MOVED, RETIMED, REVERSED = "updated", "moved", "retimed", "reversed"
KINDS = (ON_TIME, NO_KEY, LATE, OVER_MIDNIGHT, KNOWN_LATE, AHEAD, UPDATED, MOVED, RETIMED, REVERSED)
_OF_ROWS = (UPDATED, MOVED, RETIMED, REVERSED)

Row = dict[str, Any]


class Entity:
    """Times are seconds after START. `kinds` counts the changes, `ahead` is how far ahead a row's own time may lie.

    A row whose insert arrives late is never changed again: its reversal could come first, and that may show online.
    """

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.kinds = draw, Counter[str]()
        self._rows: list[Row] = []
        self._settled: list[tuple[float, Row]] = []
        self._coming: list[tuple[float, Row]] = []

    def change(self, at: float) -> None:
        """Something changes."""
        draw = self.draw
        kind = draw.choice(KINDS)
        if kind in _OF_ROWS and not self._rows:
            kind = ON_TIME
        self.kinds[kind] += 1
        if kind in _OF_ROWS:
            self._alter(kind, at)
        elif kind in (LATE, OVER_MIDNIGHT):
            midnight = at - at % DAY + DAY
            made = at if kind == LATE else midnight - draw.uniform(0, 30)
            row = self._row(made)
            self._settled.append((made, row))
            self._tell(made, row, arrival=made + draw.choice([5, 400, 30_000]) if kind == LATE else midnight + 100)
        else:
            self._insert(at, self._row(at, kind))

    def arrived(self, until: float) -> list[Row]:
        """The changes that have arrived by then and were not given before."""
        ready = sorted((each for each in self._coming if each[0] <= until), key=lambda each: each[0])
        self._coming = [each for each in self._coming if each[0] > until]
        return [row for _, row in ready]

    def snapshot(self, day: int) -> list[Row]:
        """The rows at the end of a day (by number)."""
        settled = [row for made, row in self._settled if made < (day + 1) * DAY]
        text = (START + dt.timedelta(days=day)).date().isoformat()
        return [row | {"ds": text} for row in (*self._rows, *settled)]

    def is_about_to_happen(self, at: float) -> bool:
        """Whether a row's own time lies in what is left of the five minutes: that it may be seen already."""
        first, last = (START + dt.timedelta(seconds=each) for each in (at, at - at % TILE + TILE))
        rows = [*self._rows, *(row for _, row in self._settled)]
        return any(row["t"] is not None and first <= row["t"] < last for row in rows)

    def _alter(self, kind: str, at: float) -> None:
        row = self._rows.pop(self.draw.randrange(len(self._rows)))
        self._tell(at, row, is_before=True)
        fresh = self._row(at)
        if kind == UPDATED:
            self._insert(at, fresh | {"key": row["key"], "t": row["t"]})
        elif kind == MOVED:
            self._insert(at, row | {"key": fresh["key"]})
        elif kind == RETIMED:
            self._insert(at, row | {"t": fresh["t"]})

    def _insert(self, at: float, row: Row) -> None:
        self._rows.append(row)
        self._tell(at, row)

    def _tell(self, made: float, row: Row, *, is_before: bool = False, arrival: float | None = None) -> None:
        told = row | {"changed": START + dt.timedelta(seconds=made), "before": is_before}
        self._coming.append((made if arrival is None else arrival, told))

    def _row(self, at: float, kind: str = ON_TIME) -> Row:
        draw = self.draw
        happened = at - draw.choice([0, 0, 20, 3_000, 40_000])
        if kind == KNOWN_LATE:
            happened = at - draw.choice([DAY, 8 * DAY, 40 * DAY])
        if kind == AHEAD:
            happened = at + draw.choice([100, 4_000, DAY, 5 * DAY])
        return {
            "key": None if kind == NO_KEY else draw.randrange(4),
            "x": draw.choice([None, float("nan"), draw.uniform(-5, 5), 1e11, -0.0]),
            "n": draw.choice([None, draw.randrange(-3, 3), 2**55]),
            "word": draw.choice([None, "a", "bb", ""]),
            "at": START + dt.timedelta(seconds=draw.randrange(1000)),
            "numbers": draw.choice([None, [], [1, None, draw.randrange(3)]]),
            "t": None if draw.random() < 0.03 else START + dt.timedelta(seconds=happened),
        }
