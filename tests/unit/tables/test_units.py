"""Units of tables: what a table is made of, whether it may have changed, and reading some of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Table
from zipline.tables.delta import DeltaOutput
from zipline.tables.paths import PathSource


def parquet(path: Path, rows: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"n": pa.array(rows, pa.int64())}), path)


def opened(path: object) -> Table:
    return open_catalog({"t": path}).table("t")


def read(table: Table, units: list[str], **limits: str) -> list[int]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        relation = table.relation(connection, units=units, **limits)  # type: ignore[arg-type]
        return sorted(n for (n,) in connection.sql(f"SELECT n FROM {relation}").fetchall())


def tokens(table: Table) -> dict[str, str]:
    return {unit.name: unit.token for unit in table.units("ds")}


def test_a_partitioned_folder_has_a_unit_for_each_file_with_the_day_of_its_folder(tmp_path: Path) -> None:
    parquet(tmp_path / "ds=2020-01-01" / "a.parquet", [1, 2])
    parquet(tmp_path / "ds=2020-01-02" / "a.parquet", [3])

    units = opened(tmp_path).units("ds")

    assert [(unit.name, unit.day, unit.rows) for unit in units] == [
        ("ds=2020-01-01/a.parquet", "2020-01-01", 2),
        ("ds=2020-01-02/a.parquet", "2020-01-02", 1),
    ]
    assert [unit.day for unit in opened(tmp_path).units(None)] == [None, None]


def test_reading_units_reads_no_others_and_keeps_to_the_days(tmp_path: Path) -> None:
    parquet(tmp_path / "ds=2020-01-01" / "a.parquet", [1])
    parquet(tmp_path / "ds=2020-01-02" / "a.parquet", [2])
    parquet(tmp_path / "ds=2020-01-02" / "b.parquet", [3])
    table = opened(tmp_path)

    assert read(table, ["ds=2020-01-02/b.parquet"]) == [3]
    assert read(table, []) == []
    assert read(table, ["ds=2020-01-01/a.parquet", "ds=2020-01-02/a.parquet"], partition="ds", start="2020-01-02") == [
        2
    ]


def test_a_token_changes_with_the_file_and_not_with_another(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [1])
    parquet(tmp_path / "b.parquet", [2])
    before = tokens(opened(tmp_path))
    parquet(tmp_path / "b.parquet", [5])
    os.utime(tmp_path / "b.parquet", ns=(1, 1))

    after = tokens(opened(tmp_path))

    assert after["a.parquet"] == before["a.parquet"]
    assert after["b.parquet"] != before["b.parquet"]


def test_a_file_that_is_given_the_size_and_time_of_the_old_one_is_another(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [1])
    before, was = tokens(opened(tmp_path)), (tmp_path / "a.parquet").stat()
    time.sleep(0.05)  # file systems tell times in steps of some milliseconds
    parquet(tmp_path / "a.parquet", [2])
    os.utime(tmp_path / "a.parquet", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (tmp_path / "a.parquet").stat().st_size == was.st_size
    assert tokens(opened(tmp_path)) != before


@pytest.mark.parametrize("other", [{"null_values": ["", "1"]}, {"delimiter": ";"}], ids=str)
def test_a_file_that_is_read_in_another_way_is_another(tmp_path: Path, other: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    one, again, changed = (
        tokens(opened(PathSource(str(tmp_path / "a.csv"), **how)))  # type: ignore[arg-type]
        for how in ({}, {}, other)
    )
    assert one == again != changed


def test_files_of_one_name_in_several_folders_are_units_of_their_own(tmp_path: Path) -> None:
    parquet(tmp_path / "one" / "a.parquet", [1])
    parquet(tmp_path / "two" / "a.parquet", [2])
    table = opened([tmp_path / "one", tmp_path / "two"])

    names = [unit.name for unit in table.units(None)]

    assert len(set(names)) == 2
    assert [read(table, [name]) for name in names] == [[1], [2]]


@pytest.mark.parametrize("extension", ["csv", "jsonl"])
def test_text_files_are_units(tmp_path: Path, extension: str) -> None:
    for name, n in (("a", 1), ("b", 2)):
        text = f"n\n{n}\n" if extension == "csv" else json.dumps({"n": n}) + "\n"
        (tmp_path / f"{name}.{extension}").write_text(text)
    table = opened(tmp_path)

    assert [unit.name for unit in table.units(None)] == [f"a.{extension}", f"b.{extension}"]
    assert read(table, [f"b.{extension}"]) == [2]
    assert read(table, []) == []


def test_a_delta_table_has_a_unit_for_each_live_file(tmp_path: Path) -> None:
    output = DeltaOutput(str(tmp_path / "t"))
    output.replace_days({"2020-01-01": pa.table({"n": [1]}), "2020-01-02": pa.table({"n": [2, 3]})})
    before = {unit.day: unit for unit in opened(output.uri).units("ds")}
    output.replace("2020-01-02", pa.table({"n": [4]}))
    table = opened(output.uri)
    after = {unit.day: unit for unit in table.units("ds")}

    assert after["2020-01-01"] == before["2020-01-01"]
    assert (before["2020-01-02"].rows, after["2020-01-02"].rows) == (2, 1)
    assert after["2020-01-02"].name != before["2020-01-02"].name
    assert read(table, [after["2020-01-02"].name]) == [4]


def test_a_table_in_memory_is_one_unit_of_its_own() -> None:
    rows = pa.table({"n": [1, 2]})
    table, other = opened(rows), opened(rows)

    [unit] = table.units("ds")

    assert unit.rows == 2
    assert other.units("ds")[0].token != unit.token
    assert read(table, [unit.name]) == [1, 2]
    assert read(table, []) == []
