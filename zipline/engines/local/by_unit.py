"""The rows of a table's units with the unit that each stands in: many files in one statement where that is possible.

What asks files when their rows happened (`extents` here, and the extents that a backfill is planned by) asks over this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from zipline.plan.steps import Projection
from zipline.tables.columns import literal, quoted
from zipline.tables.contract import FILE, ByFile, Table, Unit

if TYPE_CHECKING:
    import duckdb

AT_ONCE = 64
"""Units that one statement names one by one."""


def by_unit(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    source: Projection,
    units: Sequence[Unit],
    columns: Collection[str] | None = None,
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """SQL for FROM clauses, with the column FILE besides, and what FILE says -> the unit's name.

    Together they are the rows of these units that lie within the partitions that the source is bounded by. `columns`
    are those that will be asked of them, None is any.
    """
    if isinstance(table, ByFile) and _holds_whole_files(units, source):
        inside = frozenset(unit.name for unit in units if unit.day is None or is_inside(unit.day, source))
        if inside:
            yield table.relation_by_file(connection, inside, columns), table.paths()
        return
    for place in range(0, len(units), AT_ONCE):
        names = [unit.name for unit in units[place : place + AT_ONCE]]
        rows = [f"SELECT *, {literal(n)} AS {quoted(FILE)} FROM {_of(connection, table, source, n)}" for n in names]
        yield f"({' UNION ALL '.join(rows)})", {name: name for name in names}


def is_inside(day: str, source: Projection) -> bool:
    """Whether a day is within the partitions that a source is bounded by."""
    return (source.start or day) <= day <= (source.end or day)


def _holds_whole_files(units: Sequence[Unit], source: Projection) -> bool:
    """Whether the bounds keep or drop files, never rows of one."""
    is_bounded = source.start is not None or source.end is not None
    return not is_bounded or all(unit.day is not None for unit in units)


def _of(connection: duckdb.DuckDBPyConnection, table: Table, source: Projection, unit: str) -> str:
    return table.relation(connection, partition=source.partition, start=source.start, end=source.end, units=[unit])
