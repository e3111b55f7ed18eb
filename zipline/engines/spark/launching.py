"""Starting the JVM of a session: what it says on its way goes nowhere, unless it is why there is none.

Nothing of it goes to stdout, which is for the results of a command: a JVM's own warnings are told on stderr.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from zipline.errors import EngineError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OPTIONS = "spark.driver.extraJavaOptions"
_FEW_CORES = 4
# Without its optimising compiler a JVM reserves 48 MB for code, which the classes that Spark generates fill.
_SHORT = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseParallelGC"
_TUNING = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS")
_UNRESOLVED = re.compile(r"unresolved dependency: (\S+?): ")
_NO_JAR = re.compile(r"(?:download failed: |\[NOT FOUND\s*\] )(\S+?)[!(]")
_JVM = re.compile(r"(?:Error|Exception)\b.*")


def launched(settings: Mapping[str, str]) -> SparkSession:
    """The session of a JVM of its own; EngineError where it does not come up."""
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    conf = SparkConf(loadDefaults=False).setAll(list(quiet(short(settings)).items()))
    if SparkContext._gateway is not None:
        SparkContext.getOrCreate(conf)
        return SparkSession.builder.getOrCreate()
    ear = Ear()
    try:
        gateway = launch_gateway(conf, {"stdout": ear.mouth, "stderr": ear.mouth})  # type: ignore[no-untyped-call]
        SparkContext(conf=conf, gateway=gateway)
        session = SparkSession.builder.getOrCreate()
    except PySparkRuntimeError as wrong:
        raise no_jvm(ear.all(), wrong) from None
    finally:
        ear.started()
    return session


def quiet(settings: Mapping[str, str]) -> dict[str, str]:
    """With our configuration of the log, unless there is one of the user's."""
    given, own = settings.get(OPTIONS, ""), Path(str(files("zipline.engines.spark") / "log4j2.properties"))
    if "log4j" in given or "SPARK_CONF_DIR" in os.environ or not own.is_file():
        return dict(settings)
    return {**settings, OPTIONS: f'{given} "-Dlog4j2.configurationFile={own.as_uri()}"'.strip()}


def short(settings: Mapping[str, str]) -> dict[str, str]:
    """With what suits a JVM of this machine where its cores are few, unless anything else tunes it.

    Our tasks compute in Python: a JVM reads files and moves bytes, and on few cores an optimising compiler and a
    collector that works beside the tasks take more from them than they ever give back.
    """
    tuning = (*settings.values(), *(os.environ.get(name, "") for name in _TUNING))
    if not settings.get("spark.master", "").startswith("local[") or (os.cpu_count() or 1) > _FEW_CORES:
        return dict(settings)
    if any("-XX:" in each for each in tuning):
        return dict(settings)
    return {**settings, OPTIONS: f"{_SHORT} {settings.get(OPTIONS, '')}".strip()}


class Ear:
    """Hears what a process writes to `mouth`: kept until it has started, and passed on to stderr from then on."""

    def __init__(self) -> None:
        inner, self.mouth = os.pipe()
        self._lines: list[str] = []
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._hear, args=(inner,), name="zipline-spark-stderr", daemon=True)
        self._thread.start()

    def _hear(self, inner: int) -> None:
        with os.fdopen(inner, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if self._is_open.is_set():
                    print(line, end="", file=sys.stderr)
                else:
                    self._lines.append(line)

    def started(self) -> None:
        """From now on all is passed on. The process has an end of the pipe of its own; this one is closed."""
        self._is_open.set()
        self._close()

    def all(self) -> str:
        """What was said by a process that has ended."""
        self._close()
        self._thread.join(2)
        return "".join(self._lines)

    def _close(self) -> None:
        if self.mouth >= 0:
            os.close(self.mouth)
            self.mouth = -1


def no_jvm(said: str, wrong: Exception) -> EngineError:
    """Why there is no JVM, from what it said."""
    missing = sorted({*_UNRESOLVED.findall(said), *_NO_JAR.findall(said)})
    if missing:
        hint = (
            "is the network up, and are the coordinates right? Without a network name the jar files themselves in "
            "spark.jars, or fetch them once on a machine that has one and bring its folder .ivy2.5.2"
        )
        return EngineError(f"spark.jars.packages cannot be had: {', '.join(missing)}", hint=hint)
    reasons = [line.strip() for line in said.splitlines() if _JVM.search(line)]
    why = reasons[0] if reasons else (said.strip().splitlines() or [str(wrong)])[-1]
    return EngineError(f"Spark did not start: {why[:300]}", hint="zipline doctor looks at Java, Python and the jars")
