"""Computing parts from stored partials where that is worthwhile: which files are read as rows, which condensed.

A file (`Unit`) whose rows were all available before the first query's day is seen by every query alike, but for the
start of windows. So its hop partial does: of days where no window begins inside them, of hours where only windows with
hops of hours or more begin. Files that reach into the queries' days, or into which short windows reach, are read as
rows. Both are laid together as one reading, over which the part's rewritten features are computed by the same engine.

A partial is the condensed form of one version of one file, stored under a name made of both, so there is nothing to
invalidate; one that is missing is made by reading the file once, and a file that is read anyway is condensed on the
way. Everything stored can be lost or deleted at any time: it is made again. What belongs to files that are gone is
deleted by the next run that reads the source from partials.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.engines.contract import Report
from zipline.engines.local import read
from zipline.engines.local.choice import choose
from zipline.engines.local.condense import T, condense, rows_of, together
from zipline.engines.local.expansion import expand
from zipline.engines.local.extents import Extent
from zipline.engines.local.group_by import Left, aggregate
from zipline.engines.local.scope import BEGINNING, BLOCK, LEVELS
from zipline.engines.local.sources import Sources, stored_name
from zipline.engines.local.substitutes import Substitute
from zipline.errors import DataError, ZiplineError
from zipline.plan.reads import read_key
from zipline.plan.steps import PartPlan, SourceRead
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Unit
from zipline.tables.partials import PartialStore
from zipline.values import dataclass

Ints = NDArray[np.int64]
Readings = dict[tuple[Any, ...], read.Rows]
Stored = dict[str, Future[pa.Table | None]]
"""What is being read: the name of a block, or of a file -> its partial."""

FEW = 4
"""So many files of which nothing is known are simply read."""


@dataclass
class Partials:
    """One run's use of a store: which parts have substitutes, and the `readings` that their condensed halves take.

    What is read and done is counted in the run's report. What only later runs want is made in the `pool`, beside the
    computing, which ends when both have.
    """

    store: PartialStore
    catalog: Catalog
    connection: duckdb.DuckDBPyConnection
    report: Report
    pool: ThreadPoolExecutor
    substitutes: dict[int, Substitute] = field(default_factory=dict)
    readings: Readings = field(default_factory=dict)
    _later: list[Future[None]] = field(default_factory=list)

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
        self._read(chosen)
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
        self._settle()
        found = [[next(tables) for _ in group] for group in halves]
        return [self._whole(part, each) for part, each in zip(parts, found, strict=True)]

    def give_up(self, wrong: ZiplineError) -> frozenset[int]:
        """Says in the report why all is computed from rows after all; gives the ids of the parts that were not."""
        self._settle()
        for name, done in self.report.partials.items():
            self.report.partials[name] = done if done.startswith("rows") else f"rows: {wrong.what}"
        return frozenset(self.substitutes)

    def _settle(self) -> None:
        """Waits until all is stored; what a file's rows make impossible to condense is not, and stops nobody."""
        for made in self._later:
            with suppress(DataError):
                made.result()
        self._later.clear()

    def _whole(self, part: PartPlan, tables: Sequence[pa.Table]) -> pa.Table:
        substituted = self.substitutes.get(id(part))
        if substituted is None:
            return tables[0]
        return substituted.features(tables, self.readings[read_key(substituted.condensation.projection)])

    def _choose(self, part: PartPlan, times: Ints) -> list[Sources] | str:
        """What is read of every source of a part, or why all of it is computed from rows."""
        found = choose(part, times, self.catalog, self.store, self._learn)
        for reading in () if isinstance(found, str) else found:
            self._hide(reading.source.table, reading.hidden)
        return found

    def _learn(self, reading: Sources, unknown: Sequence[Unit]) -> None:
        if len(unknown) > FEW:
            reading.extents.learn(self.connection, reading.table, reading.source, unknown)
            reading.extents.save()

    def _read(self, chosen: Sequence[Sources]) -> None:
        """Reads partials while DuckDB reads files; what a damaged partial stands for is read last."""
        with ThreadPoolExecutor(self.store.readers) as pool:
            asked = {reading: self._ask(reading, pool) for reading in chosen}
            self._read_rows({reading: self._unstored(reading, tables) for reading, tables in asked.items()})
            damaged = {reading: self._take_stored(reading, tables) for reading, tables in asked.items()}
        self._read_rows(damaged)
        for reading in chosen:
            reading.extents.save()

    def _ask(self, reading: Sources, pool: ThreadPoolExecutor) -> Stored:
        """Begins to read the partials that there are: of blocks, else of files."""
        reading.names = self.store.names(reading.group)
        self._later += [self.pool.submit(sweeping) for sweeping in reading.sweeping(self.store)]
        merged = {member: name for name, members in reading.blocks.items() for member in members}
        wanted: dict[str, tuple[str, Sequence[str] | None]] = {}
        for name, form in reading.forms.items():
            block = merged.get(name)
            if block is not None and block in reading.names:
                wanted[block] = (block, reading.columns)
            elif form in LEVELS and (stored := stored_name(reading.units[name], form)) in reading.names:
                wanted[name] = (stored, reading.columns if block is None else None)
        return {name: pool.submit(self.store.read, reading.group, *asked) for name, asked in wanted.items()}

    def _unstored(self, reading: Sources, asked: Stored) -> set[str]:
        """The files of which the rows are wanted, or no partial is there."""
        stood_for = {member for name in asked for member in reading.blocks.get(name, [name])}
        return reading.forms.keys() - stood_for

    def _take_stored(self, reading: Sources, asked: Stored) -> set[str]:
        """The files whose partials turn out to be damaged."""
        tables = {name: found.result() for name, found in asked.items()}
        damaged: set[str] = set()
        for name, table in tables.items():
            if table is None:
                damaged |= set(reading.blocks.get(name, [name]))
            else:
                self._take(reading, table)
        for name, members in reading.blocks.items():
            present = [table for member in members if (table := tables.get(member)) is not None]
            if len(present) == len(members):
                self._later.append(self.pool.submit(self._merge, reading, name, present))
        return damaged

    def _merge(self, reading: Sources, name: str, tables: Sequence[pa.Table]) -> None:
        """Stores a block, of the partials that it consists of."""
        condensed = reading.substitute.condensation
        rows = together(condensed, [rows_of(table, condensed) for table in tables])
        self.store.write(reading.group, name, condense(rows, condensed, BLOCK))

    def _take(self, reading: Sources, table: pa.Table) -> None:
        low = reading.reach.low
        if low > BEGINNING and table.num_rows and pc.min(table.column(T)).as_py() < low:
            table = table.filter(pc.greater_equal(table.column(T), low))
        self._count(reading.source.table, table.num_rows)
        reading.pieces.append(rows_of(table, reading.substitute.condensation))

    def _read_rows(self, names: Mapping[Sources, set[str]]) -> None:
        """Reads each file once for all that need its rows: as they are, or because a partial is missing."""
        wanted: dict[tuple[Any, ...], dict[str, list[Sources]]] = {}
        for reading, files in names.items():
            for name in sorted(files):
                wanted.setdefault(read_key(reading.source), {}).setdefault(name, []).append(reading)
        for units in wanted.values():
            for name, readings in units.items():
                self._read_unit(name, readings)

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
        if form in LEVELS:
            self._take(reading, self._condense(reading, unit, expanded, form))
        for level in sorted(reading.levels - {form}):
            if stored_name(unit, level) not in reading.names:
                self._later.append(self.pool.submit(self._store, reading, unit, expanded, level))

    def _store(self, reading: Sources, unit: Unit, expanded: read.Rows, level: str) -> None:
        self._condense(reading, unit, expanded, level)

    def _condense(self, reading: Sources, unit: Unit, expanded: read.Rows, level: str) -> pa.Table:
        table = condense(expanded, reading.substitute.condensation, LEVELS[level])
        self.store.write(reading.group, stored_name(unit, level), table)
        return table

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
