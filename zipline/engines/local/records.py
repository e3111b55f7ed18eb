"""Rows of a group-by's sources as records of partials (`zipline.algebra.layout`): what uploads and tiles are made of.

`read_available` and `read_state` give the rows that have a key and were available in a span; `records` lays the rows of
each key, group and start together. A group is whatever the caller tells apart: the day of availability, for tiles.
Rows are put in order once, by key and time, which is the order of their records too. Changes count with their sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar import combining
from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.columnar.order import compress
from zipline.algebra.columnar.series import Series, moments_of_runs
from zipline.algebra.columnar.values import whole
from zipline.algebra.layout import EVENTS, ROWS, START, WIDTH, State
from zipline.clock import DAY, day_text
from zipline.engines.local import read
from zipline.engines.local.keys import Codes, KeyIndex
from zipline.engines.local.lives import refuse_unsigned
from zipline.engines.local.ranges import snapshot_days
from zipline.engines.local.session import connect
from zipline.engines.local.stream import Stream, make_stream, times_of
from zipline.plan.online import Kept
from zipline.plan.steps import GroupByPlan, Projection, SourceRead
from zipline.stores.key_columns import ordered_keys
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.values import dataclass

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_STATE = ("n", "hi", "lo", "gain", "m2", "m3", "m4", "infinite")


@dataclass(frozen=True, eq=False)
class Records:
    """Records in the order of (key, group, start): `keys` are the distinct ones as bytes, in order, `key` whose each
    is."""

    keys: list[bytes]
    key: Ints
    group: Ints
    words: Ints
    irs: Irs

    @property
    def bounds(self) -> Ints:
        """The records of key k are `bounds[k]:bounds[k + 1]`."""
        return np.searchsorted(self.key, np.arange(len(self.keys) + 1))


@dataclass(frozen=True, eq=False)
class Available:
    """Rows of a group-by's sources, with their times and when each became available; `sources` are what was read."""

    plan: GroupByPlan
    sources: tuple[Projection, ...]
    readings: tuple[read.Rows, ...]

    @property
    def available(self) -> Ints:
        return np.concatenate([np.zeros(0, np.int64), *(_available(rows) for rows in self.readings)])


def read_available(
    kept: Kept,
    catalog: Catalog,
    *,
    low: int | None = None,
    before: int | None = None,
    only: str | None = None,
) -> Available:
    """What arrived of all streams, or of those over one table, with `low` <= time and availability < `before`."""
    readings = []
    for source in kept.streams:
        is_read = only is None or source.table == only
        readings.append(_read(kept, catalog.table(source.table) if is_read else None, source, low, before))
    return Available(kept.group_by, kept.streams, tuple(readings))


def read_state(kept: Kept, catalog: Catalog, *, low: int | None, high: int, before: int) -> Available:
    """The states of entities at the midnight `before`, of rows with `low` <= time < `high`: of each source its newest
    snapshot from before then, and the changes since that one's day; without a snapshot all changes."""
    sources: list[Projection] = []
    readings: list[read.Rows] = []
    for source in kept.group_by.sources:
        assert source.mutations is not None
        table, changes = catalog.table(source.table), catalog.table(source.mutations.table)
        days = snapshot_days(table, source) if table.schema else np.zeros(0, np.int64)
        newest = days[days < before // DAY][-1:]
        since = int(newest[0] + 1) * DAY if len(newest) else None
        day = day_text(since - DAY) if since is not None else None
        sources += [source, source.mutations]
        readings.append(_read(kept, table if day else None, source, None, None, partitions=(day, day) if day else None))
        readings.append(_read(kept, changes, source.mutations, since, before))
    rows = (_between(each, low, high) for each in readings)
    return Available(kept.group_by, tuple(sources), tuple(rows))


def _between(rows: read.Rows, low: int | None, high: int) -> read.Rows:
    """The rows of these times."""
    t = times_of(rows)
    return _only(rows, (t < high) if low is None else (low <= t) & (t < high))


def _read(
    kept: Kept,
    table: Table | None,
    source: Projection,
    low: int | None,
    before: int | None,
    partitions: tuple[str, str] | None = None,
) -> read.Rows:
    """The rows that are ever seen of those that happened (of changes: were made) from `low` on."""
    asked = SourceRead((source,), (), None, 0)
    if table is None or not table.schema:
        return read.empty_rows(asked)
    needed = {source: _needed(kept) if source.is_before is None else frozenset(source.columns)}
    connection = connect()
    try:
        rows = read.read_source(connection, table, asked, needed=needed, low=low, high=before, partitions=partitions)
    finally:
        connection.close()
    seen = np.ones(rows.rows, np.bool_) if rows.seen is None else rows.seen.copy()
    if source.is_before is not None:
        refuse_unsigned(rows, source, seen)
    if before is not None:
        seen &= _available(rows) < before
    if rows.changed is not None and low is not None:
        seen &= rows.changed >= low
    return _only(rows, seen)


def _needed(kept: Kept) -> frozenset[str]:
    """The columns of which records are made."""
    columns = [feature.input for feature in kept.features] + [f.bucket for f in kept.features if f.bucket]
    return frozenset([*columns, *(key for key, _ in kept.group_by.keys)])


def _only(rows: read.Rows, chosen: Bools) -> read.Rows:
    return rows if chosen.all() else rows.take(pa.array(np.flatnonzero(chosen)))


def _available(rows: read.Rows) -> Ints:
    if rows.changed is not None:
        return rows.changed
    return times_of(rows) if rows.known is None else np.maximum(times_of(rows), rows.known)


def records(
    kept: Kept, rows: Available, start_of: Callable[[Ints], Ints], width: int, groups: Ints | None = None
) -> Records:
    """The records of rows, in `groups` (one for each row); rows without a key have none.

    `start_of` gives where the records of these times begin, and never falls where times rise.
    """
    keys, runs = _keys(rows)
    key, group, runs = _grouped(runs, groups, len(keys))
    bounds = np.cumsum([0, *(each.rows for each in rows.readings)]).tolist()
    codes = [runs[first:last] for first, last in pairwise(bounds)]
    stream = make_stream(rows.readings, codes, len(key))
    starts = start_of(stream.t)
    fresh = np.ones(len(starts), np.bool_)
    fresh[1:] = starts[1:] != starts[:-1]
    fresh[stream.offsets[:-1]] = True  # every run has rows
    firsts = np.flatnonzero(fresh)
    of_run = np.repeat(np.arange(len(key)), np.diff(np.searchsorted(firsts, stream.offsets)))
    stream = replace(stream, offsets=np.append(firsts, len(starts)))
    words = _words(kept, rows.sources, stream, starts[firsts], width)
    return Records(keys, key[of_run], group[of_run], words, _irs(kept, rows.sources, stream))


def _keys(rows: Available) -> tuple[list[bytes], Codes]:
    """(the distinct keys in the order of their bytes, the number of each row's; -1 where it has none)."""
    columns = [_column(rows, name) for name, _ in rows.plan.keys]
    index = KeyIndex(columns, sum(each.rows for each in rows.readings))
    some = np.zeros(index.count, np.int64)
    has_key = np.flatnonzero(index.codes >= 0)
    some[index.codes[has_key]] = has_key
    taken = [column.take(pa.array(some)) for column in columns]
    keys, order = ordered_keys(taken, [dtype for _, dtype in rows.plan.keys], index.count)
    place = np.full(index.count + 1, -1, np.int32)  # the last is that of no key
    place[order] = np.arange(len(order))
    return keys, place[index.codes]


def _grouped(keys: Codes, groups: Ints | None, count: int) -> tuple[Ints, Ints, Codes]:
    """(the key of each run, its group, the run of each row): keys are divided by group."""
    if groups is None:
        return np.arange(count), np.zeros(count, np.int64), keys
    distinct, number = np.unique(groups, return_inverse=True)
    pairs = np.where(keys < 0, -1, keys * np.int64(len(distinct)) + number)
    some, runs = np.unique(pairs, return_inverse=True)
    hidden = int(len(some) > 0 and some[0] < 0)
    some = some[hidden:]
    return some // len(distinct), distinct[some % len(distinct)], (runs - hidden).astype(np.int32)


def _column(rows: Available, name: str) -> pa.Array:
    pairs = zip(rows.readings, rows.sources, strict=True)
    return whole(pa.chunked_array([reading.column(source, name) for reading, source in pairs]))


def _words(kept: Kept, sources: tuple[Projection, ...], stream: Stream, starts: Ints, width: int) -> Ints:
    """The words of every run."""
    words = np.zeros((len(starts), kept.layout.words), np.int64)
    words[:, START], words[:, WIDTH] = starts, width
    words[:, EVENTS] = _counts(stream.offsets, stream.weight)
    types = {feature.input: feature.input_type for feature in kept.fixed}
    for state in kept.layout.states:
        if state.input == ROWS:
            words[:, state.at] = np.diff(stream.offsets)
            continue
        series = stream.series(sources, state.input, types[state.input])
        _write(state, series, words, words.view(np.float64))
    return words


def _write(state: State, series: Series, words: Ints, floats: NDArray[np.float64]) -> None:
    """The words of one state, from the values of every run."""
    at, offsets = state.at, series.offsets
    lengths = np.diff(offsets)
    if state.kind == "count":
        words[:, at] = _counts(offsets, series.weight)
    elif state.kind == "integers":
        data: Any = series.data
        for column, part in ((at, data & 0xFFFFFFFF), (at + 1, data >> 32)):
            words[:, column] = _totals(part if series.weight is None else part * series.weight, offsets)
    elif state.kind == "floats":
        combining.sums_of_runs(series.floats, offsets, floats, words, at)
    elif state.kind in ("least", "most"):
        out = floats[:, at] if state.is_float else words[:, at]
        combining.extremes_of_runs(series.data, offsets, state.kind == "most", out)
    elif state.kind == "moments":
        found = moments_of_runs(series)
        for n, name in enumerate(_STATE):
            floats[:, at + n] = np.asarray(pc.fill_null(found.field(name), 0.0))
    else:
        some = lengths > 0
        places = (offsets[:-1] if state.kind == "first" else offsets[1:] - 1)[some]
        words[some, at] = series.t[places]
        words[some, at + 1] = series.t[places] if series.known is None else series.known[places]
        target = floats if state.is_float else words
        target[some, at + 2] = series.data[places]


def _counts(offsets: Ints, weight: Ints | None) -> Ints:
    """How many there are in each run, what is taken back counted -1."""
    return np.diff(offsets) if weight is None else _totals(weight, offsets)


def _totals(values: Ints, offsets: Ints) -> Ints:
    """Of each run."""
    totals = np.concatenate([[0], np.cumsum(values)])
    found: Ints = totals[offsets[1:]] - totals[offsets[:-1]]
    return found


def _irs(kept: Kept, sources: tuple[Projection, ...], stream: Stream) -> Irs:
    """The IRs of every run, event by event."""
    if not kept.reductions:
        return []
    if kept.group_by.lookup and not kept.is_signed:
        stream = _newest(stream)
    names = list(dict.fromkeys(name for reduction in kept.reductions for name in reduction.columns))
    arrays = stream.rows_at(sources, names, stream.permutation)
    columns = {name: array.to_pylist() for name, array in zip(names, arrays, strict=True)}
    values = [[columns[name] for name in reduction.columns] for reduction in kept.reductions]
    takes = list(zip(values, kept.aggregators, strict=True))
    t, known = stream.t.tolist(), None if stream.known is None else stream.known.tolist()
    taken_back = None if stream.weight is None else (stream.weight < 0).tolist()
    found: Irs = []
    for first, last in pairwise(stream.offsets.tolist()):
        irs = [each.empty() for each in kept.aggregators]
        for place in range(first, last):
            at = t[place], None if known is None else known[place]
            for n, (of_column, aggregator) in enumerate(takes):
                change = aggregator.remove if taken_back is not None and taken_back[place] else aggregator.update
                irs[n] = change(irs[n], _value(of_column, place), at)
        found.append(irs)
    return found


def _newest(stream: Stream) -> Stream:
    """Of every run, all of which have rows, those of the newest clocks: a lookup takes one of them."""
    lengths, last = np.diff(stream.offsets), stream.offsets[1:] - 1
    newest = stream.t == np.repeat(stream.t[last], lengths)
    if stream.known is not None:
        newest &= stream.known == np.repeat(stream.known[last], lengths)
    places, offsets = compress(stream.offsets, newest)
    known = None if stream.known is None else stream.known[places]
    permutation = stream.permutation[places]
    return replace(stream, permutation=permutation, offsets=offsets, t=stream.t[places], known=known)


def _value(columns: list[list[Any]], row: int) -> Any:
    """Of one column as it is, of several as a tuple."""
    return columns[0][row] if len(columns) == 1 else tuple([column[row] for column in columns])
