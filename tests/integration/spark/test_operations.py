"""What goes wrong on Spark is said of the table or the step; and what goes right can be followed in the Spark UI."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import ArithmeticException

from tests.conformance.spark_session import spark_session
from zipline import Aggregation, Derivation, EventSource, GroupBy, Join, JoinPart, Operation, Query, backfill
from zipline.engines.frames import open_tables
from zipline.engines.spark.failures import error_of, translated
from zipline.engines.spark.progress import course
from zipline.engines.spark.run import run_join
from zipline.engines.spark.session import RUN_SETTINGS
from zipline.errors import DataError, EngineError, TableError, ZiplineError
from zipline.plan.build import plan_join

AT = "2024-03-01T12:00:00Z"


def spend(amount: str = "CAST(amount AS INT)", where: str = "shop <> 'z'") -> GroupBy:
    source = EventSource("payments", Query({"customer": "customer", "amount": amount}, where=[where], time="paid_at"))
    return GroupBy(["customer"], [source], [Aggregation("amount", Operation.SUM, windows=["7d"])], name="spend")


def logins(*parts: GroupBy) -> Join:
    left = EventSource("logins", Query(["customer"], time="at"))
    return Join(left, [JoinPart(part) for part in parts], name="logins")


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    """Payments in two files, logins in one."""
    write(tmp_path / "payments" / "one.parquet", customer=["ann"], amount=["1"], shop=["x"], paid_at=["2024-03-01"])
    write(tmp_path / "payments" / "two.parquet", customer=["bob"], amount=["2"], shop=["y"], paid_at=["2024-03-01"])
    write(tmp_path / "logins" / "one.parquet", customer=["ann", "bob"], at=[AT, AT])
    spark_session()
    return {name: str(tmp_path / name) for name in ("payments", "logins")}


def write(path: Path, **columns: list[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)


def on_spark(join: Join, tables: dict[str, str]) -> pa.Table:
    return backfill(join, tables, engine="spark")


def test_the_tables_are_sound_before_anything_is_spoilt(tables: dict[str, str]) -> None:
    assert on_spark(logins(spend()), tables).column("spend_amount_sum_7d").to_pylist() == [1, 2]


def test_a_value_that_is_not_of_its_type_is_said_of_table_and_expression(tables: dict[str, str]) -> None:
    write(
        Path(tables["payments"]) / "two.parquet", customer=["bob"], amount=["abc"], shop=["y"], paid_at=["2024-03-01"]
    )
    with pytest.raises(DataError) as wrong:
        on_spark(logins(spend()), tables)
    assert wrong.value.what == "reading 'payments', CAST(amount AS INT): 'abc' is not an INT"
    assert "TRY_CAST(... AS INT)" in str(wrong.value.hint)
    assert wrong.value.subject == "logins"


def test_an_equal_expression_of_another_table_is_not_blamed(tables: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "refunds" / "one.parquet", customer=["bob"], amount=["abc"], shop=["y"], paid_at=["2024-03-01"])
    source = EventSource("refunds", Query({"customer": "customer", "amount": "CAST(amount AS INT)"}, time="paid_at"))
    refunds = GroupBy(["customer"], [source], [Aggregation("amount", Operation.SUM)], name="refunds")
    with pytest.raises(DataError, match=r"reading 'refunds', CAST\(amount AS INT\): 'abc'"):
        on_spark(logins(spend(where="TRUE"), refunds), {**tables, "refunds": str(tmp_path / "refunds")})


def test_a_condition_and_a_clock_that_do_not_convert_are_named(tables: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"reading 'payments', CAST\(shop AS DOUBLE\) > 1: '[xy]' is not a DOUBLE"):
        on_spark(logins(spend(where="CAST(shop AS DOUBLE) > 1")), tables)
    write(Path(tables["payments"]) / "two.parquet", customer=["bob"], amount=["2"], shop=["y"], paid_at=["soon"])
    with pytest.raises(DataError, match=r"reading 'payments', paid_at: 'soon' is not a TIMESTAMP"):
        on_spark(logins(spend()), tables)


def test_a_left_value_that_does_not_convert_is_named(tables: dict[str, str]) -> None:
    left = EventSource("logins", Query({"customer": "customer", "n": "CAST(customer AS BIGINT)"}, time="at"))
    with pytest.raises(DataError, match=r"reading 'logins', CAST\(customer AS BIGINT\): 'ann' is not a BIGINT"):
        on_spark(Join(left, [JoinPart(spend())], name="logins"), tables)


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "reading 'payments': .*two.parquet is gone"),
        (
            lambda path: path.write_bytes(b"PAR1 and no more"),
            "reading 'payments': .*two.parquet changed while it was read",
        ),
        (
            lambda path: pq.write_table(pa.table({"customer": ["bob"], "amount": [b"2"], "shop": [1.5]}), path),
            "reading 'payments': .*two.parquet changed while it was read",
        ),
    ],
)
def test_a_file_that_changes_under_a_run_is_named(tables: dict[str, str], spoil: Spoil, said: str) -> None:
    join = logins(spend("length(amount)"))
    catalog = open_tables(tables)
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    spoil(Path(tables["payments"]) / "two.parquet")
    with pytest.raises(TableError, match=said):
        run_join(plan, catalog, spark=spark_session())


def test_an_error_in_a_task_is_that_of_the_local_engine(tmp_path: Path, tables: dict[str, str]) -> None:
    """Text is read by tasks, by the platform's own reader."""
    path = tmp_path / "payments.csv"
    path.write_text('customer,amount,shop,paid_at\nann,"1,x,2024-03-01\nbob,2,y,2024-03-01,7,8\n')
    spoilt = {**tables, "payments": str(path)}
    said = []
    for engine in ("local", "spark"):
        with pytest.raises(ZiplineError) as wrong:
            backfill(logins(spend("amount")), spoilt, engine=engine)
        said.append((type(wrong.value), wrong.value.what, wrong.value.hint))
    assert said[0] == said[1]


def killed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield from batches


def full(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    del batches
    raise OSError(28, "No space left on device", "/scratch/part-1.parquet")
    yield


def broken(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    del batches
    raise ValueError("nobody foresaw this")
    yield


def run_task(task: Any) -> None:
    with course(spark_session(), "logins") as steps:
        steps.at("left rows")
        spark_session().range(3).mapInArrow(task, "id BIGINT").toArrow()


@pytest.mark.parametrize(
    ("task", "said", "hint"),
    [
        (killed, "a Python that ran a task was killed, or ran out of memory", "spark.executor.memoryOverhead"),
        (full, "a disk is full", "spark.local.dir"),
        (broken, "Spark failed at left rows: ValueError: nobody foresaw this", "Spark UI"),
    ],
)
def test_a_task_that_dies_is_told_in_a_line(task: Any, said: str, hint: str) -> None:
    with pytest.raises(EngineError) as wrong:
        run_task(task)
    assert said in wrong.value.what
    assert hint in str(wrong.value.hint)
    assert len(str(wrong.value).splitlines()) == 2


def test_a_table_that_the_catalog_has_not_is_named() -> None:
    with pytest.raises(TableError, match=r"there is no table `nowhere` in the catalog"), translated("logins"):
        spark_session().table("nowhere").toArrow()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Lost task 0.3 in stage 2.0 (TID 9) (h executor 3): ExecutorLostFailure (executor 3 exited unrelated to "
            "the running tasks) Reason: Command exited with code 137\nDriver stacktrace:",
            "the executor 3 was lost",
        ),
        ("java.io.IOException: No space left on device\n\tat java.base", "a disk is full"),
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, ",
            "the executors have Python 3.9, the driver 3.11",
        ),
        (
            "Traceback\nModuleNotFoundError: No module named 'zipline.engines'\n\tat org",
            "the executors' Python has no zipline",
        ),
        ("java.lang.OutOfMemoryError: Java heap space\n\tat", "Java ran out of memory"),
        ('java.io.IOException: Cannot run program "python9": error=2', "the executors have no python9"),
        ("Answer from Java side is empty", "the JVM of the driver is gone"),
        ("[RETRIES_EXCEEDED] The maximum number of retries has been exceeded.", "the server of Spark Connect"),
    ],
)
def test_what_a_cluster_says_is_understood(text: str, said: str) -> None:
    error = error_of(text, step="parts by customer")
    assert error.what.startswith(f"parts by customer: {said}")
    assert error.hint


def test_errors_of_the_session_that_are_not_ours_are_raised_as_ever(tables: dict[str, str]) -> None:
    on_spark(logins(spend()), tables)
    with pytest.raises(ArithmeticException):
        spark_session().sql("SELECT 1 / (id - id) FROM range(3)").toArrow()


def test_jobs_are_described_and_settings_come_back(tables: dict[str, str]) -> None:
    spark = spark_session()
    before = {name: spark.conf.get(name, None) for name in RUN_SETTINGS}
    seen = len(descriptions())
    derived = Join(
        EventSource("logins", Query(["customer"], time="at")),
        [JoinPart(spend())],
        derivations=[Derivation("more", "spend_amount_sum_7d + 1")],
        name="described",
    )
    on_spark(derived, tables)
    told = descriptions()[seen:]
    assert told[0] == "described: left rows"
    assert told[-1] == "described: spend by customer"
    assert {name: spark.conf.get(name, None) for name in RUN_SETTINGS} == before
    spark.range(1).collect()
    assert "described" not in str(descriptions()[-1])


def descriptions() -> list[str | None]:
    """What the Spark UI shows of each job, oldest first."""
    jobs = spark_session().sparkContext._jsc.sc().statusStore().jobsList(None)
    found = [jobs.apply(number) for number in range(jobs.size())]
    texts = {job.jobId(): job.description() for job in found}
    return [text.get() if text.isDefined() else None for _, text in sorted(texts.items())]


def test_a_watcher_hears_of_steps_and_tasks() -> None:
    told: list[str] = []
    spark = spark_session()
    with course(spark, "logins", told.append) as steps:
        steps.at("left rows")
        spark.range(0, 4, 1, 4).mapInArrow(slow, "id BIGINT").toArrow()
    assert told[0] == "left rows"
    assert any(text.startswith("left rows, ") and text.endswith("of 4 tasks") for text in told)


def slow(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import time

    time.sleep(1)
    yield from batches
