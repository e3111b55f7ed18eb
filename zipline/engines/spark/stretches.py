"""Stretches: what of a table's files one task reads itself, by the table's own reader, without Spark's.

A file with many rows is several stretches, many small files are one. Spark's own reading ends in rows, of which each is
converted once more for Python; what a task reads is in columns from the file to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from zipline.engines.spark.scans import Days, FrameTable
from zipline.errors import TableError
from zipline.tables.contract import ByRow, Files, Table, Unit
from zipline.tables.memory import MemoryTable
from zipline.values import dataclass

MOST_ROWS, MOST_BYTES = 1_000_000, 64 * 1024**2
"""Of a stretch, as far as files tell."""
LEAST_ROWS = 100_000
"""Fewer are not worth a task of their own."""
TASKS_OF_A_CORE, STRETCHES_OF_A_TASK = 8, 16
"""Where there are more than enough tasks for all cores each takes several stretches: a shuffle has fewer ends."""


@dataclass(frozen=True)
class Stretch:
    """Files by name, or of one file the rows from the first to before the second."""

    units: tuple[str, ...]
    rows: tuple[int, int] | None = None


def is_read_by_tasks(table: Table) -> bool:
    """Whether it is files that every executor can open, none of them named twice."""
    if isinstance(table, FrameTable):
        return table.stands_for is not None and is_read_by_tasks(table.stands_for)
    if not table.schema or isinstance(table, MemoryTable):
        return False
    names = [unit.name for unit in table.units(None)]
    return len(set(names)) == len(names)


def tasks_for(count: int, cores: int) -> int:
    """How many tasks read so many stretches."""
    return min(count, max(TASKS_OF_A_CORE * cores, -(-count // STRETCHES_OF_A_TASK)))


def stretches(table: Table, days: Days, cores: int) -> tuple[Stretch, ...]:
    """All that is to be read of these days, in the table's own order."""
    units = [unit for unit in _units(table, days) if _is_within(unit, days)]
    if isinstance(table, Files):
        places = {name: place for place, name in enumerate(table.names())}
        units.sort(key=lambda unit: places[unit.name])
    can_divide = isinstance(table, ByRow) and table.has_row_numbers
    return tuple(_stretches(units, most_rows(sum(unit.rows or 0 for unit in units), cores), can_divide=can_divide))


def most_rows(rows: int, cores: int) -> int:
    """Of a stretch of so many rows in all."""
    return min(MOST_ROWS, max(LEAST_ROWS, -(-rows // cores)))


def _units(table: Table, days: Days) -> list[Unit]:
    """With their days, where folders name days and only some are wanted; whoever reads them looks at these again."""
    if days.is_bounded:
        with suppress(TableError):
            return table.units(days.partition)
    return table.units(None)


def _is_within(unit: Unit, days: Days) -> bool:
    if unit.day is None:
        return True
    return (days.start is None or unit.day >= days.start) and (days.end is None or unit.day <= days.end)


def _stretches(units: Sequence[Unit], most: int, *, can_divide: bool) -> Iterator[Stretch]:
    few: list[str] = []
    held = 0.0
    for unit in units:
        share = _share(unit, most)
        if few and held + share > 1:
            yield Stretch(tuple(few))
            few, held = [], 0.0
        if share > 1 and can_divide and unit.rows is not None:
            count = -(-unit.rows // most)
            edges = [unit.rows * number // count for number in range(count + 1)]
            yield from (Stretch((unit.name,), edge) for edge in pairwise(edges))
            continue
        few.append(unit.name)
        held += share
    if few:
        yield Stretch(tuple(few))


def _share(unit: Unit, most: int) -> float:
    """Of a stretch."""
    if unit.rows is not None:
        return unit.rows / most
    return 1.0 if unit.bytes is None else unit.bytes / MOST_BYTES
