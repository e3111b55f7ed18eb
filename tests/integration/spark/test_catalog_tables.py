"""Tables of the session's catalog, as sources and as outputs: a real Hive metastore, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.spark_session import spark_session
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, JoinSource, Operation, Query, backfill
from zipline.engines.spark.published import Publication, table_name
from zipline.errors import EngineError, TableError, UsageError
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

REPOSITORY = Path(__file__).parents[3]
LATE_ORC = ["2024-03-06 6 None"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program beside this saw."""
    command = [sys.executable, "-m", "tests.integration.spark.with_hive", str(tmp_path_factory.mktemp("hive"))]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("step", ["first", "again", "late file of Parquet", "late file of ORC"])
def test_a_backfill_over_tables_of_the_catalog_gives_what_the_local_engine_makes_of_the_same_files(
    seen: dict[str, Any], step: str
) -> None:
    assert seen[step]["equal"]
    assert seen[step]["made"] == seen[step]["made locally"]


def test_a_late_file_makes_the_days_anew_that_it_touches_and_no_others(seen: dict[str, Any]) -> None:
    assert len(seen["first"]["made"]) == 12
    assert seen["again"]["made"] == []
    days = [line[:10] for line in seen["late file of Parquet"]["made"]]
    assert days == [f"2024-03-{day:02}" for day in range(2, 12)], "a window of seven days, and labels two days on"
    assert seen["late file of ORC"]["made"] == LATE_ORC


def test_what_spark_reads_and_what_is_opened_as_files(seen: dict[str, Any]) -> None:
    opened = seen["opened"]
    assert [opened[name] for name in ("payments", "accounts", "account_changes", "logins", "large")] == [
        "ParquetTable",
        "ParquetTable",
        "DeltaSource",
        "CatalogFrame",
        "CatalogFrame",
    ]
    assert opened["rows without the stray folder"], "a folder that is no partition of the table was read"


def test_a_table_whose_files_cannot_be_told_is_an_error_with_the_remedy(seen: dict[str, Any]) -> None:
    assert "sales.large are late or changed; that cannot be told of it: it is a view" in seen["opened"]["view"]
    assert "CREATE TABLE" in seen["opened"]["view"]
    assert "there is no table `sales`.`x` in the catalog" in seen["opened"]["none"]
    assert "or they lie outside of" in seen["opened"]["apart"]
    assert seen["opened"]["rows apart"] == "2024-03-01", "Spark reads it all the same"


def test_the_output_is_a_table_of_the_catalog_with_the_same_rows(seen: dict[str, Any]) -> None:
    assert seen["output"]["equal"]


def test_an_output_whose_name_is_taken_is_refused_before_any_work(seen: dict[str, Any]) -> None:
    taken = seen["output"]["taken"]
    assert (taken["code"], taken["error"]) == (2, "UsageError")
    assert "another table features.bank_joins_logins_scoring, of parquet" in taken["what"]
    assert not seen["output"]["scored"]


def test_dataframes_are_tables_on_either_side_and_queries(seen: dict[str, Any]) -> None:
    assert seen["frames"]["in order"]
    assert seen["frames"]["aggregate"]
    assert seen["frames"]["rows"] > 100


def test_dataframes_are_refused_by_the_local_engine_and_from_two_sessions(seen: dict[str, Any]) -> None:
    assert "'payments' is a DataFrame of Spark, which the local engine does not read" in seen["frames"]["local"]
    assert "the DataFrames are of several sessions" in seen["frames"]["mixed"]


def test_a_dataframe_on_the_left_of_a_join_that_another_one_reads(tmp_path: Path) -> None:
    instants = pa.array([0, 3_600_000_000, 90_000_000_000], pa.timestamp("us", "UTC"))
    rows = pa.table(
        {"id": ["a", "b", "c"], "who": ["x", "x", "y"], "at": instants, "n": pa.array([1, 2, 3], pa.int16())}
    )
    events = EventSource("events", Query(["id", "who", "n"], time="at"))
    total = GroupBy(name="total", keys=["who"], sources=[events], aggregations=[Aggregation("n", Operation.SUM)])
    inner = Join(name="inner", left=events, row_id=["id"], parts=[JoinPart(total)])
    chained = GroupBy(
        name="chained",
        keys=["who"],
        sources=[JoinSource(inner, Query(["who", "total_n_sum"]))],
        aggregations=[Aggregation("total_n_sum", Operation.MAX)],
    )
    of_join = EventSource("asked", Query(["who"], time="at"))
    outer = Join(name="outer", left=of_join, parts=[JoinPart(chained)])
    spark = spark_session()
    frames = {"events": spark.createDataFrame(rows), "asked": spark.createDataFrame(rows).orderBy("id")}
    assert backfill(outer, frames, engine="spark").equals(backfill(outer, {"events": rows, "asked": rows}))
    assert backfill(inner, {"events": frames["asked"]}, engine="spark").column("n").type == pa.int16()


def test_a_table_of_the_catalog_is_not_read_without_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zipline.toml").write_text('[tables.events]\ncatalog = "sales.events"\n')
    monkeypatch.chdir(tmp_path)
    join = Join(name="j", left=EventSource("events", Query(["id"], time="at")), parts=[])
    with pytest.raises(TableError, match=r"'events' is sales.events of Spark's catalog") as refused:
        backfill(join)
    assert "--engine spark" in str(refused.value)


def test_a_session_without_delta_cannot_publish_and_says_what_to_set(tmp_path: Path) -> None:
    session: Any = SimpleNamespace(conf={"spark.sql.extensions": "a.b,io.delta.sql.DeltaSparkSessionExtension"})
    publication = Publication(session, "features", "t", DeltaOutput(str(tmp_path / "t")))
    with pytest.raises(EngineError, match=r"spark\.sql\.catalog\.spark_catalog is not set") as refused:
        publication.check()
    assert 'spark.jars.packages = "io.delta:delta-spark' in str(refused.value)


def test_names_of_outputs_are_names_of_tables(tmp_path: Path) -> None:
    (tmp_path / "zipline.toml").write_text('[environments.dev]\ntable_prefix = "dev-"\n')
    assert table_name(load_project(tmp_path), "Flights.training.departures") == "dev_flights_training_departures"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('[tables.a]\ncatalog = "sales.a"\npath = "x"', "knows where its files are: no path"),
        ('[tables.a]\ncatalog = "sales a"', "'sales a' is no name of a table"),
        ("[tables.a]\ncatalog = 3", "catalog is text, not 3"),
        ('[spark]\noutput_database = "a.b"', "'a.b' is no name of a database"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "zipline.toml").write_text(text)
    with pytest.raises(UsageError, match=wrong):
        load_project(tmp_path)
