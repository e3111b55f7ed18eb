"""Which partitions of stored tables a day of an output is made from, so that one that vanished can be named.

What a join or a staging query makes has days as its rows fall: no partition of it can go. But those of the tables below
a parent join can, and the day of a child that sees the parent's rows is made from them as from its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from zipline.clock import DAY
from zipline.orchestration.inputs import EVER, Inputs
from zipline.orchestration.reaches import Reach
from zipline.plan.chaining import DAY_COLUMN, by_query_time
from zipline.plan.steps import Projection
from zipline.values import dataclass

Labels = Mapping[int, tuple[int, int]]
"""What a partition is called -> the first and last day of its rows, as days since 1970."""


@dataclass(frozen=True)
class Seen:
    """The days `first` to `last` of a stored table are seen; `labels` are the partitions that it has now."""

    place: str
    table: str
    labels: Labels
    first: int
    last: int

    def among(self, labels: Labels) -> dict[int, tuple[int, int]]:
        """Those of the partitions that are seen."""
        return {label: days for label, days in labels.items() if days[0] <= self.last and days[1] >= self.first}


def seen_by(inputs: Inputs, reaches: Iterable[Reach], day: str) -> Iterator[Seen]:
    """What the day's queries see through these reaches; nothing where the day has no rows."""
    now = inputs.of(day)
    if now.first is not None and now.last is not None:
        yield from _through(inputs, reaches, now.first, now.last)


def seen_by_left(inputs: Inputs, day: str) -> Iterator[Seen]:
    """What the day's left rows are made from, where these are another join's output."""
    left, number = inputs.plan.left, inputs.number(day)
    if left.parent is not None:
        yield from _above(inputs, left, (number, number))


def seen_until(inputs: Inputs, last: int) -> Iterator[Seen]:
    """Everything that queries up to `last` can see."""
    yield from _through(inputs, inputs.reaches, -EVER, last)
    if inputs.plan.left.parent is not None:
        yield from _above(inputs, inputs.plan.left, (-EVER // DAY, last // DAY))


def _through(inputs: Inputs, reaches: Iterable[Reach], first: int, last: int) -> Iterator[Seen]:
    for reach in reaches:
        low, high = inputs.bounds(reach, first, last)
        days = (-EVER if low is None else low) // DAY, (EVER if high is None else high - 1) // DAY
        if reach.source.parent is None:
            yield Seen(reach.place, reach.source.table, inputs.present(reach), *days)
        else:
            yield from _above(inputs, reach.source, days)


def _above(inputs: Inputs, source: Projection, days: tuple[int, int]) -> Iterator[Seen]:
    """What the rows of these days of the parent are made from, as far as the source reads its columns."""
    assert source.parent is not None
    parent = inputs.of_parent(source.parent)
    of_days = by_query_time(source) or (source.kind == "left" and source.partition == DAY_COLUMN)
    first, last = days if of_days else (-EVER // DAY, EVER // DAY)
    yield from _rows(parent, source.table_columns, first, last)


def _rows(inputs: Inputs, columns: Collection[str], first: int, last: int) -> Iterator[Seen]:
    left = inputs.plan.left
    if left.parent is not None:
        yield from _above(inputs, left, (first, last))
    elif left.made_by is None:
        place = Reach(left, "TEMPORAL", None, None).place
        yield Seen(place, left.table, inputs.left_labels, first, last)
    read = [inputs.columns[name] for name in columns if name in inputs.columns]
    reaches = sorted(frozenset[Reach]().union(*read), key=lambda reach: reach.key)
    yield from _through(inputs, reaches, first * DAY, last * DAY + DAY - 1)
