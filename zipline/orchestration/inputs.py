"""What a day of an output is made from: digests of the units whose rows its queries can see.

A late unit, a corrected one, one that vanished and a new one are all the same thing here: the digest of every day (and
reach) that can see it differs. A digest is a sum over units and days, so it does not depend on their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zipline.clock import DAY, to_micros
from zipline.orchestration.extents import Extent, Extents
from zipline.orchestration.reaches import Reach, reaches_of
from zipline.plan.chaining import DAY_COLUMN, by_query_time, parent_table
from zipline.plan.steps import JoinPlan, Projection
from zipline.values import dataclass

EVER = 1 << 60
"""Later than any instant; its negative is before any."""
ALL_MATURE, NONE_MATURE = "all", "none"


@dataclass(frozen=True)
class DayInputs:
    """What one day is made from now. `left` is empty where the day has no left rows, `mature` without labels.

    `first` and `last` are the day's query times, None where it has none; then nothing is seen.
    """

    left: str = ""
    mature: str = ""
    reaches: Mapping[str, str] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None


class Inputs:
    """The inputs of a join's days, as its tables are now.

    `label_end` is where the label data end (None: there are none), which decides the rows that training keeps.
    """

    def __init__(self, plan: JoinPlan, extents: Extents, *, training: bool, as_of: int | None = None) -> None:
        self._plan, self._extents, self._as_of = plan, extents, as_of
        self._training = training and bool(plan.labels)
        self.columns = reaches_of(plan, training=training)
        self._left = extents_of(plan.left, extents)
        self._indexes: dict[str, _Index] = {}
        self._days: dict[str, DayInputs] = {}
        self._matches: dict[str, Mapping[str, list[Extent]]] = {}
        self._parents: dict[str, Inputs] = {}
        self._by_day: dict[int, list[Extent]] = {}
        for extent in self._left:
            if extent.day is not None and extent.rows:
                self._by_day.setdefault(extent.day, []).append(extent)

    @property
    def days(self) -> tuple[str, ...]:
        """The days that have left rows, sorted."""
        return tuple(_text(day) for day in sorted(self._by_day))

    @property
    def undated(self) -> int:
        """The left rows that are in no day."""
        return sum(extent.rows for extent in self._left if extent.day is None)

    @cached_property
    def reaches(self) -> tuple[Reach, ...]:
        """Every reach of any column, each once."""
        return tuple(sorted(frozenset[Reach]().union(*self.columns.values()), key=lambda reach: reach.key))

    def of(self, day: str) -> DayInputs:
        if day not in self._days:
            self._days[day] = self._of(day)
        return self._days[day]

    @cached_property
    def label_end(self) -> int | None:
        """The instant up to which labels are known: `as_of`, else the least end of the label sources."""
        if self._as_of is not None:
            return self._as_of
        ends = [_end(source, self._extents) for part in self._plan.labels for source in part.group_by.sources]
        known = [end for end in ends if end is not None]
        return min(known) if known and len(known) == len(ends) else None

    def present(self, reach: Reach) -> Mapping[int, tuple[int, int]]:
        """The partitions that a source has: the day each folder is called by -> first and last day of its rows."""
        return self._index(reach).labels

    @property
    def plan(self) -> JoinPlan:
        return self._plan

    @cached_property
    def left_labels(self) -> Mapping[int, tuple[int, int]]:
        """As `present` of the left's own partitions, by the days of their query times."""
        found: dict[int, tuple[int, int]] = {}
        for extent in self._left:
            if extent.label is not None:
                first = extent.label if extent.first is None else extent.first // DAY
                last = extent.label if extent.last is None else extent.last // DAY
                low, high = found.get(extent.label, (first, last))
                found[extent.label] = min(low, first), max(high, last)
        return found

    def of_parent(self, parent: JoinPlan) -> Inputs:
        """The inputs of a join whose output this one reads."""
        name = parent_table(parent)
        if name not in self._parents:
            self._parents[name] = Inputs(parent, self._extents, training=False)
        return self._parents[name]

    def has_lost(self, day: str) -> bool:
        """Whether the left has its rows in partitions, and none for the day."""
        left = self._plan.left
        if left.parent is not None or left.made_by is not None:
            return False
        labels = {extent.label for extent in self._left if extent.label is not None}
        return bool(labels) and self.number(day) not in labels

    @staticmethod
    def number(day: str) -> int:
        """A day as days since 1970."""
        return to_micros(day) // DAY

    def _of(self, day: str) -> DayInputs:
        extents = self._by_day.get(to_micros(day) // DAY, [])
        first = min((e.first for e in extents if e.first is not None), default=None)
        last = max((e.last for e in extents if e.last is not None), default=None)
        inputs = DayInputs(self._left_digest(extents, last), "", {}, first, last)
        if self._training:
            inputs = replace(inputs, mature=self._mature(first, last))
        if first is None or last is None or inputs.mature == NONE_MATURE:
            return inputs
        digests = {r.key: self._digest(r, first, last) for r in self.reaches if not r.row_id}
        given = {r.key: _sum_text(map(_hash, self._given(r).get(day, ()))) for r in self.reaches if r.row_id}
        return replace(inputs, reaches=digests | given)

    def _left_digest(self, extents: list[Extent], last: int | None) -> str:
        """With an event id a row may be missing because of another in any unit that could come before it."""
        left = self._plan.left
        if left.event_id is None or not extents:
            return _sum_text(_hash(extent) for extent in extents)
        whole = left.known_at is not None or last is None or any(extent.timeless for extent in extents)
        others = (e for e in self._left if whole or (e.first is not None and e.first <= (last or 0)))
        return _sum_text({_hash(extent) for extent in (*extents, *others)})

    def _mature(self, first: int | None, last: int | None) -> str:
        """Which of the day's rows training keeps: all, none, or those before the end."""
        end, offset = self.label_end, self._plan.labels[0].offset or 0
        if end is None or first is None or last is None or first + offset > end:
            return NONE_MATURE
        return ALL_MATURE if last + offset <= end else str(end)

    def _digest(self, reach: Reach, first: int, last: int) -> str:
        index, source = self._index(reach), reach.source
        low, high = self.bounds(reach, first, last)
        if source.kind == "snapshots":
            return index.digest(low, high, None)
        if source.event_id is not None:
            unbounded = reach.offset is not None and source.known_at is not None
            return index.digest(None, None if unbounded else high, None if unbounded else high)
        is_blind = reach.offset is not None or source.known_at is None or source.kind == "mutations"
        return index.digest(low, high, None if is_blind else high)

    def bounds(self, reach: Reach, first: int, last: int) -> tuple[int | None, int | None]:
        """The times that queries from `first` to `last` see; None has no bound.

        Of snapshots the days of the partitions that the queries use, of changes those since the oldest of these.
        """
        low, high = reach.bounds(first, last)
        if reach.source.kind == "snapshots":
            used = self._index(reach).newest_before((first + (reach.offset or 0)) // DAY)
            return None if used is None else used * DAY, (last + (reach.offset or 0)) // DAY * DAY
        if reach.since is not None:
            snapshots = replace(reach, source=reach.since, since=None)
            used = self._index(snapshots).newest_before((first + (reach.offset or 0)) // DAY)
            return None if used is None else (used + 1) * DAY, high
        return low, high

    def _given(self, reach: Reach) -> Mapping[str, list[Extent]]:
        """Day -> the units that have rows of the day's own ids; all of them where the left is another join's output."""
        if reach.key not in self._matches:
            found = extents_of(reach.source, self._extents)
            if self._plan.left.parent is not None:
                self._matches[reach.key] = dict.fromkeys(self.days, found)
            else:
                units = self._extents.matches(self._plan.left, reach.source, reach.row_id)
                by_name = {extent.unit: extent for extent in found}
                self._matches[reach.key] = {
                    day: [by_name[name] for name in names if name in by_name] for day, names in units.items()
                }
        return self._matches[reach.key]

    def _index(self, reach: Reach) -> _Index:
        if reach.place not in self._indexes:
            self._indexes[reach.place] = _Index(extents_of(reach.source, self._extents), reach.source)
        return self._indexes[reach.place]


def extents_of(source: Projection, extents: Extents) -> list[Extent]:
    """The extents of a table, or of a parent join: then a unit is one of its days, with all that it is made from."""
    return extents.of(source) if source.parent is None else list(_extents_of_parent(source, source.parent, extents))


def _extents_of_parent(source: Projection, parent: JoinPlan, extents: Extents) -> Iterable[Extent]:
    """Only where the parent's rows are seen by their query times is it known which times its days hold."""
    inputs = Inputs(parent, extents, training=False)
    for text in inputs.days:
        day, found = to_micros(text) // DAY, inputs.of(text)
        read = source.table_columns
        keys = {reach.key for name, reaches in inputs.columns.items() if name in read for reach in reaches}
        facts = (found.left, sorted((key, digest) for key, digest in found.reaches.items() if key in keys))
        token = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        timed = by_query_time(source)
        first, last = (found.first, found.last) if timed else (-EVER, EVER)
        if first is None or last is None:
            yield Extent(text, token, day, day if source.partition == DAY_COLUMN else None, None, None, None, 1, 1)
        elif source.kind == "left" and source.partition is None and timed:
            for own in range(first // DAY, last // DAY + 1):
                yield Extent(text, token, own, own, max(first, own * DAY), min(last, own * DAY + DAY - 1), None, 1, 0)
        else:
            yield Extent(text, token, day, day, first, last, None, 1, 0)


class _Index:
    """The extents of one source in the order of their days, as arrays."""

    def __init__(self, extents: Sequence[Extent], source: Projection) -> None:
        by_partition = source.kind == "snapshots"
        kept = [e for e in extents if e.day is not None and (by_partition or e.first is not None)]
        kept.sort(key=lambda extent: extent.day or 0)
        self._hashes = np.array([_hash(extent) for extent in kept], np.uint64)
        firsts = [(e.day or 0) * DAY if by_partition else e.first for e in kept]
        lasts = [(e.day or 0) * DAY if by_partition else e.last for e in kept]
        self._first, self._last = np.array(firsts, np.int64), np.array(lasts, np.int64)
        unseen = EVER if source.known_at is not None and source.parent is None else -EVER
        self._known = np.array([unseen if e.known is None else e.known for e in kept], np.int64)
        self._days = np.array(sorted({e.day or 0 for e in kept}), np.int64)
        self.labels: dict[int, tuple[int, int]] = {}
        # What a join or a query makes has days as its rows fall; only folders are partitions that can go.
        is_stored = source.parent is None and source.made_by is None
        for extent in extents if is_stored else ():
            if extent.label is not None:
                day = extent.label if extent.day is None else extent.day
                low, high = self.labels.get(extent.label, (day, day))
                self.labels[extent.label] = min(low, day), max(high, day)

    def digest(self, low: int | None, high: int | None, known: int | None) -> str:
        """Of the extents that hold times low <= t < high, and become known before `known`."""
        seen = np.ones(len(self._hashes), np.bool_)
        if low is not None:
            seen &= self._last >= low
        if high is not None:
            seen &= self._first < high
        if known is not None:
            seen &= self._known < known
        return _text_of(self._hashes[seen])

    def newest_before(self, day: int) -> int | None:
        place = int(np.searchsorted(self._days, day, side="left")) - 1
        return int(self._days[place]) if place >= 0 else None


def _end(source: Projection, extents: Extents) -> int | None:
    """The newest time of a label's source: of an entity its newest change or the end of its newest snapshot."""
    found = extents_of(source, extents)
    if source.kind != "snapshots":
        return max((extent.last for extent in found if extent.last is not None), default=None)
    ends = [(extent.day + 1) * DAY for extent in found if extent.day is not None]
    ends += [e.last for e in extents.of(source.mutations) if e.last is not None] if source.mutations else []
    return max(ends, default=None)


def _hash(extent: Extent) -> int:
    text = f"{extent.unit}\0{extent.token}\0{extent.day}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _sum_text(hashes: Iterable[int]) -> str:
    return _text_of(np.array(list(hashes), np.uint64))


def _text_of(hashes: NDArray[np.uint64]) -> str:
    return f"{int(hashes.sum(dtype=np.uint64)):016x}" if len(hashes) else ""


def _text(day: int) -> str:
    return str(np.datetime64(day, "D"))
