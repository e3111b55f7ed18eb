"""Which features can be computed from condensed rows, and of which columns these consist.

A condensed row stands for the rows of one key, one hop and one day of availability (a group-by's hop partial). Its
columns are such that the ordinary kernels, run over condensed rows in place of the rows themselves, give the same bits:

    COUNT                     `count`: how many values; summed
    SUM                       `total`: integers or doubles whose exact sum is that of the values; summed
    AVERAGE                   `total` and `count`; summed and divided
    MIN, BOTTOM_K             `least`: the k least values
    MAX, TOP_K                `most`: the k greatest
    FIRST, FIRST_K            `first`: the k oldest, each at its own time and `known_at`
    LAST, LAST_K              `last`: the k newest, likewise
    UNIQUE_COUNT, BOUNDED_..  `distinct`: the distinct values; APPROX_UNIQUE_COUNT too, which is exact on this engine
    HISTOGRAM                 `count`, with the value itself as bucket
    HISTOGRAM by a bucket, APPROX_PERCENTILE, APPROX_HISTOGRAM_K
                              `counted`: each distinct value with how often it occurs
    VARIANCE, SKEW, KURTOSIS  `moments`: the state of their algebra, merged (the one kind that is not the same to the
                              bit, but within their tolerance)

A bucket is one more part of the key; of a list each element counts, at the time of its row. A lookup keeps the latest
row of every hop.

Condensed rows have the shape of rows: a row may lack a value in some columns, and values of one hop take several rows.
So condensing is closed: condensed rows of hours can be condensed to days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Literal, TypeAlias

from zipline.algebra.operations import empty_value
from zipline.algebra.states import MOMENTS, counted
from zipline.expressions import parse, parse_time
from zipline.plan.canonical import compact
from zipline.plan.scope import quoted
from zipline.plan.steps import Column, Feature, GroupByPlan, PartPlan, Projection
from zipline.types import BIGINT, DOUBLE, NULL, TIMESTAMP, ArrayType, DataType, map_of
from zipline.values import dataclass

Kind: TypeAlias = Literal["count", "total", "least", "most", "first", "last", "distinct", "counted", "moments", "row"]

LAYOUT = 1
"""Part of every partial's identity: another number whenever what is stored changes its meaning."""

ORDERED: tuple[Kind, ...] = ("first", "last")
"""Kinds whose values keep their own time."""

_KINDS: Mapping[str, Kind] = {
    "MIN": "least",
    "BOTTOM_K": "least",
    "MAX": "most",
    "TOP_K": "most",
    "FIRST": "first",
    "FIRST_K": "first",
    "LAST": "last",
    "LAST_K": "last",
    "UNIQUE_COUNT": "distinct",
    "BOUNDED_UNIQUE_COUNT": "distinct",
    "APPROX_UNIQUE_COUNT": "distinct",
    "HISTOGRAM": "counted",
    "APPROX_PERCENTILE": "counted",
    "APPROX_HISTOGRAM_K": "counted",
    "VARIANCE": "moments",
    "SKEW": "moments",
    "KURTOSIS": "moments",
}


@dataclass(frozen=True)
class Stored:
    """A column of condensed rows: the `kind` of what is kept of `input`, per value of `bucket`, at most `k` values."""

    name: str
    kind: Kind
    input: str
    bucket: str | None
    k: int
    type: DataType


@dataclass(frozen=True)
class Average:
    """A feature that is one column divided by another."""

    feature: Feature
    total: Feature
    count: Feature


@dataclass(frozen=True)
class Condensation:
    """How a group-by is computed from condensed rows.

    `rewritten` maps a feature's name to the features over condensed columns that it is made of, `raw` says of the
    others why they need rows. `projection` is what condensed rows look like to an engine.
    """

    group_by: GroupByPlan
    stored: tuple[Stored, ...]
    buckets: Mapping[str, str]
    rewritten: Mapping[str, Feature | Average]
    raw: Mapping[str, str]

    @cached_property
    def projection(self) -> Projection:
        return _projection(self)

    @property
    def clocks(self) -> tuple[str, str | None]:
        """Columns of condensed rows where these are a table: the time, and `known_at` where a source declares it."""
        taken = {name for name, _ in self.group_by.keys} | {column.name for column in self.stored}
        time, known = "#t", "#known"
        while {time, known} & taken:
            time, known = f"#{time}", f"#{known}"
        return time, known if any(source.known_at is not None for source in self.group_by.sources) else None

    @cached_property
    def bucket_types(self) -> Mapping[str, DataType]:
        """Column of condensed rows -> type, of the buckets."""
        typed = {f.bucket: f.bucket_type for f in self.group_by.features if f.bucket}
        typed |= {f.input: f.input_type for f in self.group_by.features if f.operation == "HISTOGRAM"}
        return {name: typed[bucket] or NULL for bucket, name in self.buckets.items()}

    @property
    def inputs(self) -> frozenset[str]:
        """The source columns that condensed rows are made of."""
        keys = {key for key, _ in self.group_by.keys}
        return frozenset({*keys, *self.buckets, *(column.input for column in self.stored)})

    @property
    def families(self) -> list[tuple[str | None, list[Stored]]]:
        """(bucket, columns whose values lie side by side in the same rows).

        A row has one time, so of the columns whose values keep their own, one at most lies beside others.
        """
        by_bucket: dict[str | None, list[Stored]] = {}
        for column in self.stored:
            by_bucket.setdefault(column.bucket, []).append(column)
        found: list[tuple[str | None, list[Stored]]] = []
        for bucket, columns in by_bucket.items():
            plain = [column for column in columns if column.kind not in ORDERED]
            ordered = [column for column in columns if column.kind in ORDERED]
            found.append((bucket, [*ordered[:1], *plain]))
            found += [(bucket, [column]) for column in ordered[1:]]
        return found

    def covers(self, part: PartPlan) -> tuple[list[str], list[str]]:
        """(features from condensed rows, features from rows) of those that the part needs."""
        names = [feature.name for feature in part.needed]
        return [n for n in names if n in self.rewritten], [n for n in names if n not in self.rewritten]

    def features(self, names: Iterable[str]) -> Iterator[Feature]:
        """The features over condensed columns that these are made of."""
        for name in names:
            made_of = self.rewritten[name]
            yield from (made_of.total, made_of.count) if isinstance(made_of, Average) else (made_of,)

    def plan(self) -> GroupByPlan:
        """The group-by over condensed rows; derivations are left to be evaluated over its features."""
        features = tuple(self.features(self.rewritten))
        return replace(self.group_by, sources=(self.projection,), features=features, derivations=())

    def identity(self, source: Projection) -> str:
        """Equal where a unit of a table condenses to the same: 64 hexadecimal digits."""
        types = source.column_types
        names = sorted(self.inputs)
        clocks = [None if e is None else e.text for e in (source.time, source.known_at)]
        known = any(each.known_at is not None for each in self.group_by.sources)
        form = {
            "layout": LAYOUT,
            "table": source.table,
            "columns": [[name, source.columns[name].text, str(types[name])] for name in names],
            "where": [condition.text for condition in source.where],
            "clocks": clocks,
            "two_clocks": known,
            "partitions": [source.partition, source.start, source.end],
            "keys": [key for key, _ in self.group_by.keys],
            "stored": [[c.name, c.kind, c.input, c.bucket, c.k, str(c.type)] for c in self.stored],
        }
        return hashlib.sha256(compact(form).encode("utf-8", "surrogatepass")).hexdigest()  # type: ignore[arg-type]


def refusal(part: PartPlan) -> str | None:
    """Why a part cannot be computed from condensed rows at all, whatever its tables hold; None where it can."""
    if part.offset is not None:
        return "a label sees times that no hop bounds, few enough to read"
    sources = part.group_by.sources
    if any(source.kind != "events" for source in sources):
        return "an entity is its newest snapshot and the changes since"
    if any(source.event_id for source in sources):
        return "another row of an event_id may lie in any file"
    if any(source.time is None for source in sources):
        return "its rows have no time"
    return None


def condensation(group_by: GroupByPlan) -> Condensation:
    """What the features of a group-by (or its lookup) need of condensed rows."""
    return _Rewriting(group_by).condensation()


def describe(part: PartPlan) -> str:
    """What a part's features can be computed from, in one line."""
    refused = refusal(part)
    if refused:
        return f"rows: {refused}"
    found = condensation(part.group_by)
    if part.group_by.lookup:
        return "partials: the latest row of each hop"
    covered, raw = found.covers(part)
    reasons = ", ".join(f"{name} ({found.raw[name]})" for name in raw)
    counted = f"partials: {len(covered)} feature" + ("" if len(covered) == 1 else "s")
    return "; ".join([counted] * bool(covered) + [f"rows: {reasons}"] * bool(raw))


class _Rewriting:
    """Collects the stored columns while features are rewritten; each is kept once, with the greatest k asked for."""

    def __init__(self, group_by: GroupByPlan) -> None:
        self._group_by = group_by
        self._columns: dict[tuple[Kind, str, str | None], Stored] = {}
        self._buckets: dict[str, str] = {}
        self._mark = "#"
        while any(name.startswith(self._mark) for name, _ in (*group_by.keys, *group_by.lookup)):
            self._mark += "#"

    def condensation(self) -> Condensation:
        if self._group_by.lookup:
            stored = tuple(Stored(name, "row", name, None, 1, dtype) for name, dtype in self._group_by.lookup)
            return Condensation(self._group_by, stored, {}, {}, {})
        rewritten: dict[str, Feature | Average] = {}
        raw: dict[str, str] = {}
        for feature in self._group_by.features:
            reason = _not_condensable(feature)
            if reason:
                raw[feature.name] = reason
            else:
                rewritten[feature.name] = self._rewrite(feature)
        return Condensation(self._group_by, tuple(self._columns.values()), self._buckets, rewritten, raw)

    def _rewrite(self, feature: Feature) -> Feature | Average:
        name, bucket, element = feature.operation, feature.bucket, _element(feature)
        if name == "COUNT":
            return self._summed(feature, "count", bucket)
        if name == "HISTOGRAM" and not bucket and not isinstance(feature.input_type, ArrayType):
            return self._summed(feature, "count", feature.input)
        if name == "SUM":
            return self._summed(feature, "total", bucket)
        if name == "AVERAGE":
            plain = replace(feature, default=None)
            total = self._summed(replace(plain, name=f"{feature.name}\0total"), "total", bucket)
            count = self._summed(replace(plain, name=f"{feature.name}\0count"), "count", bucket)
            return Average(feature, total, count)
        kind = _KINDS[name]
        dtype = MOMENTS if kind == "moments" else counted(element) if kind == "counted" else element
        column = self._stored(kind, feature, bucket, dtype)
        return replace(feature, input=column.name, input_type=column.type, bucket=self._bucket(bucket))

    def _summed(self, feature: Feature, kind: Kind, bucket: str | None) -> Feature:
        exact = kind == "count" or _element(feature).is_integer
        column = self._stored(kind, feature, bucket, BIGINT if exact else DOUBLE)
        bucket_type = feature.input_type if bucket == feature.input and not feature.bucket else feature.bucket_type
        empty = None if feature.bucket else empty_value(feature.operation)
        return replace(
            feature,
            operation="SUM",
            input=column.name,
            input_type=column.type,
            bucket=self._bucket(bucket),
            bucket_type=bucket_type if bucket else None,
            default=empty if feature.default is None else feature.default,
            type=map_of(bucket_type, column.type) if bucket and bucket_type else column.type,
        )

    def _stored(self, kind: Kind, feature: Feature, bucket: str | None, dtype: DataType) -> Stored:
        identity = (kind, feature.input, bucket)
        k = (feature.k or 1) if kind in ("least", "most", *ORDERED) else 0
        found = self._columns.get(identity)
        name = found.name if found else f"{self._mark}{len(self._columns)}"
        self._columns[identity] = Stored(name, kind, feature.input, bucket, max(k, found.k if found else 0), dtype)
        return self._columns[identity]

    def _bucket(self, bucket: str | None) -> str | None:
        if bucket is None:
            return None
        return self._buckets.setdefault(bucket, f"{self._mark}by{len(self._buckets)}")


def _not_condensable(feature: Feature) -> str | None:
    return "nothing but null" if NULL in (_element(feature), feature.bucket_type) else None


def _element(feature: Feature) -> DataType:
    dtype = feature.input_type
    return dtype.element if isinstance(dtype, ArrayType) else dtype


def _projection(condensed: Condensation) -> Projection:
    group_by = condensed.group_by
    columns: list[Column] = [*group_by.keys]
    columns += [(name, dtype) for name, dtype in condensed.bucket_types.items()]
    columns += [(column.name, column.type) for column in condensed.stored]
    types = dict(columns)
    select = tuple((name, parse(quoted(name), types)) for name in types)
    time, known = (None if name is None else parse_time(quoted(name), {name: TIMESTAMP}) for name in condensed.clocks)
    return Projection(
        table=f"partials of {group_by.name} {group_by.fingerprint} {id(condensed)}",
        kind="events",
        select=select,
        types=tuple(types.values()),
        where=(),
        time=time,
        known_at=known,
        event_id=None,
        partition=None,
        start=None,
        end=None,
    )


__all__ = ["Average", "Condensation", "Stored", "condensation", "describe", "refusal"]
