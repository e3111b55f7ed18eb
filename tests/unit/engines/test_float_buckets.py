"""Buckets may be floats: -0.0 and 0.0 are one, NaN is none, and maps are in the buckets' own order."""

import datetime as dt
import math

from zipline import Aggregation, EventSource, GroupBy, Query, aggregate

NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone.utc)


def test_a_bucket_of_floats_is_the_float_itself() -> None:
    buckets = [2.5, -1.5, 0.0, -0.0, math.nan, None, math.inf, 2.5]
    events = [{"k": "a", "t": NOON - dt.timedelta(hours=1), "v": 1, "b": bucket} for bucket in buckets]
    group_by = GroupBy(
        ["k"], [EventSource("events", Query(time="t"))], [Aggregation("v", "SUM", buckets=["b"])], name="g"
    )
    found = aggregate(group_by, [{"k": "a", "ts": NOON}], {"events": events})
    assert found.column("v_sum_by_b").to_pylist() == [[(-1.5, 1), (0.0, 2), (2.5, 2), (math.inf, 1)]]
