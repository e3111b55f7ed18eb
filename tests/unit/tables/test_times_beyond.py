"""Times that microseconds do not count: told of their column, and nothing of them stays behind."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from zipline import Aggregation, EventSource, GroupBy, Operation, Query, aggregate
from zipline.engines.local import session
from zipline.errors import TableError

GOOD = [{"k": 1, "v": 1, "t": "2024-01-01"}]
COUNTED = GroupBy(["k"], [EventSource("e", Query(time="t"))], [Aggregation("v", Operation.COUNT)], name="g")
ASKED = [{"k": 1, "ts": "2024-02-01"}]


def counted(events: Any, asked: Any = ASKED) -> list[int]:
    found: list[int] = aggregate(COUNTED, asked, {"e": events}).column("v_count").to_pylist()
    return found


@pytest.mark.parametrize("unit", ["s", "ms"])
@pytest.mark.parametrize("column", ["t", "v", "nested"])
def test_microseconds_that_are_called_seconds_are_refused_and_do_no_harm(unit: str, column: str) -> None:
    wrong = pa.array([1_704_067_200_000_000 * 1_000], pa.int64()).cast(pa.timestamp(unit))
    nested = pa.ListArray.from_arrays([0, 1], wrong)
    rows = pa.table({"k": [1], "v": [1], "t": pa.array(["2024-01-01"])})
    if column == "nested":
        rows = rows.append_column(column, nested)
    else:
        rows = rows.set_column(rows.column_names.index(column), column, wrong)
    with pytest.raises(TableError, match=rf"table 'e': the column '{column}' holds what is no (ARRAY<)?TIMESTAMP"):
        counted(rows)
    assert counted(GOOD) == [1]


def test_a_query_time_beyond_is_refused_too() -> None:
    wrong = pa.array([1_704_067_200_000_000], pa.int64()).cast(pa.timestamp("s"))
    with pytest.raises(TableError, match="the column 'ts' holds what is no TIMESTAMP"):
        counted(GOOD, pa.table({"k": [1], "ts": wrong}))
    assert counted(GOOD) == [1]


def test_seconds_are_seconds() -> None:
    times = pa.array([1_704_067_200], pa.int64()).cast(pa.timestamp("s"))
    assert counted(pa.table({"k": [1], "v": [1], "t": times})) == [1]


def test_a_database_that_has_ended_is_opened_anew() -> None:
    wrong = pa.array([1_704_067_200_000_000], pa.int64()).cast(pa.timestamp("s"))
    connection = session.connect()
    connection.register("wrong", pa.table({"t": wrong}))
    with pytest.raises(duckdb.Error):
        connection.sql("SELECT CAST(t AS TIMESTAMPTZ) FROM wrong").fetchall()
    with pytest.raises(duckdb.FatalException):
        connection.sql("SELECT 1").fetchall()
    assert session.connect().sql("SELECT 1").fetchall() == [(1,)]
    assert counted(GOOD) == [1]
