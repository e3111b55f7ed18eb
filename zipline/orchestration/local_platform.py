"""The whole platform in one process and in memory, for an author's unit tests of features, offline and online.

    platform = LocalPlatform(carrier_arrivals, departures)
    platform.publish("flights", [{"carrier": "AA", "arr_delay": 12, "arrived_at": "2024-03-01T10:00:00Z"}])
    platform.advance("2024-03-02T00:30:00Z")
    platform.upload("2024-03-01")
    assert platform.fetch("departures", [{"carrier": "AA"}]).rows() == [...]
    platform.assert_online_equals_offline("departures", "2024-03-02T00:30:00Z")

What is published is in its table and, at once, in the tiles of the group-bys over it; time goes on only by `advance`.
Changes of an entity are published to its table of mutations, its snapshots to theirs, for the next upload to read. A
group-by over a join gets tiles of what is published to the join's left, with the features as they are served then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from zipline.api import GroupBy, Join
from zipline.clock import DAY, day_text, to_micros, to_text
from zipline.engines.local.run import run_join
from zipline.engines.local.session import connect, query
from zipline.errors import UsageError
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.fetch.results import Result
from zipline.orchestration.agreement import pairs
from zipline.orchestration.events.tiling import Feed
from zipline.orchestration.local_joins import LocalJoins, take
from zipline.orchestration.upload import publish_upload
from zipline.plan.build import plan_join
from zipline.plan.chaining import parents_of, streamed
from zipline.plan.online import Kept
from zipline.plan.steps import GroupByPlan, JoinPlan, Projection
from zipline.plan.upstream import chained_joins
from zipline.stores.contract import Generation, Store
from zipline.stores.memory import MemoryStore
from zipline.tables.catalog import Catalog, open_catalog
from zipline.tables.columns import quoted
from zipline.tables.rows import to_table

Instant: TypeAlias = dt.datetime | dt.date | str | int


class LocalPlatform:
    """See the module. `tables` are what tables hold before anything is published; columns are known from these."""

    def __init__(
        self, *definitions: Join | GroupBy, tables: Mapping[str, Any] | None = None, store: Store | None = None
    ) -> None:
        for each in definitions:
            if not isinstance(each, Join | GroupBy):
                raise UsageError(f"{each!r} is no definition", valid=("Join", "GroupBy"))
        self._joins = {join.name or "": join for join in definitions if isinstance(join, Join)}
        self._tables: dict[str, pa.Table] = {name: to_table(name, rows) for name, rows in (tables or {}).items()}
        self._store: Store = store or MemoryStore()
        self._plans: dict[str, JoinPlan] = {}
        self._fetches: dict[str, JoinFetch] = {}
        self._feeds: dict[str, Feed] = {}
        self._joined: dict[str, LocalJoins] = {}
        self._read_by: dict[str, frozenset[str]] = {}
        self._uploaded: dict[str, tuple[int, dict[str, pa.Table]]] = {}
        self.now = 0

    def advance(self, to: Instant) -> None:
        """It is later now; UsageError for an earlier time."""
        micros = to_micros(to)
        if micros < self.now:
            raise UsageError("time does not go back")
        self.now = micros
        self._tell()

    def publish(self, table: str, rows: Any) -> None:
        """Rows arrive: in the table, and in the tiles of all group-bys over it. Columns are those the table has since
        its first rows, and so are their types, but of what was null in all of them; one that no row has is null."""
        arrived = to_table(table, rows)
        before = self._tables.get(table)
        if before is not None:
            before = before if self._plans else _with_types(before, arrived.schema)
            arrived = _of_schema(table, arrived, before.schema)
        self._tables[table] = arrived if before is None else pa.concat_tables([before, arrived])
        for joined in reversed(self._joined.values()):  # those first that see features of the others
            joined.publish(table, arrived)
        for name, feed in self._feeds.items():
            if table in self._read_by[name]:
                take(feed, table, arrived)

    def upload(self, day: str) -> list[Generation]:
        """Uploads every group-by as of the end of the day; from then on their tiles are written."""
        end = to_micros(day) + DAY
        done = []
        for kept in self._kept(self._joins):
            name = kept.group_by.name
            done.append(publish_upload(kept, self._catalog(), self._store, name, end))
            self._uploaded[name] = end, dict(self._tables)
        for join in self._joins:
            self.join(join)
        self._tell()
        return done

    def fetch(self, join: str | Join, keys: Sequence[Mapping[str, Any]], at: Instant | None = None) -> Result:
        """The features of these keys, by default now."""
        return self.join(join).fetch(keys, self.now if at is None else to_micros(at))

    def join(self, join: str | Join) -> JoinFetch:
        """What fetches a join."""
        name = self._name(join)
        if name not in self._fetches:
            plan, definition = self._plan(name), self._joins[name]
            self._fetches[name] = join_fetch(plan, definition, self._store, lambda kept: kept.group_by.name)
            for kept in self._kept([name]):
                self._write_tiles(kept)
        return self._fetches[name]

    def backfill(self, join: str | Join, *, training: bool = True) -> pa.Table:
        """The join's output over all that was published."""
        return run_join(self._plan(self._name(join)), self._catalog(), training=training).table

    def assert_online_equals_offline(
        self, join: str | Join, at: Instant | None = None, keys: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        """Fetches `keys` (by default those of the left rows) and compares each part's features with a backfill.

        The backfill sees what had arrived: of what became available before the upload's end, what the upload read, and
        the snapshots of that day and before. Features
        that are `stale` or `unavailable` are permitted to differ, and are not compared. Values are equal, floats to
        1e-9 of the greater. Gives the number of values compared; AssertionError names the first that differs.
        """
        plan = self._plan(self._name(join))
        q = self.now if at is None else to_micros(at)
        rows = list(keys) if keys is not None else self._all_keys(plan)
        found = self.fetch(join, rows, at=q)
        compared = 0
        for pair in pairs(plan, rows, found, q, self._arrived):
            if pair.status in ("stale", "unavailable"):
                continue
            if not pair.is_alike:
                raise AssertionError(
                    f"{pair.feature} of {rows[pair.row]} at {to_text(q)}: online {pair.online!r} ({pair.status}), "
                    f"offline {pair.offline!r}"
                )
            compared += 1
        return compared

    def _arrived(self, plan: GroupByPlan) -> Catalog:
        """What the store was given of the sources: what the upload read, and what came later with later times."""
        if plan.name not in self._uploaded:
            return self._catalog()
        end, before = self._uploaded[plan.name]
        tables = dict(self._tables)
        kept = Kept(plan)
        for source in kept.streams if kept.has_tiles or not plan.is_entity else ():
            if source.table in before:
                later = tables[source.table].slice(before[source.table].num_rows)
                tables[source.table] = pa.concat_tables([before[source.table], _available_from(source, later, end)])
        for source in plan.sources if kept.is_signed else ():
            if source.table in before:
                tables[source.table] = _snapshots_before(source, before[source.table], end)
        return open_catalog(tables)

    def _all_keys(self, plan: JoinPlan) -> list[Mapping[str, Any]]:
        left = run_join(plan, self._catalog(), training=False).table
        names = list(dict.fromkeys(key for part in plan.parts for key in part.left_keys))
        found: list[Mapping[str, Any]] = left.select(names).group_by(names).aggregate([]).to_pylist()
        return found

    def _name(self, join: str | Join) -> str:
        name = join if isinstance(join, str) else join.name or ""
        if name not in self._joins:
            raise UsageError(f"there is no join {name!r} here", asked=name, valid=self._joins)
        return name

    def _plan(self, name: str) -> JoinPlan:
        if name not in self._plans:
            catalog = self._catalog()
            self._plans[name] = plan_join(self._joins[name], lambda table: catalog.table(table).schema)
        return self._plans[name]

    def _kept(self, joins: Iterable[str]) -> list[Kept]:
        """The group-bys of joins; those of the joins that one of them aggregates with tiles come before it."""
        found: dict[str, GroupByPlan] = {}
        for name in joins:
            for plan in _group_bys(self._plan(name)):
                above = parents_of(plan.sources) if Kept(plan).has_tiles else ()
                found |= {each.name: each for parent in above for each in _group_bys(parent)}
                found[plan.name] = plan
        return [Kept(plan) for plan in found.values()]

    def _write_tiles(self, kept: Kept) -> None:
        """From now on tiles of the group-by are written, of what was published so far too. Where a join's left is one
        of entities there are none: what is over it is as of its upload."""
        name, kept = kept.group_by.name, Kept(streamed(kept.group_by))
        sources = kept.streams
        is_streamed = all(source.parent is None or _left(source).time is not None for source in sources)
        if not kept.has_tiles or not is_streamed or name in self._feeds:
            return
        # Ids of events are remembered for good: time here goes on only by `advance`.
        self._feeds[name] = feed = Feed(kept, self._store, name, clock=lambda: 0)
        self._read_by[name] = frozenset(source.table for source in sources)
        for table in self._read_by[name] & self._tables.keys():
            take(feed, table, self._tables[table])
        if any(source.parent for source in sources):
            defined = self._definition(name)
            schema = self._catalog()
            self._joined[name] = joined = LocalJoins(
                defined, kept, feed, self._store, lambda table: schema.table(table).schema, lambda: self.now
            )
            for table in joined.lefts:
                joined.publish(table, self._tables[table])
        self._tell()

    def _tell(self) -> None:
        """Says that all is in the tiles, but of those for which rows wait."""
        for name, feed in self._feeds.items():
            joined = self._joined.get(name)
            if joined is not None:
                joined.make()
            if joined is None or joined.is_through:
                feed.progress(self.now, is_all=True)

    def _definition(self, group_by: str) -> GroupBy:
        joins = [*self._joins.values(), *(above for join in self._joins.values() for above in chained_joins(join))]
        found = {part.source.title: part.source for join in joins for part in join.parts}
        definition = found[group_by]
        assert isinstance(definition, GroupBy)
        return definition

    def _catalog(self) -> Catalog:
        return open_catalog(self._tables)


def _with_types(rows: pa.Table, later: pa.Schema) -> pa.Table:
    """Columns in which there was nothing but null so far are of the type of what comes later."""
    types = {field.name: field.type for field in later}
    fields = [
        field.with_type(types.get(field.name, field.type)) if pa.types.is_null(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def _of_schema(table: str, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    unknown = [name for name in rows.column_names if name not in schema.names]
    if unknown:
        raise UsageError(f"the table {table!r} has no column {unknown[0]!r}", asked=unknown[0], valid=schema.names)
    columns = []
    for field in schema:
        column = rows.column(field.name) if field.name in rows.column_names else pa.nulls(rows.num_rows)
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException as wrong:
            what = f"the column {field.name!r} of the table {table!r} is {field.type}: {wrong}"
            is_unknown = "null" in str(field.type)
            hint = "all of the first rows were null in it, or empty: give them as an Arrow table, with its type"
            raise UsageError(what, hint=hint if is_unknown else None) from None
    return pa.table(columns, schema=schema)


def _left(source: Projection) -> Projection:
    """What is read at the beginning of a chain of joins."""
    while source.parent is not None:
        source = source.parent.left
    return source


def _group_bys(plan: JoinPlan) -> list[GroupByPlan]:
    return [part.group_by for part in plan.parts if part.external is None]


def _available_from(source: Projection, rows: pa.Table, start: int) -> pa.Table:
    """The rows of a source's table that became available at `start` or later."""
    asked = (source.mutation_time,) if source.mutation_time else (source.time, source.known_at)
    clocks = [f"CAST({clock.sql('duckdb')} AS TIMESTAMPTZ)" for clock in asked if clock]
    return _filtered(source, rows, f"greatest({', '.join(clocks)}) >= make_timestamptz({start})")


def _snapshots_before(source: Projection, rows: pa.Table, end: int) -> pa.Table:
    """The rows of the snapshots of the days before the midnight `end`."""
    return _filtered(source, rows, f"CAST({quoted(source.partition or '')} AS DATE) < DATE '{day_text(end)}'")


def _filtered(source: Projection, rows: pa.Table, condition: str) -> pa.Table:
    connection = connect()
    try:
        connection.register("arrived", rows)
        return query(connection, f"SELECT * FROM arrived WHERE {condition}", source.table).cast(rows.schema)
    finally:
        connection.close()
