"""Rows by unit are those that the source's bounds keep, each with the unit that it stands in, in few statements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import Aggregation, EventSource, GroupBy, Query
from zipline.engines.local.by_unit import AT_ONCE, by_unit
from zipline.engines.local.session import connect
from zipline.plan.build import plan_group_by
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import FILE

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]


def write(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"k": ["a"] * len(columns["x"]), "t": ["2024-01-01T00:00:00Z"] * len(columns["x"]), **columns}), path
    )


def found(table: Any, **bounds: Any) -> tuple[dict[str, list[int]], int]:
    """(unit -> its values of x, how many statements they took)."""
    catalog = open_catalog({"events": table})
    query = Query(select={"k": "k", "x": "x"}, time="CAST(t AS TIMESTAMP)", **bounds)
    group_by = GroupBy(["k"], [EventSource("events", query)], [Aggregation("x", "SUM")], name="g")
    source = plan_group_by(group_by, lambda name: catalog.table(name).schema).sources[0]
    units = catalog.table("events").units(source.partition)
    connection, rows, statements = connect(), dict[str, list[int]](), 0
    for relation, names in by_unit(connection, catalog.table("events"), source, units):
        statements += 1
        for file, x in connection.sql(f'SELECT "{FILE}", x FROM {relation} ORDER BY x').fetchall():
            rows.setdefault(names[file], []).append(x)
    return rows, statements


def test_files_are_asked_in_one_statement(tmp_path: Path) -> None:
    for n in range(AT_ONCE + 1):
        write(tmp_path / f"{n:03}.parquet", x=[n, n + 1000])
    rows, statements = found(str(tmp_path))
    assert rows == {f"{n:03}.parquet": [n, n + 1000] for n in range(AT_ONCE + 1)}
    assert statements == 1


@pytest.mark.parametrize("bounds", [{"start": DAYS[1]}, {"start": DAYS[1], "end": DAYS[2]}])
def test_bounds_leave_out_files_of_other_days(tmp_path: Path, bounds: dict[str, str]) -> None:
    for n, day in enumerate(DAYS):
        write(tmp_path / f"ds={day}" / "rows.parquet", x=[n])
    assert found(str(tmp_path), **bounds) == ({f"ds={day}/rows.parquet": [n] for n, day in enumerate(DAYS) if n}, 1)


def test_bounds_leave_out_rows_where_files_hold_several_days(tmp_path: Path) -> None:
    write(tmp_path / "one.parquet", x=[1, 2, 3], ds=DAYS)
    write(tmp_path / "two.parquet", x=[4], ds=DAYS[:1])
    assert found(str(tmp_path), start=DAYS[1])[0] == {"one.parquet": [2, 3]}


def test_a_table_in_memory_is_one_unit() -> None:
    table = pa.table({"k": ["a", "a"], "t": ["2024-01-01T00:00:00Z"] * 2, "x": [1, 2]})
    assert found(table) == ({"events": [1, 2]}, 1)
