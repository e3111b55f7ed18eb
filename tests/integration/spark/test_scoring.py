"""What is loaded for scoring is loaded once per worker, not per task or batch."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.errors import PythonException

from tests.conformance.spark_session import spark_session
from zipline.engines.spark.scoring import mapped
from zipline.types import DOUBLE, STRING


def loader(folder: Path) -> Callable[[], float]:
    """Gives 0.5, and leaves a file that is named after the process."""

    def load() -> float:
        (folder / f"{os.getpid()}-{uuid.uuid4().hex}").touch()
        return 0.5

    return load


def score(model: float, batch: pa.RecordBatch) -> pa.RecordBatch:
    time.sleep(0.01)
    values = [model * number for number in batch.column("id").to_pylist()]
    return pa.record_batch({"score": values, "worker": [str(os.getpid())] * batch.num_rows})


COLUMNS = {"score": DOUBLE, "worker": STRING}


def test_every_row_is_scored_and_a_worker_loads_once(tmp_path: Path) -> None:
    spark = spark_session()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "10")
    try:
        frame = mapped(spark.range(0, 400, 1, 20), loader(tmp_path), score, COLUMNS)
        first, second = frame.toArrow(), frame.toArrow()
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert sorted(first.column("score").to_pylist()) == [number / 2 for number in range(400)]
    workers = set(first.column("worker").to_pylist()) | set(second.column("worker").to_pylist())
    loads = [re.match(r"\d+", path.name) for path in tmp_path.iterdir()]
    assert sorted(load.group() for load in loads if load) == sorted(workers)
    assert len(workers) < 20


def test_another_run_loads_its_own(tmp_path: Path) -> None:
    spark = spark_session()
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        mapped(spark.range(0, 4, 1, 1), loader(tmp_path / str(number)), score, COLUMNS).toArrow()
    assert [len(list((tmp_path / str(number)).iterdir())) for number in range(2)] == [1, 1]


def test_a_batch_that_comes_back_with_other_rows_fails_the_task(tmp_path: Path) -> None:
    fewer = mapped(spark_session().range(4), loader(tmp_path), lambda model, batch: score(model, batch)[:1], COLUMNS)
    with pytest.raises(PythonException, match="a row for each"):
        fewer.toArrow()
