"""The tiles of one group-by, fed from the logs of its sources.

How far each log has been read stands beside the tiles and is written in one batch with them: in stores that take a
batch whole or not at all, a crash at any moment neither loses an event nor counts one twice. The same batch has the ids
of the events where a source declares them. What is stored is looked at before every batch, so a store that went back
to an earlier state, or a write of which the answer was lost, is gone on from where it stands.

A group-by that was changed has other tiles: its logs are then read from their beginning, chunks of the old definition
count as empty, and the position is kept only once the feed has caught up. Should it be killed before, it begins again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros
from zipline.algebra.nested import to_algebra
from zipline.clock import day_text
from zipline.engines.local.records import Available, read_available
from zipline.engines.local.tiles import TileWriter
from zipline.errors import DataError, ZiplineError
from zipline.expressions import Expression
from zipline.orchestration.events.arrived import failing, values_of, without
from zipline.orchestration.events.logs import Clock, Position
from zipline.orchestration.events.seen import Seen
from zipline.plan.online import Kept
from zipline.stores.contract import Item, Place, Store
from zipline.stores.tiles import POSITION
from zipline.tables.catalog import open_catalog
from zipline.types import TIMESTAMP
from zipline.values import dataclass

_UNKNOWN = b""


class _Stored(msgspec.Struct):
    """What stands under POSITION. Without `logs` the tiles are being made anew."""

    fingerprint: str
    logs: dict[str, dict[str, int]] | None = None


@dataclass(frozen=True)
class Taken:
    """What became of rows: those that the sources' conditions keep, those whose id was known, those that could not be
    evaluated with the reason of the first."""

    kept: int
    repeated: int = 0
    failed: tuple[int, ...] = ()
    reason: str = ""


class Feed:
    """See the module. One thread uses a feed, and one process has one of a group-by."""

    def __init__(self, kept: Kept, store: Store, space: str, clock: Clock) -> None:
        self.kept, self.space = kept, space
        self._store, self._clock = store, clock
        self._logs: dict[str, dict[str, int]] = {}
        self._own: set[bytes] | None = None
        self._stored: bytes | None = _UNKNOWN
        self.look()

    @property
    def name(self) -> str:
        return self.kept.group_by.name

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(source.table for source in self.kept.streams)

    def position(self, log: str) -> Position:
        """How far a log has been read."""
        return self._logs.get(log, {})

    def look(self) -> bool:
        """Whether what is stored is what this feed wrote last; where it is not, it goes on from what is."""
        stored = self._store.get([(Place(self.space), [POSITION])])[0][0]
        found = None if stored is None else bytes(stored)
        if found == self._stored:
            return True
        before = _stored(found, self.space)
        self._stored = found
        if before is None or (before.fingerprint == self.kept.fingerprint and before.logs is not None):
            self._begin(None, before.logs or {} if before else {})
            return False
        self._begin(set(), {})
        self._store.put_tiles(self.space, self._position_items(None))
        return False

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
        with self._undone():
            count = self._writer.take(found, [*items, *self._position_items(logs)])
        self._logs = logs
        if self._own is not None:
            self._own.update(name for name, _ in items)
        return Taken(count, repeated, tuple(failed), reason)

    def progress(self, until: int, *, is_all: bool) -> None:
        """Says that all events that came before `until` are in the tiles; not while these are made anew.

        With `is_all` they are those of all logs: then what was made anew is complete.
        """
        if self._own is not None and is_all:
            self._begin(None, self._logs)
        if self._own is None:
            with self._undone():
                self._writer.progress(until, self._position_items(self._logs))

    def _begin(self, own: set[bytes] | None, logs: Mapping[str, dict[str, int]]) -> None:
        self._own, self._logs = own, dict(logs)
        self._writer = TileWriter(self.kept, self._store, self.space, own)
        self._seen = [
            (identity, Seen(self._store, self.space, number, identity.type, own))
            for number, identity in enumerate(
                {s.event_id.text: s.event_id for s in self.kept.streams if s.event_id is not None}.values()
            )
        ]

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """A write that fails may have been done all the same: the next look finds out, or all is made anew."""
        try:
            yield
        except BaseException:
            self._stored = _UNKNOWN
            if self._own is not None:
                self._begin(set(), {})
            raise

    def _position_items(self, logs: dict[str, dict[str, int]] | None) -> list[Item]:
        """The position, to be written with what it is the position of."""
        if self._own is not None and logs is not None:
            return []
        self._stored = msgspec.json.encode(_Stored(self.kept.fingerprint, logs))
        return [(POSITION, self._stored)]

    def _read(self, table: str, rows: pa.Table) -> tuple[Available, list[Item], int]:
        """The rows as the sources read them, what to write of their ids, and how many had an id that was known."""
        masks: dict[str, NDArray[np.bool_]] = {}
        items: list[Item] = []
        for identity, seen in self._seen:
            if identity.text in self._identities(table):
                masks[identity.text], more = seen.first(self._ids(identity, rows, table), self._clock())
                items += more
        repeated = max((int((~mask).sum()) for mask in masks.values()), default=0)
        return self._available(table, rows, masks), items, repeated

    def _available(self, table: str, rows: pa.Table, masks: Mapping[str, NDArray[np.bool_]]) -> Available:
        """The rows of each source over the table: of one that declares an id, those whose id is new."""
        sources, rows = self.kept.streams, self._with_day(table, rows)
        texts = [source.event_id.text if source.event_id is not None else "" for source in sources]
        readings: dict[str, Available] = {}
        for text in dict.fromkeys(texts):
            some = rows.filter(pa.array(masks[text])) if text in masks else rows
            readings[text] = read_available(self.kept, open_catalog({table: some}), only=table)
        found = tuple(readings[text].readings[n] for n, text in enumerate(texts))
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
        for identity, _ in self._seen:
            if identity.text in self._identities(table):
                self._ids(identity, rows, table)
        self._available(table, rows, {})

    def _identities(self, table: str) -> set[str]:
        return {s.event_id.text for s in self.kept.streams if s.table == table and s.event_id is not None}

    def _ids(self, identity: Expression, rows: pa.Table, table: str) -> list[Any]:
        return [to_algebra(each, identity.type) for each in values_of(identity, rows, table).to_pylist()]


def _stored(found: bytes | None, space: str) -> _Stored | None:
    if found is None:
        return None
    try:
        return msgspec.json.decode(found, type=_Stored)
    except msgspec.MsgspecError as wrong:
        raise DataError(f"the position of the stream of {space} cannot be read: {wrong}") from None


__all__ = ["Feed", "Taken"]
