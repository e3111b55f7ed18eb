"""What an engine gives back: a table, and a report of what it met on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

import pyarrow as pa

from zipline.errors import DataError
from zipline.values import dataclass


@dataclass(frozen=True)
class KeyCount:
    """Of how many of the keys asked for (`of`, those with a row) something holds, and one of them in words."""

    count: int
    of: int
    example: str


@dataclass
class Report:
    """Counts of one run.

    `null_keys` counts left rows with a null key per set of keys, `without_time` source rows that are never seen
    because a clock is null per table, `immature` the rows left out because their labels are not complete, `undated` the
    left rows that no day of a range holds because they have no time. `waiting` are the days of a range with rows whose
    labels may still become complete. `orphan_reversals` counts, per table of mutations, the reversals of rows that were
    not there, for the keys asked for. `repeated_keys` counts, per table of snapshots and set of keys ("airports by
    airport"), the keys with more than one row in a snapshot, `older_keys` those that went back in time: with one row in
    each of two snapshots, the later one of an older time. `bootstrapped` counts per bootstrap table the left rows that
    took something from it. What was read for parents, joins that were computed for this one, counts too.
    """

    rows: int = 0
    null_times: int = 0
    immature: int = 0
    undated: int = 0
    waiting: tuple[str, ...] = ()
    null_keys: dict[str, int] = field(default_factory=dict)
    without_time: dict[str, int] = field(default_factory=dict)
    orphan_reversals: dict[str, int] = field(default_factory=dict)
    repeated_keys: dict[str, KeyCount] = field(default_factory=dict)
    older_keys: dict[str, KeyCount] = field(default_factory=dict)
    bootstrapped: dict[str, int] = field(default_factory=dict)
    rows_read: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    partials: dict[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        from zipline.engines.notebook import report_page

        return report_page(self)

    def add_parent(self, other: Report) -> None:
        """Counts what was read for a join that is computed for this one; its left rows are not this one's."""
        own = ((self.without_time, other.without_time), (self.orphan_reversals, other.orphan_reversals))
        for counts, more in (*own, (self.rows_read, other.rows_read)):
            for table, count in more.items():
                counts[table] = counts.get(table, 0) + count
        self.repeated_keys = most_keys(self.repeated_keys, other.repeated_keys)
        self.older_keys = most_keys(self.older_keys, other.older_keys)


def most_keys(one: Mapping[str, KeyCount], other: Mapping[str, KeyCount]) -> dict[str, KeyCount]:
    """Of counts of the same rows, read twice, the larger of each; by name."""
    found = dict(one)
    for name, keys in other.items():
        if name not in found or found[name].count < keys.count:
            found[name] = keys
    return dict(sorted(found.items()))


class DayRows(Protocol):
    """The rows of one day of an output: a table in memory, or files that are written and not published yet."""

    @property
    def num_rows(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def column_names(self) -> list[str]: ...
    def select(self, columns: Sequence[str]) -> pa.Table:
        """These columns of all rows, in memory."""
        ...


class Computed(Protocol):
    """What a run over days gives."""

    @property
    def report(self) -> Report: ...
    def by_day(self, days: Sequence[str]) -> Iterable[tuple[str, Any]]:
        """Each day's `DayRows`, days without rows too; DataError where a row is of no day asked for."""
        ...


@dataclass(frozen=True)
class Result:
    """One row per left row, in left order, and the report."""

    table: pa.Table
    report: Report

    def by_day(self, days: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """Of a run over days, whose last column is `ds`: each day's rows, in their order."""
        # It takes a while to import, and a run that finds all done needs none of it.
        import pyarrow.compute as pc

        column = self.table.column("ds")
        counts = {value["values"]: value["counts"] for value in pc.value_counts(column).to_pylist()}
        refuse_strange_days(counts, days)
        for day in days:
            is_all = counts.get(day) == self.table.num_rows
            yield day, self.table if is_all else self.table.filter(pc.equal(column, day))

    def _repr_html_(self) -> str:
        from zipline.engines.notebook import result_page

        return result_page(self)


def refuse_strange_days(found: Iterable[str | None], asked: Sequence[str]) -> None:
    strange = sorted(map(str, set(found) - set(asked)))
    if strange:
        number = "1 day" if len(strange) == 1 else f"{len(strange)} days"
        raise DataError(
            f"{number} came back that nobody asked for, such as {strange[0]}",
            hint="the left's partition column holds the days YYYY-MM-DD",
        )
