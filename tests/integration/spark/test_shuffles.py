"""How often rows are moved, counted in the plans that Spark executed: once per set of left keys and once to join them.

An upgrade of Spark, or a change of ours, that moves rows once more is seen here and not in somebody's bill.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    backfill,
)
from zipline.engines.spark import moves
from zipline.engines.spark.run import run_days
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import DeltaOutput

LEFT = EventSource("orders", Query(["user", "item", "shop"], time="at"))
CLICKS = EventSource("clicks", Query(["user", "item", "price"], time="at"))
VISITS = EventSource("visits", Query(["user", "shop", "price"], time="at"))
EXCHANGE = re.compile(r"^\(\d+\) \w*Exchange\b.*\n(?:\w.*\n)*?Arguments: (.*)$", re.M)
MIDNIGHT = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True)
class Executed:
    """What Spark did in a run: how often rows moved between tasks, how often a row of each task came together (the
    bounds of the query times), and how many jobs that took."""

    shuffles: int
    summaries: int
    jobs: int


@pytest.fixture(autouse=True)
def divided() -> None:
    """Every test begins with several tasks."""
    spark_session().conf.set("spark.zipline.rowsPerTask", "25")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tables")
    times = [MIDNIGHT + dt.timedelta(minutes=97 * number) for number in range(100)]
    columns = {
        "order": list(range(100)),
        "user": [number % 7 for number in range(100)],
        "item": [number % 5 for number in range(100)],
        "shop": [f"s{number % 3}" for number in range(100)],
        "price": [number / 8 for number in range(100)],
        "at": pa.array(times, pa.timestamp("us", "UTC")),
    }
    for name in ("orders", "clicks", "visits", "known"):
        (folder / name).mkdir()
        pq.write_table(pa.table(columns), folder / name / "part-0.parquet")
    return {name: str(folder / name) for name in ("orders", "clicks", "visits", "known")}


def totals(name: str, source: Any, *keys: str, **named: Any) -> JoinPart:
    windows = ["2h", "1d", None] if "accuracy" not in named else ["1d"]
    found = [Aggregation("price", operation, windows=windows) for operation in ("SUM", "MAX", "LAST")]
    return JoinPart(GroupBy(list(keys), [source], found, name=name, **named))


BY_USER = [
    totals("clicked", CLICKS, "user"),
    totals("visited", VISITS, "user"),
    totals("yesterday", CLICKS, "user", accuracy=Accuracy.SNAPSHOT),
    JoinPart(GroupBy(["user"], [VISITS], name="latest")),
]
BY_ITEM = [totals("of_item", CLICKS, "item")]
BY_SHOP = [totals("of_shop", VISITS, "shop")]
LATER = LabelPart([totals("outcome", CLICKS, "user", accuracy=Accuracy.SNAPSHOT)], offset="1d")


def executed(join: Join, tables: dict[str, str]) -> Executed:
    """What the run that gives the whole join does; its rows are those of the local engine."""
    expected = backfill(join, tables)
    before = set(_executions())
    assert backfill(join, tables, engine="spark").equals(expected)
    return _since(before)


def _executions() -> dict[int, Any]:
    store = spark_session()._jsparkSession.sharedState().statusStore()
    found = store.executionsList()
    return {found.apply(number).executionId(): found.apply(number) for number in range(found.size())}


def _since(before: set[int]) -> Executed:
    ran = [run for number, run in _executions().items() if number not in before]
    details = [EXCHANGE.findall(run.physicalPlanDescription()) for run in ran]
    listed = sum(len(re.findall(r"^\W*\w*Exchange \(\d+\)", run.physicalPlanDescription(), re.M)) for run in ran)
    moved = [arguments for of_run in details for arguments in of_run]
    assert len(moved) == listed, "a kind of exchange that is not counted"
    summaries = sum(arguments.startswith("SinglePartition, ENSURE_REQUIREMENTS") for arguments in moved)
    return Executed(len(moved) - summaries, summaries, sum(run.jobs().size() for run in ran))


def test_parts_of_one_set_of_keys_share_one_shuffle(tables: dict[str, str]) -> None:
    one = executed(Join(LEFT, BY_USER[:1], name="one"), tables)
    assert one == Executed(shuffles=1, summaries=0, jobs=2)
    assert executed(Join(LEFT, BY_USER, name="four"), tables) == one


def test_each_set_of_keys_moves_its_rows_once_and_all_are_brought_together_once(tables: dict[str, str]) -> None:
    assert executed(Join(LEFT, [*BY_USER, *BY_ITEM], name="two"), tables).shuffles == 2 + 1
    three = executed(Join(LEFT, [*BY_USER, *BY_ITEM, *BY_SHOP], name="three"), tables)
    assert three.shuffles == 3 + 1
    assert three.jobs == executed(Join(LEFT, BY_USER, name="again"), tables).jobs


def test_labels_of_the_same_keys_move_nothing_more(tables: dict[str, str]) -> None:
    without = executed(Join(LEFT, BY_USER, name="without"), tables)
    assert executed(Join(LEFT, BY_USER, labels=LATER, name="labelled"), tables).shuffles - without.shuffles <= 1


def test_a_bootstrap_moves_left_rows_once_more(tables: dict[str, str]) -> None:
    left = EventSource("orders", Query(["order", "user", "item"], time="at"))
    given = BootstrapPart("known", ["clicked_price_sum_2h"], Query({"order": "order", "clicked_price_sum_2h": "price"}))
    plain = executed(Join(left, BY_USER, row_id=["order"], name="plain"), tables)
    known = executed(Join(left, BY_USER, row_id=["order"], bootstrap=[given], name="known"), tables)
    assert known.shuffles - plain.shuffles == 1


def test_a_parent_is_computed_once_for_all_who_read_it(tables: dict[str, str]) -> None:
    parent = Join(EventSource("visits", Query(["user", "shop", "price"], time="at")), BY_SHOP, name="parent")
    chained = JoinSource(parent, Query({"user": "user", "price": "of_shop_price_sum_1d"}))
    sharing = [totals("first", chained, "user"), totals("second", chained, "user")]
    alone = executed(Join(LEFT, sharing[:1], name="alone"), tables)
    assert executed(Join(LEFT, sharing, name="both"), tables) == alone
    assert alone.shuffles == 1 + 1


@pytest.mark.parametrize(("most_files", "more"), [(moves.MOST_FILES, 0), (20, 1)])
def test_days_are_brought_together_before_they_are_written_only_where_files_would_be_many(
    tables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_files: int, more: int
) -> None:
    monkeypatch.setattr(moves, "MOST_FILES", most_files)
    spark = spark_session()
    catalog = open_catalog(tables)
    plan = plan_join(Join(LEFT, BY_USER, name="written"), lambda name: catalog.table(name).schema)
    before = set(_executions())
    output = DeltaOutput(str(tmp_path / "output"))
    done = run_days(plan, catalog, spark=spark, output=output, start="2024-03-01", end="2024-03-08")
    assert sum(rows.num_rows for _, rows in done.by_day(sorted(done.files))) == 100
    assert _since(before) == Executed(shuffles=1 + more, summaries=0, jobs=2)
