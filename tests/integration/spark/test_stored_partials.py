"""A day more costs the new files and stored partials, and gives what reading everything gives."""

from __future__ import annotations

import datetime as dt
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.conformance.spark_session import spark_session
from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query
from zipline.engines.contract import Report
from zipline.engines.local import choice
from zipline.engines.local.run import run_join
from zipline.engines.spark.run import run_days
from zipline.plan.build import plan_join
from zipline.tables import storage
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import DeltaOutput
from zipline.tables.partials import PartialStore

FIRST = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
DAYS = 14
INSTANT = pa.timestamp("us", "UTC")
EXACT = [
    Aggregation("price", operation, windows=["3h", "1d", "9d", None])
    for operation in (Operation.SUM, Operation.COUNT, Operation.AVERAGE, Operation.MAX, Operation.LAST)
]
OTHERS = [
    Aggregation("item", Operation.TOP_K, k=2, windows=["9d"]),
    Aggregation("item", Operation.UNIQUE_COUNT, windows=["1d", None]),
    Aggregation("item", Operation.HISTOGRAM, windows=["9d"]),
    Aggregation("price", Operation.APPROX_PERCENTILE, percentiles=[0.5], windows=["9d"]),
    Aggregation("price", Operation.SUM, windows=["9d"], buckets=["item"]),
]


def day(number: int) -> str:
    return (FIRST + dt.timedelta(days=number)).date().isoformat()


def write(folder: Path, number: int, rows: int = 60) -> Path:
    """A day of events, some known a day or two later; what a file holds depends on its day alone."""
    rng = random.Random(number)
    at = [FIRST + dt.timedelta(days=number, seconds=rng.randrange(86_400)) for _ in range(rows)]
    late = [dt.timedelta(hours=rng.choice([0, 0, 0, 2, 30])) for _ in at]
    table = {
        "user": [rng.choice(["ann", "bob", "cid", None]) for _ in at],
        "item": [rng.randrange(6) for _ in at],
        "price": [rng.choice([None, rng.random() * 100]) if rng.random() < 0.1 else rng.random() * 100 for _ in at],
        "at": pa.array(at, INSTANT),
        "known": pa.array([time + delay for time, delay in zip(at, late, strict=True)], INSTANT),
    }
    path = folder / f"ds={day(number)}" / "part-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    for number in range(DAYS):
        write(tmp_path / "clicks", number)
        write(tmp_path / "asked", number, 25)
    return {name: str(tmp_path / name) for name in ("clicks", "asked")}


def join(*aggregations: Aggregation, known_at: str | None = "known", **named: Any) -> Join:
    clicks = EventSource("clicks", Query(["user", "item", "price"], time="at", known_at=known_at))
    part = GroupBy(["user"], [clicks], list(aggregations), name="clicked", **named)
    return Join(EventSource("asked", Query(["user"], time="at")), [JoinPart(part)], name="j")


class Runs:
    """Days of a join on Spark with partials, and on the local engine without."""

    def __init__(self, join: Join, tables: dict[str, str], folder: Path) -> None:
        self._join, self._tables, self._folder = join, tables, folder
        self.store = PartialStore(str(folder / "partials"))

    def planned(self) -> tuple[Any, Any]:
        catalog = open_catalog(self._tables)
        return plan_join(self._join, lambda name: catalog.table(name).schema), catalog

    def on_spark(self, first: int, last: int | None = None) -> tuple[pa.Table, Report]:
        plan, catalog = self.planned()
        output = DeltaOutput(str(self._folder / "output"))
        days = [day(number) for number in range(first, (first if last is None else last) + 1)]
        made = run_days(
            plan, catalog, spark=spark_session(), output=output, start=days[0], end=days[-1], partials=self.store
        )
        output.replace_days(dict(made.by_day(days)))
        return ordered(output.read(days)), made.report

    def locally(self, first: int, last: int | None = None) -> pa.Table:
        plan, catalog = self.planned()
        found = run_join(plan, catalog, start=day(first), end=day(first if last is None else last)).table
        output = DeltaOutput(str(self._folder / "expected" / day(first)))
        for each in sorted(set(found.column("ds").to_pylist())):
            output.replace(each, found.filter(pc.equal(found.column("ds"), each)))
        return ordered(output.read())


def ordered(rows: pa.Table) -> pa.Table:
    """The order of stored rows is no promise."""
    return rows.sort_by([("ts", "ascending"), ("user", "ascending")])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks, and partials however few rows they are of."""
    spark_session().conf.set("spark.zipline.rowsPerTask", "200")
    monkeypatch.setattr(choice, "MOST_ROWS", 1.0)


def damaged(tables: dict[str, str], numbers: range) -> None:
    """The values in the files of these days cannot be read any more; their footers can, and they look as before."""
    for number in numbers:
        path = Path(tables["clicks"], f"ds={day(number)}", "part-0.parquet")
        before, content = path.stat(), path.read_bytes()
        footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        path.write_bytes(content[:4] + b"x" * (footer - 4) + content[footer:])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(autouse=True)
def _damage_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is what its size and time say, which `damaged` leaves as they are."""
    monkeypatch.setattr(storage, "_local_token", lambda facts: f"{facts.st_size}-{facts.st_mtime_ns}-")


@pytest.mark.parametrize("known_at", [None, "known"])
@pytest.mark.parametrize("accuracy", list(Accuracy))
def test_days_from_partials_are_those_from_rows_and_old_files_are_read_no_more(
    tables: dict[str, str], tmp_path: Path, accuracy: Accuracy, known_at: str | None
) -> None:
    aggregations = EXACT if accuracy == Accuracy.TEMPORAL else [Aggregation("price", "SUM", windows=["1d", "9d"])]
    runs = Runs(join(*aggregations, *OTHERS, known_at=known_at, accuracy=accuracy), tables, tmp_path)
    expected = {number: runs.locally(number) for number in (12, 13)}
    found, report = runs.on_spark(12)
    assert found.equals(expected[12])
    assert report.partials["clicked"].startswith("partials of ")
    made = runs.store.names(next((tmp_path / "partials").iterdir()).name)
    assert len(made) > 9
    damaged(tables, range(9))
    found, report = runs.on_spark(13)
    assert found.equals(expected[13])
    assert report.partials["clicked"].startswith("partials of ")


def test_several_days_at_a_time_and_a_late_file(tables: dict[str, str], tmp_path: Path) -> None:
    runs = Runs(join(*EXACT, *OTHERS), tables, tmp_path)
    assert runs.on_spark(11, 12)[0].equals(runs.locally(11, 12))
    write(Path(tables["clicks"]), 5, rows=90)
    assert runs.on_spark(13)[0].equals(runs.locally(13))


def test_partials_of_one_engine_serve_the_other(tables: dict[str, str], tmp_path: Path) -> None:
    runs = Runs(join(*EXACT, *OTHERS), tables, tmp_path)
    plan, catalog = runs.planned()
    without = runs.locally(13)
    run_join(plan, catalog, start=day(12), end=day(12), partials=runs.store)
    damaged(tables, range(9))
    assert runs.on_spark(13)[0].equals(without)


def test_a_total_beyond_int64_is_said_as_by_the_local_engine(tables: dict[str, str], tmp_path: Path) -> None:
    path = write(Path(tables["clicks"]), 3)
    rows = pq.read_table(path)
    huge = pa.array([2**62] * rows.num_rows, pa.int64())
    pq.write_table(rows.set_column(rows.column_names.index("item"), "item", huge), path)
    runs = Runs(join(Aggregation("item", "SUM", windows=["9d"])), tables, tmp_path)
    with pytest.raises(Exception, match="item_sum_9d") as local:
        runs.locally(8)
    with pytest.raises(type(local.value)) as raised:
        runs.on_spark(8)
    assert str(raised.value).partition("\n")[0] == str(local.value).partition("\n")[0]


def test_parts_that_need_rows_say_why(tables: dict[str, str], tmp_path: Path) -> None:
    runs = Runs(join(*EXACT), tables, tmp_path)
    runs.store.least_rows = 10**9
    found, report = runs.on_spark(13)
    assert found.equals(runs.locally(13))
    assert report.partials["clicked"].startswith("rows: ")
