"""Files in stretches, rows in bundles, and bundles in pieces: without Spark, whose rows they must come back as."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from zipline import EventSource, Join, Query
from zipline.engines.local.session import connect, query
from zipline.engines.spark import bundles, file_readings, stretches
from zipline.engines.spark.bundles import HOME, Bundling, KeyHome, divided, opened, rows_in
from zipline.engines.spark.file_readings import LeftReading, key_hashes
from zipline.engines.spark.hot import Looking
from zipline.engines.spark.packing import LANE, PART, ROW, ROWS
from zipline.engines.spark.scans import EVER, Days
from zipline.engines.spark.spill import pieces
from zipline.engines.spark.stretches import Stretch
from zipline.errors import TableError
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import ByRow, Table
from zipline.types import BIGINT, STRING
from zipline.values import dataclass

SCHEMA = pa.schema([(ROW, pa.int64()), ("k", pa.int64()), ("s", pa.string()), ("v", pa.float64())])


@dataclass(frozen=True, eq=False)
class InMemory:
    """A reading of which each table is a stretch."""

    tables: tuple[pa.Table, ...]
    keys: tuple = (("k", BIGINT), ("s", STRING))
    schema: pa.Schema = SCHEMA

    def read(self, number: int) -> pa.Table:
        return self.tables[number]


def rows(count: int, seed: int = 1, first: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    keys = [None if draw < 0.05 else int(draw * 40) for draw in random.random(count)]
    texts = [None if draw < 0.05 else "x" * int(draw * 60) for draw in random.random(count)]
    return pa.table([np.arange(first, first + count), keys, texts, random.random(count)], schema=SCHEMA)


def packed(reading: InMemory, partitions: int) -> list[pa.RecordBatch]:
    """What the tasks of a shuffle give, in the form of packed rows."""
    found = Bundling(reading, KeyHome(reading, partitions, partitions))(
        [pa.record_batch({"id": list(range(len(reading.tables)))})]
    )
    columns = [(b.column(0), pa.array(np.full(b.num_rows, 3, np.int32)), b.column(1)) for b in found]
    assert all(batch.schema.names == [HOME, ROWS] for batch in found)
    return [pa.record_batch(list(each), names=[PART, LANE, ROWS]) for each in columns]


def test_rows_come_back_as_they_were_each_in_the_partition_of_its_key() -> None:
    given = (rows(1_000), rows(0), rows(500, 2, 1_000))
    batches = packed(InMemory(given), 5)
    assert sum(map(rows_in, batches)) == 1_500
    homes: dict[tuple, int] = {}
    found = []
    for batch in batches:
        for part in range(5):
            own = batch.filter(pa.array(np.asarray(batch.column(0)) == part))
            table = opened(pa.chunked_array([own.column(2)]), SCHEMA)
            found.append(table)
            for key in zip(table["k"].to_pylist(), table["s"].to_pylist(), strict=True):
                if None not in key:
                    assert homes.setdefault(key, part) == part
    assert len(set(homes.values())) == 5
    assert pa.concat_tables(found).sort_by(ROW).equals(pa.concat_tables(given))


def test_rows_without_a_key_are_spread() -> None:
    nobody = pa.table([np.arange(100), [None] * 100, ["a"] * 100, [0.0] * 100], schema=SCHEMA)
    batches = packed(InMemory((nobody,)), 4)
    assert sorted({part for batch in batches for part in batch.column(0).to_pylist()}) == [0, 1, 2, 3]


def test_bundles_and_what_is_sent_at_a_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "BYTES", 4_000)
    monkeypatch.setattr(bundles, "SENT", 10_000)
    given = rows(5_000)
    found = packed(InMemory((given,)), 2)
    sizes = [len(text) for batch in found for text in batch.column(2).to_pylist()]
    assert max(sizes) < 6_000
    assert max(sum(map(len, batch.column(2).to_pylist())) for batch in found) < 16_000
    assert sum(map(rows_in, found)) == 5_000


@pytest.mark.parametrize("most", [10_000, 400, 60])
def test_a_partition_that_is_too_large_is_taken_in_pieces_that_keep_keys_together(most: int) -> None:
    plain = pa.record_batch(
        [[1, 1], [0, 0], pa.nulls(2, pa.binary())], schema=packed(InMemory((rows(1),)), 1)[0].schema
    )
    batches = [*packed(InMemory((rows(1_000), rows(1_000, 2, 1_000))), 1), plain]
    divide = partial(divided, schemas={3: SCHEMA}, partitions=1)
    seen: dict[tuple, int] = {}
    held = []
    for number, piece in enumerate(pieces(batches, most, rows_in, divide)):
        table = pa.Table.from_batches(piece)
        found = opened(table.column(ROWS), SCHEMA)
        held.append((sum(map(rows_in, piece)), len(set(table.column(PART).to_pylist()))))
        for key in zip(found["k"].to_pylist(), found["s"].to_pylist(), strict=True):
            assert None in key or seen.setdefault(key, number) == number
    assert sum(count for count, _ in held) == 2_002
    assert (len(held) == 1) == (most == 10_000)
    assert all(count <= most or parts == 1 for count, parts in held)


def read(table: Table, days: Days = EVER, cores: int = 2) -> list[pa.Table]:
    """The rows of every stretch."""
    found, connection = [], connect()
    for stretch in stretches.stretches(table, days, cores):
        limits = {"partition": days.partition, "start": days.start, "end": days.end}
        if stretch.rows is None:
            relation = table.relation(connection, units=stretch.units, **limits)
        else:
            assert isinstance(table, ByRow)
            relation = table.relation(connection, units=stretch.units, rows=stretch.rows, **limits)
        found.append(query(connection, f"SELECT * FROM {relation}", table.name))
    return found


@pytest.mark.parametrize("form", ["parquet", "delta", "csv"])
def test_stretches_have_every_row_once(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "LEAST_ROWS", 100)
    monkeypatch.setattr(stretches, "MOST_ROWS", 100)
    place = tmp_path / form
    place.mkdir()
    given = [rows(count, count, first) for count, first in ((1_000, 0), (30, 1_000), (40, 1_030), (250, 1_070))]
    for number, each in enumerate(given):
        if form == "delta":
            deltalake.write_deltalake(str(place), each, mode="append")
        elif form == "parquet":
            pq.write_table(each, place / f"{number}.parquet", row_group_size=70)
        else:
            csv.write_csv(each, place / f"{number}.csv")
    table = open_catalog({"t": str(place)}).table("t")
    found = read(table)
    numbers = [sorted(each.column(ROW).to_pylist()) for each in found]
    assert sorted(number for own in numbers for number in own) == list(range(1_320))
    if form == "parquet":
        assert list(map(len, numbers)) == [*[100] * 10, 70, 83, 83, 84]
    if form != "csv":
        assert max(map(len, numbers)) == 100
        assert pa.concat_tables(found).sort_by(ROW).column("v").equals(pa.concat_tables(given).column("v"))


def test_only_the_files_and_rows_of_the_days_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "LEAST_ROWS", 3)
    monkeypatch.setattr(stretches, "MOST_ROWS", 3)
    for day in (1, 2, 3):
        (tmp_path / "keyed" / f"ds=2024-03-0{day}").mkdir(parents=True)
        pq.write_table(rows(10, first=10 * day), tmp_path / "keyed" / f"ds=2024-03-0{day}" / "a.parquet")
    dated = rows(30).append_column("ds", pa.array([f"2024-03-0{1 + number % 3}" for number in range(30)]))
    pq.write_table(dated, tmp_path / "dated.parquet")
    catalog = open_catalog({"keyed": str(tmp_path / "keyed"), "dated": str(tmp_path / "dated.parquet")})
    days = Days("ds", "2024-03-02", "2024-03-02")
    for name, expected in (("keyed", list(range(20, 30))), ("dated", list(range(1, 30, 3)))):
        found = read(catalog.table(name), days)
        assert sorted(number for each in found for number in each.column(ROW).to_pylist()) == expected


def test_a_column_of_the_readers_own_name_leaves_files_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "LEAST_ROWS", 10)
    monkeypatch.setattr(stretches, "MOST_ROWS", 10)
    pq.write_table(rows(100).append_column("file_row_number", pa.array([7] * 100)), tmp_path / "t.parquet")
    table = open_catalog({"t": str(tmp_path / "t.parquet")}).table("t")
    assert [each.rows for each in stretches.stretches(table, EVER, 2)] == [None]
    assert read(table)[0].column("file_row_number").to_pylist() == [7] * 100


def test_many_stretches_share_tasks() -> None:
    assert [stretches.tasks_for(count, 2) for count in (0, 1, 16, 17, 1_000)] == [0, 1, 16, 16, 63]


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readings, "one_core", lambda: (connect(), None))
    left = pa.table({"k": range(10), "at": pa.array(range(10), pa.timestamp("us", "UTC"))})
    pq.write_table(left, tmp_path / "left.parquet")
    table = open_catalog({"left": str(tmp_path / "left.parquet")}).table("left")
    columns = {name: table.schema[name] for name in ("k", "at")}
    join = Join(EventSource("left", Query(["k"], time="at")), [], name="joined")
    reading = LeftReading(
        table, plan_join(join, lambda _: columns).left, (Stretch(("left.parquet",)),), EVER, None, None, ("k",)
    )
    assert reading.read(0).column("l:k").to_pylist() == list(range(10))
    pq.write_table(left.slice(0, 9), tmp_path / "left.parquet")
    with pytest.raises(TableError, match=r"left.parquet changed while it was read") as failure:
        reading.read(0)
    assert failure.value.hint == "run it again"


def left_reading(tmp_path: Path, *, is_dated: bool, names: tuple[str, ...] = ("a", "b")) -> LeftReading:
    times = pa.array([None, 1, None, 2], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"a": ["x", "y", "z", "x"], "b": [1, 2, 3, 4], "at": times}), tmp_path / "left.parquet")
    table = open_catalog({"left": str(tmp_path / "left.parquet")}).table("left")
    plan = plan_join(Join(EventSource("left", Query(["a", "b"], time="at")), [], name="j"), lambda _: table.schema)
    listed, bounds = (Stretch(("left.parquet",)),), ("1970-01-01", "1970-01-01")
    return LeftReading(table, plan.left, listed, EVER, bounds, None, ("a", "b"), names, is_dated)


def test_a_left_row_has_one_number_whether_rows_without_a_day_are_wanted_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_readings, "one_core", lambda: (connect(), None))
    everything = left_reading(tmp_path, is_dated=False).read(0)
    dated = left_reading(tmp_path, is_dated=True).read(0)
    assert everything.select([ROW, "l:b"]).to_pydict() == {ROW: [0, 1, 2, 3], "l:b": [1, 2, 3, 4]}
    assert dated.select([ROW, "l:b"]).to_pydict() == {ROW: [1, 3], "l:b": [2, 4]}


@pytest.mark.parametrize("names", [("b", "a"), ("a",), ("b", "b"), ()])
def test_keys_are_looked_at_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(file_readings, "one_core", lambda: (connect(), None))
    reading = left_reading(tmp_path, is_dated=True, names=names)
    (seen,) = Looking(reading, 1.0, is_left=True)([pa.record_batch({"id": [0]})])
    whole = reading.read(0)
    assert seen.column(0).to_pylist() == key_hashes(whole, reading.keys)[0].tolist()
    assert seen.column(1).to_pylist() == [1, 2]


@pytest.mark.parametrize("form", ["folders of whole numbers", "delta by instant"])
def test_partitions_that_are_no_days_are_read(form: str, tmp_path: Path) -> None:
    """Nobody asks for days of them, or the rows tell their days themselves."""
    days = EVER
    if form == "delta by instant":
        stamps = pa.array([dt.datetime(2024, 3, day, 5, tzinfo=dt.timezone.utc) for day in (1, 2, 2)])
        rows_of = pa.table({"n": [1, 2, 3], "ds": stamps.cast(pa.timestamp("us", "UTC"))})
        deltalake.write_deltalake(str(tmp_path), rows_of, partition_by=["ds"])
        days = Days("ds", "2024-03-02", "2024-03-02")
    else:
        for number in (1, 2, 3):
            (tmp_path / f"ds=2024030{number}").mkdir()
            pq.write_table(pa.table({"n": [number]}), tmp_path / f"ds=2024030{number}" / "a.parquet")
        days = Days("ds", None, None)
    found = read(open_catalog({"t": str(tmp_path)}).table("t"), days)
    wanted = [2, 3] if form == "delta by instant" else [1, 2, 3]
    assert sorted(number for each in found for number in each.column("n").to_pylist()) == wanted


def test_a_file_that_is_named_twice_is_left_to_spark(tmp_path: Path) -> None:
    pq.write_table(rows(3), tmp_path / "x.parquet")
    path = str(tmp_path / "x.parquet")
    catalog = open_catalog({"twice": [path, path], "once": [path]})
    assert [stretches.is_read_by_tasks(catalog.table(name)) for name in ("twice", "once")] == [False, True]
