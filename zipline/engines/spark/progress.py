"""Which step of a run Spark is at: as the Spark UI describes its jobs, for whoever watches, and in errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zipline.engines.spark.failures import Reading, translated
from zipline.engines.spark.session import configured
from zipline.plan.steps import PartPlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SECONDS = 0.5
Telling = Callable[[str], None]


class Steps:
    """The steps of one run. A session of Spark Connect has no jobs to describe; `tell` hears of the steps alone."""

    def __init__(self, spark: SparkSession, title: str, tell: Telling | None = None) -> None:
        self._context: Any = None if is_remote(spark) else spark.sparkContext
        self._title, self._tell = title, tell
        self.now = ""
        self.readings: list[Reading] = []

    def at(self, step: str) -> None:
        """From now on it is this step."""
        self.now = step
        if self._context is not None:
            self._context.setJobDescription(f"{self._title}: {step}")
        if self._tell is not None:
            self._tell(step)

    @contextmanager
    def reading(self, table: str) -> Iterator[None]:
        """Within, it is the table that a failure is of."""
        before, self.now = self.now, f"reading {table!r}"
        yield
        self.now = before

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Jobs of this thread are of the run's group, and how far they are is told while they go on."""
        if self._context is None:
            yield
            return
        over = threading.Event()
        self._context.setJobGroup(self._title, self._title)
        watch = threading.Thread(target=self._watch, args=(over,), name="zipline-spark-progress", daemon=True)
        if self._tell is not None:
            watch.start()
        try:
            yield
        finally:
            over.set()
            if watch.is_alive():
                watch.join()
            for name in ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"):
                self._context.setLocalProperty(name, None)

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(SECONDS):
            done, tasks = self._tasks()
            if tasks and self._tell is not None:
                self._tell(f"{self.now}, {done} of {tasks} tasks")

    def _tasks(self) -> tuple[int, int]:
        """(finished, all) of the stages that are going on."""
        try:
            tracker = self._context.statusTracker()
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        except Exception:  # the JVM may be gone: what was asked of it will say so
            return 0, 0
        known = [stage for stage in stages if stage is not None]
        return sum(stage.numCompletedTasks for stage in known), sum(stage.numTasks for stage in known)


@contextmanager
def course(spark: SparkSession, title: str, tell: Telling | None = None) -> Iterator[Steps]:
    """All that a run does in a session: under its settings, described, and with errors that say what of it failed."""
    steps = Steps(spark, title, tell)
    with translated(title, steps.readings, lambda: steps.now), configured(spark), steps.shown():
        yield steps


def is_remote(spark: SparkSession) -> bool:
    """Whether it is a session of Spark Connect."""
    return ".connect." in type(spark).__module__


def named(parts: Sequence[PartPlan]) -> str:
    """What is computed of parts, by their left keys: "carrier_arrivals, airport_weather by origin"."""
    keys = ", ".join(parts[0].left_keys) if parts and parts[0].left_keys else "no key"
    names = list(dict.fromkeys(part.group_by.short_name for part in parts))
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{listed} by {keys}"
