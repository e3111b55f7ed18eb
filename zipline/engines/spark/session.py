"""Sessions: the user's own, or one made as `[spark]` says; and the settings under which a run is right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zipline.engines.spark import setup
from zipline.errors import UsageError
from zipline.expressions import SESSIONS
from zipline.spark_settings import Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from zipline.project import Project

DELTA = "io.delta:delta-spark_4.1_2.13:4.4.0"
DELTA_SETTINGS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
AT_ONCE = "spark.sql.execution.arrow.maxRecordsPerBatch"
RUN_SETTINGS = {
    **SESSIONS["spark"],
    "spark.sql.adaptive.enabled": "false",
    AT_ONCE: "50000",
    "spark.sql.execution.arrow.maxBytesPerBatch": "2147483647",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    "spark.sql.unionOutputPartitioning": "false",
}
"""Settings of a run, whatever the session's own are: they come back when it ends.

Readings of one task each would become one task, one after another, where Spark keeps the partitioning of a union.
Adaptive execution would merge the partitions that a run has sized itself. A bound on the bytes of a batch (anything
less than what stands for none) has Spark add up the sizes of all its columns after every row: half of a task's time.
"""
SCRATCH = "spark.zipline.scratch"


def session_of(project: Project) -> SparkSession:
    """The session that is active (a notebook's), that of a spark-submit, else one as the project's `[spark]` says.

    EngineError where the set-up cannot work. To a session that is there the project adds its `scratch` and nothing.
    """
    return _session(project.spark, {})


def local_session(*, delta: bool = False, **settings: str) -> SparkSession:
    """The session of this process: the active one, else one on all cores of this machine.

    Delta tables are read and written without Spark's help; `delta` is for those of the session's catalog.
    """
    return _session(Spark(), {**({"spark.jars.packages": DELTA, **DELTA_SETTINGS} if delta else {}), **settings})


def _session(spark: Spark, settings: Mapping[str, str]) -> SparkSession:
    setup.pyspark()
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is None and "PYSPARK_GATEWAY_PORT" in os.environ:
        session = SparkSession.builder.appName("zipline").getOrCreate()
    if session is None:
        return _made(spark, {**spark.settings, **settings})
    if spark.scratch and session.conf.get(SCRATCH, None) is None:
        session.conf.set(SCRATCH, spark.scratch)
    return session


def _made(spark: Spark, settings: Mapping[str, str]) -> SparkSession:
    setup.check(Spark(spark.master, spark.remote, spark.scratch, settings=settings))
    own = {SCRATCH: spark.scratch} if spark.scratch else {}
    if spark.remote:
        return _connected(spark.remote, {**own, **settings})
    from zipline.engines.spark.launching import launched

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    own |= {"spark.master": spark.master, "spark.app.name": "zipline", "spark.ui.showConsoleProgress": "false"}
    if spark.is_here:
        cores = str(os.cpu_count() or 1)
        own |= {"spark.driver.memory": "4g", "spark.driver.host": "localhost", "spark.sql.shuffle.partitions": cores}
    return launched({**own, **settings})


def _connected(url: str, settings: Mapping[str, str]) -> SparkSession:
    from pyspark.sql import SparkSession

    from zipline.engines.spark.failures import translated

    with translated("Spark Connect"):
        builder = SparkSession.builder.remote(url)
        for name, value in settings.items():
            builder = builder.config(name, value)
        return builder.getOrCreate()


def tried(spark: SparkSession) -> str:
    """What a session is, once a Python of its executors has said that it has what tasks need."""
    from zipline.engines.spark.failures import translated

    with translated("a first task"):
        found = spark.range(1).mapInArrow(_answer, "said STRING").toArrow().column(0)[0].as_py()
        return f"Spark {spark.version}, executors with Python {found}"


def _answer(batches: Iterable[Any]) -> Iterable[Any]:
    import platform

    import pyarrow as pa

    import zipline.engines.spark.tasks  # noqa: F401 (whether it can be imported there is what is asked)

    for _ in batches:
        pass
    yield pa.record_batch({"said": [platform.python_version()]})


def scratch_of(spark: SparkSession) -> str | None:
    """The folder that driver and executors share, None where they are one machine.

    Without it each would write what the others are to read on a disk of its own: rows would be missing in silence.
    """
    scratch: str | None = spark.conf.get(SCRATCH, None)
    master = spark.conf.get("spark.master", None) or "local"
    if scratch is None and not master.startswith("local"):
        raise UsageError(
            f"the executors of {master} are other machines, and no folder is named that they share with this one",
            hint=f'write scratch = "hdfs://..." (or any folder that all see) in [spark], or set {SCRATCH}',
        )
    return scratch


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
