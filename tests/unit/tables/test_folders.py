"""Folders that name values (`ds=2013-07-01/`) are columns of a table, whatever its files' format."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import Aggregation, EntitySource, GroupBy, Operation, Query, aggregate
from zipline.errors import TableError
from zipline.tables.contract import Table
from zipline.tables.days import connect
from zipline.tables.paths import PathSource, open_path
from zipline.types import BIGINT, STRING

FORMATS = ["parquet", "csv", "jsonl"]
Row = dict[str, Any]


def write(root: Path, folder: str, form: str, rows: list[Row]) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    path = root / folder / f"part.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "csv":
        lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def opened(root: Path) -> Table:
    return open_path("tiers", PathSource(str(root)))


def rows_of(table: Table, **within: Any) -> list[tuple[Any, ...]]:
    with connect() as connection:
        return connection.execute(f"SELECT * FROM {table.relation(connection, **within)} ORDER BY ALL").fetchall()


@pytest.fixture(params=FORMATS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two days, two shards of the second."""
    write(tmp_path, "ds=2024-01-01/shard=1", request.param, [{"user": "ann", "tier": 1}])
    write(tmp_path, "ds=2024-01-02/shard=1", request.param, [{"user": "ann", "tier": 2}])
    write(tmp_path, "ds=2024-01-02/shard=2", request.param, [{"user": "bob", "tier": 3}])
    return tmp_path


def test_the_keys_are_columns_behind_the_files_own(root: Path) -> None:
    table = opened(root)
    assert table.schema == {"user": STRING, "tier": BIGINT, "ds": STRING, "shard": BIGINT}
    assert rows_of(table) == [
        ("ann", 1, "2024-01-01", 1),
        ("ann", 2, "2024-01-02", 1),
        ("bob", 3, "2024-01-02", 2),
    ]


def test_days_are_told_by_the_folders_and_others_are_not_opened(root: Path) -> None:
    table = opened(root)
    assert [partition.day for partition in table.partitions("ds")] == ["2024-01-01", "2024-01-02"]
    assert {unit.day for unit in table.units("ds")} == {"2024-01-01", "2024-01-02"}
    for path in (root / "ds=2024-01-01").rglob("part.*"):
        path.write_text("}{ no data")
    found = rows_of(table, partition="ds", start="2024-01-02", end="2024-01-02")
    assert found == [("ann", 2, "2024-01-02", 1), ("bob", 3, "2024-01-02", 2)]
    assert rows_of(table, partition="ds", end="2023-12-31") == []


def test_one_file_alone_can_be_read(root: Path) -> None:
    table = opened(root)
    [unit] = [unit for unit in table.units("ds") if "shard=2" in unit.name]
    assert rows_of(table, units=[unit.name]) == [("bob", 3, "2024-01-02", 2)]


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_wins_over_a_column_of_the_files(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ds=2024-01-01", form, [{"user": "ann", "ds": "1999-12-31", "tier": 1}])
    table = opened(tmp_path)
    assert table.schema == {"user": STRING, "tier": BIGINT, "ds": STRING}
    assert rows_of(table) == [("ann", 1, "2024-01-01")]


@pytest.mark.parametrize("form", FORMATS)
def test_the_folder_of_nulls_is_in_no_day(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ds=2024-01-01", form, [{"tier": 1}])
    write(tmp_path, "ds=__HIVE_DEFAULT_PARTITION__", form, [{"tier": 2}])
    table = opened(tmp_path)
    assert rows_of(table) == [(1, "2024-01-01"), (2, None)]
    assert [partition.day for partition in table.partitions("ds")] == ["2024-01-01"]


@pytest.mark.parametrize("form", FORMATS)
def test_files_in_folders_of_other_keys_are_refused(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ds=2024-01-01", form, [{"tier": 1}])
    write(tmp_path, "month=2024-01", form, [{"tier": 2}])
    with pytest.raises(TableError, match="needs the same partition keys"):
        opened(tmp_path)


@pytest.mark.parametrize("form", FORMATS)
def test_a_day_that_is_none_names_the_column_and_the_remedy(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ds=May", form, [{"tier": 1}])
    with pytest.raises(TableError, match=r"'ds' holds 'May', which is not a day"):
        opened(tmp_path).partitions("ds")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_key_that_differs_from_a_column_in_case_alone(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ds=2024-01-01", form, [{"DS": "x", "tier": 1}])
    with pytest.raises(TableError, match="have the same name"):
        opened(tmp_path)


@pytest.mark.parametrize("form", FORMATS)
def test_snapshots_may_lie_in_folders_of_any_format(tmp_path: Path, form: str) -> None:
    write(tmp_path, "ds=2024-01-01", form, [{"user": "ann", "tier": 1}])
    write(tmp_path, "ds=2024-01-02", form, [{"user": "ann", "tier": 2}, {"user": "ann", "tier": 5}])
    queries = [{"user": "ann", "ts": f"2024-01-0{day}T08:00:00Z"} for day in (1, 2, 3)]
    source = EntitySource("tiers", Query(["user", "tier"]))
    lookup = GroupBy(["user"], [source], name="lookup")
    total = GroupBy(["user"], [source], [Aggregation("tier", Operation.SUM)], name="total")
    tables = {"tiers": str(tmp_path)}
    assert aggregate(lookup, queries, tables).column("tier").to_pylist() == [None, 1, 5]
    assert aggregate(total, queries, tables).column("tier_sum").to_pylist() == [None, 1, 7]
