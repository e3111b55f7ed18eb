"""What was asked and answered, of a share of all keys: rolling Parquet files, written aside from every request.

    <folder>/<join>/<fingerprint's first 12>/<day>/<time>-<process>-<number>.parquet

A row is one row of one request: `at`, what it gave (`request.<column>`), every feature as the join has it, `__status`
with what was not `ok`, and `__time` with until when each feature's input was complete. The file's metadata has the
whole fingerprint. Whether a key is logged is told by its hash, so a key is logged always or never.

A request only puts its rows into a queue. Where the queue is full the rows are dropped, and counted. A file appears
when it is whole; what was not yet written is lost if the process is killed.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import zlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from serving.features.batching import Answer
from serving.features.metrics import Metrics
from zipline.arrow import TIMESTAMP_ARROW, to_arrow
from zipline.clock import day_text, monotonic, now
from zipline.fetch.joins import JoinFetch
from zipline.fetch.results import Result
from zipline.values import dataclass

WAITING = 20_000
"""Requests that may wait to be written."""
ROLLED_ROWS, ROLLED_SECONDS = 50_000, 60.0
_ALL = 1 << 32
_UNFIT = (pa.ArrowException, OverflowError, TypeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Entry:
    join: str
    fetch: JoinFetch
    rows: Sequence[dict[str, Any]]
    result: Result
    places: Sequence[int]
    at: int


class RequestLog:
    """See the module; `share` of the keys is logged."""

    def __init__(self, folder: str | os.PathLike[str], share: float, metrics: Metrics) -> None:
        self._folder, self._below, self._metrics = Path(folder), int(share * _ALL), metrics
        self._queue: queue.Queue[_Entry | None] = queue.Queue(WAITING)
        self._files = 0
        self._thread = threading.Thread(target=self._written, name="zipline-request-log", daemon=True)
        self._thread.start()

    def take(self, join: str, fetch: JoinFetch, rows: Sequence[dict[str, Any]], answer: Answer) -> None:
        """Puts those rows aside whose keys are logged; never waits."""
        chosen = [number for number, row in enumerate(rows) if self._is_chosen(fetch, row)]
        if not chosen:
            return
        places = [answer.first + number for number in chosen]
        entry = _Entry(join, fetch, [rows[number] for number in chosen], answer.of.result, places, answer.at)
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._metrics.logged.labels("dropped").inc(len(chosen))

    def _is_chosen(self, fetch: JoinFetch, row: dict[str, Any]) -> bool:
        key = msgspec.json.encode([row.get(name) for name in fetch.keys])
        return zlib.crc32(key) < self._below

    def close(self) -> None:
        """Writes what waits."""
        self._queue.put(None)
        self._thread.join(timeout=30)

    def _written(self) -> None:
        waiting: list[_Entry] = []
        rows, until = 0, monotonic() + ROLLED_SECONDS
        while True:
            try:
                entry = self._queue.get(timeout=max(0.05, until - monotonic()))
            except queue.Empty:
                entry = _NOTHING
            if entry is not None and entry is not _NOTHING:
                waiting.append(entry)
                rows += len(entry.rows)
            if entry is None or rows >= ROLLED_ROWS or monotonic() >= until:
                self._write(waiting)
                waiting, rows, until = [], 0, monotonic() + ROLLED_SECONDS
            if entry is None:
                return

    def _write(self, entries: list[_Entry]) -> None:
        entries.sort(key=lambda entry: (entry.join, id(entry.fetch)))
        for (join, _), own in groupby(entries, key=lambda entry: (entry.join, id(entry.fetch))):
            some = list(own)
            count = sum(len(entry.rows) for entry in some)
            try:
                self._write_file(join, some)
                self._metrics.logged.labels("written").inc(count)
            except Exception as wrong:  # whatever it is, the next rows are written
                self._metrics.logged.labels("failed").inc(count)
                _log.error("%d rows of the request log were not written: %s", count, type(wrong).__name__)

    def _write_file(self, join: str, entries: list[_Entry]) -> None:
        fingerprint, time = entries[0].result.fingerprint, now()
        table = pa.concat_tables([_table(entry) for entry in entries])
        folder = self._folder / join / fingerprint[:12] / day_text(time)
        folder.mkdir(parents=True, exist_ok=True)
        self._files += 1
        name = f"{time}-{os.getpid()}-{self._files}"
        table = table.replace_schema_metadata({"zipline.join": join, "zipline.fingerprint": fingerprint})
        pq.write_table(table, folder / f".{name}.part", compression="zstd")
        (folder / f".{name}.part").rename(folder / f"{name}.parquet")


def _column(values: Sequence[Any], arrow: pa.DataType) -> pa.Array:
    """What was given, null where it is no value of the column's type: nothing needed it, so nothing has refused it."""
    try:
        return pa.array(values, arrow)
    except _UNFIT:
        return pa.concat_arrays([_cell(value, arrow) for value in values])


def _cell(value: Any, arrow: pa.DataType) -> pa.Array:
    try:
        return pa.array([value], arrow)
    except _UNFIT:
        return pa.nulls(1, arrow)


def _table(entry: _Entry) -> pa.Table:
    """The rows of one request, in columns."""
    given = entry.fetch.given
    count = len(entry.rows)
    columns: dict[str, pa.Array] = {"at": pa.array([entry.at] * count, pa.int64()).cast(TIMESTAMP_ARROW)}
    for name, dtype in given:
        columns[f"request.{name}"] = _column([row.get(name) for row in entry.rows], to_arrow(dtype))
    features = entry.result.columns().take(pa.array(entry.places))
    columns |= dict(zip(features.column_names, features.columns, strict=True))
    statuses, pairs = entry.result.statuses(), pa.map_(pa.string(), pa.string())
    columns["__status"] = pa.array([list(statuses[place].items()) for place in entry.places], pairs)
    times = {name: entry.result.times_of(name) for name in entry.result.features}
    listed = [[(name, own[place]) for name, own in times.items()] for place in entry.places]
    columns["__time"] = pa.array(listed, pa.map_(pa.string(), TIMESTAMP_ARROW))
    return pa.table(columns)


_NOTHING: Any = object()
