"""How many rows and bytes of a table fall on each day, before it is read.

The files' own metadata say it where the table has partitions; else the days are counted by one query over the clock,
where the table is small enough for that. Conditions are tried on a few days and hold for all. A parent's rows are
those of its left; what its columns take is not known before it is computed. What was counted is kept in a file with the
tokens of the table's units, so that it is counted once for each state of the table; losing the file costs only time.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipline.errors import ZiplineError
from zipline.expressions import Expression
from zipline.plan.steps import Projection
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Partition, Table
from zipline.values import dataclass

if TYPE_CHECKING:
    import duckdb

MOST_COUNTED_ROWS = 5_000_000
MOST_COUNTED_BYTES = 32 * 1024**2
"""Of files that do not know their rows (CSV, JSON)."""
BYTES_PER_ROW = 100
"""Where nothing else tells."""
_TRIED_DAYS = 3


@dataclass(frozen=True)
class Sizes:
    """Rows and bytes per day, sorted by day; `always` are the bytes that any reading takes, days or not.

    `rows_at_most` are the rows of a table that no day can be told of: any reading may take all of them.
    """

    days: tuple[str, ...] = ()
    rows: tuple[float, ...] = ()
    bytes: tuple[float, ...] = ()
    always: float = 0.0
    rows_at_most: float = 0.0

    def within(self, first: str | None, last: str | None) -> tuple[float, float]:
        """(rows, bytes) of the days from `first` to `last`, both inclusive; None has no bound."""
        low = 0 if first is None else bisect_left(self.days, first)
        high = max(low, len(self.days) if last is None else bisect_right(self.days, last))
        rows, size = self._sums
        return rows[high] - rows[low] + self.rows_at_most, size[high] - size[low] + self.always

    def since_newest(self, first: str | None, last: str) -> tuple[float, float]:
        """Of snapshots those that queries of these days see: the newest before the first, and all before the last."""
        if first is None or not self.days:
            return self.within(None, last)
        before = bisect_left(self.days, first)
        newest = self.days[max(0, before - 1)]
        until = bisect_left(self.days, last)
        return self.within(newest, self.days[max(until - 1, 0, before - 1)])

    @cached_property
    def _sums(self) -> tuple[list[float], list[float]]:
        return list(accumulate(self.rows, initial=0.0)), list(accumulate(self.bytes, initial=0.0))


class Counter:
    """Gives the sizes of what is read, over one connection, which is opened when a query is needed.

    `folder` keeps what was counted; without one it is forgotten.
    """

    def __init__(self, catalog: Catalog, folder: Path | None = None) -> None:
        self._catalog = catalog
        self._folder = folder

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        from zipline.engines.local.session import connect

        return connect()

    def sizes(self, read: Projection, conditions: Sequence[Sequence[Expression]] = ()) -> Sizes | None:
        """The sizes of the rows that one of the `conditions` keeps, each a list of which all must hold.

        None where the table is not there yet: a staging query makes it.
        """
        if read.parent is not None:
            left = self.sizes(read.parent.left, [read.parent.left.where])
            return None if left is None else replace(left, bytes=(0.0,) * len(left.days), always=0.0)
        kept = " OR ".join(_all_of(each) for each in conditions) if all(conditions) else ""
        try:
            table = self._catalog.table(read.table)
            if not table.schema:
                return Sizes()
            partitions = table.partitions(read.partition) if read.partition else []
            return self._by_partition(table, read, partitions, kept) if partitions else self._by_time(table, read, kept)
        except (ZiplineError, _Uncountable):
            return None

    def _by_partition(self, table: Table, read: Projection, partitions: Sequence[Partition], kept: str) -> Sizes:
        inside = [p for p in partitions if (read.start or p.day) <= p.day <= (read.end or p.day)]
        share = self._share(table, str(read.partition), inside, kept) if kept else 1.0
        return Sizes(
            days=tuple(p.day for p in inside),
            rows=tuple(_rows_of(p) * share for p in inside),
            bytes=tuple(float(p.bytes or 0) for p in inside),
        )

    def _share(self, table: Table, column: str, partitions: Sequence[Partition], kept: str) -> float:
        """The part of the rows that the conditions keep, on some days spread over all."""
        small = [p.day for p in partitions if _rows_of(p) <= MOST_COUNTED_ROWS / _TRIED_DAYS]
        step = max(1, len(small) // _TRIED_DAYS)
        tried = small[step // 2 :: step][:_TRIED_DAYS]
        counts = f"count(*) FILTER (WHERE {kept}) AS kept, count(*) AS rows"

        def of_days(connection: duckdb.DuckDBPyConnection) -> str:
            relations = [table.relation(connection, partition=column, start=day, end=day) for day in tried]
            return " UNION ALL ".join(f"SELECT {counts} FROM {relation}" for relation in relations)

        found = self._counted(table, ["share", column, kept, tried], of_days) if tried else []
        every = sum(rows for _, rows in found)
        return sum(some for some, _ in found) / every if every else 1.0

    def _by_time(self, table: Table, read: Projection, kept: str) -> Sizes:
        """A table without partitions is opened as a whole, and filtered by its clock."""
        found = table.statistics()
        always = float(found.bytes or 0)
        rows = found.rows if found.rows is not None else always / BYTES_PER_ROW
        is_counted = rows <= MOST_COUNTED_ROWS if found.rows is not None else always <= MOST_COUNTED_BYTES
        clock = read.mutation_time or read.time
        if clock is None or not is_counted:
            return Sizes(always=always, rows_at_most=float(rows))
        day, where = _day(clock), f" WHERE {kept}" if kept else ""
        counts = self._counted(
            table,
            ["days", day, where],
            lambda connection: f"SELECT {day}, count(*) FROM {table.relation(connection)}{where} GROUP BY 1 ORDER BY 1",
        )
        dated = [(day, float(count)) for day, count in counts if day is not None]
        return Sizes(
            days=tuple(day for day, _ in dated),
            rows=tuple(count for _, count in dated),
            bytes=(0.0,) * len(dated),
            always=always,
            rows_at_most=float(sum(count for day, count in counts if day is None)),
        )

    def _counted(
        self, table: Table, asked: Sequence[object], sql: Callable[[duckdb.DuckDBPyConnection], str]
    ) -> list[list[Any]]:
        """The rows of a query, which `asked` stands for, as they were kept for this state of the table."""
        state = _digest([[unit.name, unit.token] for unit in table.units(None)])
        place = self._folder / f"{_digest([table.name, *asked])}.json" if self._folder is not None else None
        kept = _read(place)
        if kept.get("state") != state:
            kept = {"state": state, "rows": [list(row) for row in _fetched(self._connection, sql)]}
            _write(place, kept)
        rows: list[list[Any]] = kept["rows"]
        return rows


class _Uncountable(Exception):
    """A query over the table fails: what computes its rows will say why."""


def _fetched(
    connection: duckdb.DuckDBPyConnection, sql: Callable[[duckdb.DuckDBPyConnection], str]
) -> list[tuple[Any, ...]]:
    import duckdb

    try:
        rows: list[tuple[Any, ...]] = connection.sql(sql(connection)).fetchall()
    except duckdb.Error as wrong:
        raise _Uncountable from wrong
    return rows


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read(place: Path | None) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return dict(json.loads(place.read_text())) if place is not None else {}
    return {}


def _write(place: Path | None, kept: dict[str, Any]) -> None:
    """Nothing depends on it, so a folder that cannot be written is no failure."""
    if place is not None:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f"{place.name}.{uuid.uuid4().hex}")
            beside.write_text(json.dumps(kept))
            os.replace(beside, place)


def _rows_of(partition: Partition) -> float:
    return float(partition.rows if partition.rows is not None else (partition.bytes or 0) / BYTES_PER_ROW)


def _day(clock: Expression) -> str:
    return f"strftime(TRY_CAST({clock.sql('duckdb')} AS TIMESTAMPTZ), '%Y-%m-%d')"


def _all_of(conditions: Sequence[Expression]) -> str:
    joined = " AND ".join(f"({each.sql('duckdb')})" for each in conditions)
    return f"({joined})"
