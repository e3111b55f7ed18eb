"""A project's stream: which logs, feeds and appenders, and the locks by which a group-by's tiles have one writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

from zipline.clock import now
from zipline.errors import LockedError, ProjectError, UsageError
from zipline.fetch.applied import served_definitions
from zipline.fetch.caching import FetchCache
from zipline.fetch.joins import join_fetch
from zipline.orchestration.events.appending import Appender
from zipline.orchestration.events.decoding import DeadLetters
from zipline.orchestration.events.enriching import EnrichedLog, Enricher
from zipline.orchestration.events.logs import Clock, FileLog, JournalLog, Log
from zipline.orchestration.events.sources import (
    EventSources,
    event_sources,
    folder_of,
    journal_of,
    tables_with_topics,
)
from zipline.orchestration.events.stream import Stream
from zipline.orchestration.events.tables import EnrichedTable, EventTable
from zipline.orchestration.events.tiling import Feed
from zipline.plan.definitions import Definitions
from zipline.project import Project
from zipline.registry import Lock, Registry, open_registry
from zipline.stores.contract import Store
from zipline.stores.opening import open_store, space_of
from zipline.tables.catalog import Catalog, open_catalog
from zipline.values import dataclass

REFUSED = "refused.jsonl"


@dataclass(frozen=True)
class Wanted:
    """What to follow: these tables (all where none is named); a file in the place of topics. `appends` says whether the
    warehouse is appended to, of tables that are not named as far as they can be; `appends_topics` whether with what
    comes by topics, too: else whoever fills the table from the topic goes on doing it. `takes_over` says whether tiles
    that another engine wrote are made anew."""

    tables: tuple[str, ...] = ()
    file: Path | None = None
    appends: bool = True
    appends_topics: bool = False
    takes_over: bool = True


@contextmanager
def open_stream(
    project: Project,
    wanted: Wanted = Wanted(),  # noqa: B008 (frozen)
    definitions: Definitions | None = None,
    catalog: Catalog | None = None,
    *,
    store: Store | None = None,
    clock: Clock = now,
    sources: EventSources | None = None,
) -> Iterator[Stream]:
    """The stream, with the locks of its group-bys' tiles. LockedError names who has one of them. `definitions` are by
    default those that are served.

    `sources` are those of `wanted` where they are known already: planning them takes a while.
    """
    catalog = catalog or open_catalog(project=project)
    with ExitStack() as held:
        if store is None:
            store = open_store(project)
            held.callback(store.close)
        if sources is None:
            definitions = definitions or served_definitions(project, store)
            sources = event_sources(project, definitions, catalog, wanted.tables)
        check_wanted(sources, wanted)
        spaces = [space_of(project, kept) for kept in sources.group_bys]
        registry = held.enter_context(open_registry(project))
        locks = [held.enter_context(tiles_lock(registry, space)) for space in spaces]
        pairs = zip(sources.group_bys, spaces, strict=True)
        feeds = [Feed(kept, store, space, clock, takes_over=wanted.takes_over) for kept, space in pairs]
        dead = {name: DeadLetters(folder_of(project, name) / REFUSED) for name in sources.all_tables}
        opening = _Opening(project, sources, wanted, held, feeds, dead, clock)
        logs = opening.enriched_logs(enrichers(project, sources, store, clock)) + opening.logs(with_topics=True)
        yield Stream(sources.all_tables, logs, feeds, opening.appenders(), dead, clock, locks)


def enrichers(project: Project, sources: EventSources, store: Store, clock: Clock) -> dict[str, Enricher]:
    """What makes the rows of each join that is aggregated, by the names of their tables."""
    spaces, cache = partial(space_of, project), FetchCache()
    return {
        table.name: Enricher(table, join_fetch(table.plan, table.join, store, spaces, cache), clock)
        for table in sources.enriched
    }


@dataclass(frozen=True, eq=False)
class _Opening:
    """The logs and appenders of a stream; each reader has logs of its own."""

    project: Project
    sources: EventSources
    wanted: Wanted
    held: ExitStack
    feeds: Sequence[Feed]
    dead: Mapping[str, DeadLetters]
    clock: Clock

    def enriched_logs(self, enrichers: Mapping[str, Enricher]) -> list[Log]:
        """Those of the joins that feeds see: of all logs of the events at the beginning of each chain of joins.

        They are read before all others, those first that are made of others: so an event is enriched before it is in
        tiles.
        """
        found: list[Log] = []
        kept = {table for feed in self.feeds for table in feed.tables}
        for table in reversed(self.sources.enriched):
            if not any(table.name in feed.tables for feed in self.feeds):
                continue
            chain: list[EventTable] = [table]
            while isinstance(chain[0], EnrichedTable):
                chain.insert(0, chain[0].left)
            letters = {each.name: None if each.name in kept else self.dead[each.name] for each in chain}
            kept |= letters.keys()
            for log in self._logs_of(chain[0], with_topics=True):
                for left, each in pairwise(chain):
                    log = EnrichedLog(enrichers[each.name], log, letters[left.name])
                found.append(log)
        return found

    def logs(self, *, with_topics: bool) -> list[Log]:
        """What is followed, opened."""
        tables = self.sources.tables.values()
        return [log for table in tables for log in self._logs_of(table, with_topics=with_topics)]

    def appenders(self) -> dict[str, Appender]:
        """Of the tables that can be appended to. Where no feed sees a table, they keep its dead letters."""
        if not self.wanted.appends:
            return {}
        logs = self.logs(with_topics=self.wanted.appends_topics)
        fed = {table for feed in self.feeds for table in feed.tables}
        fed |= {table.left.name for table in self.sources.enriched}
        options = self.project.storage_options
        found = {}
        for name, table in self.sources.tables.items():
            if table.uri is not None:
                own = [log for log in logs if log.table == name]
                letters = None if name in fed else self.dead[name]
                found[name] = Appender(table, own, folder_of(self.project, name), self.clock, options, letters)
        return found

    def _logs_of(self, table: EventTable, *, with_topics: bool) -> list[Log]:
        found: list[Log] = [JournalLog(table.name, journal_of(self.project, table.name))]
        file, wanted = self.wanted.file, self.wanted.tables
        if file is not None:
            found += [FileLog(table.name, file, table.format)] if table.name in wanted else []
        elif with_topics and self.project.brokers.servers:
            found += [self._kafka_log(table.name, topic, format) for topic, format in table.topics.items()]
        return found

    def _kafka_log(self, table: str, topic: str, format: str) -> Log:
        try:
            from zipline.orchestration.events.kafka import KafkaLog
        except ModuleNotFoundError:
            raise ProjectError(
                "the project has brokers of Kafka, and its client is not installed",
                hint="pip install 'zipline-features[kafka]'",
            ) from None
        log = KafkaLog(table, topic, self.project.brokers, format=format)
        self.held.callback(log.close)
        return log


def append_posted(
    project: Project, definitions: Definitions, catalog: Catalog, tables: Sequence[str], clock: Clock = now
) -> dict[str, int]:
    """Appends to these tables what was posted to them and is not there yet; gives how many rows of each."""
    known = tables_with_topics(definitions)
    posted = [name for name in dict.fromkeys(tables) if name in known and journal_of(project, name).exists]
    if not posted:
        return {}
    sources = event_sources(project, definitions, catalog, posted)
    counts = {}
    for name in posted:
        log = JournalLog(name, journal_of(project, name))
        if sources.table(name).uri is not None:
            appender = Appender(sources.table(name), [log], folder_of(project, name), clock, project.storage_options)
            counts[name] = appender.append()
    return counts


def check_wanted(sources: EventSources, wanted: Wanted) -> None:
    """UsageError or TableError where it cannot be followed."""
    if not sources.tables:
        raise UsageError("no source takes events", hint="give one a topic: EventSource(table, topic=Topic(...))")
    if wanted.file is not None and len(wanted.tables) != 1:
        raise UsageError(
            "a file holds the events of one source", valid=sources.tables, hint="name it: zipline stream TABLE --from"
        )
    if wanted.appends and (wanted.tables or all(table.uri is None for table in sources.tables.values())):
        for name in wanted.tables or sources.tables:
            sources.table(name).check_appendable()


def tiles_lock_name(space: str) -> str:
    return f"online {space} tiles"


def tiles_lock(registry: Registry, space: str) -> Lock:
    """The lock of a group-by's tiles."""
    try:
        return registry.locks.acquire(tiles_lock_name(space), "zipline stream")
    except LockedError:
        holder = registry.locks.holder(tiles_lock_name(space))
        who = f": {holder.process}" if holder else ""
        raise LockedError(
            f"another process writes the tiles of {space}{who}",
            hint="a group-by's tiles have one writer, be it `zipline stream` or `zipline serve`, which writes those of "
            "what it is posted: stop that one, or let it go on",
            next_command="zipline doctor",
        ) from None
