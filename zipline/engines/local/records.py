"""Rows of a group-by's sources as records of partials (`zipline.algebra.layout`): what uploads and tiles are made of.

`read_available` gives the rows that have a key and a time and were available in a span; `records` lays the rows of
each key, group and start together. A group is whatever the caller tells apart: the day of availability, for tiles.
Rows are put in order once, by key and time, which is the order of their records too.
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
from zipline.algebra.columnar.series import Series, moments_of_runs
from zipline.algebra.columnar.values import whole
from zipline.algebra.layout import EVENTS, START, WIDTH, State
from zipline.engines.local import read
from zipline.engines.local.group_by import needed_columns
from zipline.engines.local.keys import Codes, KeyIndex
from zipline.engines.local.session import connect
from zipline.engines.local.stream import Stream, make_stream
from zipline.plan.online import Kept, Reduction
from zipline.plan.steps import GroupByPlan, PartPlan, Projection, SourceRead
from zipline.stores.key_columns import ordered_keys
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.values import dataclass

Ints = NDArray[np.int64]
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
    """Rows of all sources of a group-by, with their times and when each became available."""

    plan: GroupByPlan
    readings: tuple[read.Rows, ...]

    @property
    def t(self) -> Ints:
        return np.concatenate([np.zeros(0, np.int64), *(_time(rows) for rows in self.readings)])

    @property
    def available(self) -> Ints:
        return np.concatenate([np.zeros(0, np.int64), *(_available(rows) for rows in self.readings)])


def read_available(
    plan: GroupByPlan,
    catalog: Catalog,
    *,
    low: int | None = None,
    before: int | None = None,
    only: str | None = None,
) -> Available:
    """The rows of all sources, or of those over one table, with `low` <= time and availability < `before`."""
    part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", tuple(dict(plan.columns)))
    readings = []
    for source in plan.sources:
        is_read = only is None or source.table == only
        readings.append(_read(part, catalog.table(source.table) if is_read else None, source, low, before))
    return Available(plan, tuple(readings))


def _read(part: PartPlan, table: Table | None, source: Projection, low: int | None, before: int | None) -> read.Rows:
    asked = SourceRead((source,), (), None, 0)
    if table is None or not table.schema:
        return read.empty_rows(asked)
    needed = {source: needed_columns(part, source)}
    connection = connect()
    try:
        rows = read.read_source(connection, table, asked, needed=needed, low=low, high=before)
    finally:
        connection.close()
    available = _available(rows)
    kept = np.ones(rows.rows, np.bool_) if rows.seen is None else rows.seen.copy()
    if before is not None:
        kept &= available < before
    return rows if kept.all() else rows.take(pa.array(np.flatnonzero(kept)))


def _time(rows: read.Rows) -> Ints:
    assert rows.t is not None, "only rows with a time have records"
    return rows.t


def _available(rows: read.Rows) -> Ints:
    return _time(rows) if rows.known is None else np.maximum(_time(rows), rows.known)


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
    return Records(keys, key[of_run], group[of_run], _words(kept, stream, starts[firsts], width), _irs(kept, stream))


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
    sources = rows.plan.sources
    return whole(pa.chunked_array([r.column(s, name) for r, s in zip(rows.readings, sources, strict=True)]))


def _words(kept: Kept, stream: Stream, starts: Ints, width: int) -> Ints:
    """The words of every run."""
    words = np.zeros((len(starts), kept.layout.words), np.int64)
    words[:, START], words[:, WIDTH] = starts, width
    words[:, EVENTS] = np.diff(stream.offsets)
    types = {feature.input: feature.input_type for feature in kept.group_by.features}
    for state in kept.layout.states:
        series = stream.series(kept.group_by.sources, state.input, types[state.input])
        _write(state, series, words, words.view(np.float64))
    return words


def _write(state: State, series: Series, words: Ints, floats: NDArray[np.float64]) -> None:
    """The words of one state, from the values of every run."""
    at, offsets = state.at, series.offsets
    lengths = np.diff(offsets)
    if state.kind == "count":
        words[:, at] = lengths
    elif state.kind == "integers":
        data: Any = series.data
        for column, part in ((at, data & 0xFFFFFFFF), (at + 1, data >> 32)):
            totals = np.concatenate([[0], np.cumsum(part)])
            words[:, column] = totals[offsets[1:]] - totals[offsets[:-1]]
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


def _irs(kept: Kept, stream: Stream) -> Irs:
    """The IRs of every run, event by event."""
    if not kept.reductions:
        return []
    sources = kept.group_by.sources
    names = dict.fromkeys(name for _, column, bucket, _, _ in kept.reductions for name in (column, bucket))
    columns = {name: stream.column(sources, name).to_pylist() for name in names if name is not None}
    pairs = list(zip(kept.reductions, kept.aggregators, strict=True))
    t, known = stream.t.tolist(), None if stream.known is None else stream.known.tolist()
    places, bounds = stream.permutation.tolist(), stream.offsets.tolist()
    found: Irs = []
    for first, last in pairwise(bounds):
        irs = [each.empty() for each in kept.aggregators]
        for place in range(first, last):
            at = t[place], None if known is None else known[place]
            for n, (reduction, aggregator) in enumerate(pairs):
                irs[n] = aggregator.update(irs[n], _value(reduction, columns, places[place]), at)
        found.append(irs)
    return found


def _value(reduction: Reduction, columns: dict[str, list[Any]], row: int) -> Any:
    _, column, bucket, _, _ = reduction
    value = columns[column][row]
    return value if bucket is None else (columns[bucket][row], value)
