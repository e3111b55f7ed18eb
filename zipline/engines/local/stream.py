"""A stream: the rows of a group-by's sources in the runs of the left keys, and the queries in the same order.

It is made once per key set and reading; every part that shares them takes its series from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.algebra.columnar import order
from zipline.algebra.columnar.series import Series
from zipline.algebra.columnar.values import Values, clean_floats, floats_of, validity, values_of, whole
from zipline.clock import DAY, to_micros
from zipline.engines.local.read import Rows
from zipline.plan.steps import Projection
from zipline.types import ArrayType, DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Bools = NDArray[np.bool_]

BEGINNING, FOREVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
"""When a row was born that was always there, and dies that is never taken back."""

UNTIMED = to_micros("0001-01-01") - DAY
"""The time of a state's rows that have none of their own: before every query, so that all of them tie."""


@dataclass(frozen=True)
class Queries:
    """Left rows that have a key and a time, in the order of (key, time); `rows` are their places on the left."""

    rows: Ints
    run: Ints
    offsets: Ints
    times: Ints


def arrange_queries(codes: Codes, runs: int, times: Ints) -> Queries:
    """Codes below 0 have no key or no time."""
    rows, offsets, ordered, _ = order.arrange(codes, runs, times, None)
    return Queries(rows, np.repeat(np.arange(runs), np.diff(offsets)), offsets, ordered)


@dataclass(frozen=True)
class Bucketed:
    """A series whose runs are divided by bucket: `bucket` of each part, and the parts of each run."""

    series: Series
    bucket: Ints
    first_part: Ints
    restore: Callable[[Ints], pa.Array]


@dataclass
class Stream:
    """Rows in runs. `permutation` are their places in the reading.

    `known` orders ties; a stream that is not `delayed` (a label's) sees events whether or not they were known. Rows of
    an entity with mutations are there from `born` until `died`, and neither of these orders ties. Changes themselves
    have a `weight`, -1 of rows that are taken back.
    """

    readings: tuple[Rows, ...]
    permutation: Ints
    offsets: Ints
    t: Ints
    known: Ints | None
    delayed: bool = True
    born: Ints | None = None
    died: Ints | None = None
    weight: Ints | None = None
    _series: dict[tuple[object, ...], Series | Bucketed] = field(default_factory=dict)
    _making: dict[tuple[object, ...], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def column(self, sources: tuple[Projection, ...], name: str) -> pa.Array:
        """A column of all sources, in the order of the readings."""
        arrays = [rows.column(source, name) for rows, source in zip(self.readings, sources, strict=True)]
        return whole(pa.chunked_array(arrays)) if len(arrays) > 1 else arrays[0]

    def rows_at(self, sources: tuple[Projection, ...], names: Sequence[str], places: Ints) -> list[pa.Array]:
        """Columns at places in the readings, -1 gives null."""
        if len(self.readings) == 1:
            return self.readings[0].rows_at(sources[0], names, places)
        taken = pa.array(places, mask=places < 0)
        return [self.column(sources, name).take(taken) for name in names]

    def mask(self, sources: tuple[Projection, ...]) -> Bools | None:
        """True where the sources' conditions hold; None where they have none left to apply."""
        masks = [rows.mask(source) for rows, source in zip(self.readings, sources, strict=True)]
        if all(mask is None for mask in masks):
            return None
        sized = zip(masks, self.readings, strict=True)
        return np.concatenate([np.ones(rows.rows, np.bool_) if mask is None else mask for mask, rows in sized])

    def identity(self, sources: tuple[Projection, ...], name: str | None) -> tuple[object, ...]:
        """Equal for columns that are the same."""
        if name is None:
            return ()
        pairs = zip(self.readings, sources, strict=True)
        types = tuple(source.column_types[name] for source in sources)
        return (types, *((rows.aliases[source, name], id(rows.mask(source))) for rows, source in pairs))

    def series(self, sources: tuple[Projection, ...], name: str, dtype: DataType) -> Series:
        """The values of one column, nulls left out, lists taken apart, ties in their own order."""
        made = self._cached(self.identity(sources, name), lambda: self._make(sources, name, dtype))
        assert isinstance(made, Series)
        return made

    def bucketed(
        self, sources: tuple[Projection, ...], name: str, dtype: DataType, bucket: str, bucket_type: DataType
    ) -> Bucketed:
        """The same, the runs divided by another column; rows with a null bucket are left out."""
        identity = ("by", *self.identity(sources, name), *self.identity(sources, bucket))
        made = self._cached(identity, lambda: self._make_bucketed(sources, name, dtype, bucket, bucket_type))
        assert isinstance(made, Bucketed)
        return made

    def _cached(self, identity: tuple[object, ...], make: Callable[[], Series | Bucketed]) -> Series | Bucketed:
        """Made once, also where several threads ask at a time."""
        with self._lock:
            lock = self._making.setdefault(identity, threading.Lock())
        with lock:
            if identity not in self._series:
                self._series[identity] = make()
            return self._series[identity]

    def _make(self, sources: tuple[Projection, ...], name: str, dtype: DataType) -> Series:
        values, places, offsets = self._values(sources, name, dtype, None)
        return self._settled(values, offsets, places)

    def _settled(self, values: Values, offsets: Ints, places: Ints | None) -> Series:
        """The series of values that are in order but for ties; `places` are theirs among the rows (None: all).

        Changes are added up and nothing else, so their ties stay as they are.
        """
        t, known = _at(self.t, places), _at(self.known, places)
        born, died = _at(self.born, places), _at(self.died, places)
        weight = _at(self.weight, places)
        data, clock = values.data, _NONE if known is None else known
        if weight is None and order.has_ties(offsets, t, clock):
            ordinals = values.ordinals
            if born is not None and died is not None:
                by_value = _by_value(offsets, t, ordinals, born, died)
                ordinals, born, died = ordinals[by_value], born[by_value], died[by_value]
            else:
                order.sort_ties(offsets, t, clock, ordinals)
            data = floats_of(ordinals) if values.type.is_float else ordinals
        since = self._delay(known) if died is None else born
        return Series(offsets, t, since, data, values.type, values.restore, died, weight)

    def _delay(self, known: Ints | None) -> Ints | None:
        return known if self.delayed else None

    def _values(
        self, sources: tuple[Projection, ...], name: str, dtype: DataType, extra: Bools | None
    ) -> tuple[Values, Ints | None, Ints]:
        """(values in run order without nulls, their places among the rows or None for all, run offsets)."""
        column, parents, element = self.column(sources, name), None, dtype
        if isinstance(dtype, ArrayType):
            element = dtype.element
            parents = np.asarray(pc.list_parent_indices(column).to_numpy())
            column = pc.list_flatten(column)
        values = values_of(column, element)
        mask = self.mask(sources)
        valid = _both(mask, extra)
        if parents is not None:
            return self._flattened(values, parents, valid)
        valid = _both(valid, values.valid)
        if valid is None:
            return _with(values, values.at(self.permutation)), None, self.offsets
        places, offsets = order.compress(self.offsets, valid[self.permutation])
        return _with(values, values.at(self.permutation[places])), places, offsets

    def _flattened(self, values: Values, parents: Ints, row_valid: Bools | None) -> tuple[Values, Ints, Ints]:
        """The elements of lists, in the order of their rows."""
        place_of_row = np.full(sum(rows.rows for rows in self.readings), -1)
        place_of_row[self.permutation] = np.arange(len(self.permutation))
        if row_valid is not None:
            place_of_row[~row_valid] = -1
        places = place_of_row[parents]
        kept = places >= 0 if values.valid is None else (places >= 0) & values.valid
        elements = np.flatnonzero(kept)
        elements = elements[np.argsort(places[elements], kind="stable")]
        places = places[elements]
        return _with(values, values.at(elements)), places, np.searchsorted(places, self.offsets)

    def _make_bucketed(
        self, sources: tuple[Projection, ...], name: str, dtype: DataType, bucket: str, bucket_type: DataType
    ) -> Bucketed:
        buckets = values_of(self.column(sources, bucket), bucket_type)
        values, places, offsets = self._values(sources, name, dtype, buckets.valid)
        rows = self.permutation if places is None else self.permutation[places]
        permutation, parts, part_bucket, first_part = order.split_runs(offsets, buckets.ordinals[rows])
        places = permutation if places is None else places[permutation]
        series = self._settled(_with(values, values.at(permutation)), parts, places)
        return Bucketed(series, part_bucket, first_part, _restoring(buckets))

    def latest_rows(
        self, sources: tuple[Projection, ...], columns: tuple[tuple[str, DataType], ...]
    ) -> tuple[Series, Ints]:
        """Whole rows as a series of their own places, ties by the columns' own order (null first), and the places."""
        mask = self.mask(sources)
        if mask is None:
            places, offsets = np.arange(len(self.permutation)), self.offsets
        else:
            places, offsets = order.compress(self.offsets, mask[self.permutation])
        t, known = self.t[places], None if self.known is None else self.known[places]
        places = self._untied(sources, columns, places, offsets, t, known)
        number = np.arange(len(places))
        died = _at(self.died, places)
        since = self._delay(known) if died is None else _at(self.born, places)
        series = Series(offsets, t, since, number, _BIGINT, lambda codes: pa.array(codes), died)
        return series, self.permutation[places]

    def _untied(
        self,
        sources: tuple[Projection, ...],
        columns: tuple[tuple[str, DataType], ...],
        places: Ints,
        offsets: Ints,
        t: Ints,
        known: Ints | None,
    ) -> Ints:
        tied, group = _ties(offsets, t, known)
        if not len(tied):
            return places
        rows = self.rows_at(sources, [name for name, _ in columns], self.permutation[places[tied]])
        ranked = [ranks(column, dtype) for column, (_, dtype) in zip(rows, columns, strict=True)]
        sorted_ = np.lexsort((*reversed(ranked), group))
        places = places.copy()
        places[tied] = places[tied][sorted_]
        return places


_BIGINT = DataType("BIGINT")


def _ties(offsets: Ints, t: Ints, known: Ints | None) -> tuple[Ints, Ints]:
    """(positions of one clock with another of their run, which group of equal ones each belongs to)."""
    same = np.zeros(len(t) + 1, np.bool_)
    same[1:-1] = t[1:] == t[:-1]
    if known is not None:
        same[1:-1] &= known[1:] == known[:-1]
    same[offsets[offsets < len(same)]] = False
    tied = np.flatnonzero(same[:-1] | same[1:])
    return tied, np.cumsum(~same[:-1], dtype=np.int64)[tied]


def _by_value(offsets: Ints, t: Ints, ordinals: Ints, born: Ints, died: Ints) -> Ints:
    """Positions in order, those of equal time in the order of their values; equal ones by their lives.

    The latter is of no meaning, but moments are merged by position, and must not depend on how rows came in.
    """
    tied, group = _ties(offsets, t, None)
    positions = np.arange(len(t))
    positions[tied] = tied[np.lexsort((died[tied], born[tied], ordinals[tied], group))]
    return positions


def _order_of(value: Any) -> tuple[Any, ...]:
    """A nested value by its parts in turn; null (and NaN) before all else."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return (1, tuple(_order_of(each) for each in value))
    return (0,) if value is None or value != value else (1, value)


def ranks(column: pa.Array, dtype: DataType) -> Ints:
    """Integers in the values' own order, equal for equal values; 0 is null."""
    if not dtype.is_ordered:
        keys = [_order_of(value) for value in column.to_pylist()]
        place = {key: rank for rank, key in enumerate(sorted(set(keys)))}
        return np.array([place[key] for key in keys], np.int64)
    values = values_of(column, dtype)
    _, places = np.unique(values.ordinals, return_inverse=True)
    return places + 1 if values.valid is None else np.where(values.valid, places + 1, 0)


def _restoring(values: Values) -> Callable[[Ints], pa.Array]:
    """How ordinals become values again: `restore` takes floats as they are."""
    return (lambda codes: values.restore(floats_of(codes))) if values.type.is_float else values.restore


_NONE = np.zeros(0, np.int64)


def _with(values: Values, data: Any) -> Values:
    return Values(values.type, data, None, values.restore)


@overload
def _at(array: Ints, places: Ints | None) -> Ints: ...
@overload
def _at(array: None, places: Ints | None) -> None: ...
def _at(array: Ints | None, places: Ints | None) -> Ints | None:
    return array if array is None or places is None else array[places]


def _both(left: Bools | None, right: Bools | None) -> Bools | None:
    if left is None or right is None:
        return left if right is None else right
    return left & right


def make_stream(readings: tuple[Rows, ...], codes: list[Codes], runs: int, *, delayed: bool = True) -> Stream:
    """The rows of all readings in runs; `codes` are their keys (-1: no run).

    Rows without a time are left out, and those without a `known_at` where the stream is delayed.
    """
    hidden = [_hidden(rows, code, delayed) for rows, code in zip(readings, codes, strict=True)]
    joined = np.concatenate(hidden) if len(hidden) > 1 else hidden[0]
    times = [times_of(rows) for rows in readings]
    t = np.concatenate(times) if len(times) > 1 else times[0]
    known = None
    if any(rows.known is not None for rows in readings):
        pairs = zip(readings, times, strict=True)
        known = np.concatenate([rows.known if rows.known is not None else at for rows, at in pairs])
    permutation, offsets, ordered, ordered_known = order.arrange(joined, runs, t, known)
    born, died = (_at(ends, permutation) for ends in _lives(readings))
    weight = _at(_weights(readings), permutation)
    return Stream(readings, permutation, offsets, ordered, ordered_known, delayed, born, died, weight)


def _lives(readings: tuple[Rows, ...]) -> tuple[Ints | None, Ints | None]:
    """(born, died) of all rows; None where no row has lives."""
    if all(rows.died is None for rows in readings):
        return None, None
    born = [np.full(rows.rows, BEGINNING) if rows.born is None else rows.born for rows in readings]
    died = [np.full(rows.rows, FOREVER) if rows.died is None else rows.died for rows in readings]
    return np.concatenate(born), np.concatenate(died)


def _weights(readings: tuple[Rows, ...]) -> Ints | None:
    """How often each row counts: a reversal -1 times. None where there are no changes."""
    if all(rows.is_before is None for rows in readings):
        return None
    return np.concatenate([np.ones(r.rows, np.int64) if r.is_before is None else signs(r.is_before) for r in readings])


def signs(is_before: pa.Array) -> Ints:
    """1 of each row that a change adds, -1 of each that it takes away."""
    taken = np.asarray(is_before.to_numpy(zero_copy_only=False))
    return 1 - 2 * taken.astype(np.int64)


def times_of(rows: Rows) -> Ints:
    """The rows' own time, UNTIMED of those that have none."""
    return rows.t if rows.t is not None else np.full(rows.rows, UNTIMED)


def _hidden(rows: Rows, codes: Codes, delayed: bool) -> Codes:
    seen = rows.seen if delayed else rows.timed
    return codes if seen is None else np.where(seen, codes, -1)


def cleaned(column: pa.Array) -> pa.Array:
    """A looked-up column, NaN as null, within nested values too."""
    return clean_floats(column)


__all__ = ["Bucketed", "Queries", "Stream", "arrange_queries", "make_stream", "validity"]
