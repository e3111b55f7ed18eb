"""Hot keys are split by time and partitions that are too large are divided, and the answer stays the same."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conformance.bits import columns
from tests.conformance.spark_session import spark_session
from tests.integration.spark.skewed import HOT, MOMENTS, World, events, join, over
from zipline import EventSource, GroupBy, Join, JoinPart, Query
from zipline.clock import DAY
from zipline.engines.local.run import run_join as run_locally
from zipline.engines.spark import stretches
from zipline.engines.spark.key_sets import KeySetRows
from zipline.engines.spark.left_rows import left_rows
from zipline.engines.spark.progress import course
from zipline.engines.spark.run import Run, run_join
from zipline.engines.spark.sizes import Sizing
from zipline.engines.spark.skew import Division
from zipline.errors import DataError
from zipline.plan.build import plan_join
from zipline.plan.steps import JoinPlan
from zipline.tables.catalog import Catalog, open_catalog

SMALL = Sizing(rows_per_task=250, cores=6, many=0)
"""Of the hot key of 400 events several ranges are made."""


def opened(definition: Join, tables: dict[str, Any]) -> tuple[JoinPlan, Catalog]:
    catalog = open_catalog(tables)
    return plan_join(definition, lambda name: catalog.table(name).schema), catalog


def close(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return bool(one == other)


def assert_same(expected: pa.Table, found: pa.Table) -> None:
    """To the bit, moments within their tolerance."""
    assert found.schema == expected.schema
    ours, theirs = columns(found), columns(expected)
    for name in expected.column_names:
        if any(moment in name for moment in MOMENTS):
            pairs = zip(expected.column(name).to_pylist(), found.column(name).to_pylist(), strict=True)
            assert all(close(*pair) for pair in pairs), name
        else:
            assert ours[name][1] == theirs[name][1], name


def in_files(tables: dict[str, pa.Table], folder: Path) -> dict[str, str]:
    """Each in a few files."""
    for name, table in tables.items():
        (folder / name).mkdir()
        size = -(-table.num_rows // 3)
        for number in range(3):
            pq.write_table(table.slice(number * size, size), folder / name / f"{number}.parquet")
    return {name: str(folder / name) for name in tables}


@pytest.mark.parametrize("form", ["rows", "files", "left in files", "sources in files"])
@pytest.mark.parametrize(("seed", "training"), [(0, True), (1, False)])
def test_a_hot_key_gives_what_the_local_engine_gives(
    seed: int, training: bool, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends its rows to the ranges: tasks that read files, or Spark."""
    monkeypatch.setattr(stretches, "LEAST_ROWS", 50)
    monkeypatch.setattr(stretches, "MOST_ROWS", 50)
    tables: dict[str, Any] = World(seed).tables()
    files = in_files(tables, tmp_path)
    if form != "rows":
        tables |= {n: f for n, f in files.items() if form == "files" or (n == "left") == (form == "left in files")}
    plan, catalog = opened(join(), tables)
    expected = run_locally(plan, catalog, training=training)
    found = run_join(plan, catalog, spark=spark_session(), sizing=SMALL, training=training)
    assert_same(expected.table, found.table)
    assert found.report.rows == expected.report.rows == expected.table.num_rows > 50
    assert found.report.null_keys == expected.report.null_keys


def left_rows_of(definition: Join, tables: dict[str, pa.Table], sizing: Sizing) -> tuple[dict[int, int], Division]:
    """Partition -> how many left rows of the hot key go there, and how rows are divided."""
    plan, catalog = opened(definition, tables)
    parts = tuple(part for part in plan.parts if part.left_keys == ("user",))
    with course(spark_session(), plan.name) as steps:
        run = Run(spark_session(), catalog, sizing, steps)
        left = left_rows(run, plan, None, None, parts)
        rows = KeySetRows(run, parts, left, left.shape)
        place = rows.packing.places(0)["l:user"]
        packed = rows.packed().where(f"__lane = 0 AND {place} = '{HOT}'").select("__part").toArrow()
    return Counter(part % rows.division.partitions for part in packed.column(0).to_pylist()), rows.division


def test_the_left_rows_of_a_hot_key_are_of_several_partitions_and_those_of_others_of_one() -> None:
    tables = World(5).tables()
    counts, division = left_rows_of(join(), tables, SMALL)
    of_hot = tables["left"].column("user").to_pylist().count(HOT)
    assert sum(counts.values()) == of_hot > 30
    assert len(counts) >= 3
    assert min(counts) >= division.ordinary
    assert max(counts.values()) < of_hot / 2
    whole, undivided = left_rows_of(join(), tables, Sizing(rows_per_task=250, cores=6))
    assert not undivided.ranges
    assert len(whole) == 1


def totals(*windows: str | None) -> Join:
    sums = GroupBy(["user"], [events()], over("n", "SUM COUNT LAST", *windows), name="sums")
    left = EventSource("left", query=Query(select=["number", "user"], time="asked"))
    return Join(left=left, parts=[JoinPart(sums)], name="totals")


def shifted(method: Any, by: int) -> Any:
    """The method with a lower bound that is so much later."""

    def changed(*arguments: Any) -> Any:
        low, high = method(*arguments)
        return (None if low is None else low + by, high)

    return changed


@pytest.mark.parametrize("form", ["rows", "files"])
def test_rows_that_a_range_misses_are_noticed(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = World(6).tables()
    plan, catalog = opened(totals("3d"), in_files(tables, tmp_path) if form == "files" else tables)
    expected = run_locally(plan, catalog).table
    from_rows = replace(SMALL, condenses=False)
    assert_same(expected, run_join(plan, catalog, spark=spark_session(), sizing=from_rows).table)
    monkeypatch.setattr(KeySetRows, "_seen_in", shifted(KeySetRows._seen_in, DAY))
    with pytest.raises(AssertionError, match="sums_n_"):
        assert_same(expected, run_join(plan, catalog, spark=spark_session(), sizing=from_rows).table)


def test_condensed_rows_that_a_range_misses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, catalog = opened(totals("3d", None), World(6).tables())
    expected = run_locally(plan, catalog).table
    assert_same(expected, run_join(plan, catalog, spark=spark_session(), sizing=SMALL).table)
    days = KeySetRows._days_before

    def short(*of: Any) -> Any:
        low, high = days(*of)
        return low, (high or 0) - 1

    monkeypatch.setattr(KeySetRows, "_days_before", short)
    with pytest.raises(AssertionError, match="sums_n_"):
        assert_same(expected, run_join(plan, catalog, spark=spark_session(), sizing=SMALL).table)


def rows_in_ranges(sizing: Sizing) -> list[tuple[int, int]]:
    """(rows as they are, condensed rows) in each range of a key of 2,000 events, over all of whose time it sums."""
    plan, catalog = opened(totals(None), World(8, 4_000).tables())
    with course(spark_session(), plan.name) as steps:
        run = Run(spark_session(), catalog, sizing, steps)
        left = left_rows(run, plan, None, None, plan.parts)
        rows = KeySetRows(run, plan.parts, left, left.shape)
        ordinary, partitions = rows.division.ordinary, rows.division.partitions
        counted = rows.packed().groupBy("__part", "__lane").count().toArrow().to_pylist()
    found = {(each["__part"], each["__lane"]): each["count"] for each in counted}
    return [(found.get((part, 1), 0), found.get((part, 2), 0)) for part in range(ordinary, partitions)]


def test_no_range_holds_more_than_its_own_rows_and_the_partials_of_earlier_ones() -> None:
    condensed = rows_in_ranges(Sizing(rows_per_task=500, cores=2, many=0))
    assert len(condensed) >= 5
    assert max(raw for raw, _ in condensed) < 900
    assert 0 < max(partials for _, partials in condensed) < 250
    as_rows = rows_in_ranges(Sizing(rows_per_task=500, cores=2, many=0, condenses=False))
    assert max(raw for raw, _ in as_rows) > 1_800


def test_a_total_that_does_not_fit_is_said_as_by_the_local_engine() -> None:
    tables = World(9).tables()
    large = pa.array([2**62] * tables["events"].num_rows, pa.int64())
    tables["events"] = tables["events"].set_column(3, "n", large)
    plan, catalog = opened(totals(None), tables)
    with pytest.raises(DataError, match=r"the total of n_sum .* is beyond the range of BIGINT") as locally:
        run_locally(plan, catalog)
    with pytest.raises(DataError, match=r"the total of n_sum .* is beyond the range of BIGINT") as on_spark:
        run_join(plan, catalog, spark=spark_session(), sizing=SMALL)
    assert on_spark.value.hint == locally.value.hint


def test_partitions_that_are_too_large_are_computed_in_pieces() -> None:
    plan, catalog = opened(join(), World(7).tables())
    one_partition = Sizing(rows_per_task=40, cores=1, many=10**9)
    expected = run_locally(plan, catalog, training=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sizing, "partitions", lambda *_: 2)
        found = run_join(plan, catalog, spark=spark_session(), sizing=one_partition, training=False)
    assert_same(expected.table, found.table)
    assert found.report.null_keys == expected.report.null_keys
