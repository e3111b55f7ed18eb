"""What `zipline plan --engine spark --estimate` predicts, against what Spark's own counters say of the runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conformance.spark_session import spark_session
from zipline import (
    Accuracy,
    Aggregation,
    BootstrapPart,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Query,
)
from zipline.engines.spark.costs import Estimate
from zipline.engines.spark.run import run_days
from zipline.engines.spark.sizes import Sizing
from zipline.orchestration.spark_cost import estimate_on_spark
from zipline.plan.build import plan_join
from zipline.tables.catalog import Catalog, open_catalog
from zipline.tables.delta import DeltaOutput

START, END, DAYS = "2024-03-01", "2024-03-08", 8
MIDNIGHT = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
LEFT = EventSource("orders", Query(["user", "item"], time="at"))
CLICKS = EventSource("clicks", Query(["user", "item", "price"], time="at"))
VISITS = EventSource("visits", Query(["user", "price"], time="at"))


def totals(name: str, source: EventSource, key: str) -> JoinPart:
    made = [Aggregation("price", operation, windows=["2h", "1d", None]) for operation in ("SUM", "MAX", "LAST")]
    return JoinPart(GroupBy([key], [source], made, name=name))


JOIN = Join(
    LEFT,
    [totals("clicked", CLICKS, "user"), totals("visited", VISITS, "user"), totals("of_item", CLICKS, "item")],
    name="measured",
)


@dataclass(frozen=True)
class Stage:
    """What Spark counted of one stage; those that only look at files have neither read nor moved rows."""

    tasks: int
    rows: int
    rows_shuffled: int
    bytes_shuffled: int
    bytes_written: int


@dataclass(frozen=True)
class Measured:
    """A run: its stages, and the bytes of rows in each of its shuffles before compression."""

    stages: list[Stage]
    sizes: list[float]

    @property
    def shuffles(self) -> list[Stage]:
        """By how many rows or bundles moved; where each task gives one row these are but put together."""
        return sorted((s for s in self.stages if s.rows_shuffled > s.tasks), key=lambda stage: stage.rows_shuffled)


def stages() -> dict[int, Stage]:
    context: Any = spark_session().sparkContext
    quantiles = context._gateway.new_array(context._jvm.double, 0)
    found = context._jsc.sc().statusStore().stageList(None, False, False, quantiles, None)
    listed = [found.apply(number) for number in range(found.size())]
    return {
        each.stageId(): Stage(
            each.numCompleteTasks(),
            each.inputRecords() + each.shuffleReadRecords(),
            each.shuffleWriteRecords(),
            each.shuffleWriteBytes(),
            each.outputBytes(),
        )
        for each in listed
    }


def sizes() -> dict[int, list[float]]:
    """By execution, the metric "data size" of its exchanges."""
    store: Any = spark_session()._jsparkSession.sharedState().statusStore()
    listed = store.executionsList()
    return {run.executionId(): list(of(store, run)) for run in map(listed.apply, range(listed.size()))}


def of(store: Any, run: Any) -> Iterator[float]:
    values, metrics = store.executionMetrics(run.executionId()), run.metrics()
    for metric in map(metrics.apply, range(metrics.size())):
        if metric.name() == "data size" and values.contains(metric.accumulatorId()):
            yield in_bytes(values.apply(metric.accumulatorId()))


def in_bytes(text: str) -> float:
    """Of "total (min, med, max)\\n19.8 MiB (...)", or of "40.0 B"."""
    number, unit = text.splitlines()[-1].split()[:2]
    return float(number) * 1024 ** ("B", "KiB", "MiB", "GiB").index(unit)


def write(folder: Path, rows: int, seed: int) -> str:
    """Rows over eight days: random keys, none of them hot, and times to the microsecond."""
    random = np.random.default_rng(seed)
    midnight = int(MIDNIGHT.timestamp()) * 10**6
    times = np.sort(random.integers(0, DAYS * 86_400 * 10**6, rows)) + midnight
    columns = {
        "row": np.arange(rows),
        "id": random.integers(0, rows, rows),
        "user": random.integers(0, rows // 20, rows),
        "item": [f"item-{number:011}" for number in random.integers(0, rows // 50, rows)],
        "price": random.integers(1, 10_000, rows) / 100,
        "at": pa.array(times, pa.timestamp("us", "UTC")),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return str(folder)


def run_of(join: Join, tables: dict[str, str], output: Path, rows_per_task: int) -> tuple[Estimate, Measured]:
    spark, catalog = spark_session(), open_catalog(tables)
    spark.conf.set("spark.zipline.rowsPerTask", str(rows_per_task))
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    predicted = estimate_on_spark(plan, Catalog(tables, None), Sizing.of(spark), start=START, end=END)
    stages_before, sizes_before = set(stages()), set(sizes())
    written = run_days(plan, catalog, spark=spark, output=DeltaOutput(str(output)), start=START, end=END)
    assert sum(rows.num_rows for _, rows in written.by_day(sorted(written.files))) > 0
    ran = [stage for number, stage in stages().items() if number not in stages_before]
    moved = [size for number, of_run in sizes().items() if number not in sizes_before for size in of_run]
    return predicted, Measured([stage for stage in ran if stage.rows], sorted(moved))


@pytest.mark.parametrize("events", [2_000, 20_000, 200_000])
def test_an_estimate_is_what_spark_counts(events: int, tmp_path: Path) -> None:
    counts = {"orders": events // 10, "clicks": events, "visits": events // 2}
    tables = {name: write(tmp_path / name, rows, seed) for seed, (name, rows) in enumerate(counts.items())}
    predicted, measured = run_of(JOIN, tables, tmp_path / "output", events // 4)
    moves = sorted((step for step in predicted.steps if step.shuffles), key=lambda step: step.rows_shuffled)

    assert [step.shuffles for step in moves] == [1, 1, 1]
    assert len(measured.shuffles) == 2 + 1
    assert predicted.total.tasks + predicted.total.reading_tasks == sum(stage.tasks for stage in measured.stages)
    orders, clicks, visits = (counts[name] for name in ("orders", "clicks", "visits"))
    moved = sorted([orders + clicks + visits, orders + clicks, 3 * orders])
    assert [step.rows_shuffled for step in moves] == pytest.approx(moved, rel=0.05)
    assert all(step.bytes_bundled > 0.9 * step.bytes_shuffled for step in moves)
    before_compression = sum(measured.sizes) + 4 * sum(stage.rows_shuffled for stage in measured.shuffles)
    assert before_compression == pytest.approx(predicted.total.bytes_shuffled, rel=0.05)
    compressed = sum(stage.bytes_shuffled for stage in measured.shuffles)
    assert predicted.bytes_compressed / 1.5 <= compressed <= predicted.bytes_compressed * 1.5
    assert predicted.total.bytes_scratch == sum(stage.bytes_written for stage in measured.stages) == 0


def test_rows_of_one_event_id_are_a_shuffle_more(tmp_path: Path) -> None:
    tables = {name: write(tmp_path / name, 2_000, seed) for seed, name in enumerate(("orders", "clicks"))}
    once = EventSource("clicks", Query(["user", "item", "price"], time="at", event_id="id"))
    join = Join(LEFT, [totals("clicked", once, "user"), totals("of_item", once, "item")], name="once")
    predicted, measured = run_of(join, tables, tmp_path / "output", 1_000)
    assert predicted.total.shuffles == len(measured.shuffles) == 2 + 1 + 1
    assert predicted.total.tasks + predicted.total.reading_tasks == sum(stage.tasks for stage in measured.stages)


def test_parents_given_values_and_labels_are_counted_too(tmp_path: Path) -> None:
    counts = {"orders": 2_000, "clicks": 4_000, "visits": 2_000, "known": 300}
    tables = {name: write(tmp_path / name, rows, seed) for seed, (name, rows) in enumerate(counts.items())}
    visited = EventSource("visits", Query(["user", "item"], time="at"))
    parent = Join(visited, [totals("of_item", CLICKS, "item")], name="parent")
    chained = JoinSource(parent, Query({"user": "user", "price": "of_item_price_sum_1d"}))
    given = BootstrapPart("known", ["clicked_price_sum_2h"], Query({"row": "row", "clicked_price_sum_2h": "price"}))
    next_day = [Aggregation("price", "SUM", windows=["1d"])]
    bought = JoinPart(GroupBy(["user"], [CLICKS], next_day, name="bought", accuracy=Accuracy.SNAPSHOT))
    join = Join(
        EventSource("orders", Query(["row", "user", "item"], time="at")),
        [totals("clicked", CLICKS, "user"), totals("chained", chained, "user"), totals("other", CLICKS, "item")],
        labels=LabelPart([bought], offset="1d"),
        row_id=["row"],
        bootstrap=[given],
        name="whole",
    )
    predicted, measured = run_of(join, tables, tmp_path / "output", 1_000)
    assert predicted.total.shuffles == len(measured.shuffles) == 1 + 1 + 2 + 1
    assert predicted.total.tasks + predicted.total.reading_tasks == sum(stage.tasks for stage in measured.stages)
    moved = sum(stage.rows_shuffled for stage in measured.shuffles)
    assert sum(measured.sizes) + 4 * moved == pytest.approx(predicted.total.bytes_shuffled, rel=0.05)
