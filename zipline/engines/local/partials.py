"""Computing parts from stored partials where that is worthwhile: which files are read as rows, which condensed.

A file (`Unit`) whose rows were all available before the first query's day is seen by every query alike, but for the
start of windows. So its hop partial does: of days where no window begins inside them, of hours where only windows with
hops of hours or more begin. Files that reach into the queries' days, or into which short windows reach, are read as
rows. Both are laid together as one reading, over which the part's rewritten features are computed by the same engine.

A partial is the condensed form of one version of one file, stored under a name made of both, so there is nothing to
invalidate; one that is missing is made by reading the file once, and a file that is read anyway is condensed on the
way. Everything stored can be lost or deleted at any time: it is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.engines.contract import Report
from zipline.engines.local import read
from zipline.engines.local.condense import T, condense, expand, rows_of, together
from zipline.engines.local.extents import Extent, Extents, identity
from zipline.engines.local.group_by import Left, aggregate
from zipline.engines.local.scope import BEGINNING, BLOCK, LEVELS, Reach
from zipline.engines.local.sources import Sources
from zipline.engines.local.substitutes import Substitute, substitute
from zipline.errors import ZiplineError
from zipline.plan.condensed import condensation, refusal
from zipline.plan.reads import read_key
from zipline.plan.steps import PartPlan, Projection, SourceRead
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Unit
from zipline.tables.memory import MemoryTable
from zipline.tables.partials import PartialStore

Ints = NDArray[np.int64]
Readings = dict[tuple[Any, ...], read.Rows]

MOST_ROWS = 0.3
"""The share of a part's rows that may have to be read as rows; above it, everything is."""
FEW = 4
"""So many files of which nothing is known are simply read."""
THREADS = 8


@dataclass
class Partials:
    """One run's use of a store: which parts have substitutes, and the `readings` that their condensed halves take.

    What is read and done is counted in the run's report.
    """

    store: PartialStore
    catalog: Catalog
    connection: duckdb.DuckDBPyConnection
    report: Report
    substitutes: dict[int, Substitute] = field(default_factory=dict)
    readings: Readings = field(default_factory=dict)

    def substitute(self, parts: Iterable[PartPlan], times: Ints) -> tuple[PartPlan, ...]:
        """Chooses for every part, reads what is condensed, and gives the parts that are computed from rows as ever.

        `times` are those of the queries that have one.
        """
        chosen: list[Sources] = []
        rest: list[PartPlan] = []
        for part in parts:
            found = self._choose(part, times)
            if isinstance(found, str):
                self.report.partials[part.group_by.short_name] = f"rows: {found}"
                rest.append(part)
                continue
            chosen += found
            self.substitutes[id(part)] = substituted = found[0].substitute
            rest += [] if substituted.raw is None else [substituted.raw]
        self._read_stored(chosen)
        self._read_rows(chosen)
        for substituted in self.substitutes.values():
            self._lay_together(substituted, [each for each in chosen if each.substitute is substituted])
        return tuple(rest)

    def aggregate(
        self, left: Left, parts: Sequence[PartPlan], readings: Readings, pool: ThreadPoolExecutor
    ) -> list[pa.Table]:
        """As `group_by.aggregate`: for each part its features in left order."""
        halves = [self.substitutes[id(part)].parts if id(part) in self.substitutes else (part,) for part in parts]
        every = tuple(each for group in halves for each in group)
        tables = iter(aggregate(left, every, readings | self.readings, pool))
        found = [[next(tables) for _ in group] for group in halves]
        return [self._whole(part, each) for part, each in zip(parts, found, strict=True)]

    def give_up(self, wrong: ZiplineError) -> frozenset[int]:
        """Says in the report why all is computed from rows after all; gives the ids of the parts that were not."""
        for name, done in self.report.partials.items():
            self.report.partials[name] = done if done.startswith("rows") else f"rows: {wrong.what}"
        return frozenset(self.substitutes)

    def _whole(self, part: PartPlan, tables: Sequence[pa.Table]) -> pa.Table:
        substituted = self.substitutes.get(id(part))
        if substituted is None:
            return tables[0]
        return substituted.features(tables, self.readings[read_key(substituted.condensation.projection)])

    def _choose(self, part: PartPlan, times: Ints) -> list[Sources] | str:
        """What is read of every source of a part, or why all of it is computed from rows."""
        refused = refusal(part)
        if refused or not len(times):
            return refused or "no query has a time"
        condensed = condensation(part.group_by)
        substituted = substitute(part, condensed)
        if substituted is None:
            return "no feature has a condensed form"
        reach = Reach.of(substituted, int(times.min()), int(times.max()))
        found = []
        for source in part.group_by.sources:
            table = self.catalog.table(source.table)
            if isinstance(table, MemoryTable) or not table.schema:
                return f"{source.table} is not made of files"
            group = condensed.identity(source)[:32]
            found.append(Sources(substituted, source, table, reach, group, Extents(self.store, group)))
        counted = [self._sort(each) for each in found]
        as_rows, every = (sum(each) for each in zip(*counted, strict=True))
        if as_rows > MOST_ROWS * every:
            return "most that the queries see must be read as rows"
        return found

    def _sort(self, reading: Sources) -> tuple[int, int]:
        """Decides the form of every file of a source; (rows to be read as rows, rows in all)."""
        source, reach, extents = reading.source, reading.reach, reading.extents
        units = [unit for unit in reading.table.units(source.partition) if _is_inside(unit.day, source)]
        unknown = [unit for unit in units if extents.of(unit) is None]
        if len(unknown) > FEW:
            extents.learn(self.connection, reading.table, source, unknown)
            extents.save(units)
        as_rows = every = hidden = 0
        for unit in units:
            extent = extents.of(unit)
            form = "rows" if extent is None else reach.form(extent)
            hidden += extent.hidden if extent is not None else 0
            if form is None:
                continue
            reading.units[unit.name] = unit
            reading.forms[unit.name] = form
            rows = extent.rows if extent is not None else unit.rows or 0
            every += rows
            is_read = form == "rows" or (extent is not None and extent.last >= reach.rows_from)
            as_rows += rows if is_read else 0
        self._hide(source.table, hidden)
        return as_rows, every

    def _read_stored(self, chosen: Sequence[Sources]) -> None:
        """Reads the partials that there are; `missing` are the files whose partial is not."""
        with ThreadPoolExecutor(THREADS) as pool:
            for reading in chosen:
                reading.names = self.store.names(reading.group)
                self._read_partials(reading, pool)

    def _read_partials(self, reading: Sources, pool: ThreadPoolExecutor) -> None:
        blocks = reading.blocks()
        merged = {member: name for name, members in blocks.items() for member in members}
        wanted: dict[str, tuple[str, Sequence[str] | None]] = {}
        for name, form in reading.forms.items():
            stored = merged.get(name)
            if stored is not None and stored in reading.names:
                wanted[stored] = (stored, reading.columns)
            elif form in LEVELS:
                wanted[name] = (_name(reading.units[name], form), reading.columns if stored is None else None)
        found = pool.map(lambda asked: self._read_partial(reading, *asked), wanted.values())
        tables = dict(zip(wanted, found, strict=True))
        for name, table in tables.items():
            if table is not None:
                self._take(reading, table)
            else:
                reading.missing |= set(blocks.get(name, [name]))
        for name, members in blocks.items():
            self._merge(reading, name, [tables.get(member) for member in members])

    def _read_partial(self, reading: Sources, name: str, columns: Sequence[str] | None) -> pa.Table | None:
        return self.store.read(reading.group, name, columns) if name in reading.names else None

    def _merge(self, reading: Sources, name: str, tables: Sequence[pa.Table | None]) -> None:
        """Stores a block, where all partials that it consists of are there."""
        condensed = reading.substitute.condensation
        present = [rows_of(table, condensed) for table in tables if table is not None]
        if len(present) == len(tables):
            self.store.write(reading.group, name, condense(together(condensed, present), condensed, BLOCK))

    def _take(self, reading: Sources, table: pa.Table) -> None:
        low = reading.reach.low
        if low > BEGINNING:
            table = table.filter(pc.greater_equal(table.column(T), low))
        self._count(reading.source.table, table.num_rows)
        reading.pieces.append(rows_of(table, reading.substitute.condensation))

    def _read_rows(self, chosen: Sequence[Sources]) -> None:
        """Reads each file once for all that need its rows: as they are, or because a partial is missing."""
        wanted: dict[tuple[Any, ...], dict[str, list[Sources]]] = {}
        for reading in chosen:
            for name, form in reading.forms.items():
                if form == "rows" or name in reading.missing:
                    wanted.setdefault(read_key(reading.source), {}).setdefault(name, []).append(reading)
        for units in wanted.values():
            for name, readings in units.items():
                self._read_unit(name, readings)
        for reading in chosen:
            reading.extents.save(reading.table.units(reading.source.partition))

    def _read_unit(self, name: str, readings: Sequence[Sources]) -> None:
        needed = {each.source: each.substitute.condensation.inputs for each in readings}
        table = readings[0].table
        asked = SourceRead(tuple(needed), (), None, 0)
        rows = read.read_source(self.connection, table, asked, needed=needed, low=None, high=None, units=[name])
        self._count(table.name, rows.rows)
        for reading in readings:
            self._use(reading, name, rows)

    def _use(self, reading: Sources, name: str, rows: read.Rows) -> None:
        """Takes a file's rows as they are or condensed, and stores what later runs will want of them."""
        condensed, unit, form = reading.substitute.condensation, reading.units[name], reading.forms[name]
        expanded = expand(rows, reading.source, condensed)
        if form == "rows":
            reading.pieces.append(expanded)
        reading.extents.note(unit, Extent.of_rows(rows, rows.mask(reading.source)))
        for level in reading.levels | ({form} & set(LEVELS)):
            stored = _name(unit, level)
            if level == form or stored not in reading.names:
                table = condense(expanded, condensed, LEVELS[level])
                self.store.write(reading.group, stored, table)
                if level == form:
                    self._take(reading, table)

    def _lay_together(self, substituted: Substitute, readings: Sequence[Sources]) -> None:
        pieces = [rows for each in readings for rows in each.pieces]
        rows = together(substituted.condensation, pieces)
        self.readings[read_key(substituted.condensation.projection)] = rows
        forms = [form for each in readings for form in each.forms.values()]
        as_rows = forms.count("rows")
        name = substituted.part.group_by.short_name
        self.report.partials[name] = f"partials of {len(forms) - as_rows} files, rows of {as_rows}"

    def _count(self, table: str, rows: int) -> None:
        self.report.rows_read[table] = self.report.rows_read.get(table, 0) + rows

    def _hide(self, table: str, hidden: int) -> None:
        if hidden:
            self.report.without_time[table] = max(self.report.without_time.get(table, 0), hidden)


def _name(unit: Unit, level: str) -> str:
    return f"{identity(unit)}-{level}"


def _is_inside(day: str | None, source: Projection) -> bool:
    """Whether a file may lie within the partitions that a source is bounded by."""
    if day is None:
        return True
    return (source.start is None or day >= source.start) and (source.end is None or day <= source.end)
