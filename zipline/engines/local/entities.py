"""Entities: the state that each query sees, as a stream.

Per source a query sees the newest snapshot partition before its day, so that partition is one more part of the key. Of
a source with mutations the rows have lives besides: those of its snapshot and what has changed since. Such a source is
never without a state: before its first snapshot the mutations alone count, under a day that no partition has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.clock import DAY, to_micros
from zipline.engines.local.keys import KeyIndex
from zipline.engines.local.lives import Asked, live_rows
from zipline.engines.local.read import Rows
from zipline.engines.local.snapshots import notice, states_of
from zipline.engines.local.stream import Queries, Stream, arrange_queries, make_stream
from zipline.plan.reads import read_key
from zipline.plan.steps import PartPlan, Projection

if TYPE_CHECKING:
    from zipline.engines.local.group_by import Left

Ints = NDArray[np.int64]

BEFORE_ALL = to_micros("0001-01-01") // DAY - 1
"""The day that stands for no snapshot."""


def state_key(source: Projection, part: PartPlan) -> tuple[Any, ...] | None:
    """Equal for sources whose rows have the same lives; None where rows have none."""
    if source.mutations is None or not part.sees_mutations:
        return None
    select = tuple((name, expression.text) for name, expression in source.select)
    return read_key(source.mutations), select, source.types, tuple(condition.text for condition in source.where)


def make_entity_stream(
    left: Left, index: KeyIndex, part: PartPlan, readings: Mapping[tuple[Any, ...], Rows]
) -> tuple[Stream, Queries]:
    """The rows of the states that the left rows see, and the left rows as its queries."""
    sources = part.group_by.sources
    days = [_days(readings[read_key(source)], source, part) for source in sources]
    partitions = np.unique(np.concatenate(days))
    asked = (left.times + (part.offset or 0)) // DAY
    place = np.searchsorted(partitions, asked, side="left") - 1
    found = (place >= 0) & left.timed
    newest = partitions[np.maximum(place, 0)] if len(partitions) else np.zeros(left.rows, np.int64)
    seen = np.unique(newest[found])
    carried = [
        _carry(_state(readings, source, part, own, seen, index), source, part, seen)
        for source, own in zip(sources, days, strict=True)
    ]
    by_day = KeyIndex([*left.keys, pa.array(newest, mask=~found)], left.rows)
    codes = [by_day.lookup([*columns, day], r.rows) for r, columns, day in carried]
    names = tuple(key for key, _ in part.group_by.keys)
    states = states_of(names, left.keys, index.codes, newest, by_day.codes, by_day.count)
    for source, (rows, _, _), code in zip(sources, carried, codes, strict=True):
        notice(readings[read_key(source)], source, rows, code, states)
    queries = arrange_queries(by_day.codes, by_day.count, left.times)
    return make_stream(tuple(r for r, _, _ in carried), codes, by_day.count), queries


def _days(snapshots: Rows, source: Projection, part: PartPlan) -> Ints:
    """The partitions of one source, in order; with mutations there is one before the first."""
    if state_key(source, part) is None:
        return snapshots.partitions
    return np.concatenate([[BEFORE_ALL], snapshots.partitions])


def _state(
    readings: Mapping[tuple[Any, ...], Rows],
    source: Projection,
    part: PartPlan,
    days: Ints,
    seen: Ints,
    index: KeyIndex,
) -> Rows:
    """The rows of the source's states at the days of all sources that are seen."""
    snapshots = readings[read_key(source)]
    if source.mutations is None or not part.sees_mutations:
        return snapshots
    own = np.unique(days[np.searchsorted(days, seen, side="right") - 1])
    asked = Asked(index, tuple(key for key, _ in part.group_by.keys), days, own)
    return live_rows(snapshots, readings[read_key(source.mutations)], source, asked)


def _carry(
    rows: Rows, source: Projection, part: PartPlan, seen: Ints
) -> tuple[Rows, list[pa.Array | pa.ChunkedArray], pa.Array]:
    """(rows, their keys, the partition of all sources that each stands for): a source may lack one of another's."""
    assert rows.partition is not None
    keys = [rows.pieces(source, key) for key, _ in part.group_by.keys]
    day = rows.partition.view(pa.int32()).cast(pa.int64())
    if np.isin(seen, rows.partitions).all():
        return rows, keys, day
    newest = np.searchsorted(rows.partitions, seen, side="right") - 1
    own = np.searchsorted(rows.partitions, np.asarray(day.fill_null(0).to_numpy(zero_copy_only=False)))
    first, last = np.searchsorted(newest, own), np.searchsorted(newest, own, side="right")
    copies = np.where(np.asarray(day.is_null()), 0, last - first)
    places = np.repeat(np.arange(len(own)), copies)
    nth = np.arange(len(places)) - np.repeat(np.cumsum(copies) - copies, copies)
    taken = pa.array(places)
    return rows.take(taken), [key.take(taken) for key in keys], pa.array(seen[first[places] + nth])
