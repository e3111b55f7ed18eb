"""Staging queries in the warehouse: which of their days are missing or made from other data, and making them.

A staging table's day is good where it was made by the query as it is now from the files as they are now; which files a
day can see is known where the query bounds its tables by the day asked for, and is taken to be all of them elsewhere.
Days are published a step at a time. A query that changed makes its whole table anew, in one commit, so readers see the
old table or the new one; a query that fails leaves everything as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zipline.api import StagingQuery
from zipline.arrow import schema_of, to_arrow
from zipline.clock import days
from zipline.errors import DataError, TableError, UsageError
from zipline.orchestration.coverage import steps_of
from zipline.plan.definitions import Definitions
from zipline.project import Project
from zipline.tables.catalog import Catalog, Opener, open_catalog
from zipline.tables.delta import DeltaOutput, write_source
from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.plan.staging import StagingPlan

FINGERPRINT, INPUTS, WHOLE, DAY_COLUMN = "fingerprint", "inputs", "whole", "ds"


@dataclass(frozen=True)
class StagingReport:
    """What was made: days (of a daily query) and rows. `rewritten` where the whole table was made anew."""

    name: str
    days: tuple[str, ...]
    rows: int
    rewritten: bool


@dataclass(frozen=True)
class _State:
    """`stored`: day -> (fingerprint, digest) of its last making; `now`: day -> the digest it would have."""

    stored: Mapping[str, tuple[str, str]]
    now: Mapping[str, str]

    def due(self, fingerprint: str) -> list[str]:
        return [day for day, digest in self.now.items() if self.stored.get(day) != (fingerprint, digest)]

    def is_of(self, fingerprint: str) -> bool:
        """Whether all that is stored, and something is, was made by this query."""
        return bool(self.stored) and all(made_by == fingerprint for made_by, _ in self.stored.values())

    @property
    def lost(self) -> list[str]:
        """The days that were made from files of their own, and have none now."""
        held = (day for day in self.now if day in self.stored and not _is_empty(self.stored[day][1]))
        return [day for day in held if _is_empty(self.now[day])]


@dataclass(frozen=True)
class Staging:
    """A staging query of a project, its table, and the days it is needed for.

    `first` None is from its first day. There are no days before the first, or after the last, of what it reads.
    """

    plan: StagingPlan
    project: Project
    first: str | None
    last: str | None

    @property
    def output(self) -> DeltaOutput:
        return DeltaOutput(self.project.table_uri(self.plan.name), self.project.storage_options)

    def days(self, catalog: Catalog) -> list[str]:
        """The days it must hold; [] for a query that is not daily."""
        if not self.plan.is_daily:
            return []
        there = _days_there(self.plan, catalog)
        first = max(filter(None, (self.first, self.plan.start, there and there[0])), default=None)
        last = min(filter(None, (self.last, there and there[1])), default=None)
        if first is None or last is None:
            raise self._which_days()
        return days(first, last) if first <= last else []

    def _which_days(self) -> UsageError:
        return UsageError(
            "which days? No table that the query reads has days in a column ds",
            subject=self.plan.name,
            where=self.plan.location,
            hint='give the first day of output, StagingQuery(..., start="2013-01-01"), and --end',
        )

    def due(self, catalog: Catalog) -> list[str]:
        """The days that are missing or were made otherwise; of a query that is not daily the one day `whole`."""
        return self._state(catalog).due(self.plan.fingerprint)

    def _state(self, catalog: Catalog) -> _State:
        """What is stored, and what the days it must hold, and those that it holds, would be made from now."""
        stored = _stored(self.output)
        if not self.plan.is_daily:
            return _State(stored, _digests(self.plan, catalog, [WHOLE]))
        first, last = self.first or "", self.last or "9999-12-31"
        held = (day for day in stored if day != WHOLE and first <= day <= last)
        return _State(stored, _digests(self.plan, catalog, sorted({*self.days(catalog), *held})))

    def _refuse_lost(self, lost: Sequence[str]) -> None:
        """DataError where the partitions are gone that stored days were made from."""
        if lost and self.plan.is_daily:
            raise DataError(
                f"the partitions are gone that {len(lost)} of its days were made from: {', '.join(lost[:5])}",
                subject=self.plan.name,
                where=self.plan.location,
                hint="put them back; --force makes the table anew from what is left",
                next_command=f"zipline backfill {self.plan.name} --force",
            )

    def plannable(self, catalog: Catalog) -> Catalog:
        """The catalog, where a table that was never made is an empty one of the right columns: enough to plan."""
        if self.output.exists():
            return catalog
        from zipline.engines.local.staging import staging_schema

        schema = staging_schema(self.plan, catalog)
        fields = [(name, to_arrow(dtype)) for name, dtype in schema.items()]
        return catalog.with_tables({self.plan.name: pa.schema(fields).empty_table()})

    def make(self, catalog: Catalog, *, step_days: int = 30, force: bool = False) -> StagingReport | None:
        """Makes what is due; None where nothing is."""
        state = self._state(catalog)
        if not force:
            self._refuse_lost(state.lost)
        due = list(state.now) if force else state.due(self.plan.fingerprint)
        if not due:
            return None
        if not self.plan.is_daily or force or not state.is_of(self.plan.fingerprint):
            return self._rewrite(catalog, state)
        rows = sum(self._publish(catalog, step, state) for step in steps_of(due, step_days))
        return StagingReport(self.plan.name, tuple(due), rows, rewritten=False)

    def _rewrite(self, catalog: Catalog, state: _State) -> StagingReport:
        """The whole table in one commit: the days asked for, and those that it holds."""
        asked = self.days(catalog)
        if self.plan.is_daily:
            wanted = sorted({*state.now, *(day for day in state.stored if day != WHOLE)})
            rows = pa.concat_tables(_run(self.plan, catalog, step) for step in steps_of(wanted, len(wanted)))
            digests = _digests(self.plan, catalog, wanted) if len(wanted) > len(state.now) else state.now
        else:
            rows, digests = _run(self.plan, catalog, None), state.now
        metadata = {**_metadata(self.plan, digests), WHOLE: "true"}
        partition = DAY_COLUMN if self.plan.is_daily else None
        write_source(self.plan.name, rows, partition, project=self.project, metadata=metadata)
        return StagingReport(self.plan.name, tuple(asked), rows.num_rows, rewritten=True)

    def _publish(self, catalog: Catalog, step: Sequence[str], state: _State) -> int:
        metadata = _metadata(self.plan, {day: state.now[day] for day in step})
        rows = _run(self.plan, catalog, step)
        self._refuse_other_columns(rows)
        # It takes a while to import, and planning has no rows.
        import pyarrow.compute as pc

        column = rows.column(DAY_COLUMN)
        by_day = {day: rows.filter(pc.equal(column, day)) for day in step}
        self.output.replace_days(by_day, metadata=metadata)
        return int(rows.num_rows)

    def _refuse_other_columns(self, rows: pa.Table) -> None:
        before, now = self.output.schema(), schema_of(rows.schema)
        if before and {**before} != {**now}:
            changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            told = ", ".join(
                f"{name} ({before.get(name, 'not there')} before, {now.get(name, 'gone')} now)" for name in changed
            )
            raise TableError(
                f"the query gives other columns than before, though it is the same: {told}",
                subject=self.plan.name,
                where=self.plan.location,
                hint="a table below it changed; name the columns in the query, or make the table anew",
                next_command=f"zipline backfill {self.plan.name} --force",
            )


def upstream(definitions: Definitions, name: str) -> list[StagingQuery]:
    """The staging queries that a definition is made from, however far up, those that others read first."""
    found: dict[str, StagingQuery] = {}

    def visit(current: str) -> None:
        for needed in definitions.needs(current):
            visit(needed)
        definition = definitions[current]
        if isinstance(definition, StagingQuery) and current != name:
            found.setdefault(current, definition)

    visit(name)
    return list(found.values())


def below(definitions: Definitions, name: str, project: Project) -> list[Staging]:
    """The staging queries below any definition, for all days there are: what a join sees must not depend on its range.

    Those that others read come first.
    """
    queries = upstream(definitions, name)
    if not queries:
        return []
    from zipline.plan.staging import plan_staging

    return [Staging(plan_staging(query), project, None, None) for query in queries]


def _days_there(plan: StagingPlan, catalog: Catalog) -> tuple[str, str] | None:
    """The first and last day of the tables that a query reads; None where none has days."""
    present = [p.day for name in plan.tables for p in catalog.table(name).partitions(DAY_COLUMN)]
    return (min(present), max(present)) if present else None


def _run(plan: StagingPlan, catalog: Catalog, step: Sequence[str] | None) -> pa.Table:
    """The rows of a step's days; None is everything, of a query that is not daily."""
    # Imported where there is something to make: it brings the engine.
    from zipline.engines.local.staging import run_staging

    return run_staging(plan, catalog) if step is None else run_staging(plan, catalog, step[0], step[-1])


def _digests(plan: StagingPlan, catalog: Catalog, wanted: Sequence[str]) -> dict[str, str]:
    """For each day what it would be made from now, and how many files of its own are among it."""
    common: list[tuple[str, str, str]] = []
    by_day: dict[str, list[tuple[str, str, str]]] = {}
    for name in plan.tables:
        for unit in catalog.table(name).units(DAY_COLUMN):
            fact = (name, unit.name, unit.token)
            is_of_day = name in plan.bounded and unit.day is not None
            (by_day.setdefault(str(unit.day), []) if is_of_day else common).append(fact)
    shared = _hash(sorted(common))
    return {day: f"{_hash([shared, *sorted(by_day.get(day, []))])}/{len(by_day.get(day, []))}" for day in wanted}


def _is_empty(digest: str) -> bool:
    """Whether a day was made from no file of its own."""
    return digest.endswith("/0")


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _metadata(plan: StagingPlan, digests: Mapping[str, str]) -> Mapping[str, str]:
    return {FINGERPRINT: plan.fingerprint, INPUTS: json.dumps(digests)}


def _stored(output: DeltaOutput) -> dict[str, tuple[str, str]]:
    """Day -> (fingerprint, digest) of its last making."""
    found: dict[str, tuple[str, str]] = {}
    for version in output.versions():
        if INPUTS in version.metadata:
            fingerprint = version.metadata.get(FINGERPRINT, "")
            for day, digest in json.loads(version.metadata[INPUTS]).items():
                found.setdefault(day, (fingerprint, digest))
        if WHOLE in version.metadata or INPUTS not in version.metadata:
            break
    return found


def bring_up(
    needed: Sequence[Staging],
    *,
    step_days: int = 30,
    force: bool = False,
    tell: Callable[[StagingReport], None] = lambda _: None,
    holding: Callable[[str], AbstractContextManager[object]] = nullcontext,
    opener: Opener | None = None,
) -> bool:
    """Makes what is due, in order; whether anything was. `holding(uri)` keeps others off a table that is made.

    `opener` opens the tables of Spark's catalog.
    """
    made = False
    for staging in needed:
        # Opened anew: what the query before has just made is read.
        catalog = open_catalog(project=staging.project, opener=opener)
        if not force and not staging.due(catalog):
            continue
        with holding(staging.output.uri):
            report = staging.make(catalog, step_days=step_days, force=force)
        if report is not None:
            made = True
            tell(report)
    return made
