"""What takes events: the tables of the sources that have a topic, and the group-bys whose tiles see them.

The events of an entity are its changes: they are rows of its table of mutations, and happen when they are made. Events
reach a group-by's tiles where it is online and TEMPORAL. They are appended to a table that this environment writes
itself: a Delta table of its warehouse that no staging query makes.

The rows of a join that a group-by aggregates come with the events of the join's left, at the end of however many joins:
that one's table takes events, and those between are `EnrichedTable`s, to which nobody can post.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from zipline.api import EventSource, GroupBy, Join, JoinSource
from zipline.api.sources import Source
from zipline.errors import TableError, UsageError
from zipline.orchestration.events.journal import Journal
from zipline.orchestration.events.tables import EnrichedTable, EventTable, Streamed, chain_of, enriched_tables
from zipline.plan.build import Planned
from zipline.plan.chaining import streamed
from zipline.plan.definitions import Definitions
from zipline.plan.online import Kept
from zipline.plan.upstream import chained_joins
from zipline.project import EMBEDDED, Project
from zipline.tables.catalog import Catalog
from zipline.tables.delta_source import DeltaSource
from zipline.values import dataclass


@dataclass(frozen=True, eq=False)
class EventSources:
    """The tables that take events, the group-bys with tiles over them, and the joins that these aggregate, those that
    others read first."""

    tables: Mapping[str, EventTable]
    group_bys: tuple[Kept, ...]
    enriched: tuple[EnrichedTable, ...] = ()

    @property
    def all_tables(self) -> dict[str, EventTable]:
        """Those of which rows come one by one, whoever sends them."""
        return {**self.tables, **{table.name: table for table in self.enriched}}

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
    joined: dict[str, list[Streamed]] = {}
    fed: list[Kept] = []
    for group_by, tables_of in of:
        if wanted.isdisjoint(tables_of):
            continue
        kept = Kept(streamed(planned.group_by(group_by)))
        streams = list(zip(group_by.sources, kept.streams, strict=True))
        is_fed = group_by.online and kept.has_tiles and len(tables_of) == len(streams)
        for source, projection in streams:
            first, *above = chain_of(source, projection)
            if _event_table(source) is not None and all(first[1] is not known for _, known in found[first[1].table]):
                found[first[1].table].append(first)
            for each in above if is_fed else ():
                joined.setdefault(each[1].table, []).append(each)
        if is_fed:
            fed.append(kept)
    tables = {name: _table(project, catalog, name, sources) for name, sources in found.items()}
    return EventSources(tables, tuple(fed), tuple(enriched_tables(joined.values(), tables)))


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
    """Of each of its sources that have a topic, the table of the rows that this carries; of a join that of its left."""
    found = (_event_table(source) for source in group_by.sources)
    return [name for name in found if name is not None]


def event_tables_below(group_by: GroupBy) -> list[str]:
    """The tables that take events of all that it is made of, the parts of the joins that it aggregates too."""
    parts = (part.source for join in chained_joins(group_by) for part in join.parts)
    every = [group_by, *(each for each in parts if isinstance(each, GroupBy))]
    return list(dict.fromkeys(name for each in every for name in event_tables_of(each)))


def _event_table(source: Source) -> str | None:
    if isinstance(source, JoinSource):
        while isinstance(source, JoinSource):
            source = source.join.left
        return source.table_name if isinstance(source, EventSource) and source.topic is not None else None
    if source.topic is None:
        return None
    return source.table_name if isinstance(source, EventSource) else source.mutations_name


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
