"""Rows that tasks bundle and rows that Spark moves meet: both find the same place for a key, of whatever type."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from tests.conformance.spark_session import spark_session
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query, backfill
from zipline.engines.spark import stretches
from zipline.engines.spark.file_readings import key_hashes
from zipline.engines.spark.session import configured
from zipline.engines.spark.statements import key_hash
from zipline.types import BIGINT, BINARY, BOOLEAN, DATE, DOUBLE, FLOAT, INT, STRING, TIMESTAMP, DataType

RANDOM = np.random.default_rng(11)
COUNT = 500


def texts(letters: int) -> list[str]:
    lengths = RANDOM.integers(0, 80, COUNT)
    return ["".join(map(chr, RANDOM.integers(33, letters, length))) for length in lengths]


KEYS: dict[str, tuple[pa.Array, DataType]] = {
    "long": (pa.array(RANDOM.integers(-(2**63), 2**63 - 1, COUNT)), BIGINT),
    "int": (pa.array(RANDOM.integers(-(2**31), 2**31 - 1, COUNT), pa.int32()), INT),
    "double": (pa.array([0.0, -0.0, float("inf"), 5e-324, *RANDOM.normal(size=COUNT - 4)]), DOUBLE),
    "float": (pa.array(RANDOM.normal(size=COUNT), pa.float32()), FLOAT),
    "text": (pa.array(texts(127)), STRING),
    "wide": (pa.array(texts(0xD7FF)), STRING),
    "bytes": (pa.array([text.encode()[: 7 + number % 60] for number, text in enumerate(texts(3_000))]), BINARY),
    "flag": (pa.array(RANDOM.integers(0, 2, COUNT).astype(bool)), BOOLEAN),
    "day": (pa.array([dt.date(1, 1, 1) + dt.timedelta(int(n)) for n in RANDOM.integers(0, 3_000_000, COUNT)]), DATE),
    "at": (pa.array(RANDOM.integers(-(10**16), 10**17, COUNT), pa.timestamp("us", "UTC")), TIMESTAMP),
}


@pytest.mark.parametrize("names", [*((name,) for name in KEYS), ("text", "long"), tuple(KEYS)], ids="-".join)
def test_tasks_hash_keys_as_spark_does(names: tuple[str, ...]) -> None:
    rows = pa.table({name: KEYS[name][0] for name in names})
    keys = [(name, KEYS[name][1]) for name in names]
    spark: Any = spark_session()
    with configured(spark):
        found = spark.createDataFrame(rows).selectExpr(f"{key_hash(keys)} AS hash").toArrow().column(0)
    own, has_key = key_hashes(rows, keys)
    assert has_key.all()
    assert len(set(own.tolist())) > 1
    assert own.tolist() == found.to_pylist()


@pytest.mark.parametrize("form", ["parquet", "delta"])
def test_rows_come_in_the_order_of_the_local_engine(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the names of the files, and in whatever stretches they are read."""
    monkeypatch.setattr(stretches, "LEAST_ROWS", 40)
    monkeypatch.setattr(stretches, "MOST_ROWS", 40)
    tables = {}
    for name in ("asked", "seen"):
        place = tmp_path / name
        place.mkdir()
        for number, count in enumerate((150, 7, 60, 1, 300)):
            times = pa.array(RANDOM.integers(0, 10**12, count), pa.timestamp("us", "UTC"))
            rows = pa.table({"k": RANDOM.integers(0, 9, count), "x": RANDOM.integers(0, 99, count), "at": times})
            if form == "delta":
                deltalake.write_deltalake(str(place), rows, mode="append")
            else:
                pq.write_table(rows, place / f"{'cabde'[number]}.parquet", row_group_size=50)
        tables[name] = str(place)
    seen = EventSource("seen", Query(["k", "x"], time="at"))
    parts = [
        JoinPart(GroupBy([key], [seen], [Aggregation("x", "SUM", windows=["1d", None])], name=f"by_{key}"))
        for key in ("k", "x")
    ]
    join = Join(EventSource("asked", Query(["k", "x"], time="at")), parts, name="ordered")
    spark_session().conf.set("spark.zipline.rowsPerTask", "200")
    expected = backfill(join, tables)
    assert expected.num_rows == 518
    assert backfill(join, tables, engine="spark").equals(expected)


@pytest.mark.parametrize("form", ["a list in an order of its own", "types that differ", "one file twice"])
def test_lists_of_files_give_what_they_give_to_the_local_engine(form: str, tmp_path: Path) -> None:
    instants = pa.array([3, 1, 2], pa.timestamp("us", "UTC"))
    rows = [pa.table({"k": [number, 1, 2], "at": instants}) for number in range(3)]
    paths = [str(tmp_path / f"{number}.parquet") for number in range(3)]
    for number, (path, own) in enumerate(zip(paths, rows, strict=True)):
        unit = "ns" if form == "types that differ" and number == 1 else "us"
        pq.write_table(own.set_column(1, "at", own["at"].cast(pa.timestamp(unit, "UTC"))), path)
    if form == "a list in an order of its own":
        paths = [str(tmp_path / f"{number}.csv") for number in (2, 0, 1)]
        for number, path in zip((2, 0, 1), paths, strict=True):
            csv.write_csv(rows[number], path)
    given: Any = [*paths, paths[0]] if form == "one file twice" else paths
    seen = EventSource("seen", Query(["k"], time="at"))
    parts = [JoinPart(GroupBy(["k"], [seen], [Aggregation("k", "COUNT", windows=[None])], name="counted"))]
    join = Join(EventSource("asked", Query(["k"], time="at")), parts, name="listed")
    expected = backfill(join, {"asked": given, "seen": given})
    found = backfill(join, {"asked": given, "seen": given}, engine="spark")
    if form == "one file twice":  # its rows have no order of their own
        order = [(name, "ascending") for name in expected.column_names]
        expected, found = expected.sort_by(order), found.sort_by(order)
    assert expected.num_rows == 3 * len(given)
    assert found.equals(expected)


def test_null_and_nan_are_no_keys() -> None:
    rows = pa.table({"a": pa.array([1, None, 3, 4]), "b": pa.array([1.0, 2.0, float("nan"), None])})
    assert key_hashes(rows, [("a", BIGINT), ("b", DOUBLE)])[1].tolist() == [True, False, False, False]
    for name, (column, dtype) in KEYS.items():
        absent = pa.table({name: pa.nulls(3, column.type)})
        assert not key_hashes(absent, [(name, dtype)])[1].any()
