"""Nested values on both engines: as they stand, and in one order where they choose the event of an event id."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.spark_session import spark_session
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, backfill

INTS = pa.list_(pa.int64())
POINT = pa.struct([("x", pa.int64()), ("y", pa.string())])
NAMED = pa.map_(pa.string(), pa.int64())


@pytest.mark.parametrize("engine", ["local", "spark"])
@pytest.mark.parametrize(
    ("kind", "in_order"),
    [
        (INTS, [[], [1], [1, 2], [1, None], [2], [None], None]),
        (POINT, [{"x": 1, "y": "a"}, {"x": 1, "y": None}, {"x": 2, "y": "a"}, {"x": None, "y": "a"}, None]),
        (NAMED, [[], [("a", 1)], [("a", 1), ("b", 0)], [("a", 2)], [("a", None)], [("b", 0)], None]),
        (pa.list_(NAMED), [[], [[("a", 1)]], [[("a", 1)], []], [[("a", None)]], [None], None]),
        (pa.struct([("m", NAMED)]), [{"m": []}, {"m": [("a", 1)]}, {"m": [("a", None)]}, {"m": None}, None]),
        (pa.map_(pa.string(), POINT), [[("a", {"x": 1, "y": "a"})], [("a", {"x": 1, "y": None})], [("a", None)], None]),
        (pa.float64(), [float("-inf"), -1.0, 2.0, float("inf"), None]),
        (pa.binary(), [b"", b"a", b"a\x00", b"\x80", None]),
    ],
    ids=str,
)
def test_of_two_rows_the_lesser_is_the_event(kind: pa.DataType, in_order: list[Any], engine: str) -> None:
    pairs = [(one, other) for one in range(len(in_order)) for other in range(one + 1, len(in_order))]
    placed = [(number, place) for number, pair in enumerate(pairs) for place in reversed(pair)]
    events = pa.table(
        {
            "k": [number for number, _ in placed],
            "id": [number for number, _ in placed],
            "v": pa.array([in_order[place] for _, place in placed], kind),
            "n": [place for _, place in placed],
            "t": ["2024-03-01"] * len(placed),
        }
    )
    source = EventSource("events", Query(["k", "v", "n"], time="t", event_id="id"))
    seen = GroupBy(["k"], [source], [Aggregation("n", Operation.SUM)], name="seen")
    join = Join(EventSource("asked", Query(["k"], time="t")), [JoinPart(seen)], name="asked")
    asked = [{"k": number, "t": "2024-03-02"} for number in range(len(pairs))]
    if engine == "spark":
        spark_session()
    found = backfill(join, {"events": events, "asked": asked}, engine=engine)
    assert found.column("seen_n_sum").to_pylist() == [one for one, _ in pairs]


TIME = dt.datetime(2024, 3, 1, 12, 30, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize("engine", ["local", "spark"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (NAMED, [None, [], [("a", None)], [("a", 1), ("b", None)]]),
        (pa.map_(pa.string(), POINT), [None, [], [("a", None)], [("a", {"x": None, "y": "b"})]]),
        (pa.map_(pa.string(), INTS), [None, [], [("a", None)], [("a", [])], [("a", [None, 1])]]),
        (pa.map_(pa.string(), pa.timestamp("us", "UTC")), [None, [], [("a", None)], [("a", TIME)]]),
        (pa.list_(pa.map_(pa.string(), POINT)), [None, [], [None], [[]], [[("a", None)], None]]),
        (pa.struct([("m", pa.map_(pa.string(), INTS))]), [None, {"m": None}, {"m": []}, {"m": [("a", None)]}]),
    ],
    ids=str,
)
def test_nulls_within_values_are_looked_up_as_they_stand(kind: pa.DataType, values: list[Any], engine: str) -> None:
    rows = {"k": range(len(values)), "v": pa.array(values, kind), "t": ["2024-03-01"] * len(values)}
    last = GroupBy(["k"], [EventSource("events", Query(["k", "v"], time="t"))], name="last")
    join = Join(EventSource("asked", Query(["k", "v"], time="t")), [JoinPart(last)], name="asked")
    asked = {**rows, "t": ["2024-03-02"] * len(values)}
    if engine == "spark":
        spark_session()
    found = backfill(join, {"events": pa.table(rows), "asked": pa.table(asked)}, engine=engine)
    assert found.column("last_v").to_pylist() == values
    assert found.column("v").to_pylist() == values
