"""Condensed rows of hot keys: what earlier rows are to later ranges of the same key.

A row that was available before the day on which the first query of a range asks is seen by all queries of the range
alike, but for the start of windows. So its hop partial serves them as well, in hops of which no window of the part ever
starts inside one. A job before the shuffle makes the partials, range by range of the rows' own times, so that no task
holds a whole key, and Spark writes them down; they are kept by day of availability, and a range takes those of the days
before its own and, as they are, the rows since. What is laid together so gives the same answer (`plan.condensed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from zipline.algebra.columnar.values import micros, whole
from zipline.algebra.windows import hop
from zipline.clock import DAY
from zipline.engines.local.condense import AVAILABLE, KNOWN, T, condense, rows_of, together
from zipline.engines.local.expansion import expand
from zipline.engines.local.group_by import Left, aggregate
from zipline.engines.local.read import Rows
from zipline.engines.local.substitutes import NotCondensable, Substitute, substitute
from zipline.engines.spark.bundles import opened
from zipline.engines.spark.facts import FACTS, failed, with_facts
from zipline.engines.spark.lanes import Lane, LaneKey, lane_key
from zipline.engines.spark.packing import ROWS, Packing, Shape
from zipline.engines.spark.workers import one_core
from zipline.errors import DataError, ZiplineError
from zipline.plan.condensed import condensation
from zipline.plan.reads import lookback, read_key
from zipline.plan.steps import PartPlan
from zipline.values import dataclass

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from zipline.engines.spark.sizes import Sizing

Readings = dict[tuple[Any, ...], Rows]
SHORT = 2 * DAY
"""Windows up to this length reach so little beyond a range that rows serve as well."""


Done = TypeVar("Done")


def else_from_rows(run: Callable[[Sizing], Done], sizing: Sizing) -> Done:
    """Once more without condensed rows, where only rows can tell a value, or what is wrong with one."""
    with sizing.of_one_run() as own:
        try:
            return run(own)
        except NotCondensable:
            return run(replace(own, condenses=False))


@dataclass(frozen=True, eq=False)
class Condensed:
    """A part whose features are computed from condensed rows in the ranges of hot keys; `lanes` are of its sources."""

    substitute: Substitute
    lanes: tuple[LaneKey, ...]
    hop: int

    @property
    def part(self) -> PartPlan:
        return self.substitute.part

    @property
    def shape(self) -> Shape:
        return Shape(("__t", "__known", "__day"), self.substitute.condensation.projection.column_types)

    def made_of(self, readings: Mapping[LaneKey, Rows]) -> pa.Table:
        """The condensed rows of these rows, as a lane."""
        condensed = self.substitute.condensation
        sources = zip(self.part.group_by.sources, self.lanes, strict=True)
        tables = [condense(expand(readings[lane], source, condensed), condensed, self.hop) for source, lane in sources]
        return pa.concat_tables([_clocked(table) for table in tables])

    def laid_together(self, readings: Mapping[LaneKey, Rows], earlier: pa.Table, cut: int) -> Rows:
        """Rows available from `cut` on and the condensed rows of those before."""
        condensed = self.substitute.condensation
        sources = zip(self.part.group_by.sources, self.lanes, strict=True)
        recent = [expand(_available(readings[lane], cut), source, condensed) for source, lane in sources]
        return together(condensed, [*recent, rows_of(_unclocked(earlier), condensed)])


def _clocked(table: pa.Table) -> pa.Table:
    """Stored condensed rows with the clocks of a lane; without a second clock it is the first."""
    instant = pa.timestamp("us", tz="UTC")
    known = table.column(KNOWN if KNOWN in table.column_names else T)
    clocks = {
        "__t": table.column(T).cast(instant),
        "__known": known.cast(instant),
        "__day": table.column(AVAILABLE).cast(pa.int32()).cast(pa.date32()),
    }
    own = [name for name in (T, KNOWN, AVAILABLE) if name in table.column_names]
    columns = dict(zip(table.column_names, table.columns, strict=True)) | clocks
    return pa.table({name: column for name, column in columns.items() if name not in own})


def _unclocked(table: pa.Table) -> pa.Table:
    clocks = {T: table.column("__t"), KNOWN: table.column("__known")}
    rows = table.drop_columns(["__t", "__known", "__day"])
    for name, column in clocks.items():
        rows = rows.append_column(name, pa.array(micros(whole(column))))
    return rows


def _available(rows: Rows, cut: int) -> Rows:
    assert rows.t is not None
    available = rows.t if rows.known is None else np.maximum(rows.t, rows.known)
    return rows.take(pa.array(np.flatnonzero(available >= cut)))


def condensed_parts(parts: Iterable[PartPlan], given: Iterable[str]) -> tuple[Condensed, ...]:
    """The parts that see far enough back for condensed rows to be worth making, and can be computed from them."""
    names = set(given)
    found = (_condensed(part) for part in parts if not names & {column for column, _ in part.columns})
    return tuple(each for each in found if each is not None)


def _condensed(part: PartPlan) -> Condensed | None:
    sources, back = part.group_by.sources, lookback(part)
    has_times = all(source.kind == "events" and source.time is not None for source in sources)
    if part.offset is not None or not has_times or (back is not None and back <= SHORT):
        return None
    made = substitute(part, condensation(part.group_by))
    return None if made is None else Condensed(made, tuple(lane_key(part, source) for source in sources), _hop(part))


def _hop(part: PartPlan) -> int:
    """The longest step of which every start of a window is a multiple."""
    windows = [feature.window for feature in part.needed if feature.window is not None]
    return DAY if part.group_by.accuracy == "SNAPSHOT" else min(map(hop, windows), default=DAY)


@dataclass(frozen=True, eq=False)
class Condensing:
    """Rows of hot keys, in a lane each -> the condensed rows of every part, in a lane each of another packing.

    `bundled` are the schemas of the lanes, by number, that come in bundles.
    """

    condensed: tuple[Condensed, ...]
    lanes: Mapping[LaneKey, Lane]
    packing: Packing
    result: Packing
    bundled: Mapping[int, pa.Schema]

    @property
    def ddl(self) -> str:
        return f"{self.result.ddl}, {FACTS} STRING"

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = self.result.arrow.append(pa.field(FACTS, pa.string()))
        try:
            made, facts = self._made(batches), []
        except ZiplineError as wrong:
            made, facts = self.result.arrow.empty_table(), [failed(NotCondensable(wrong.what))]
        yield from with_facts(made, schema, facts)

    def _made(self, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        tables = self.packing.unpack(batches)
        if not tables:
            return self.result.arrow.empty_table()
        one_core()
        tables = [opened(t.column(ROWS), self.bundled[n]) if n in self.bundled else t for n, t in enumerate(tables)]
        pairs = zip(self.lanes.items(), tables, strict=True)
        readings = {key: lane.rows(table) for (key, lane), table in pairs}
        made = [each.made_of(readings) for each in self.condensed]
        return pa.concat_tables([self.result.laid(lane, table) for lane, table in enumerate(made)])


@dataclass(frozen=True, eq=False)
class Halves:
    """Aggregates parts: from `readings`; in a range of a hot key from condensed rows, where a part has them; and where
    it has a substitute, whose condensed rows are one of the readings, from that."""

    readings: Readings
    condensed: Mapping[int, Condensed]
    laid: Mapping[int, Rows]
    substitutes: Mapping[int, Substitute]
    pool: ThreadPoolExecutor

    def aggregate(self, left: Left, parts: tuple[PartPlan, ...]) -> list[pa.Table]:
        """As `group_by.aggregate`. NotCondensable where rows might tell more than their partials."""
        chosen = [self._substitute(part) for part in parts]
        if not any(chosen):
            return aggregate(left, parts, self.readings, self.pool)
        halves = [(part,) if each is None else each[0].parts for part, each in zip(parts, chosen, strict=True)]
        own = {read_key(each[0].condensation.projection): each[1] for each in chosen if each is not None}
        try:
            tables = iter(aggregate(left, tuple(h for group in halves for h in group), self.readings | own, self.pool))
        except DataError as wrong:
            raise NotCondensable(wrong.what) from wrong
        made = [[next(tables) for _ in group] for group in halves]
        return [of[0] if each is None else each[0].features(of, each[1]) for each, of in zip(chosen, made, strict=True)]

    def _substitute(self, part: PartPlan) -> tuple[Substitute, Rows] | None:
        """What stands for a part, and its condensed rows."""
        if (each := self.condensed.get(id(part))) is not None:
            return each.substitute, self.laid[id(part)]
        if (found := self.substitutes.get(id(part))) is not None:
            return found, self.readings[read_key(found.condensation.projection)]
        return None
