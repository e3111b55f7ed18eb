"""The tiles of one group-by, fed from the logs of its sources: events as they come, each merged into its tile.

The batch that has the tiles has the ids of the events too, where a source declares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros
from zipline.algebra.nested import to_algebra
from zipline.clock import day_text
from zipline.engines.local.records import Available, read_available
from zipline.errors import ZiplineError
from zipline.expressions import Expression
from zipline.orchestration.events.arrived import failing, values_of, without
from zipline.orchestration.events.logs import Clock, Position
from zipline.orchestration.events.seen import Seen
from zipline.orchestration.events.standing import Tiles
from zipline.plan.online import Kept
from zipline.plan.steps import Projection
from zipline.stores.contract import Item, Store
from zipline.tables.catalog import open_catalog
from zipline.types import TIMESTAMP
from zipline.values import dataclass


@dataclass(frozen=True)
class Taken:
    """What became of rows: those that the sources' conditions keep, those whose id was known, those that could not be
    evaluated with the reason of the first."""

    kept: int
    repeated: int = 0
    failed: tuple[int, ...] = ()
    reason: str = ""


class Feed(Tiles):
    """See the module. One thread uses a feed, and one process has one of a group-by."""

    def __init__(self, kept: Kept, store: Store, space: str, clock: Clock, *, takes_over: bool = True) -> None:
        self._clock = clock
        super().__init__(kept, store, space, takes_over=takes_over)

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(source.table for source in self.kept.streams)

    def take(self, log: str, table: str, rows: pa.Table, position: Position) -> Taken:
        """Merges rows of a table that stand in a log up to a position."""
        failed: list[int] = []
        reason = ""
        try:
            found, items, repeated = self._read(table, rows)
        except ZiplineError as wrong:
            failed, reason = failing(partial(self._evaluate, table), rows), wrong.what
            if not failed:
                raise
            found, items, repeated = self._read(table, without(rows, failed))
        logs = {**self._logs, log: {**self.position(log), **position}}
        with self._writing(logs) as also:
            count = self._writer.take(found, [*items, *also])
        self._add_own(items)
        return Taken(count, repeated, tuple(failed), reason)

    def _begin(self, own: set[bytes] | None, logs: Mapping[str, dict[str, int]]) -> None:
        super()._begin(own, logs)
        self._seen: dict[_Ids, Seen] = {}
        for ids in filter(None, map(_ids_of, self.kept.streams)):
            if ids not in self._seen:
                self._seen[ids] = Seen(self._store, self.space, len(self._seen), ids.expression.type, own)

    def _read(self, table: str, rows: pa.Table) -> tuple[Available, list[Item], int]:
        """The rows as the sources read them, what to write of their ids, and how many had an id that was known."""
        masks: dict[_Ids | None, NDArray[np.bool_]] = {}
        items: list[Item] = []
        rows = self._with_day(table, rows)
        for ids, seen in self._seen.items():
            if ids.table == table:
                masks[ids], more = seen.first(self._ids(ids, rows), self._clock())
                items += more
        repeated = max((int((~mask).sum()) for mask in masks.values()), default=0)
        return self._available(table, rows, masks), items, repeated

    def _available(self, table: str, rows: pa.Table, masks: Mapping[_Ids | None, NDArray[np.bool_]]) -> Available:
        """The rows of each source over the table: of one that declares an id, those whose id is new."""
        sources, every = self.kept.streams, list(map(_ids_of, self.kept.streams))
        readings: dict[_Ids | None, Available] = {}
        for ids in dict.fromkeys(every):
            some = rows.filter(pa.array(masks[ids])) if ids in masks else rows
            readings[ids] = read_available(self.kept, open_catalog({table: some}), only=table)
        found = tuple(readings[ids].readings[n] for n, ids in enumerate(every))
        return Available(self.kept.group_by, sources, found)

    def _with_day(self, table: str, rows: pa.Table) -> pa.Table:
        """With the partition that the table will keep them in, where sources are bounded by it."""
        for source in self.kept.streams:
            clock, name = source.mutation_time or source.time, source.partition
            is_bounded = source.table == table and (source.start is not None or source.end is not None)
            if is_bounded and clock is not None and name is not None and name not in rows.column_names:
                times = micros(values_of(clock, rows, table, TIMESTAMP))
                rows = rows.append_column(name, pa.array([day_text(t) for t in times.tolist()], pa.string()))
        return rows

    def _evaluate(self, table: str, rows: pa.Table) -> None:
        """Whether the rows can be evaluated, ids and all."""
        rows = self._with_day(table, rows)
        for ids in self._seen:
            if ids.table == table:
                self._ids(ids, rows)
        self._available(table, rows, {})

    def _ids(self, ids: _Ids, rows: pa.Table) -> list[Any]:
        """The ids of rows; of those of other days, which a source never reads, none."""
        found = [
            to_algebra(each, ids.expression.type) for each in values_of(ids.expression, rows, ids.table).to_pylist()
        ]
        if ids.partition is None:
            return found
        days = rows.column(ids.partition).cast(pa.string()).to_pylist()
        is_in = [(ids.start or day) <= day <= (ids.end or day) if day is not None else False for day in days]
        return [each if inside else None for each, inside in zip(found, is_in, strict=True)]


class _Ids(NamedTuple):
    """Events of which each counts once: those of a table, of some days, by what makes an id of a row."""

    table: str
    expression: Expression
    partition: str | None
    start: str | None
    end: str | None


def _ids_of(source: Projection) -> _Ids | None:
    if source.event_id is None:
        return None
    is_bounded = source.start is not None or source.end is not None
    return _Ids(source.table, source.event_id, source.partition if is_bounded else None, source.start, source.end)


__all__ = ["Feed", "Taken"]
