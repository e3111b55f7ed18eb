"""Condensing: rows -> condensed rows, by the kernels that compute features.

Three shapes, all with the columns of `Condensation.projection`: rows as they were read, in their `expansion`; condensed
rows as they are stored, an Arrow table of these columns and the clocks T, KNOWN (microseconds) and AVAILABLE (a day);
and `Rows`, what the engine takes, made of any number of both by `together`.

Every run of equal (key, hop of t, day of availability) becomes as many rows as its longest column needs; rows that are
never seen (a null key, bucket or clock, a condition that fails) become none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar.series import Call, Series, TotalBeyondInt64, evaluate, moments_of_runs
from zipline.algebra.columnar.spans import Spans
from zipline.algebra.columnar.sums import pairs, sum_floats
from zipline.algebra.columnar.values import whole
from zipline.algebra.windows import floor
from zipline.arrow import to_arrow
from zipline.clock import DAY
from zipline.engines.local.expansion import counted_values
from zipline.engines.local.keys import KeyIndex
from zipline.engines.local.read import Rows
from zipline.engines.local.stream import Stream, make_stream
from zipline.plan.condensed import ORDERED, Condensation, Stored
from zipline.plan.steps import Projection
from zipline.types import DOUBLE

Ints = NDArray[np.int64]
Ragged = tuple[Ints, pa.Array]
"""How many values each run has, and the values in the order of the runs."""

T, KNOWN, AVAILABLE = "\0t", "\0known", "\0day"
"""The clocks of stored rows, under names that no column has."""
INT64_LEAST, INT64_MOST = -(1 << 63), (1 << 63) - 1
UNWIELDY = 2.0**960
"""The least value of which several might add up to more than a double holds."""


def together(condensed: Condensation, pieces: Sequence[Rows]) -> Rows:
    """Several readings as one."""
    projection = condensed.projection
    columns = {
        name: pa.chunked_array([chunk for rows in pieces for chunk in _chunks(rows.pieces(projection, name))], kind)
        for name, kind in ((name, to_arrow(dtype)) for name, dtype in projection.column_types.items())
    }
    two_clocks = any(rows.known is not None for rows in pieces)
    return Rows(
        columns=columns,
        masks=_masks([rows.mask(projection) for rows in pieces], pieces),
        t=_joined([rows.t for rows in pieces]),
        known=_joined([rows.t if rows.known is None else rows.known for rows in pieces]) if two_clocks else None,
        timed=_all([rows.timed for rows in pieces], pieces),
        seen=_all([rows.seen for rows in pieces], pieces),
        partition=None,
        rows=sum(rows.rows for rows in pieces),
        aliases={(projection, name): name for name in columns},
    )


def _chunks(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _joined(arrays: Sequence[Any]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *arrays])


def _all(flags: Sequence[Any], pieces: Sequence[Rows]) -> Any:
    if all(flag is None for flag in flags):
        return None
    sized = zip(flags, pieces, strict=True)
    return np.concatenate([np.ones(rows.rows, np.bool_) if flag is None else flag for flag, rows in sized])


def _masks(masks: Sequence[Any], pieces: Sequence[Rows]) -> dict[tuple[str, ...], Any]:
    mask = _all(masks, pieces)
    return {} if mask is None else {(): mask}


def rows_of(table: pa.Table, condensed: Condensation) -> Rows:
    """Stored condensed rows as an engine takes them; columns that the table was read without are null."""
    types = condensed.projection.column_types
    columns = {
        name: table.column(name) if name in table.column_names else pa.nulls(table.num_rows, to_arrow(dtype))
        for name, dtype in types.items()
    }
    known = np.asarray(table.column(KNOWN)) if KNOWN in table.column_names else None
    return Rows(
        columns=columns,
        masks={},
        t=np.asarray(table.column(T)),
        known=known,
        timed=None,
        seen=None,
        partition=None,
        rows=table.num_rows,
        aliases={(condensed.projection, name): name for name in columns},
    )


def condense(rows: Rows, condensed: Condensation, hop: int) -> pa.Table:
    """The condensed rows of hops of this length, in the order of their keys. `rows` are expanded or condensed ones."""
    rows = visible(rows, condensed.projection)
    runs = _Runs(rows, condensed, hop)
    if condensed.group_by.lookup:
        tables = [runs.latest_rows()]
    else:
        tables = [runs.family(bucket, columns) for bucket, columns in condensed.families]
    schema = _schema(condensed, two_clocks=rows.known is not None)
    table = pa.concat_tables([_filled(table, schema) for table in tables])
    return table.take(_order(table, condensed))


def _schema(condensed: Condensation, *, two_clocks: bool) -> pa.Schema:
    fields = [pa.field(name, to_arrow(dtype)) for name, dtype in condensed.projection.column_types.items()]
    clocks = [T, KNOWN, AVAILABLE] if two_clocks else [T, AVAILABLE]
    return pa.schema([*fields, *(pa.field(name, pa.int64()) for name in clocks)])


def _filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    present = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type) if field.name in present else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _order(table: pa.Table, condensed: Condensation) -> pa.Array:
    """By key, which makes files small."""
    names = [key for key, dtype in condensed.group_by.keys if dtype.is_ordered]
    return pc.sort_indices(table, sort_keys=[(name, "ascending") for name in [*names, T]])


def visible(rows: Rows, projection: Projection) -> Rows:
    seen, mask = rows.seen, rows.mask(projection)
    if seen is None and mask is None:
        return rows
    kept = np.ones(rows.rows, np.bool_)
    for flags in (seen, mask):
        kept = kept if flags is None else kept & flags
    return replace(rows.take(pa.array(np.flatnonzero(kept))), masks={}, seen=None, timed=None)


class _Runs:
    """The rows of one hop length in runs."""

    def __init__(self, rows: Rows, condensed: Condensation, hop: int) -> None:
        assert rows.t is not None
        self._rows, self._condensed = rows, condensed
        self._sources = (condensed.projection,)
        self._hop = floor(rows.t, hop)
        available = rows.t if rows.known is None else np.maximum(rows.t, rows.known)
        self._day = available // DAY
        self._is_by_day = rows.known is not None and hop <= DAY

    def family(self, bucket: str | None, columns: Sequence[Stored]) -> pa.Table:
        """Condensed columns side by side; the times are those of the values that keep their own."""
        stream, extra = self._stream(None if bucket is None else self._condensed.buckets[bucket])
        values: dict[str, Ragged] = {}
        clocks: dict[str, Ragged] = {}
        for column in columns:
            series = stream.series(self._sources, column.name, column.type)
            if column.kind in ORDERED:
                lengths, at = _ends(series, column)
                values[column.name] = lengths, series.at(at)
                clocks = {T: (lengths, pa.array(series.t[at]))}
                clocks |= {} if series.known is None else {KNOWN: (lengths, pa.array(series.known[at]))}
            else:
                values[column.name] = _merged(series, column)
        lengths = np.max([length for length, _ in values.values()], axis=0, initial=0)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        laid = {name: _laid(starts, *ragged) for name, ragged in (values | clocks).items()}
        return self._table(stream, np.repeat(np.arange(len(lengths)), lengths), laid, extra)

    def latest_rows(self) -> pa.Table:
        """Of every run the row that a lookup takes."""
        stream, _ = self._stream(None)
        series, places = stream.latest_rows(self._sources, self._condensed.group_by.lookup)
        runs = np.flatnonzero(np.diff(series.offsets))
        at = pa.array(places[series.offsets[runs + 1] - 1])
        columns = {name: self._column(name).take(at) for name, _ in self._condensed.group_by.lookup}
        assert self._rows.t is not None
        columns[T] = pa.array(self._rows.t[at])
        if self._rows.known is not None:
            columns[KNOWN] = pa.array(self._rows.known[at])
        return self._table(stream, runs, columns, None)

    def _stream(self, extra: str | None) -> tuple[Stream, str | None]:
        names = [key for key, _ in self._condensed.group_by.keys]
        keys = [whole(self._column(name)) for name in [*names, *([extra] if extra else [])]]
        parts = [self._hop, *([self._day] if self._is_by_day else [])]
        keys += [pa.array(part) for part in parts if len(part) and part.min() != part.max()]
        index = KeyIndex(keys, self._rows.rows)
        return make_stream((self._rows,), [index.codes], index.count), extra

    def _column(self, name: str) -> Any:
        return self._rows.column(self._condensed.projection, name)

    def _table(self, stream: Stream, runs: Ints, columns: dict[str, pa.Array], extra: str | None) -> pa.Table:
        """A row for each of the runs, with what all rows of a run have in common."""
        places = stream.permutation[stream.offsets[runs]]
        at = pa.array(places)
        shared = {key: self._column(key).take(at) for key, _ in self._condensed.group_by.keys}
        if extra is not None:
            shared[extra] = self._column(extra).take(at)
        shared[T] = pa.array(self._hop[places])
        if self._rows.known is not None:
            shared[KNOWN] = shared[T]
        shared[AVAILABLE] = pa.array(self._day[places])
        own = {name: pc.coalesce(columns[name], shared[name]) for name in (T, KNOWN) if name in columns}
        return pa.table({**shared, **columns, **own})


def _ends(series: Series, column: Stored) -> tuple[Ints, Ints]:
    """(how many, the positions of) the first or the last of each run."""
    counts = np.minimum(np.diff(series.offsets), column.k)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    if column.kind == "first":
        return counts, np.repeat(series.offsets[:-1], counts) + within
    return counts, np.repeat(series.offsets[1:], counts) - 1 - within


def _laid(starts: Ints, lengths: Ints, values: pa.Array) -> pa.Array:
    """The values of each run at its first places, null at the others."""
    within = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.full(starts[-1], -1)
    at[np.repeat(starts[:-1], lengths) + within] = np.arange(len(values))
    return values.take(pa.array(at, mask=at < 0))


def _merged(series: Series, column: Stored) -> Ragged:
    runs = np.arange(len(series.offsets) - 1)
    spans = Spans(None, series.offsets[1:], None, series.offsets[:-1])
    if column.kind in ("count", "total"):
        return _float_totals(series, spans) if column.type == DOUBLE else _integer_totals(series, runs, spans)
    if column.kind == "moments":
        return _present(moments_of_runs(series))
    if column.kind in ("distinct", "counted"):
        found = evaluate(series, Call("HISTOGRAM"), runs, spans)
        lengths, values = _ragged(found)
        return lengths, values if column.kind == "distinct" else counted_values(values, found.items, column)
    operation = "BOTTOM_K" if column.kind == "least" else "TOP_K"
    if column.k > 1:
        return _ragged(evaluate(series, Call(operation, column.k), runs, spans))
    return _present(evaluate(series, Call("MIN" if column.kind == "least" else "MAX"), runs, spans))


def _present(values: pa.Array) -> Ragged:
    return np.asarray(pc.is_valid(values)).astype(np.int64), pc.drop_null(values)


def _ragged(nested: pa.Array) -> Ragged:
    lengths = np.diff(np.asarray(nested.offsets)).astype(np.int64)
    return lengths, nested.keys if isinstance(nested, pa.MapArray) else nested.values


def _integer_totals(series: Series, runs: Ints, spans: Spans) -> Ragged:
    """The total of each run; one beyond int64 as several integers that add up to it."""
    try:
        return _present(evaluate(series, Call("SUM"), runs, spans))
    except TotalBeyondInt64:
        parts = [_parts(series.data[first:last]) for first, last in zip(spans.leave_end, spans.enter_end, strict=True)]
    return np.array([len(part) for part in parts]), pa.array([each for part in parts for each in part], pa.int64())


def _parts(values: Any) -> list[int]:
    if not len(values):
        return []
    total, parts = sum(values.tolist()), []
    while not INT64_LEAST <= total <= INT64_MOST:
        parts.append(INT64_MOST if total > 0 else INT64_LEAST)
        total -= parts[-1]
    return [*parts, total]


def _float_totals(series: Series, spans: Spans) -> Ragged:
    """Doubles whose exact sum is that of the run: its rounded value, that of what is left, and so on until none is.

    A run with infinities keeps one of each sign, which decide its sum; one whose sum is beyond doubles, its values.
    """
    floats = series.floats
    special = _special(floats, spans)
    greater, lesser, exact = pairs(floats, spans.leave_end, spans.enter_end)
    plain = (spans.count > 0) & exact
    plain[list(special)] = False
    rest = np.flatnonzero((spans.count > 0) & ~exact)
    rest = rest[~np.isin(rest, list(special))]
    parts = [(np.flatnonzero(each), of[each]) for of, each in ((greater, plain), (lesser, plain & (lesser != 0.0)))]
    parts += _expansion(floats, spans, rest)
    parts += [(np.full(len(values), run), values) for run, values in special.items()]
    runs = np.concatenate([run for run, _ in parts])
    order = np.argsort(runs, kind="stable")
    lengths = np.bincount(runs, minlength=len(spans.count))
    return lengths.astype(np.int64), pa.array(np.concatenate([value for _, value in parts])[order])


def _special(floats: Any, spans: Spans) -> dict[int, Any]:
    """The values to keep of runs with infinities, or whose sum may be beyond doubles."""
    found: dict[int, Any] = {}
    large = np.flatnonzero(~(np.abs(floats) < UNWIELDY))
    for run in np.unique(np.searchsorted(spans.enter_end, large, side="right")).tolist():
        values = floats[spans.leave_end[run] : spans.enter_end[run]]
        infinite = np.isinf(values)
        found[run] = np.unique(values[infinite]) if infinite.any() else values
    return found


def _expansion(floats: Any, spans: Spans, runs: Ints) -> list[tuple[Ints, Any]]:
    """(runs, their next part) in turn, the greatest parts first; a total of 0 has one part."""
    parts: list[tuple[Ints, Any]] = []
    counts = spans.count[runs]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    values = floats[np.repeat(spans.leave_end[runs], counts) + within]
    owner = np.repeat(np.arange(len(runs)), counts)
    while len(runs):
        ends = np.cumsum(np.bincount(owner, minlength=len(runs)))
        starts = np.concatenate([[0], ends[:-1]])
        rounded = sum_floats(values, None, ends, None, starts, False)
        kept = rounded != 0.0 if parts else np.ones(len(runs), np.bool_)
        parts.append((runs[kept], rounded[kept]))
        left = kept & (rounded != 0.0)
        number = np.cumsum(left) - 1
        of_left = left[owner]
        remaining, taken = values[of_left], -rounded[left]
        owner = np.concatenate([number[owner[of_left]], np.arange(len(taken))])
        order = np.argsort(owner, kind="stable")
        values, owner, runs = np.concatenate([remaining, taken])[order], owner[order], runs[left]
    return parts
