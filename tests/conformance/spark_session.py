"""The Spark session that the suite runs in: no downloads, and partitions so small that every case is divided."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@cache
def spark_session() -> SparkSession:
    from zipline.engines.spark.session import local_session

    return local_session(delta=False, **{"spark.zipline.rowsPerTask": "25", "spark.ui.enabled": "false"})
