"""The Spark session that the suite runs in: no downloads, and partitions so small that every case is divided."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import TYPE_CHECKING

from .tables import AggregateCase, Case

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JVM = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -Xmn512m"
LEAST, TASKS = 25, 8
"""Rows of a task at least, and tasks of a larger case."""


@cache
def spark_session() -> SparkSession:
    """Its JVM is not to optimise what runs once: the suite is a thousand different small queries.

    Without an optimiser a JVM reserves 48 MiB for compiled code, which is full after a hundred of them: from then on it
    would throw away what it compiles again soon. The young generation is large enough for a query's planning.
    """
    from zipline.engines.spark.session import local_session

    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": JVM,
        "spark.sql.warehouse.dir": tempfile.mkdtemp(prefix="spark-warehouse-"),
    }
    return local_session(**settings)


def divided(case: Case) -> None:
    """The session divides the case from now on, in a few tasks."""
    tables = [*case.tables.values(), *([case.queries] if isinstance(case, AggregateCase) else [])]
    rows = sum(len(table.rows) for table in tables)
    spark_session().conf.set("spark.zipline.rowsPerTask", str(max(LEAST, rows // TASKS)))
