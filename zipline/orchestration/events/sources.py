"""What takes events: the tables of the sources that have a topic, and the group-bys whose tiles see them.

The events of an entity are its changes: they are rows of its table of mutations, and happen when they are made. Events
reach a group-by's tiles where it is online and TEMPORAL. They are appended to a table that this environment writes
itself: a Delta table of its warehouse that no staging query makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import pyarrow as pa

from zipline.api import EntitySource, EventSource, GroupBy, Join, JoinSource
from zipline.api.fields import duration_micros
from zipline.api.sources import Source
from zipline.clock import DAY
from zipline.errors import DataError, TableError, UsageError
from zipline.expressions import Expression
from zipline.expressions.nodes import Column
from zipline.orchestration.events.arrived import values_of
from zipline.orchestration.events.intake import Intake
from zipline.orchestration.events.journal import Journal
from zipline.orchestration.events.logs import CHANGES, EVENTS
from zipline.plan.build import Planned
from zipline.plan.definitions import Definitions
from zipline.plan.online import Kept
from zipline.plan.steps import Projection
from zipline.project import EMBEDDED, Project
from zipline.tables.catalog import Catalog
from zipline.tables.delta_source import DeltaSource
from zipline.types import BOOLEAN, DataType
from zipline.values import dataclass

Streamed: TypeAlias = tuple[EventSource | EntitySource, Projection]
"""A source that has a topic, and what is read of the rows that this carries."""
EXACTLY_ONCE, AT_LEAST_ONCE = "exactly-once", "at-least-once"


@dataclass(frozen=True, eq=False)
class EventTable:
    """A table that takes events. `uri` is where they are appended; None with the reason in `refused`."""

    name: str
    schema: Mapping[str, DataType]
    sources: tuple[Streamed, ...]
    uri: str | None
    refused: str

    @property
    def topics(self) -> dict[str, str]:
        """Name -> format of those that carry its events; UsageError where a topic is said to have two."""
        found: dict[str, str] = {}
        for topic in (source.topic for source, _ in self.sources if source.topic):
            if found.setdefault(topic.name, topic.format) != topic.format:
                raise UsageError(
                    f"the topic {topic.name!r} is said to have the formats {found[topic.name]} and {topic.format}",
                    subject=self.name,
                )
        return found

    @property
    def format(self) -> str:
        """That of its topics, which a file in their place has too; UsageError where they have several."""
        formats = sorted(set(self.topics.values()))
        if len(formats) > 1:
            raise UsageError(
                f"its topics have several formats ({', '.join(formats)}), so that of a file is not known",
                subject=self.name,
            )
        return formats[0] if formats else EVENTS

    @property
    def lateness(self) -> int:
        """How late an event may come without being counted as late."""
        return min((duration_micros(s.topic.lateness) for s, _ in self.sources if s.topic), default=DAY)

    @property
    def time(self) -> Expression:
        """When an event happened; of several sources the first says it."""
        found = _clock(self.sources[0][1])
        assert found is not None, "events and changes have a time"
        return found

    @property
    def partition(self) -> str | None:
        return self.sources[0][1].partition

    @property
    def event_id(self) -> Expression | None:
        """The id of an event where all sources agree on one: then the table keeps each event once."""
        ids = {each.event_id.text: each.event_id for _, each in self.sources if each.event_id is not None}
        has_all = all(each.event_id is not None for _, each in self.sources)
        return next(iter(ids.values())) if has_all and len(ids) == 1 else None

    def check(self, rows: pa.Table) -> None:
        """DataError where a change does not say which way it goes: no reader could take it."""
        for is_before in {each.is_before.text: each.is_before for _, each in self.sources if each.is_before}.values():
            if values_of(is_before, rows, self.name, BOOLEAN).null_count:
                raise DataError(f"{is_before.text} is null", subject=self.name)

    @property
    def delivery(self) -> str:
        """What a sender can rely on who sends again what was not answered."""
        return EXACTLY_ONCE if all(each.event_id is not None for _, each in self.sources) else AT_LEAST_ONCE

    @cached_property
    def intake(self) -> Intake:
        """What checks its events."""
        each = [_required(projection) for _, projection in self.sources]
        required = frozenset.intersection(*each) if each else frozenset[str]()
        sources = [each for _, each in self.sources]
        return Intake(self.name, self.schema, required, self.partition, sources, self._envelope())

    def _envelope(self) -> tuple[str, str] | None:
        """The columns that the envelope of a change fills: when it was made, and whether it took the row away."""
        found = {
            (_name(each.mutation_time), _name(each.is_before))
            for source, each in self.sources
            if source.topic and source.topic.format == CHANGES
        }
        if len(found) > 1:
            raise UsageError(
                "the envelope of its changes fills mutation_time and is_before, and its sources do not agree which "
                f"columns these are: {sorted(found)}",
                subject=self.name,
            )
        return next(iter(found), None)

    def check_appendable(self) -> str:
        """Where events are appended; TableError says why they cannot be."""
        if self.uri is None:
            raise TableError(
                f"events cannot be appended to {self.name!r}: {self.refused}",
                hint="keep it as a Delta table of the project's warehouse, or feed tiles only",
                next_command=f"zipline stream {self.name} --tiles-only",
            )
        return self.uri


@dataclass(frozen=True, eq=False)
class EventSources:
    """The tables that take events, and the group-bys with tiles over them."""

    tables: Mapping[str, EventTable]
    group_bys: tuple[Kept, ...]

    def table(self, name: str) -> EventTable:
        """UsageError names those that there are."""
        _check_known([name], self.tables)
        return self.tables[name]


def event_sources(
    project: Project, definitions: Definitions, catalog: Catalog, only: Sequence[str] = ()
) -> EventSources:
    """What of a project takes events. With `only` these tables, and those beside them in a group-by."""
    of = [(group_by, event_tables_of(group_by)) for group_by in definitions.group_bys]
    names = list(dict.fromkeys(table for _, tables in of for table in tables))
    _check_known(only, names)
    wanted = _closed(only, [tables for _, tables in of]) if only else set(names)
    planned = Planned(lambda table: catalog.table(table).schema)
    found: dict[str, list[Streamed]] = {name: [] for name in names if name in wanted}
    fed: list[Kept] = []
    for group_by, tables_of in of:
        if wanted.isdisjoint(tables_of):
            continue
        kept = Kept(planned.group_by(group_by))
        streams = list(zip(group_by.sources, kept.streams, strict=True))
        for source, projection in streams:
            if not isinstance(source, JoinSource) and source.topic is not None:
                found[projection.table].append((source, projection))
        if group_by.online and kept.has_tiles and len(tables_of) == len(streams):
            fed.append(kept)
    tables = {name: _table(project, catalog, name, sources) for name, sources in found.items()}
    return EventSources(tables, tuple(fed))


def tables_with_topics(definitions: Definitions) -> list[str]:
    """The names of the tables that take events, of which nothing is looked at yet."""
    return list(dict.fromkeys(name for group_by in definitions.group_bys for name in event_tables_of(group_by)))


def named_tables(definitions: Definitions, names: Sequence[str]) -> list[str]:
    """The tables that take events behind names of tables, group-bys and joins; UsageError for what is none of them."""
    tables = tables_with_topics(definitions)
    found: list[str] = []
    for name in names:
        definition = None if name in tables else definitions.get(name)
        if definition is None and name not in tables:
            streamed = [name for name, each in definitions.items() if _streamed(each)]
            raise UsageError(
                f"there is no source, group-by or join {name!r} that takes events",
                asked=name,
                valid=[*tables, *streamed],
            )
        own = [name] if definition is None else _streamed(definition)
        if not own:
            raise UsageError(f"no source of {name} has a topic", hint="EventSource(table, topic=Topic(...))")
        found += own
    return list(dict.fromkeys(found))


def _streamed(definition: object) -> list[str]:
    """The tables of a group-by's sources, or of a join's parts, that take events."""
    parts = [part.source for part in definition.parts] if isinstance(definition, Join) else [definition]
    return [table for part in parts if isinstance(part, GroupBy) for table in event_tables_of(part)]


def event_tables_of(group_by: GroupBy) -> list[str]:
    """Of each of its sources that have a topic, the table of the rows that this carries."""
    found = (_event_table(source) for source in group_by.sources)
    return [name for name in found if name is not None]


def _event_table(source: Source) -> str | None:
    if isinstance(source, JoinSource) or source.topic is None:
        return None
    return source.table_name if isinstance(source, EventSource) else source.mutations_name


def _clock(projection: Projection) -> Expression | None:
    """When a row became an event."""
    return projection.mutation_time or projection.time


def _required(projection: Projection) -> frozenset[str]:
    """The columns that may not be null: those of the clock, and the one that says which way a change goes."""
    clock, way = _clock(projection), projection.is_before
    found: frozenset[str] = clock.columns if clock is not None else frozenset()
    return found | way.columns if way is not None and isinstance(way.node, Column) else found


def _name(expression: Expression | None) -> str:
    """Of a clock that is a plain column, which a definition has made sure of."""
    assert expression is not None
    assert isinstance(expression.node, Column)
    return expression.node.name


def journal_of(project: Project, table: str) -> Journal:
    """Where the environment keeps what is posted to a source."""
    return Journal(folder_of(project, table))


def folder_of(project: Project, table: str) -> Path:
    """What the environment keeps of a source's events, beside its warehouse."""
    name = quote(project.table_prefix + table, safe=" ._-")
    return project.root / EMBEDDED / "events" / (f"%2E{name[1:]}" if name.startswith(".") else name)


def _check_known(names: Iterable[str], valid: Iterable[str]) -> None:
    known = tuple(valid)
    for name in names:
        if name not in known:
            raise UsageError(
                f"there is no source {name!r} that takes events",
                asked=name,
                valid=known,
                hint="a source takes events where it has a topic: EventSource(table, topic=Topic(...)), "
                "an entity those of its mutations",
            )


def _closed(only: Iterable[str], groups: Iterable[list[str]]) -> set[str]:
    """The tables, and those that a group-by needs beside them: its progress is the least of all its sources."""
    wanted = set(only)
    sets = [set(tables) for tables in groups]
    while more := {name for each in sets if each & wanted for name in each} - wanted:
        wanted |= more
    return wanted


def _table(project: Project, catalog: Catalog, name: str, sources: list[Streamed]) -> EventTable:
    table = catalog.table(name)
    if not table.schema:
        raise TableError(
            f"the table {name!r} is empty, so the columns of its events are not known",
            hint="write it with its columns first",
        )
    uri, refused = project.table_uri(name), ""
    if any(projection.made_by for _, projection in sources):
        refused = "a staging query makes it"
    elif not isinstance(table, DeltaSource) or table.uri.rstrip("/") != uri:
        refused = f"it is no Delta table that the environment {project.environment!r} writes itself ({uri})"
    return EventTable(name, table.schema, tuple(sources), None if refused else uri, refused)
