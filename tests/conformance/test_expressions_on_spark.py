"""Every hand-written case of the expression subset, on a real Spark. A case is a query; failures are each their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from zipline.arrow import to_arrow
from zipline.engines.spark.session import configured
from zipline.expressions import parse
from zipline.types import TIMESTAMP

from .expression_cases import Case, Fails, Row, every_case
from .spark_session import spark_session

CASES = list(every_case())
FAILURES = [(case, row) for case in CASES for row in case.failures()]


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    session = spark_session()
    with configured(session):
        yield session


def on_spark(spark: SparkSession, case: Case, rows: list[Row]) -> list[Any]:
    sql = parse(case.expression, case.columns).sql("spark")
    # A filter keeps Spark from computing the expression of constants before the query runs.
    inputs = spark.createDataFrame(case.table(rows)).coalesce(1).where("row >= 0")
    found: pa.Table = inputs.selectExpr("row", f"{sql} AS result").toArrow().sort_by("row")
    column = found.column("result")
    if case.type == TIMESTAMP:
        assert column.type == pa.timestamp("us", tz="UTC")
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    assert column.type == to_arrow(case.type)
    return column.to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", [case for case in CASES if case.values()], ids=str)
def test_spark_gives_the_expected_values(spark: SparkSession, case: Case) -> None:
    actual = on_spark(spark, case, case.values())
    pairs = zip(case.values(), actual, strict=True)
    assert [(row, value) for row, value in pairs if not case.agrees(row[-1], value)] == []


@pytest.mark.parametrize(("case", "row"), FAILURES, ids=str)
def test_spark_fails_where_there_is_no_value(spark: SparkSession, case: Case, row: Row) -> None:
    with pytest.raises(PySparkException):
        on_spark(spark, case, [row])
    assert isinstance(row[-1], Fails)
