"""Sessions: one made for this machine where the user brings none, and the settings under which a run is right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zipline.expressions import SESSIONS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DELTA = "io.delta:delta-spark_4.1_2.13:4.4.0"
DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
RUN_SETTINGS = {
    **SESSIONS["spark"],
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
}
"""Settings of a run, whatever the session's own are: they come back when it ends.

Adaptive execution would merge the partitions that a run has sized itself.
"""


def local_session(*, delta: bool = False, **settings: str) -> SparkSession:
    """The session of this process: the active one, else one on all cores of this machine.

    Delta tables are read and written without Spark's help; `delta` is for those of the session's catalog.
    """
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[*]").appName("zipline")
    own = {
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "4g",
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 1),
        **({"spark.jars.packages": DELTA, **DELTA_SETTINGS} if delta else {}),
        **settings,
    }
    for name, value in own.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@contextmanager
def configured(spark: SparkSession) -> Iterator[None]:
    """The session under RUN_SETTINGS."""
    before = {name: spark.conf.get(name, None) for name in RUN_SETTINGS}
    for name, value in RUN_SETTINGS.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, own in before.items():
            if own is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, own)
