"""Aggregating: all features of all parts that share a set of left keys.

Parts over the same readings share one stream; features over the same column share one series, features of the same
window one set of spans. Results come back in left order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.parallel import WORTHWHILE
from zipline.algebra.columnar.series import Call, Series, TotalBeyondInt64, evaluate, maps
from zipline.algebra.columnar.spans import pair
from zipline.algebra.operations import empty_value
from zipline.arrow import to_arrow
from zipline.engines.local.entities import make_entity_stream, state_key
from zipline.engines.local.keys import KeyIndex
from zipline.engines.local.places import Places
from zipline.engines.local.read import Rows
from zipline.engines.local.stream import FOREVER, Queries, Stream, arrange_queries, cleaned, make_stream
from zipline.errors import DataError
from zipline.plan.features import default_array
from zipline.plan.reads import read_key
from zipline.plan.steps import Feature, PartPlan, Projection
from zipline.types import NULL, DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Readings = dict[tuple[Any, ...], Rows]


@dataclass(frozen=True)
class Left:
    """The left rows of one key set: key columns, query times, and which rows have a time."""

    keys: list[pa.Array]
    times: Ints
    timed: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        return len(self.times)

    def key_text(self, names: Iterable[str], row: int) -> str:
        pairs = zip(names, self.keys, strict=True)
        return ", ".join(f"{name}={column[row].as_py()!r}" for name, column in pairs) or "(all rows)"


def aggregate(left: Left, parts: tuple[PartPlan, ...], readings: Readings, pool: ThreadPoolExecutor) -> list[pa.Table]:
    """For each part a table of its needed features, or of its lookup's columns, in left order."""
    index = KeyIndex(left.keys, left.rows)
    streams: dict[tuple[Any, ...], tuple[Stream, Queries]] = {}
    tables = []
    for part in parts:
        identity = _stream_identity(part, readings)
        if identity not in streams:
            streams[identity] = _make(left, index, part, readings)
        stream, queries = streams[identity]
        tables.append(_lookup(left, part, stream, queries) if part.group_by.lookup else None)
    pairs = [(part, *streams[_stream_identity(part, readings)]) for part in parts if not part.group_by.lookup]
    columns = iter(_compute(left, pairs, pool))
    return [table if table is not None else next(columns) for table in tables]


def _stream_identity(part: PartPlan, readings: Readings) -> tuple[Any, ...]:
    """Equal for parts whose rows have the same keys; a computed key is null where its source's conditions fail."""
    reads = tuple(read_key(source) for source in part.group_by.sources)
    aliases = [readings[read].aliases for read in reads]
    pairs = list(zip(aliases, part.group_by.sources, strict=True))
    keys = tuple(names[source, key] for names, source in pairs for key, _ in part.group_by.keys)
    states = tuple(state_key(source, part) for source in part.group_by.sources)
    return (reads, keys, states, part.offset if part.group_by.is_entity or part.offset is not None else None)


def _make(left: Left, index: KeyIndex, part: PartPlan, readings: Readings) -> tuple[Stream, Queries]:
    if part.group_by.is_entity:
        return make_entity_stream(left, index, part, readings)
    sources = part.group_by.sources
    rows = tuple(readings[read_key(source)] for source in sources)
    keys = [[r.pieces(s, key) for key, _ in part.group_by.keys] for r, s in zip(rows, sources, strict=True)]
    codes = [index.lookup(columns, r.rows) for columns, r in zip(keys, rows, strict=True)]
    queries = arrange_queries(np.where(left.timed, index.codes, -1), index.count, left.times)
    return make_stream(rows, codes, index.count, delayed=part.offset is None), queries


def _lookup(left: Left, part: PartPlan, stream: Stream, queries: Queries) -> pa.Table:
    group_by = part.group_by
    series, places = stream.latest_rows(group_by.sources, group_by.lookup)
    timed = stream.died is not None or any(source.time is not None for source in group_by.sources)
    end = part.bounds(queries.times, None)[1] if timed else np.full(len(queries.times), FOREVER)
    seen = series.spans(queries.run, None, end)
    latest = evaluate(series, Call("LAST"), queries.run, seen)
    row = np.full(left.rows, -1)
    row[queries.rows] = np.asarray(latest.fill_null(-1).to_numpy(zero_copy_only=False))
    row = np.where(row < 0, -1, places[np.maximum(row, 0)]) if len(places) else row
    names = [name for name, _ in group_by.lookup]
    columns = [cleaned(column) for column in stream.rows_at(group_by.sources, names, row)]
    return pa.table(columns, names=names)


Job = tuple[PartPlan, Stream, Queries]
Member = tuple[PartPlan, Feature]


def _compute(left: Left, jobs: list[Job], pool: ThreadPoolExecutor) -> list[pa.Table]:
    """Features in the pool: what shares a series and a window is one task, so spans are found once."""
    results: dict[tuple[int, str], pa.Array] = {}
    groups: dict[tuple[Any, ...], list[tuple[int, Feature]]] = {}
    for number, (part, stream, _) in enumerate(jobs):
        for feature in part.needed:
            sources = part.group_by.sources
            column = (stream.identity(sources, feature.input), stream.identity(sources, feature.bucket))
            clock = (feature.window, part.group_by.accuracy, part.offset)
            groups.setdefault((id(stream), column, clock), []).append((number, feature))

    def run(members: list[tuple[int, Feature]]) -> None:
        part, stream, queries = jobs[members[0][0]]
        work = _bucketed if members[0][1].bucket else _plain
        computed = work(left, part, stream, queries, [(jobs[number][0], feature) for number, feature in members])
        for (number, feature), column in zip(members, computed, strict=True):
            results[number, feature.name] = column

    rows = left.rows + max((len(stream.t) for _, stream, _ in jobs), default=0)
    _run_all(pool if rows * len(groups) >= WORTHWHILE else None, [partial(run, members) for members in groups.values()])
    return [
        pa.table(
            [results[number, feature.name] for feature in part.needed], names=[feature.name for feature in part.needed]
        )
        for number, (part, _, _) in enumerate(jobs)
    ]


def _run_all(pool: ThreadPoolExecutor | None, tasks: list[Callable[[], None]]) -> None:
    if pool is None or len(tasks) == 1:
        for task in tasks:
            task()
        return
    for future in [pool.submit(task) for task in tasks]:
        future.result()


def _plain(left: Left, part: PartPlan, stream: Stream, queries: Queries, members: list[Member]) -> Iterable[pa.Array]:
    first = members[0][1]
    series = stream.series(part.group_by.sources, first.input, first.input_type)
    seen = series.spans(queries.run, *part.bounds(queries.times, first.window))
    places = Places(left.rows, queries.rows, seen.count > 0)
    known: dict[tuple[Any, ...], pa.Array] = {}
    for own, feature in members:
        call = (feature.operation, feature.k, feature.percentiles)
        if series.type == NULL:
            known[call] = pa.nulls(0).cast(to_arrow(feature.type))
        if call not in known:
            known[call] = _evaluate(left, own, feature, series, queries, seen)
        yield _placed(known[call], places, feature)


def _evaluate(left: Left, part: PartPlan, feature: Feature, series: Series, queries: Queries, seen: Any) -> pa.Array:
    try:
        return evaluate(series, Call(feature.operation, feature.k, feature.percentiles), queries.run, seen)
    except TotalBeyondInt64 as beyond:
        raise _overflow(left, part, feature, int(queries.rows[beyond.query])) from None


def _overflow(left: Left, part: PartPlan, feature: Feature, row: int) -> DataError:
    names = [key for key, _ in part.group_by.keys]
    return DataError(
        f"the total of {feature.name} for {left.key_text(names, row)} is beyond the range of BIGINT",
        subject=part.group_by.name,
        hint=f"sum CAST({feature.input} AS DOUBLE), or take AVERAGE, which never overflows",
    )


def _bucketed(
    left: Left, part: PartPlan, stream: Stream, queries: Queries, members: list[Member]
) -> Iterable[pa.Array]:
    first = members[0][1]
    assert first.bucket is not None
    assert first.bucket_type is not None
    divided = stream.bucketed(part.group_by.sources, first.input, first.input_type, first.bucket, first.bucket_type)
    series = divided.series
    start, end = part.bounds(queries.times, first.window)
    parts, asked = pair(divided.first_part, series.offsets, series.t, queries.offsets, start, end)
    seen = series.spans(parts, None if start is None else start[asked], end[asked])
    visible = np.flatnonzero(seen.count > 0)
    by_query = visible[np.argsort(asked[visible], kind="stable")]
    counts = np.bincount(asked[by_query], minlength=len(queries.rows))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    keys = divided.restore(divided.bucket[parts[by_query]])
    places = Places(left.rows, queries.rows, counts > 0)
    of_pair = Queries(queries.rows[asked], parts, series.offsets, end[asked])
    for own, feature in members:
        if series.type == NULL or first.bucket_type == NULL:
            yield _placed(pa.nulls(0).cast(to_arrow(feature.type)), Places.none(left.rows), feature)
            continue
        items = _evaluate(left, own, feature, series, of_pair, seen).take(pa.array(by_query))
        yield _placed(maps(offsets, keys, items), places, feature)


def _placed(computed: pa.Array, places: Places, feature: Feature) -> pa.Array:
    """Results in left order; rows that saw nothing get the empty-window value."""
    arrow = to_arrow(feature.type)
    column = computed if computed.type == arrow else computed.cast(arrow)
    empty = empty_of(feature)
    return places.put(column, None if empty is None else default_array(empty, feature.type))


def empty_of(feature: Feature) -> Any:
    """What the feature is where nothing was in the window."""
    if feature.default is not None:
        return feature.default
    return None if feature.bucket else empty_value(feature.operation)


def needed_columns(part: PartPlan, source: Projection) -> frozenset[str]:
    """The source columns that a part's features, or its lookup, are made of."""
    has_changes = source.kind == "mutations" or (source.mutations is not None and part.sees_mutations)
    if part.group_by.lookup or has_changes:
        return frozenset(source.columns)
    inputs = {feature.input for feature in part.needed} | {f.bucket for f in part.needed if f.bucket}
    return frozenset(inputs | {key for key, _ in part.group_by.keys})


__all__ = ["DataType", "Left", "aggregate", "needed_columns"]
