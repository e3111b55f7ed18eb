"""What takes events: the tables of the sources that have a topic, and the group-bys whose tiles see them.

Events reach a group-by's tiles where it is online, TEMPORAL, over events, and aggregates. They are appended to a table
that this environment writes itself: a Delta table of its warehouse that no staging query makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from zipline.api import EventSource, GroupBy, StagingQuery
from zipline.api.fields import duration_micros
from zipline.clock import DAY
from zipline.errors import TableError, UsageError
from zipline.expressions import Expression
from zipline.orchestration.events.intake import Intake
from zipline.orchestration.events.journal import Journal
from zipline.plan.build import Planned
from zipline.plan.definitions import Definitions
from zipline.plan.online import Kept
from zipline.plan.steps import Projection
from zipline.project import EMBEDDED, Project
from zipline.tables.catalog import Catalog
from zipline.tables.delta_source import DeltaSource
from zipline.types import DataType
from zipline.values import dataclass

EXACTLY_ONCE, AT_LEAST_ONCE = "exactly-once", "at-least-once"


@dataclass(frozen=True, eq=False)
class EventTable:
    """A table that takes events. `uri` is where they are appended; None with the reason in `refused`."""

    name: str
    schema: Mapping[str, DataType]
    sources: tuple[tuple[EventSource, Projection], ...]
    uri: str | None
    refused: str

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source.topic.name for source, _ in self.sources if source.topic))

    @property
    def lateness(self) -> int:
        """How late an event may come without being counted as late."""
        return min((duration_micros(s.topic.lateness) for s, _ in self.sources if s.topic), default=DAY)

    @property
    def time(self) -> Expression:
        """When an event happened; of several sources the first says it."""
        found = self.sources[0][1].time
        assert found is not None, "a group-by over events has a time"
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

    @property
    def delivery(self) -> str:
        """What a sender can rely on who sends again what was not answered."""
        return EXACTLY_ONCE if all(each.event_id is not None for _, each in self.sources) else AT_LEAST_ONCE

    @cached_property
    def intake(self) -> Intake:
        """What checks its events."""
        times = [each.time.columns for _, each in self.sources if each.time is not None]
        required = frozenset.intersection(*times) if times else frozenset()
        return Intake(self.name, self.schema, required, self.partition, [each for _, each in self.sources])

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
    of = [(group_by, _sources_of(group_by)) for group_by in definitions.group_bys]
    names = list(dict.fromkeys(source.table_name for _, sources in of for source in sources))
    _check_known(only, names)
    wanted = _closed(only, [sources for _, sources in of]) if only else set(names)
    planned = Planned(lambda table: catalog.table(table).schema)
    found: dict[str, list[tuple[EventSource, Projection]]] = {name: [] for name in names if name in wanted}
    fed: list[Kept] = []
    for group_by, sources in of:
        if not any(source.table_name in wanted for source in sources):
            continue
        kept = Kept(planned.group_by(group_by))
        for source, projection in zip(group_by.sources, kept.group_by.sources, strict=True):
            if isinstance(source, EventSource) and source.topic is not None:
                found[source.table_name].append((source, projection))
        if group_by.online and kept.has_tiles and len(sources) == len(group_by.sources):
            fed.append(kept)
    tables = {name: _table(project, catalog, name, sources) for name, sources in found.items()}
    return EventSources(tables, tuple(fed))


def tables_with_topics(definitions: Definitions) -> list[str]:
    """The names of the tables that take events, of which nothing is looked at yet."""
    sources = (source for group_by in definitions.group_bys for source in _sources_of(group_by))
    return list(dict.fromkeys(source.table_name for source in sources))


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
                hint="a source takes events where it has a topic: EventSource(table, topic=Topic(...))",
            )


def _sources_of(group_by: GroupBy) -> list[EventSource]:
    return [source for source in group_by.sources if isinstance(source, EventSource) and source.topic is not None]


def _closed(only: Iterable[str], groups: Iterable[list[EventSource]]) -> set[str]:
    """The tables, and those that a group-by needs beside them: its progress is the least of all its sources."""
    wanted = set(only)
    sets = [{source.table_name for source in sources} for sources in groups]
    while more := {name for each in sets if each & wanted for name in each} - wanted:
        wanted |= more
    return wanted


def _table(project: Project, catalog: Catalog, name: str, sources: list[tuple[EventSource, Projection]]) -> EventTable:
    table = catalog.table(name)
    if not table.schema:
        raise TableError(
            f"the table {name!r} is empty, so the columns of its events are not known",
            hint="write it with its columns first",
        )
    uri, refused = project.table_uri(name), ""
    if any(isinstance(source.table, StagingQuery) for source, _ in sources):
        refused = "a staging query makes it"
    elif not isinstance(table, DeltaSource) or table.uri.rstrip("/") != uri:
        refused = f"it is no Delta table that the environment {project.environment!r} writes itself ({uri})"
    return EventTable(name, table.schema, tuple(sources), None if refused else uri, refused)
