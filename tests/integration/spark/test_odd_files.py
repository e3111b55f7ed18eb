"""Files that Spark's own reader sees otherwise than the platform's: what a table holds does not depend on the engine.

Spark reads a Parquet or Delta table itself where rows of one event id are to become one event.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from tests.conformance.spark_session import spark_session
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, backfill

DAY = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
TIMES = pa.array([DAY] * 2, pa.timestamp("us", "UTC"))
BEFORE, NANOS = 1_704_067_199_999_999_999, 1_704_067_200_123_456_999


def left(**query: Any) -> Join:
    return Join(EventSource("left", query=Query(time="t", event_id="eid", **query)), [], name="j")


def both(join: Join, tables: dict[str, Any]) -> pa.Table:
    """What Spark gives, after it was compared with what is had without it."""
    spark_session()
    found, expected = backfill(join, tables, engine="spark"), backfill(join, tables)
    assert found.schema.names == expected.schema.names
    assert found.cast(expected.schema).equals(expected)
    return found


def test_nanoseconds_are_rounded_down(tmp_path: Path) -> None:
    nanos = pa.array([BEFORE, NANOS, -1_999], pa.int64()).view(pa.timestamp("ns"))
    file, whole = tmp_path / "left.parquet", {"k": [1, 2, 3], "eid": [1, 2, 3], "t": nanos, "v": [10, 20, 30]}
    pq.write_table(pa.table(whole), file)
    found = both(left(), {"left": str(file)})
    assert found.column("ts").cast(pa.int64()).to_pylist() == [BEFORE // 1000, NANOS // 1000, -2]
    events = EventSource("events", query=Query(time="t", event_id="eid"))
    sums = GroupBy(["k"], [events], [Aggregation("v", Operation.SUM)], name="sums")
    join = Join(EventSource("left", query=Query(time="t")), [JoinPart(sums)], name="j")
    rows = both(join, {"left": pa.table({"k": [1, 2], "t": TIMES}), "events": str(file)})
    assert rows.column("sums_v_sum").to_pylist() == [10, None]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(pa.timestamp("ns")), [[DAY.replace(tzinfo=None)], None]),
        (pa.struct([("at", pa.timestamp("ns"))]), [{"at": DAY.replace(tzinfo=None)}, None]),
        (pa.map_(pa.string(), pa.timestamp("ns")), [[("a", DAY.replace(tzinfo=None))], None]),
        (pa.null(), [None, None]),
    ],
    ids=str,
)
def test_columns_of_odd_types_are_read_as_they_are(kind: pa.DataType, values: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "left.parquet"
    pq.write_table(pa.table({"eid": [1, 2], "t": TIMES, "x": pa.array(values, kind)}), file)
    found = both(left(), {"left": str(file)})
    assert found.column("eid").to_pylist() == [1, 2]
    assert "2024" in str(found.column("x").to_pylist()[0]) or kind == pa.null()


def test_instants_of_twelve_bytes_are_instants(tmp_path: Path) -> None:
    file = tmp_path / "left.parquet"
    pq.write_table(pa.table({"eid": [1, 2], "t": TIMES}), file, use_deprecated_int96_timestamps=True)
    assert both(left(), {"left": str(file)}).column("ts").to_pylist() == TIMES.to_pylist()


@pytest.mark.parametrize("name", ["_left.parquet", ".left.parquet"])
def test_a_file_that_is_named_is_not_hidden(name: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"eid": [1, 2], "t": TIMES}), tmp_path / name)
    assert both(left(), {"left": str(tmp_path / name)}).column("eid").to_pylist() == [1, 2]


def test_partitions_of_a_delta_table_whose_folders_are_encoded(tmp_path: Path) -> None:
    rows = pa.table({"eid": [1, 2], "t": TIMES, "city": ["New York", "Rome"]})
    write_deltalake(str(tmp_path / "left"), rows, partition_by=["city"])
    found = both(left(), {"left": str(tmp_path / "left")})
    assert sorted(found.column("city").to_pylist()) == ["New York", "Rome"]


@pytest.mark.parametrize("name", ["__row", "__index", "__number", "__file"])
@pytest.mark.parametrize("is_file", [True, False])
@pytest.mark.parametrize("event_id", ["eid", None])
def test_columns_may_be_called_as_the_engines_own(
    name: str, is_file: bool, event_id: str | None, tmp_path: Path
) -> None:
    times = pa.array([DAY + dt.timedelta(hours=hour) for hour in range(3)], pa.timestamp("us", "UTC"))
    rows = pa.table({"eid": [1, 2, 3], "t": times, name: [5, None, 1]})
    pq.write_table(rows, tmp_path / "left.parquet")
    join = Join(EventSource("left", query=Query(time="t", event_id=event_id)), [], name="j")
    found = both(join, {"left": str(tmp_path / "left.parquet") if is_file else rows})
    assert found.column(name).to_pylist() == [5, None, 1]


def test_a_truth_as_a_float() -> None:
    rows = pa.table({"eid": [1, 2], "t": TIMES, "b": [True, None]})
    found = both(left(select={"x": "CAST(b AS FLOAT)", "y": "TRY_CAST(b AS FLOAT)"}), {"left": rows})
    assert found.select(["x", "y"]).to_pylist() == [{"x": 1.0, "y": 1.0}, {"x": None, "y": None}]


@pytest.mark.parametrize("keys", [["k"], ["k", "n"]], ids=len)
@pytest.mark.parametrize("empty", ["left", "events"])
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_key_of_nulls_alone_meets_nobody(form: str, empty: str, keys: list[str], tmp_path: Path) -> None:
    tables: dict[str, Any] = {}
    for name in ("left", "events"):
        known = pa.nulls(2) if name == empty else pa.array(["a", None])
        rows = pa.table({"k": known, "n": [1, 1], "t": TIMES, "v": [1, 2]})
        tables[name] = str(tmp_path / f"{name}.{form}")
        (pq.write_table if form == "parquet" else pacsv.write_csv)(rows, tables[name])
    sums = GroupBy(
        keys,
        [EventSource("events", query=Query(time="t"))],
        [Aggregation("v", Operation.SUM), Aggregation("v", Operation.COUNT)],
        name="sums",
    )
    join = Join(EventSource("left", query=Query(select=["k", "n"], time="t")), [JoinPart(sums)], name="j")
    assert both(join, tables).column("sums_v_count").to_pylist() == [0, 0]
