"""The warehouse's side: events of a table's logs, appended to its Delta table.

How far a log was read is kept in the commit that appends what was read, so an append that is killed, repeated or made
by two processes at once leaves each event there once. Where the sources agree on an event id, an event whose id the
table has, among the days from a week before the batch on, is not appended again. The partition column is the day on
which the event happened.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import micros, validity
from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import DAY, FIRST_INSTANT, day_text
from zipline.engines.local.session import connect, query
from zipline.errors import DataError, ZiplineError
from zipline.orchestration.events.arrived import failing, values_of, with_day, without
from zipline.orchestration.events.decoding import DeadLetters, decoded
from zipline.orchestration.events.logs import Clock, Log, Position
from zipline.orchestration.events.tables import EventTable
from zipline.tables.appending import DeltaAppend, MovedError
from zipline.tables.delta_source import DeltaSource
from zipline.types import TIMESTAMP

LOOKED_BACK = 7 * DAY
AT_ONCE = 200_000
"""Rows of one commit, about."""
_ATTEMPTS = 20


class Appender:
    """Appends one table's events. `folder` holds a lock, so that processes of one machine take turns."""

    def __init__(
        self,
        table: EventTable,
        logs: Sequence[Log],
        folder: Path,
        clock: Clock,
        options: Mapping[str, str] | None = None,
        dead: DeadLetters | None = None,
    ) -> None:
        self._table, self._logs, self._folder, self._clock = table, logs, folder, clock
        self._uri, self._options, self._dead = table.check_appendable(), dict(options or {}), dead
        self.lost_before = EVER_BEFORE
        """When messages had come that were deleted before they were read."""

    def append(self) -> int:
        """Appends all that the logs hold now; gives how many rows."""
        count = 0
        with self._alone():
            for log in self._logs:
                while True:
                    rows, is_all = self._append_some(log)
                    count += rows
                    if is_all:
                        break
                log.forget(self.position(log))
        return count

    def position(self, log: Log) -> dict[str, int]:
        """How far a log was appended."""
        return self._position(DeltaAppend(self._uri, self._options), log)

    def _append_some(self, log: Log) -> tuple[int, bool]:
        for _ in range(_ATTEMPTS):
            opened = DeltaAppend(self._uri, self._options)
            before = self._position(opened, log)
            rows, position, is_all = self._read(log, before)
            if position == before:
                return 0, is_all
            try:
                kept = self._new(rows)
                opened.append(kept, {_id(log, part): offset for part, offset in position.items()})
                return kept.num_rows, is_all
            except MovedError:
                continue
        raise DataError(f"others append to {self._uri} all the time", hint="let one process do it")

    def _position(self, opened: DeltaAppend, log: Log) -> dict[str, int]:
        parts = {_id(log, part): part for part in log.parts()}
        return {parts[name]: offset for name, offset in opened.positions(parts).items()}

    def _read(self, log: Log, position: Position) -> tuple[pa.Table, dict[str, int], bool]:
        """Rows behind a position, as many as one commit takes."""
        reached, tables, count, is_all = dict(position), [], 0, False
        while not is_all and count < AT_ONCE:
            read = log.read(reached)
            self.lost_before = max(self.lost_before, read.lost_behind(reached))
            tables.append(self._timed(decoded(self._table.intake, log, read.records, self._dead).rows))
            reached |= read.position
            count += tables[-1].num_rows
            is_all = read.is_all
        return self._with_day(pa.concat_tables(tables)), reached, is_all

    def _timed(self, rows: pa.Table) -> pa.Table:
        """Without rows that cannot be evaluated: they would stand in the way of every reader of the table."""
        try:
            self._evaluate(rows)
        except ZiplineError:
            return without(rows, failing(self._evaluate, rows))
        return rows

    def _evaluate(self, rows: pa.Table) -> None:
        self._times(rows)
        self._table.check(rows)

    def _times(self, rows: pa.Table) -> NDArray[np.int64]:
        """When each row happened, in microseconds; of one that has no time, now."""
        times = values_of(self._table.time, rows, self._table.name, TIMESTAMP)
        found, valid = micros(times), validity(times)
        return found if valid is None else np.where(valid, found, self._clock())

    def _with_day(self, rows: pa.Table) -> pa.Table:
        """With the partition column, for tables that have one."""
        name = self._table.partition
        if name is None:
            return rows
        return with_day(rows, name, self._table.schema[name], self._times(rows), self._table.name)

    def _new(self, rows: pa.Table) -> pa.Table:
        """Of the rows those whose id the table does not have, each id once: the first."""
        identity = self._table.event_id
        if identity is None or not rows.num_rows:
            return rows
        since = max(int(self._times(rows).min()) - LOOKED_BACK, FIRST_INSTANT)
        connection = connect()
        try:
            connection.register(
                "arrived", rows.append_column("__place", pa.array(np.arange(rows.num_rows), pa.int64()))
            )
            table = DeltaSource(self._table.name, self._uri, self._options)
            relation = table.relation(connection, partition=self._table.partition, start=day_text(since))
            found = query(connection, _NEW.format(id=identity.sql("duckdb"), table=relation), self._table.name)
        finally:
            connection.close()
        return rows.take(found.column("__place"))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self._folder / ".appending", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


_NEW = """
    SELECT __place FROM (
        SELECT __place, {id} AS id, row_number() OVER (PARTITION BY {id} ORDER BY __place) AS nth FROM arrived
    )
    WHERE id IS NULL OR (nth = 1 AND id NOT IN (
        SELECT {id} FROM {table} WHERE {id} IN (SELECT {id} FROM arrived WHERE {id} IS NOT NULL)
    ))
    ORDER BY __place
"""


def _id(log: Log, part: str) -> str:
    return f"zipline {log.name} {part}"
