"""One state of a project's definitions, as it is to be online: versions of group-bys, and streaming jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from zipline.api import GroupBy
from zipline.fetch.applied import Packed, pack, unpack
from zipline.orchestration.events.sources import EventSources, event_sources, tables_with_topics
from zipline.orchestration.events.standing import FLINK
from zipline.orchestration.streaming.jobs import StreamJob, stream_job
from zipline.plan.build import Planned
from zipline.plan.definitions import Definitions, load
from zipline.plan.online import Kept
from zipline.project import Project
from zipline.stores.opening import space_of
from zipline.tables.catalog import Catalog
from zipline.values import dataclass


@dataclass(frozen=True, eq=False)
class Version:
    """A group-by as it is defined now, and the space in which this version lies."""

    kept: Kept
    space: str

    @property
    def name(self) -> str:
        return self.kept.group_by.name


@dataclass(frozen=True, eq=False)
class State:
    """See the module. `folder` has the files as they are packed, whatever becomes of the project's own."""

    packed: Packed
    folder: Path
    definitions: Definitions
    versions: tuple[Version, ...]
    sources: EventSources
    jobs: tuple[StreamJob, ...]

    @property
    def streamed(self) -> tuple[Version, ...]:
        """The versions that have tiles."""
        names = {kept.group_by.name for kept in self.sources.group_bys}
        return tuple(version for version in self.versions if version.name in names)


def state_of(project: Project, catalog: Catalog) -> State:
    """That of the project's files; DefinitionError for what cannot be planned, a join that is online too."""
    files = project.root / project.configs
    definitions, packed = load(files), pack(files)
    folder = unpack(project, packed)
    planned = Planned(lambda table: catalog.table(table).schema)
    for join in definitions.joins:
        if join.online:
            planned.join(join)
    wanted = [Kept(planned.group_by(each)) for each in definitions.of(GroupBy) if each.online]
    has_topics = bool(tables_with_topics(definitions))
    sources = event_sources(project, definitions, catalog) if has_topics else EventSources({}, ())
    parts = [part for part in divided(sources) if part.group_bys]
    return State(
        packed,
        folder,
        definitions,
        tuple(Version(kept, space_of(project, kept)) for kept in wanted),
        sources,
        tuple(stream_job(project, part) for part in parts) if project.stream_engine == FLINK else (),
    )


def divided(sources: EventSources) -> Iterator[EventSources]:
    """The tables that share no group-by, each with its own: what can be streamed without the others."""
    every = [tables_of(sources, kept) for kept in sources.group_bys]
    left = dict(sources.tables)
    while left:
        own = {next(iter(left))}
        while more := {name for tables in every if own & tables for name in tables} - own:
            own |= more
        tables = {name: left.pop(name) for name in list(left) if name in own}
        pairs = zip(sources.group_bys, every, strict=True)
        yield narrowed(EventSources(tables, tuple(kept for kept, of in pairs if of & own), sources.enriched))


def narrowed(sources: EventSources) -> EventSources:
    """Without the joins that none of the group-bys aggregates."""
    read = {projection.table for kept in sources.group_bys for projection in kept.streams}
    for table in reversed(sources.enriched):
        read |= {table.left.name} if table.name in read else set()
    return replace(sources, enriched=tuple(table for table in sources.enriched if table.name in read))


def tables_of(sources: EventSources, kept: Kept) -> set[str]:
    """The tables whose events reach a group-by, through joins too."""
    lefts = {table.name: table.left.name for table in sources.enriched}
    found = set()
    for projection in kept.streams:
        name = projection.table
        while name in lefts:
            name = lefts[name]
        found.add(name)
    return found
