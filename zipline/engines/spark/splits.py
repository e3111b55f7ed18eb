"""How many tasks read a table: files are cut and put together into pieces that Spark holds to be worth a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from zipline.engines.spark.scans import SMALL, Days, FrameTable
from zipline.engines.spark.stretches import most_rows, stretches, tasks_for
from zipline.tables.contract import Partition, Table
from zipline.tables.delta_source import DeltaSource
from zipline.tables.memory import MemoryTable
from zipline.tables.parquet import ParquetTable
from zipline.types import DataType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MOST = 128 * 1024**2
"""`spark.sql.files.maxPartitionBytes`, as it is when nobody sets it."""
OPENING = 4 * 1024**2
"""`spark.sql.files.openCostInBytes`: what opening a file is taken to be worth."""

PATH_LETTERS = 100
"""Of a file's path, where no table tells."""


def own_reading_tasks(table: Table, days: Days, rows: int, cores: int) -> tuple[int, int]:
    """(tasks, stretches) where tasks read the files of these days, which have so many rows, themselves."""
    count = -(-rows // most_rows(rows, cores)) if isinstance(table, Sized) else len(stretches(table, days, cores))
    return tasks_for(count, cores), count


def reading_tasks(table: Table, days: Days, cores: int) -> int:
    """The tasks of one reading of these days by Spark."""
    if isinstance(table, MemoryTable):
        return 1 if (table.statistics().bytes or 0) < SMALL else cores
    if isinstance(table, ParquetTable):
        groups = table.alike(days.partition, days.start, days.end)
        return sum(tasks_of([file.bytes or 0 for file in files], cores) for _, files in groups) or 1
    if isinstance(table, DeltaSource):
        files = table.files_within(days.partition, days.start, days.end)
        return tasks_of([file.bytes or 0 for file in files], cores) or 1
    if isinstance(table, Sized):
        return tasks_of(table.files_of, cores) or 1
    return max(1, len(table.units(None)))


def tasks_of(files: Sequence[int], cores: int) -> int:
    """The tasks that read files of so many bytes."""
    if not files:
        return 0
    most = min(MOST, max(OPENING, sum(size + OPENING for size in files) // cores))
    pieces = [min(most, size - start) for size in files for start in range(0, max(size, 1), most)]
    tasks, held = 1, 0
    for piece in sorted(pieces, reverse=True):
        if held and held + piece > most:
            tasks, held = tasks + 1, 0
        held += piece + OPENING
    return tasks


def large_files(size: float) -> list[int]:
    """So many bytes in files of a task each."""
    files = max(1, round(size / (MOST - OPENING)))
    return even_files(size, files)


def even_files(size: float, files: int) -> list[int]:
    """So many bytes in so many files."""
    return [round(size / files)] * files if files else []


class Sized(FrameTable):
    """A table of which only the size is known: supposed, or the output of a parent that would be computed.

    Its days are those of the table that it stands for, if there is one; without a number of `files` they are large.
    """

    def __init__(
        self,
        name: str,
        schema: Mapping[str, DataType],
        rows: int,
        size: float,
        of: Table | None = None,
        files: int | None = None,
    ) -> None:
        super().__init__(name, cast("DataFrame", None), schema, rows=rows)
        self.size, self.stands_for = size, of
        self.files_of = large_files(size) if files is None else even_files(size, files)

    def partitions(self, column: str) -> list[Partition]:
        return [] if self.stands_for is None else self.stands_for.partitions(column)


def path_letters(table: Table) -> int:
    """Of the path of a file, as Spark spells it."""
    if isinstance(table, ParquetTable | DeltaSource):
        paths = list(table.paths())
        if paths:
            return len("file://") + sum(map(len, paths)) // len(paths)
    return PATH_LETTERS
