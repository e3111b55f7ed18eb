"""Joins as streams: of every event of a join's left the row that the join has of it, with what a fetch answers now.

An `Enricher` makes rows. An event is projected as the left reads it, the join's features are looked up for many events
at once, as of the moment, and what is read of the join's output is told as JSON: so whoever takes events takes these
rows too. They are the values that were served when the event was processed; the next upload heals what the past has
learned since. Derivations see the event's own time as `ts`.

A feature that is `unavailable` is no value: none of the rows goes on, and what was read is read again. One that is an
`error` is null; so is what JSON has no word for, an infinite value. A `stale` one is the number that is served.

An `EnrichedLog` is the log of the left's events as one of rows, of the same positions: who goes on from a position gets
each event once, enriched anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros, validity
from zipline.algebra.nested import from_algebra, to_algebra
from zipline.algebra.values import door
from zipline.clock import HOUR
from zipline.engines.local.left import TIME, read_left
from zipline.engines.local.session import connect
from zipline.errors import ZiplineError
from zipline.expressions import Expression, parse
from zipline.fetch.joins import JoinFetch
from zipline.orchestration.events.arrived import values_of, with_day
from zipline.orchestration.events.decoding import DeadLetters, Decoded, decoded
from zipline.orchestration.events.logs import EVENTS, Clock, Log, Position, Read, Record
from zipline.orchestration.events.tables import EnrichedTable
from zipline.plan.chaining import DAY_COLUMN, ID_COLUMN, OUT_COLUMN, identified
from zipline.plan.steps import Projection
from zipline.tables.memory import MemoryTable
from zipline.types import BIGINT, TIMESTAMP, ArrayType, DataType, MapType, StructType

AT_ONCE = 1_000
"""Events whose features are looked up together."""
AHEAD = HOUR
"""How far ahead of its message an event may be stamped; a job puts aside what is further ahead."""
FOREVER = 1 << 62
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
_PLACE = "zipline__place"


class EnrichingError(ZiplineError):
    """Features of a join cannot be had now: the events that want them wait."""


class Enricher:
    """See the module. One thread uses an enricher."""

    def __init__(self, table: EnrichedTable, fetch: JoinFetch, clock: Clock) -> None:
        self.table, self._fetch, self._clock = table, fetch, clock
        self._left = _numbered(identified(table.plan.left))
        self._told = [name for name in table.schema if name != OUT_COLUMN]
        # Of what is left out the time is told, and nothing else that a reader may have for its clock.
        clocks = [each.time for _, each in table.sources if each.time is not None]
        self._is_told_out = OUT_COLUMN in table.schema and all(clock.columns <= {"ts"} for clock in clocks)
        self._types = dict(table.plan.left_columns)
        self._wanted = [name for name, _ in fetch.columns if name in table.intake.columns]

    def texts(self, rows: pa.Table) -> list[bytes | None]:
        """Of each row of the left's table the join's row as JSON; None where it has no time, or the left's conditions
        leave it out and it has no id to be told. EnrichingError where a feature is unavailable."""
        found: list[bytes | None] = [None] * rows.num_rows
        rows = rows.append_column(_PLACE, pa.array(np.arange(rows.num_rows)))
        left = self._read(self._left, rows)
        for first in range(0, left.num_rows, AT_ONCE):
            some = left.slice(first, AT_ONCE)
            for place, text in zip(some.column(_PLACE).to_pylist(), self._enriched(some), strict=True):
                found[place] = text
        if self._is_told_out and left.num_rows < len(found):
            is_left = np.array([text is None for text in found])
            outside = self._read(_unconditional(self._left), rows.filter(pa.array(is_left)))
            for place, text in zip(outside.column(_PLACE).to_pylist(), self._told_out(outside), strict=True):
                found[place] = text
        return found

    def _read(self, left: Projection, rows: pa.Table) -> pa.Table:
        """The left's rows that have a time, each with its place among what came."""
        of = self.table.left
        name = left.partition
        if name is not None and name not in rows.column_names:
            rows = with_day(rows, name, of.schema[name], micros(values_of(of.time, rows, of.name, TIMESTAMP)), of.name)
        connection = connect()
        try:
            found = read_left(connection, MemoryTable(left.table, rows), left, start=None, end=None)
        finally:
            connection.close()
        return found.filter(found.column(TIME).is_valid())

    def _enriched(self, left: pa.Table) -> list[bytes]:
        rows = [dict(zip(self._types, values, strict=True)) for values in zip(*self._columns(left), strict=True)]
        times = left.column(TIME).to_pylist()
        found = self._fetch.fetch(rows, self._clock(), True, times)
        for status in found.statuses():
            lacking = next((name for name in self._wanted if status.get(name) == "unavailable"), None)
            if lacking is not None:
                raise EnrichingError(
                    f"{lacking} of the join {self.table.plan.name} is unavailable: events of {self.table.left.name} "
                    "wait for it",
                    subject=self.table.name,
                    hint="are the join's group-bys uploaded, and do the store and external sources answer?",
                )
        given: dict[str, list[Any]] = {"ts": times, DAY_COLUMN: [at.date().isoformat() for at in times]}
        if ID_COLUMN in left.column_names:
            given[ID_COLUMN] = left.column(ID_COLUMN).to_pylist()
        every = (
            {name: given[name][number] for name in given} | row | features
            for number, (row, features) in enumerate(zip(rows, found.rows(), strict=True))
        )
        return [msgspec.json.encode({name: each[name] for name in self._told}) for each in every]

    def _told_out(self, left: pa.Table) -> list[bytes]:
        """Of rows that the left's conditions leave out what must be known of them."""
        known = {"ts": left.column(TIME).to_pylist(), ID_COLUMN: left.column(ID_COLUMN).to_pylist()}
        told = {name: known[name] for name in known if name in self.table.schema}
        every = (dict(zip(told, values, strict=True)) for values in zip(*told.values(), strict=True))
        return [msgspec.json.encode(each | {OUT_COLUMN: True}) for each in every]

    def _columns(self, left: pa.Table) -> list[list[Any]]:
        return [_values(left.column(name), dtype) for name, dtype in self._types.items()]


class EnrichedLog:
    """See the module. `dead` keeps what is no event of the left, where nobody else does. With `is_sifted` what a
    streaming job puts aside of the left, late or stamped ahead, is passed over."""

    format = EVENTS

    def __init__(
        self, enricher: Enricher, log: Log, dead: DeadLetters | None = None, *, is_sifted: bool = False
    ) -> None:
        self.name, self.table = f"{log.name} {enricher.table.name}", enricher.table.name
        self._enricher, self._log, self._dead, self._is_sifted = enricher, log, dead, is_sifted
        self._left = enricher.table.left

    def parts(self) -> list[str]:
        return self._log.parts()

    def read(self, position: Position) -> Read:
        """The same records, of the rows that were made of their events; EnrichingError moves nothing."""
        read = self._log.read(position)
        if not read.records:
            return read
        found = decoded(self._left.intake, self._log, read.records)
        texts = self._texts(read.records, found)
        if found.refused and self._dead is not None:  # only now: what waits is read more than once
            decoded(self._left.intake, self._log, read.records, self._dead)
        events: list[list[bytes]] = [[] for _ in read.records]
        for number, text in zip(found.record.tolist(), texts, strict=True):
            if text is not None:
                events[number].append(text)
        records = [record._replace(events=of) for record, of in zip(read.records, events, strict=True)]
        return read._replace(records=records)

    def forget(self, position: Position) -> None:
        """The left's own readers say what is needed no more."""

    def close(self) -> None:
        self._log.close()

    def _texts(self, records: Sequence[Record], found: Decoded) -> list[bytes | None]:
        if not self._is_sifted:
            return self._enricher.texts(found.rows)
        kept = np.flatnonzero(self._is_timely(records, found))
        texts: list[bytes | None] = [None] * found.rows.num_rows
        for place, text in zip(kept.tolist(), self._enricher.texts(found.rows.take(pa.array(kept))), strict=True):
            texts[place] = text
        return texts

    def _is_timely(self, records: Sequence[Record], found: Decoded) -> Bools:
        """Whether each row is neither late nor stamped ahead, by the time of its message."""
        came = np.array([-1 if record.at is None else record.at for record in records], np.int64)[found.record]
        is_timely = self._is_within(self._left.time, found.rows, came, -AHEAD, self._left.lateness)
        for clock in self._left.clocks:
            is_timely &= self._is_within(clock, found.rows, came, -AHEAD, FOREVER)
        return is_timely | (came < 0)

    def _is_within(self, clock: Expression, rows: pa.Table, came: Ints, least: int, most: int) -> Bools:
        """Whether each message came so much later than a clock of its event says; where that says nothing, it did."""
        times = values_of(clock, rows, self._left.name, TIMESTAMP)
        behind, valid = came - micros(times), validity(times)
        is_within: Bools = (behind >= least) & (behind <= most)
        return is_within if valid is None else is_within | ~valid


def _numbered(left: Projection) -> Projection:
    """The left with the places of its rows, and with the ids of its events, of which no row is left out here."""
    place = parse(_PLACE, {_PLACE: BIGINT})
    identity = left.event_id
    more = [(_PLACE, place)] + ([(ID_COLUMN, identity)] if identity is not None else [])
    return replace(
        left,
        select=(*left.select, *more),
        types=(*left.types, *(expression.type for _, expression in more)),
        event_id=None,
    )


def _unconditional(left: Projection) -> Projection:
    """All rows of its days: their places, ids and times."""
    own = {name: left.column_types[name] for name in (_PLACE, ID_COLUMN)}
    select = tuple((name, left.columns[name]) for name in own)
    return replace(left, select=select, types=tuple(own.values()), where=())


def _values(column: pa.ChunkedArray, dtype: DataType) -> list[Any]:
    """As a request has them: maps as dicts, NaN as null."""
    if dtype.is_float:
        clean = door(dtype)
        return [clean(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    if isinstance(dtype, (ArrayType, MapType, StructType)):
        return [from_algebra(to_algebra(value, dtype), dtype) for value in values]
    return values
