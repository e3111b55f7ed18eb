"""How many changes of each awkward kind the random states really held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from .entities import newest_snapshot
from .features import key_of
from .instants import DAY, day_of, floored_start, micros, span
from .tables import AggregateCase, Row

STATE_KINDS = (
    "insert",
    "update",
    "delete",
    "restore",
    "copy",
    "orphan",
    "reversals",
    "reversals before their row in the table",
    "reversals of one of equal rows",
    "reversals of a row of a snapshot",
    "exactly at a query",
    "exactly on a midnight",
    "at the time of another change",
    "on the day of a snapshot",
    "before every snapshot of some query",
    "without mutation_time",
    "crossing midnight",
    "of a row of a later time",
    "moving between keys",
    "moving through where",
    "of a row exactly at a query",
    "of a row exactly at a floored start",
    "of a row tied with another of its key",
    "of a row without a time",
    "with a null key",
)


def tally_states(cases: Iterable[AggregateCase]) -> Counter[str]:
    """Counts by kind over all changes of all cases; "changes" is the whole."""
    counts: Counter[str] = Counter()
    for case in cases:
        counts["cases"] += 1
        counts["queries"] += len(case.queries.rows)
        for source in case.group_by.sources:
            counts["rows of snapshots"] += len(case.tables[source.snapshots].rows)
            for row in _Log(case, source).kinds():
                counts.update(row)
    return counts


class _Log:
    """One source's changes and what they are looked at against."""

    def __init__(self, case: AggregateCase, source: Any) -> None:
        self.rows = case.tables[source.mutations].rows
        self.dumped = case.tables[source.snapshots].rows
        self.keys = list(case.group_by.keys)
        self.queries = {micros(row["ts"]) for row in case.queries.rows if row["ts"] is not None}
        windows = [span(window) for one in case.group_by.aggregations for window in one.windows if window is not None]
        self.starts = {floored_start(query, window) for query in self.queries for window in windows}
        self.days = {micros(row["ds"]) for row in self.dumped}
        self.snapshots = Counter(_same(row) for row in self.dumped)
        self.copies = Counter(_same(row) for row in self.rows if not row["before"])
        self.times = Counter(row["changed"] for row in self.rows if row["changed"])
        self.ties = Counter((self._key(row), row["t"]) for row in (*self.rows, *self.dumped))

    def _key(self, row: Row) -> str:
        return repr([row[name] for name in self.keys])

    def kinds(self) -> Iterator[set[str]]:
        seen: set[str] = set()
        for row in self.rows:
            yield {"changes", row["note"], *self._of_change(row), *self._of_row(row), *self._of_reversal(row, seen)}
            seen.add(_same(row))

    def _of_change(self, row: Row) -> Iterator[str]:
        if row["changed"] is None:
            yield "without mutation_time"
            return
        time = micros(row["changed"])
        if time in self.queries:
            yield "exactly at a query"
        if time % DAY == 0:
            yield "exactly on a midnight"
        if self.times[row["changed"]] > 1:
            yield "at the time of another change"
        if day_of(time) in self.days:
            yield "on the day of a snapshot"
        if any(time < query and newest_snapshot(dict.fromkeys(self.days), query) is None for query in self.queries):
            yield "before every snapshot of some query"
        yield from self._of_move(row)

    def _of_move(self, row: Row) -> Iterator[str]:
        """What an update changed, by the other of its two rows."""
        others = [
            one for one in self.rows if one["note"] == row["note"] == "update" if one["changed"] == row["changed"]
        ]
        if len({self._key(one) for one in others}) > 1:
            yield "moving between keys"
        if len({one["kept"] is True for one in others}) > 1:
            yield "moving through where"

    def _of_row(self, row: Row) -> Iterator[str]:
        if self.keys and key_of([row[name] for name in self.keys]) is None:
            yield "with a null key"
        if row["t"] is None:
            yield "of a row without a time"
            return
        time = micros(row["t"])
        if row["changed"] is not None and day_of(time) < day_of(micros(row["changed"])):
            yield "crossing midnight"
        if row["changed"] is not None and row["t"] >= row["changed"]:
            yield "of a row of a later time"
        if time in self.queries:
            yield "of a row exactly at a query"
        if time in self.starts:
            yield "of a row exactly at a floored start"
        if self.ties[self._key(row), row["t"]] > 1:
            yield "of a row tied with another of its key"

    def _of_reversal(self, row: Row, seen: set[str]) -> Iterator[str]:
        if not row["before"]:
            return
        same = _same(row)
        yield "reversals"
        if self.copies[same] and same not in seen:
            yield "reversals before their row in the table"
        if self.copies[same] + self.snapshots[same] > 1:
            yield "reversals of one of equal rows"
        if self.snapshots[same]:
            yield "reversals of a row of a snapshot"


def _same(row: Row) -> str:
    return repr([(name, value) for name, value in row.items() if name not in ("note", "changed", "before", "ds")])
