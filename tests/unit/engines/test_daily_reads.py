"""What a day's run reads without partials: of entities, their changes and labels only the files that the day can see.

All other files are spoiled: their footers stay, their rows are zeros that cannot be decompressed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import Aggregation, EntitySource, EventSource, GroupBy, Join, JoinPart, LabelPart, Query
from zipline.clock import to_micros
from zipline.engines.local.run import run_join
from zipline.errors import ZiplineError
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

FIRST, DAYS = dt.date(2024, 3, 1), 30
TODAY = 20
KEYS = [f"k{n}" for n in range(50)]
TIME = pa.timestamp("us", tz="UTC")


def day(number: int) -> str:
    return str(FIRST + dt.timedelta(days=number))


def instants(number: int) -> pa.Array:
    start = to_micros(day(number))
    return pa.array([start + 3600_000_000 + place for place in range(len(KEYS))]).view(TIME)


def write(folder: Path, number: int, **columns: Any) -> None:
    path = folder / f"ds={day(number)}" / "rows.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"k": KEYS, **columns}), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A day's events, snapshot and changes (every row of the day's dump updated) in a file each."""
    for number in range(DAYS):
        times = instants(number)
        write(tmp_path / "events", number, t=times, x=pa.array([float(number)] * len(KEYS)))
        write(tmp_path / "snapshots", number, x=pa.array([float(number)] * len(KEYS)))
        before = pa.array([False] * len(KEYS))
        changed = {"changed": times, "before": before, "x": pa.array([number + 0.5] * len(KEYS))}
        write(tmp_path / "changes", number, **changed)
    asked = pa.array([to_micros(day(TODAY)) + 12 * 3600_000_000] * len(KEYS)).view(TIME)
    pq.write_table(pa.table({"k": KEYS, "t": asked}), tmp_path / "asked.parquet")
    return tmp_path


def spoil(folder: Path, table: str, *, but: Collection[int]) -> None:
    for number in set(range(DAYS)) - set(but):
        path = folder / table / f"ds={day(number)}" / "rows.parquet"
        if not path.exists():
            continue
        content = bytearray(path.read_bytes())
        footer = int.from_bytes(content[-8:-4], "little") + 8
        content[4:-footer] = bytes(len(content) - footer - 4)
        path.write_bytes(content)


def run(folder: Path, *group_bys: GroupBy, label: GroupBy | None = None) -> dict[str, Any]:
    tables = {name: str(folder / name) for name in ("events", "snapshots", "changes")}
    catalog = open_catalog(tables | {"asked": str(folder / "asked.parquet")})
    labels = None if label is None else LabelPart([JoinPart(label)], offset="3d")
    parts = [JoinPart(group_by) for group_by in group_bys]
    join = Join(EventSource("asked", Query(time="t")), parts, labels=labels, name="daily")
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    found = run_join(plan, catalog, start=day(TODAY), end=day(TODAY), as_of=to_micros(day(DAYS)))
    assert found.table.num_rows == len(KEYS)
    return dict(found.table.to_pylist()[7])


def entity(**mutations: Any) -> EntitySource:
    query = {"select": {"k": "k", "x": "x"}}
    if mutations:
        query |= {"mutation_time": "changed", "is_before": "before"}
    return EntitySource("snapshots", query=Query(**query), **mutations)


def test_spoiled_files_cannot_be_read(folder: Path) -> None:
    spoil(folder, "snapshots", but=[])
    with pytest.raises(ZiplineError):
        run(folder, GroupBy(["k"], [entity()], name="g"))


def test_of_snapshots_only_the_newest_before_the_day_is_read(folder: Path) -> None:
    spoil(folder, "snapshots", but=[TODAY - 1])
    found = run(
        folder,
        GroupBy(["k"], [entity()], name="latest"),
        GroupBy(["k"], [entity()], [Aggregation("x", "SUM")], name="total"),
    )
    assert (found["latest_x"], found["total_x_sum"]) == (TODAY - 1, TODAY - 1)


def test_of_changes_only_those_since_the_snapshot_are_read(folder: Path) -> None:
    spoil(folder, "snapshots", but=[TODAY - 1])
    spoil(folder, "changes", but=[TODAY])
    found = run(folder, GroupBy(["k"], [entity(mutations="changes")], [Aggregation("x", "SUM")], name="g"))
    assert found["g_x_sum"] == (TODAY - 1) + (TODAY + 0.5)


def test_where_snapshots_are_missing_changes_are_read_from_the_newest_that_is_there(folder: Path) -> None:
    for number in range(TODAY - 3, DAYS):
        (folder / "snapshots" / f"ds={day(number)}" / "rows.parquet").unlink()
    spoil(folder, "snapshots", but=[TODAY - 4])
    spoil(folder, "changes", but=range(TODAY - 3, TODAY + 1))
    found = run(folder, GroupBy(["k"], [entity(mutations="changes")], [Aggregation("x", "COUNT")], name="g"))
    assert found["g_x_count"] == 1 + 4


def test_of_a_labels_events_only_those_of_its_window_are_read(folder: Path) -> None:
    spoil(folder, "events", but=range(TODAY + 1, TODAY + 4))
    outcome = GroupBy(["k"], [EventSource("events", Query(time="t"))], [Aggregation("x", "SUM", ["2d"])], name="g")
    assert run(folder, label=outcome)["label_g_x_sum_2d"] == (TODAY + 2) + (TODAY + 3)


def test_of_a_labels_snapshots_only_those_between_the_query_and_its_instant_are_read(folder: Path) -> None:
    spoil(folder, "snapshots", but=range(TODAY - 1, TODAY + 3))
    state = GroupBy(["k"], [entity()], name="g")
    assert run(folder, label=state)["label_g_x"] == TODAY + 2


def test_of_events_only_those_of_the_longest_window_are_read(folder: Path) -> None:
    spoil(folder, "events", but=range(TODAY - 3, TODAY + 1))
    windows = GroupBy(["k"], [EventSource("events", Query(time="t"))], [Aggregation("x", "SUM", ["2d"])], name="g")
    assert run(folder, windows)["g_x_sum_2d"] == (TODAY - 1) + TODAY
