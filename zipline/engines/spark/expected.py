"""What reading a table will give, before it is read: rows, bytes, tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from zipline.clock import DAY, day_text, to_micros
from zipline.engines.local.statements import within
from zipline.engines.spark.costs import Amount, Amounts
from zipline.engines.spark.key_sets import Seen
from zipline.engines.spark.scans import Days
from zipline.engines.spark.splits import own_reading_tasks, reading_tasks
from zipline.engines.spark.widths import column_bytes
from zipline.plan.chaining import Span
from zipline.plan.steps import Projection
from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.engines.spark.lanes import Lane
    from zipline.engines.spark.run import Run
    from zipline.expressions import Expression


@dataclass(frozen=True)
class LaneAmount:
    """Of a lane: rows, bytes of the columns' share of files, tasks, and the stretches that tasks read themselves."""

    rows: int
    size: float
    tasks: int
    stretches: int = 0


@dataclass(eq=False)
class Expected:
    """What tables are expected to give to a run; of those in `unknown` nothing is."""

    run: Run
    amounts: Amounts
    unknown: list[str] = field(default_factory=list)

    def reading(self, lane: Lane, seen: Seen, *, by_tasks: bool = False) -> LaneAmount:
        first = lane.first
        amount = self.amount(first, [source.where for source in lane.projections])
        low, high = seen.days or days_of(Span(seen.low, seen.high))
        rows, size = amount.within(None if first.kind == "mutations" else low, high) if amount else (0.0, 0.0)
        table = self.run.table(first.table)
        days = Days(first.partition, *within(first, seen.days))
        size *= self.share(first.table, columns_of(lane))
        if by_tasks:
            return LaneAmount(round(rows), size, *own_reading_tasks(table, days, round(rows), self.run.sizing.cores))
        return LaneAmount(round(rows), size, reading_tasks(table, days, self.run.sizing.cores))

    def amount(self, read: Projection, conditions: Sequence[Sequence[Expression]]) -> Amount | None:
        found = self.amounts(read, conditions)
        if found is None:
            self.unknown.append(read.table)
        return found

    def key_share(self, lane: Lane) -> float:
        """Of what a lane reads, its keys and clocks."""
        first = lane.first
        clocks = [each for each in (first.time, first.known_at, first.mutation_time) if each is not None]
        names = {key for part in lane.parts for key, _ in part.group_by.keys}
        used = [first.columns[name] for name in names if name in first.columns] + clocks
        own = frozenset[str]().union(*(each.columns for each in used))
        return self.share(first.table, own) / (self.share(first.table, columns_of(lane)) or 1.0)

    def share(self, table: str, columns: Iterable[str]) -> float:
        """The part of a table's bytes that columns are likely to have."""
        schema = self.run.table(table).schema
        whole = column_bytes(schema.items(), {})
        return column_bytes(((name, schema[name]) for name in columns if name in schema), {}) / whole if whole else 1.0


def columns_of(lane: Lane) -> frozenset[str]:
    """The columns of the table that a lane reads."""
    return frozenset[str]().union(*(source.table_columns for source in lane.projections))


def days_of(span: Span | None) -> tuple[str | None, str | None]:
    """The days of times low <= t < high."""
    if span is None:
        return None, None
    low = None if span.low is None else day_text(span.low)
    return low, None if span.high is None else day_text(span.high - 1)


def times_of(amount: Amount | None, low: str | None, high: str | None) -> tuple[int | None, int | None]:
    """The first and the last query time of these days, as far as days are known."""
    days = list(amount.days) if amount is not None else []
    first, last = low or (days[0] if days else None), high or (days[-1] if days else None)
    if first is None or last is None:
        return None, None
    return to_micros(first), to_micros(last) + DAY - 1
