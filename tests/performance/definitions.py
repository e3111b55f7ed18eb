"""Our side of every case: the definitions that an author would write."""

from __future__ import annotations

from collections.abc import Sequence

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query

WINDOWED = ("SUM", "COUNT", "MIN", "MAX")
WINDOWS = ("1h", "1d", "7d", "30d")
OPERATION_WINDOWS = ("1d", "30d")
LOOKED_UP = ("v", "f0", "f1", "f2", "f3", "item", "bucket", "n", "seen", "t")

OPERATIONS = {
    "SUM": Aggregation("v", "SUM", windows=OPERATION_WINDOWS),
    "AVERAGE": Aggregation("v", "AVERAGE", windows=OPERATION_WINDOWS),
    "VARIANCE": Aggregation("v", "VARIANCE", windows=OPERATION_WINDOWS),
    "LAST_K": Aggregation("v", "LAST_K", k=3, windows=OPERATION_WINDOWS),
    "TOP_K": Aggregation("v", "TOP_K", k=3, windows=OPERATION_WINDOWS),
    "UNIQUE_COUNT": Aggregation("item", "UNIQUE_COUNT", windows=OPERATION_WINDOWS),
    "HISTOGRAM": Aggregation("item", "HISTOGRAM", windows=OPERATION_WINDOWS),
    "APPROX_PERCENTILE": Aggregation("v", "APPROX_PERCENTILE", percentiles=[0.5, 0.95], windows=OPERATION_WINDOWS),
    "bucketed SUM": Aggregation("v", "SUM", buckets=["bucket"], windows=OPERATION_WINDOWS),
}


def windows() -> Join:
    """Sixteen features: four operations over four windows."""
    return _join([Aggregation("v", operation, windows=WINDOWS) for operation in WINDOWED])


def operation(name: str) -> Join:
    """One operation over a day and thirty."""
    return _join([OPERATIONS[name]])


def lookup() -> Join:
    """The latest row's columns, without any window."""
    select = {"k": "k", **{name: name for name in LOOKED_UP}}
    latest = GroupBy(["k"], [EventSource("events", Query(select=select, time="t"))], name="g")
    return Join(EventSource("queries", Query(time="ts")), [JoinPart(latest)], name="latest")


def _join(aggregations: Sequence[Aggregation]) -> Join:
    features = GroupBy(["k"], [EventSource("events", Query(time="t"))], aggregations, name="g")
    return Join(EventSource("queries", Query(time="ts")), [JoinPart(features)], name="features")
