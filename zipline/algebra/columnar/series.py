"""A series: the events of one input column in runs, in canonical order, without nulls; and one operation over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar import distinct, extremes, order, ranks, spread, sums
from zipline.algebra.columnar.spans import Spans, spans
from zipline.algebra.columnar.values import ordinals_of, values_of
from zipline.algebra.states import MOMENTS, StateType
from zipline.arrow import to_arrow
from zipline.errors import DataError
from zipline.types import DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SPREAD = {"VARIANCE": 0, "SKEW": 1, "KURTOSIS": 2}
_STATE = ("n", "hi", "lo", "gain", "m2", "m3", "m4", "infinite")
"""The fields of MOMENTS in the order of the state of `zipline.algebra.moments`."""

MOST_ELEMENTS = np.iinfo(np.int32).max
"""Of all lists or maps of one column: what Arrow's offsets hold."""


class TotalBeyondInt64(Exception):
    """A SUM of integers does not fit; `query` is the first query that sees it."""

    def __init__(self, query: int) -> None:
        super().__init__(query)
        self.query = query


@dataclass(frozen=True)
class Series:
    """Events of runs `offsets[r]:offsets[r + 1]`, ordered by (t, known, value).

    `known` is None where there is one clock. `data` are floats as they are, of all else integers in the values' own
    order; `restore` gives the values back. `died` is when each is taken back, None where nothing is; then `known` only
    says from when each is there, and ties are in the order of the values alone. Each value counts `weight` times; a
    value that is taken back -1 times, and then ties are in no order.
    """

    offsets: Ints
    t: Ints
    known: Ints | None
    data: Ints | Floats
    type: DataType
    restore: Callable[[Any], pa.Array]
    died: Ints | None = None
    weight: Ints | None = None

    @cached_property
    def longest(self) -> int:
        return order.longest(self.offsets)

    @cached_property
    def floats(self) -> Floats:
        if self.type.is_float or self.type.is_integer:
            return self.data.astype(np.float64, copy=False)
        return np.asarray(self.restore(self.data).cast(pa.float64()).to_numpy(zero_copy_only=False))

    @cached_property
    def states(self) -> Floats:
        """Of MOMENTS one row a position, as the kernels of moments take them."""
        column = self.restore(self.data)
        return np.column_stack([np.asarray(column.field(name)) for name in _STATE])

    @cached_property
    def uncounted(self) -> Series:
        """Of counted values the values, weighted; of all else the same."""
        if not isinstance(self.type, StateType):
            return self
        column, dtype = self.restore(self.data), self.type.fields[0][1]
        values = values_of(column.field(0), dtype)
        data = values.at(np.arange(len(self.data)))
        return replace(self, data=data, type=dtype, restore=values.restore, weight=np.asarray(column.field(1)))

    @cached_property
    def by_value(self) -> tuple[Ints, Ints, Ints]:
        """(positions in value order, rank, dense code), local to each run."""
        ordinals: Ints = ordinals_of(self.floats) if self.type.is_float else self.data  # type: ignore[assignment]
        return order.sort_within_runs(self.offsets, ordinals)

    @cached_property
    def by_position(self) -> tuple[Ints, Ints]:
        positions = np.arange(len(self.t))
        lengths = np.diff(self.offsets)
        return positions, positions - np.repeat(self.offsets[:-1], lengths)

    def spans(self, run: Ints, start: Ints | None, end: Ints) -> Spans:
        return spans(self.offsets, self.t, self.known, run, start, end, self.died)

    def at(self, positions: Ints) -> pa.Array:
        """The values at positions; null where the position is negative."""
        missing = positions < 0
        if not len(self.data):
            return pa.nulls(len(positions), self.restore(self.data).type)
        return nulled(self.restore(self.data[np.where(missing, 0, positions)]), missing)


def nulled(column: pa.Array, missing: Bools) -> pa.Array:
    """The column, which has no nulls, with null where `missing`."""
    if not missing.any():
        return column
    if pa.types.is_primitive(column.type) and column.offset == 0:
        present = pa.array(~missing).buffers()[1]
        return pa.Array.from_buffers(column.type, len(column), [present, column.buffers()[1]])
    return column.take(pa.array(np.arange(len(column)), mask=missing))


@dataclass(frozen=True)
class Call:
    """One operation with its arguments."""

    operation: str
    k: int | None = None
    percentiles: tuple[float, ...] | None = None


def evaluate(series: Series, call: Call, run: Ints, seen: Spans) -> pa.Array:
    """The operation's value for each query, in query order; null where it is undefined, as of nothing but COUNTs."""
    name = call.operation
    if name == "COUNT":
        return pa.array(seen.count)
    if name in ("SUM", "AVERAGE"):
        return _sum(series, seen, average=name == "AVERAGE")
    if name in _SPREAD:
        return _nan_as_null(_spread(series, run, seen)[_SPREAD[name]])
    if name in ("UNIQUE_COUNT", "APPROX_UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT"):
        return _unique(series, seen, call.k)
    if name in ("HISTOGRAM", "APPROX_HISTOGRAM_K"):
        return _histogram(series.uncounted, run, seen, call.k or 0)
    if name == "APPROX_PERCENTILE":
        return _percentiles(series.uncounted, run, seen, call.percentiles or ())
    if name in ("MIN", "MAX") and seen.is_contiguous and len(series.data):
        found = extremes.extreme(series.data, seen.enter_end, seen.leave_end, name == "MAX", series.longest)
        return nulled(series.restore(found), seen.count == 0)
    if name in ("MIN", "MAX", "FIRST", "LAST"):
        return series.at(_one(series, name, run, seen))
    return _lists(series, name, run, seen, call.k or 1)


def _sum(series: Series, seen: Spans, *, average: bool) -> pa.Array:
    enters = (seen.enter, seen.enter_end, seen.leave, seen.leave_end)
    empty = seen.count == 0
    if not series.type.is_integer:
        found = sums.sum_floats(series.floats, *enters, average)
        return pa.array(found, mask=empty | np.isnan(found))
    totals, averages, beyond = sums.sum_integers(series.data, *enters, average)
    if beyond.any():
        raise TotalBeyondInt64(int(np.argmax(beyond)))
    return pa.array(averages if average else totals, mask=empty)


def _spread(series: Series, run: Ints, seen: Spans) -> NDArray[np.float64]:
    values = series.states if series.type == MOMENTS else series.floats
    if seen.is_contiguous:
        found = spread.spread_of_spans(values, seen.enter_end, seen.leave_end, series.longest, spread.FEATURES)
    else:
        found = spread.spread_of_events(
            values, series.offsets, run, seen.enter, seen.enter_end, seen.leave, seen.leave_end, series.longest
        )
    return np.asarray(found)


def moments_of_runs(series: Series) -> pa.Array:
    """The MOMENTS of each run, of floats or of states; null of an empty one."""
    values = series.states if series.type == MOMENTS else series.floats
    first, last = series.offsets[:-1], series.offsets[1:]
    return _moments(spread.spread_of_spans(values, last, first, series.longest, len(_STATE)), last == first)


def moments_of_each(values: Floats) -> pa.Array:
    """The MOMENTS of each value by itself; NaN gives null."""
    places = np.arange(len(values))
    return _moments(spread.spread_of_spans(values, places + 1, places, 1, len(_STATE)), np.isnan(values))


def _moments(found: NDArray[np.float64], missing: Bools) -> pa.Array:
    fields = dict(zip(_STATE, found, strict=True))
    names = [name for name, _ in MOMENTS.fields]
    columns = [pa.array(fields[name]) for name in names]
    return pa.StructArray.from_arrays(columns, fields=list(to_arrow(MOMENTS)), mask=pa.array(missing))


def _nan_as_null(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _unique(series: Series, seen: Spans, k: int | None) -> pa.Array:
    code = series.by_value[2]
    found = distinct.unique_counts(code, seen.enter, seen.enter_end, seen.leave, seen.leave_end, series.longest)
    return pa.array(np.minimum(found, k) if k else found)


def _histogram(series: Series, run: Ints, seen: Spans, k: int) -> pa.Array:
    by_rank, _, code = series.by_value
    offsets, positions, counts = distinct.histograms(
        code,
        by_rank,
        series.offsets,
        run,
        seen.enter,
        seen.enter_end,
        seen.leave,
        seen.leave_end,
        k,
        series.longest,
        series.weight,
    )
    return maps(offsets, series.at(positions), pa.array(counts))


def maps(offsets: Ints, keys: pa.Array, items: pa.Array) -> pa.Array:
    """A map column; an empty map is null."""
    return pa.MapArray.from_arrays(_null_where_empty(offsets), keys, items)


def lists(offsets: Ints, items: pa.Array) -> pa.Array:
    """A list column; an empty list is null."""
    return pa.ListArray.from_arrays(_null_where_empty(offsets), items)


def _null_where_empty(offsets: Ints) -> pa.Array:
    if offsets[-1] > MOST_ELEMENTS:
        raise DataError(
            f"a feature of lists or maps has {int(offsets[-1]):,} elements in all rows, at most {MOST_ELEMENTS:,} fit",
            hint="compute fewer days at a time (--step-days), or keep fewer elements (k)",
        )
    empty = np.append(offsets[1:] == offsets[:-1], False)
    return pa.array(offsets.astype(np.int32), mask=empty)


def _percentiles(series: Series, run: Ints, seen: Spans, fractions: tuple[float, ...]) -> pa.Array:
    by_rank, rank, _ = series.by_value
    found = ranks.percentiles(
        rank,
        by_rank,
        series.offsets,
        run,
        seen.enter,
        seen.enter_end,
        seen.leave,
        seen.leave_end,
        np.array(fractions),
        series.longest,
        series.weight,
    )
    counts = np.where(seen.count > 0, len(fractions), 0)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    positions = found[seen.count > 0].reshape(-1)
    return lists(offsets, pa.array(series.floats[positions]))


def _one(series: Series, name: str, run: Ints, seen: Spans) -> Ints:
    empty = seen.count == 0
    if seen.is_contiguous and name in ("FIRST", "LAST"):
        return np.where(empty, -1, seen.leave_end if name == "FIRST" else seen.enter_end - 1)
    offsets, positions = _pick(series, _LIST_OF[name], run, seen, 1)
    out = np.full(len(run), -1)
    out[~empty] = positions[offsets[:-1][~empty]]
    return out


_LIST_OF = {"MIN": "BOTTOM_K", "MAX": "TOP_K", "FIRST": "FIRST_K", "LAST": "LAST_K"}


def _lists(series: Series, name: str, run: Ints, seen: Spans, k: int) -> pa.Array:
    offsets, positions = _pick(series, name, run, seen, k)
    return lists(offsets, series.at(positions))


def _pick(series: Series, name: str, run: Ints, seen: Spans, k: int) -> tuple[Ints, Ints]:
    if seen.is_contiguous and name in ("FIRST_K", "LAST_K"):
        return _ends(seen, k, newest=name == "LAST_K")
    by_rank, rank = series.by_position if name in ("FIRST_K", "LAST_K") else series.by_value[:2]
    found: tuple[Ints, Ints] = ranks.pick(
        rank,
        by_rank,
        series.offsets,
        run,
        seen.enter,
        seen.enter_end,
        seen.leave,
        seen.leave_end,
        k,
        name in ("LAST_K", "TOP_K"),
        series.longest,
    )
    return found


def _ends(seen: Spans, k: int, *, newest: bool) -> tuple[Ints, Ints]:
    lengths = np.minimum(seen.count, k)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    if newest:
        return offsets, np.repeat(seen.enter_end - 1, lengths) - step
    return offsets, np.repeat(seen.leave_end, lengths) + step
