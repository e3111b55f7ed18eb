"""Rows of a group-by's sources as records of partials (`zipline.algebra.layout`): what uploads and tiles are made of.

`read_available` gives the rows that have a key and a time and were available in a span; `records` lays the rows of
each key, group and start together. A group is whatever the caller tells apart: the day of availability, for tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar import combining
from zipline.algebra.columnar.blocks import Form, Irs
from zipline.algebra.columnar.series import Series, moments_of_runs
from zipline.algebra.columnar.values import whole
from zipline.algebra.layout import EVENTS, START, WIDTH, State
from zipline.engines.local import read
from zipline.engines.local.group_by import needed_columns
from zipline.engines.local.keys import KeyIndex
from zipline.engines.local.session import connect
from zipline.engines.local.stream import Stream, make_stream
from zipline.plan.online import Kept, Reduction
from zipline.plan.steps import GroupByPlan, PartPlan, Projection, SourceRead
from zipline.stores.keys import key_writer
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.values import dataclass

Ints = NDArray[np.int64]
_STATE = ("n", "hi", "lo", "gain", "m2", "m3", "m4", "infinite")


def form_of(kept: Kept) -> Form:
    """What the blocks of a group-by look like."""
    return Form(kept.tag, bytes.fromhex(kept.group_by.fingerprint), kept.layout, kept.aggregators)


@dataclass(frozen=True, eq=False)
class Records:
    """Records in the order of (key, group, start): `keys` are the distinct ones as bytes, in order, `key` whose each
    is."""

    keys: list[bytes]
    key: Ints
    group: Ints
    words: Ints
    irs: Irs


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
    return rows.take(pa.array(np.flatnonzero(kept)))


def _time(rows: read.Rows) -> Ints:
    assert rows.t is not None, "only rows with a time have records"
    return rows.t


def _available(rows: read.Rows) -> Ints:
    return _time(rows) if rows.known is None else np.maximum(_time(rows), rows.known)


def records(kept: Kept, rows: Available, starts: Ints, groups: Ints, width: int) -> Records:
    """The records of rows that begin at `starts` (one for each row) in `groups`; rows without a key have none."""
    plan = kept.group_by
    count = sum(each.rows for each in rows.readings)
    keys = [_column(rows, name) for name, _ in plan.keys]
    by_key = KeyIndex(keys, count)
    parts = [pa.array(by_key.codes, mask=by_key.codes < 0), pa.array(starts), pa.array(groups)]
    index = KeyIndex(parts, count)
    bounds = np.cumsum([0, *(each.rows for each in rows.readings)]).tolist()
    codes = [index.codes[first:last] for first, last in pairwise(bounds)]
    stream = make_stream(rows.readings, codes, index.count)
    firsts = stream.permutation[stream.offsets[:-1]]
    words = _words(kept, stream, starts[firsts], width)
    distinct, key = _keys(plan, keys, by_key.codes[firsts], firsts)
    order = np.lexsort((words[:, START], groups[firsts], key))
    irs = _irs(kept, stream)
    return Records(
        distinct, key[order], groups[firsts][order], words[order], [irs[n] for n in order.tolist()] if irs else []
    )


def _column(rows: Available, name: str) -> pa.Array:
    sources = rows.plan.sources
    return whole(pa.chunked_array([r.column(s, name) for r, s in zip(rows.readings, sources, strict=True)]))


def _keys(plan: GroupByPlan, columns: Sequence[pa.Array], code: Ints, rows: Ints) -> tuple[list[bytes], Ints]:
    """(the distinct keys in the order of their bytes, which of them each record has)."""
    _, at, of = np.unique(code, return_index=True, return_inverse=True)
    write = key_writer([dtype for _, dtype in plan.keys])
    parts = [column.take(pa.array(rows[at])).to_pylist() for column in columns]
    found = [write(key) or b"" for key in zip(*parts, strict=True)] if parts else [b"\0"] * len(at)
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return [found[n] for n in order], rank[of] if len(of) else np.zeros(0, np.int64)


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
