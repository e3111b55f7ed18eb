"""Where rows come from: tables, streams, snapshots, other joins, and what is read of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zipline.api import fields
from zipline.api.base import Definition, FrozenMap, Wrong, checked, definition

if TYPE_CHECKING:
    from zipline.api.join import Join

_optional_text = fields.optional(fields.text)
_optional_day = fields.optional(fields.day)
_CHANGES = "debezium-json"
_COLUMN = re.compile(r'[A-Za-z_]\w*|"[^"]+"')


def _select(value: Any) -> FrozenMap | None:
    if value is None:
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        names = [fields.text(column) for column in value]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise Wrong(f"selects {twice!r} twice", hint="take one of them out")
        value = {name: name for name in names}
    selected: FrozenMap = fields.mapping(fields.text)(value)
    if not selected:
        raise Wrong("selects no column", hint="select=None takes every column")
    return selected


@definition
class Query(Definition):
    """What is read of a table: columns as SQL expressions of the portable subset, conditions, clocks, bounds.

    `select` maps output column to expression (a list of names takes them as they are; None takes every column).
    `where` lists conditions that must all hold. `time`, `known_at`, `event_id`, `mutation_time` and `is_before` are
    expressions over the table's own columns. `start` and `end` bound the partitions, both inclusive.
    """

    select: Mapping[str, str] | Sequence[str] | None = checked(_select, None)
    where: Sequence[str] = checked(fields.several(fields.text), ())
    time: str | None = checked(_optional_text, None)
    known_at: str | None = checked(_optional_text, None)
    event_id: str | None = checked(_optional_text, None)
    partition: str = checked(fields.text, "ds")
    start: str | None = checked(_optional_day, None)
    end: str | None = checked(_optional_day, None)
    mutation_time: str | None = checked(_optional_text, None)
    is_before: str | None = checked(_optional_text, None)

    def _validate(self) -> None:
        if self.start and self.end and self.start > self.end:
            raise self.wrong(f"start {self.start} is after end {self.end}")
        if self.known_at and not self.time:
            raise self.wrong("known_at needs time: the first clock says when, the second when it was known")

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The selected columns in order, or None where every column is taken."""
        return None if self.select is None else tuple(self.select)


@definition
class Topic(Definition):
    """A stream that carries the same rows as a table; `lateness` is how late an event may come and still be tiled.

    `format` is "json", an object with the table's columns for each event, or "debezium-json", for the topic of an
    entity: changes as Debezium tells them. Then the envelope gives the columns that the query's `mutation_time` and
    `is_before` name, and no row may have them; updates and deletes need the row as it was (REPLICA IDENTITY FULL in
    PostgreSQL), decimals have to be numbers or text (`decimal.handling.mode` "string" or "double"), and instants ISO
    8601 text or whole microseconds.
    """

    name: str = checked(fields.text)
    format: str = checked(fields.one_of("json", _CHANGES), "json")
    lateness: str = checked(fields.duration, "1d")


_query = fields.instance(Query)
_topic = fields.optional(fields.instance(Topic))


@definition
class StagingQuery(Definition):
    """A table made by SQL: one SELECT (or WITH) over other tables, named as they are or quoted.

    `{{ start_date }}` and `{{ end_date }}` stand for the days asked for, both inclusive, as quoted text; a query that
    uses them is run in steps of days and must give a column `ds`, the day of each row, within them. A query without
    them is one table, made anew as a whole. `{{ latest_date(table) }}` is the newest day of a table's column `ds`, and
    `{{ latest_date(table, column) }}` of another column. `start` is the first day of output.

    A source reads it by object, `EventSource(table=busy_days)`, or by name.
    """

    sql: str = checked(fields.text)
    start: str | None = checked(_optional_day, None)
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())


def table_name(table: str | StagingQuery) -> str:
    """The name under which a source's table is read: a staging query's own, where one makes it."""
    return table if isinstance(table, str) else table.title


def _table(value: Any) -> Any:
    return value if isinstance(value, StagingQuery) else fields.text(value)


@definition
class EventSource(Definition):
    """Rows that happened at a time, in a table of the warehouse (or a path), and optionally also in a topic."""

    table: str | StagingQuery = checked(_table)
    query: Query = checked(_query, Query())
    topic: Topic | None = checked(_topic, None)
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())

    def _validate(self) -> None:
        if self.query.mutation_time or self.query.is_before:
            raise self.wrong("mutation_time and is_before belong to an EntitySource")
        if self.topic and self.topic.format == _CHANGES:
            raise self.wrong(
                f"a topic of the format {_CHANGES} carries changes, which are those of an EntitySource",
                hint="EntitySource(snapshots, mutations=..., topic=..., query=Query(mutation_time=..., is_before=...))",
            )

    @property
    def table_name(self) -> str:
        return table_name(self.table)


@definition
class EntitySource(Definition):
    """The state of entities: a daily dump, and optionally the changes between dumps, which a topic may carry too."""

    snapshots: str | StagingQuery = checked(_table)
    query: Query = checked(_query, Query())
    mutations: str | StagingQuery | None = checked(fields.optional(_table), None)
    topic: Topic | None = checked(_topic, None)
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())

    def _validate(self) -> None:
        if (self.mutations is None) != (self.query.mutation_time is None):
            raise self.wrong("mutations and query.mutation_time go together: the changes, and when each was made")
        if self.mutations and not self.query.is_before:
            raise self.wrong("mutations need query.is_before: true on the row that a change took away")
        if self.topic and not self.mutations:
            raise self.wrong(
                "the topic of an entity carries its changes, and it has none",
                hint='say where they are kept: EntitySource(mutations="...")',
            )
        if self.topic and self.topic.format == _CHANGES:
            self._check_clocks()
        if self.query.known_at:
            raise self.wrong(
                "an entity has no known_at: a snapshot is known at its day's end, a change at its mutation_time"
            )

    @property
    def table_name(self) -> str:
        return table_name(self.snapshots)

    def _check_clocks(self) -> None:
        for name in ("mutation_time", "is_before"):
            if not _COLUMN.fullmatch(getattr(self.query, name).strip()):
                raise self.wrong(
                    f"the envelope of {_CHANGES} fills the column of query.{name}, which is none: "
                    f"{getattr(self.query, name)}",
                    hint=f'name a column of the mutations: Query({name}="...")',
                )

    @property
    def mutations_name(self) -> str | None:
        return None if self.mutations is None else table_name(self.mutations)


@definition
class JoinSource(Definition):
    """The output of a join as the source of a group-by, or as the left of another join.

    Every row of the join is there with all its columns but labels, which are the future. A row happens at its query
    time unless the query's `time` names another. `start` and `end` bound the day of the join's rows (`ds`).
    """

    join: Join = checked(lambda value: _a_join(value))
    query: Query = checked(_query, Query())
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())


def _a_join(value: Any) -> Any:
    from zipline.api.join import Join

    return fields.instance(Join)(value)


def _handler(value: Any) -> Any:
    if not callable(value) and not isinstance(value, str):
        raise Wrong(f"expected a Python callable or the URL of an HTTP handler, got {value!r}")
    return value


@definition
class ExternalSource(Definition):
    """Features fetched at request time from elsewhere; `offline` is the group-by that stands for it in training.

    `keys` and `values` map column to SQL type. Offline the values are the columns of these names of `offline`, a
    group-by by the same keys, in the declared types; without it they are what bootstrap gives, else null.
    """

    keys: Mapping[str, str] = checked(fields.mapping(fields.text))
    values: Mapping[str, str] = checked(fields.mapping(fields.text))
    handler: Callable[..., Any] | str = checked(_handler)
    offline: Any = checked(lambda value: _a_group_by(value), None)
    timeout: str = checked(fields.duration, "50ms")
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())

    @property
    def short_name(self) -> str | None:
        return getattr(self, "_short_name", None) or (self.name.rsplit(".", 1)[-1] if self.name else None)


def _a_group_by(value: Any) -> Any:
    from zipline.api.group_by import GroupBy

    return fields.optional(fields.instance(GroupBy))(value)


Source = EventSource | EntitySource | JoinSource
