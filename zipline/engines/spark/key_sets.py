"""The rows of a set of left keys: what its left rows see of every source, in a lane each, and where each row goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from zipline.algebra.windows import floor
from zipline.clock import DAY
from zipline.engines.local.ranges import change_range, snapshot_days, snapshot_range, time_range
from zipline.engines.local.statements import within
from zipline.engines.spark.bundles import DDL as BUNDLES
from zipline.engines.spark.bundles import HOME, Bundling, HotHome, KeyHome, Route
from zipline.engines.spark.condensing import Condensed, Condensing, condensed_parts
from zipline.engines.spark.file_readings import LaneReading, Reading, Task, by_tasks, can_be_hashed
from zipline.engines.spark.hot import DDL as LOOKING
from zipline.engines.spark.hot import Looking, Sample, fraction, looking
from zipline.engines.spark.lanes import Lane, LaneKey, in_their_stead, lanes_of
from zipline.engines.spark.packing import PART, ROWS, Packing, Shape
from zipline.engines.spark.scans import Days
from zipline.engines.spark.skew import FOREVER, Bounds, Division, Range, Span, left_hash
from zipline.engines.spark.statements import key_hash
from zipline.engines.spark.stretches import is_read_by_tasks, stretches
from zipline.engines.spark.tasks import LeftShape
from zipline.expressions.dialects import identifier
from zipline.plan.steps import PartPlan, SourceRead
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from zipline.engines.spark.left_rows import NumberedLeft
    from zipline.engines.spark.run import Run


@dataclass(frozen=True)
class Seen:
    """What queries can see of a lane: `low` <= time < `high`, or the snapshots of `days` (both inclusive)."""

    low: int | None = None
    high: int | None = None
    days: tuple[str, str] | None = None

    @property
    def bounds(self) -> Bounds:
        """Of the number that `Lane.seen_by` stands for."""
        if self.days is None:
            return self.low, self.high
        first, last = (int(np.datetime64(day, "D").astype(np.int64)) for day in self.days)
        return first, last + 1


EVERYTHING = Seen()


@dataclass(eq=False)
class KeySetRows:
    """What one shuffle brings together for parts that share their left keys."""

    run: Run
    parts: Sequence[PartPlan]
    left: NumberedLeft
    shape: LeftShape

    @cached_property
    def computed(self) -> tuple[PartPlan, ...]:
        """What is computed: of parts with partials what stands for them."""
        return in_their_stead(self.parts, self.run.substitutes)

    @cached_property
    def lanes(self) -> dict[LaneKey, Lane]:
        return lanes_of(self.computed)

    @cached_property
    def packing(self) -> Packing:
        """Left rows, the lanes, and the condensed rows of parts."""
        shapes = [self.shape.shape, *(lane.shape for lane in self.lanes.values())]
        laid = [Shape((ROWS,), {}) if lane in self.bundled else shape for lane, shape in enumerate(shapes)]
        return Packing((*laid, *(each.shape for each in self.condensed)))

    @cached_property
    def bundled(self) -> dict[int, Reading]:
        """Of the lanes, by number (0: left rows), those that tasks read and whose rows move in bundles."""
        readings = dict(enumerate([self._left_reading, *self._readings.values()]))
        return {number: reading for number, reading in readings.items() if reading is not None}

    @cached_property
    def _left_reading(self) -> Reading | None:
        """As tasks read the left rows, None where Spark does."""
        reading = self.left.reading
        if reading is None or not all(can_be_hashed(dtype) for _, dtype in self._left_keys):
            return None
        return replace(reading, names=tuple(self.shape.columns), key_names=self.parts[0].left_keys)

    @cached_property
    def _readings(self) -> dict[LaneKey, Reading | None]:
        found = zip(self.lanes.items(), self.seen, strict=True)
        return {key: self._reading(lane, seen) for (key, lane), seen in found}

    def _reading(self, lane: Lane, seen: Seen) -> Reading | None:
        table, first = self.run.table(lane.first.table), lane.first
        are_hashed = all(can_be_hashed(dtype) for _, dtype in lane.typed_keys)
        if not are_hashed or first.event_id is not None or not is_read_by_tasks(table):
            return None
        days = Days(first.partition, *within(first, seen.days))
        return LaneReading(table, lane, stretches(table, days, self.run.sizing.cores), days, seen.low, seen.high)

    @property
    def condensed(self) -> tuple[Condensed, ...]:
        return () if self._earlier is None else self._condensed

    @cached_property
    def days(self) -> dict[Any, Any]:
        """Reading -> the days of the snapshots that exist."""
        return {key[0]: self._days(lane) for key, lane in self.lanes.items()}

    @cached_property
    def counts(self) -> list[int | None]:
        return [self.left.rows, *map(self.run.rows, self.lanes.values())]

    @cached_property
    def ordinary(self) -> int:
        """Partitions by key: one where there are no keys, for then all rows see each other."""
        return self.run.sizing.partitions(self.counts) if self.parts[0].left_keys else 1

    @cached_property
    def division(self) -> Division:
        """Where rows go: a look at their keys, if they are many."""
        most = self.run.sizing.most_of_a_key(self.counts)
        if most is None:
            return Division(self.ordinary)
        known = None if None in self.counts else sum(filter(None, self.counts))
        share = fraction(known, most)
        with self._at("looking for hot keys"):
            sample = Sample.of(list(self._some(share)), share)
        of_a_range = self.run.sizing.rows_of_a_range(self.counts)
        return Division.of(self.ordinary, list(sample.hot(most, of_a_range)))

    def _some(self, share: float) -> Iterator[DataFrame]:
        """Keys and times of some left rows, and of some rows of each lane."""
        if self._left_reading is None:
            yield looking(self.left.frame, left_hash(self._left_keys), "unix_micros(__t)", share, is_left=True)
        else:
            yield self._by_tasks(self._left_reading, Looking(self._left_reading, share, is_left=True), LOOKING)
        for key, lane in self.lanes.items():
            reading = self._readings[key]
            if reading is None:
                yield looking(self._frames[key], key_hash(lane.typed_keys), lane.first_seen, share, is_left=False)
            else:
                yield self._by_tasks(reading, Looking(reading, share, is_left=False), LOOKING)

    def _by_tasks(self, reading: Reading, task: Task, ddl: str) -> DataFrame:
        return by_tasks(self.run.spark, reading, task, ddl, self.run.sizing.cores)

    @contextmanager
    def _at(self, what: str) -> Iterator[None]:
        """A step of its own within a run's."""
        before = self.run.steps.now
        self.run.at(f"{what} of {', '.join(self.parts[0].left_keys) or 'all rows'}")
        yield
        self.run.steps.at(before)

    def packed(self) -> DataFrame:
        """All rows with their partitions."""
        found = [self._lane(number) for number in range(1 + len(self.lanes))]
        found += [self._before(number) for number in range(len(self.condensed))]
        return self.packing.pack([frame for frame, _ in found], [part for _, part in found])

    def _lane(self, number: int) -> tuple[DataFrame, str]:
        """(rows, the SQL of the partition of each)."""
        if number in self.bundled:
            reading = self.bundled[number]
            home = KeyHome(reading, self.division.partitions, self.ordinary, tuple(self._routes(number)))
            return self._by_tasks(reading, Bundling(reading, home), BUNDLES), HOME
        if number == 0:
            return self.division.left(self.left.frame, self._left_keys)
        key, lane = list(self.lanes.items())[number - 1]
        clocks = lane.seen_by, lane.available
        return self.division.lane(self._frames[key], lane.typed_keys, clocks, partial(self._span, key, lane))

    def _routes(self, number: int) -> Iterator[Route]:
        """Where rows of hot keys go that tasks read."""
        key, lane = (None, None) if number == 0 else list(self.lanes.items())[number - 1]
        for each in self.division.ranges:
            if key is None or lane is None:
                span = each.asking
            else:
                span = self._span(key, lane, each) if lane.seen_by else Span((None, None))
            yield Route(each.hash, each.partition, span)

    @property
    def cuts(self) -> dict[int, int]:
        """Partition of a range -> when the day begins on which its first query asks."""
        first, last = self.left.first, self.left.last
        return {each.partition: floor(each.times(first, last)[0], DAY) for each in self.division.ranges}

    @cached_property
    def _condensed(self) -> tuple[Condensed, ...]:
        is_split = len({each.hash for each in self.division.ranges}) < len(self.division.ranges)
        if not is_split or not self.run.sizing.condenses:
            return ()
        from_rows = (part for part in self.parts if id(part) not in self.run.substitutes)
        return condensed_parts(from_rows, self.shape.given)

    @cached_property
    def _earlier(self) -> DataFrame | None:
        """The condensed rows of hot keys, written down; None where there are none."""
        if not self._condensed:
            return None
        keys = {key for each in self._condensed for key in each.lanes}
        lanes = {key: lane for key, lane in self.lanes.items() if key in keys}
        bundled = {n: r.schema for n, key in enumerate(lanes) if (r := self._readings[key]) is not None}
        shapes = [Shape((ROWS,), {}) if n in bundled else lane.shape for n, lane in enumerate(lanes.values())]
        packing = Packing(tuple(shapes))
        hot = [self._hot_rows(key, lane) for key, lane in lanes.items()]
        packed = packing.pack([frame for frame, _ in hot], [part for _, part in hot])
        task = Condensing(self._condensed, lanes, packing, self._condensing, bundled)
        frame = packed.repartitionById(len(self.division.ranges), PART).mapInArrow(task, task.ddl)
        if bundled:
            self.run.take_few_at_a_time()
        with self._at("condensing hot keys"):
            return self.run.sizing.checked(frame, self.run.report)

    def _hot_rows(self, key: LaneKey, lane: Lane) -> tuple[DataFrame, str]:
        """(the rows of hot keys in a lane, the SQL of the range that has the time of each)."""
        reading = self._readings[key]
        if reading is None:
            times = str(lane.seen_by)
            rows, part = self.division.only_hot(self._frames[key], lane.typed_keys, times, _own_times)
            return rows, f"{part} - {self.ordinary}"
        ranges = self.division.ranges
        routes = tuple(Route(each.hash, each.partition - self.ordinary, Span(_own_times(each))) for each in ranges)
        return self._by_tasks(reading, Bundling(reading, HotHome(reading, len(ranges), routes)), BUNDLES), HOME

    @property
    def _condensing(self) -> Packing:
        return Packing(tuple(each.shape for each in self._condensed))

    def _before(self, number: int) -> tuple[DataFrame, str]:
        """For every range the condensed rows of one part that its queries see."""
        each = self.condensed[number]
        assert self._earlier is not None
        keys = [(identifier("spark", name), dtype) for name, dtype in each.part.group_by.keys]
        rows = self._condensing.unpacked(self._earlier, number)
        return self.division.only_hot(rows, keys, "unix_date(__day)", partial(self._days_before, each.part))

    def _days_before(self, part: PartPlan, range_: Range) -> Bounds:
        times = np.array(range_.times(self.left.first, self.left.last))
        low, _ = time_range(times, [part])
        return None if low is None else low // DAY, self.cuts[range_.partition] // DAY

    @property
    def _left_keys(self) -> list[Any]:
        return self.shape.keys(self.parts[0].left_keys)

    @cached_property
    def _frames(self) -> Mapping[LaneKey, DataFrame]:
        """The lanes as Spark reads them, each when it is first asked for."""
        return _Frames(self)

    @cached_property
    def seen(self) -> list[Seen]:
        """What all queries can see of each lane."""
        return [self._seen(key, lane, self.left.times) for key, lane in self.lanes.items()]

    def _seen_in(self, key: LaneKey, lane: Lane, range_: Range) -> Bounds:
        times = np.array(range_.times(self.left.first, self.left.last))
        return self._seen(key, lane, times).bounds

    def _span(self, key: LaneKey, lane: Lane, range_: Range) -> Span:
        """What queries of a range see of a lane but what is condensed for all parts."""
        bounds = self._seen_in(key, lane, range_)
        if not any(key in each.lanes for each in self.condensed):
            return Span(bounds)
        condensed = {id(each.part) for each in self.condensed}
        others = [part for part in lane.parts if id(part) not in condensed]
        times = np.array(range_.times(self.left.first, self.left.last))
        sure = time_range(times, others)[0] if others else FOREVER
        return Span(bounds, sure, self.cuts[range_.partition])

    def _seen(self, key: LaneKey, lane: Lane, times: Any) -> Seen:
        """What queries between the least and the greatest of `times` can see."""
        first, days = lane.first, None
        if first.kind == "snapshots":
            offset = max(part.offset or 0 for part in lane.parts)
            days = snapshot_range(times, self.days[key[0]], SourceRead((first,), (), None, offset))
            return Seen(days=days)
        if first.kind == "mutations":
            return Seen(*change_range(self.run, times, first, lane.parts))
        return Seen(*time_range(times, lane.parts))

    def _days(self, lane: Lane) -> Any:
        table = self.run.table(lane.first.table)
        is_there = lane.first.kind == "snapshots" and table.schema
        return snapshot_days(table, lane.first) if is_there else np.zeros(0, np.int64)


class _Frames(dict[LaneKey, "DataFrame"]):
    def __init__(self, rows: KeySetRows) -> None:
        super().__init__()
        self._rows = rows

    def __missing__(self, key: LaneKey) -> DataFrame:
        seen = dict(zip(self._rows.lanes, self._rows.seen, strict=True))
        self[key] = frame = self._rows.run.source_frame(self._rows.lanes[key], seen[key])
        return frame


def _own_times(range_: Range) -> Bounds:
    """Of rows as if they asked: so each is in one range."""
    return range_.first, None if range_.last == FOREVER else range_.last + 1


__all__ = ["EVERYTHING", "KeySetRows", "Seen"]
