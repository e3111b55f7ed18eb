"""How a run is divided, and where it keeps what more than one job reads."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zipline.engines.contract import Report
from zipline.engines.spark import facts
from zipline.engines.spark.outputs import Output
from zipline.engines.spark.packing import ROW
from zipline.engines.spark.scans import INDEX, FrameTable
from zipline.engines.spark.session import scratch_of
from zipline.errors import UsageError
from zipline.tables.storage import normalised, scheme_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS_PER_TASK = "spark.zipline.rowsPerTask"
PARTITIONS = "spark.sql.shuffle.partitions"
HELD = 3
"""So many times the rows of a task one key may have that is left whole; others may be in its partition."""
MANY = 200_000
"""Rows from which on all cores are worth their tasks."""


@dataclass(frozen=True)
class Sizing:
    """`rows_per_task` is how many left rows and source rows a partition should have, `cores` how many run at a time.

    `scratch` is a folder that driver and executors share; without one it is a temporary folder of this machine. Hot
    keys are looked for where there are `many` rows; where that is possible their earlier rows are condensed.
    """

    rows_per_task: int = 2_000_000
    cores: int = 2
    scratch: str | None = None
    many: int = MANY
    condenses: bool = True

    @property
    def most(self) -> int:
        """How many rows a task holds at a time, as far as they are of several keys."""
        return (HELD + 1) * self.rows_per_task

    @classmethod
    def of(cls, spark: SparkSession) -> Sizing:
        """As the session's settings say."""
        return cls.by(lambda name: spark.conf.get(name, None), cls.cores, scratch_of(spark))

    @classmethod
    def by(cls, setting: Callable[[str], str | None], cores: int, scratch: str | None = None) -> Sizing:
        """As settings say by their names; `cores` is where they say nothing of them."""
        rows = setting(ROWS_PER_TASK) or str(cls.rows_per_task)
        if not rows.isdigit() or int(rows) < 1:
            raise UsageError(f"{ROWS_PER_TASK} is {rows!r}, not a number of rows", hint="2000000 is the default")
        return cls(int(rows), int(setting(PARTITIONS) or cores), scratch)

    def partitions(self, counts: Iterable[int | None]) -> int:
        """For so many rows of each kind; of those of which nothing is known all cores take part."""
        listed = list(counts)
        rows = sum(count for count in listed if count is not None)
        needed = -(-rows // self.rows_per_task) or 1
        return max(needed, self.cores) if rows >= self.many or None in listed else needed

    def most_of_a_key(self, counts: Iterable[int | None]) -> int | None:
        """How many rows a key may have in one task; None where there are too few for that to matter.

        Dividing a key costs another look at all rows, so it is left whole while a task can hold it and the other cores
        have as much to do.
        """
        listed = list(counts)
        rows = sum(count for count in listed if count is not None)
        if None in listed:
            return self.rows_per_task
        if rows < self.many:
            return None
        return min(HELD * self.rows_per_task, -(-rows * 5 // (4 * self.cores)))

    def rows_of_a_range(self, counts: Iterable[int | None]) -> int:
        """How many rows of a hot key a task should have: as of other keys, and fewer where cores would be idle."""
        listed = list(counts)
        rows = sum(count for count in listed if count is not None)
        return self.rows_per_task if None in listed else min(self.rows_per_task, max(1, -(-rows // (2 * self.cores))))

    @contextmanager
    def of_one_run(self) -> Iterator[Sizing]:
        """The same with a scratch folder of its own, which is gone afterwards where it is a folder and no URL."""
        place = f"{self.scratch or tempfile.gettempdir()}/zipline-{uuid.uuid4().hex}"
        try:
            yield replace(self, scratch=place)
        finally:
            if scheme_of(place) is None:
                shutil.rmtree(normalised(place), ignore_errors=True)

    def materialised(self, frame: DataFrame, name: str) -> DataFrame:
        """The same rows, written down: reading them again never gives others."""
        place = f"{self.scratch or tempfile.mkdtemp(prefix='zipline-')}/{name}-{uuid.uuid4().hex}"
        frame.write.parquet(place)
        return frame.sparkSession.read.schema(frame.schema).parquet(place)

    def checked(self, frame: DataFrame, report: Report) -> DataFrame:
        """Rows without facts, which are added to the report. Raises what a task could not compute."""
        kept = self.materialised(frame, "rows")
        texts = kept.where(f"{facts.FACTS} IS NOT NULL").select(facts.FACTS).toArrow().column(0).to_pylist()
        facts.add(report, texts)
        return kept.where(f"{facts.FACTS} IS NULL").drop(facts.FACTS)

    def keep(self, name: str, output: Output) -> FrameTable:
        """The output as a table for others."""
        frame, order = self.checked(output.frame, output.report), output.order
        if order == (ROW,):  # a left row of whoever reads it has a number of its own
            frame, order = frame.withColumnRenamed(ROW, INDEX), (INDEX,)
        return FrameTable(name, frame, output.columns, order, output.files, output.report.rows)
