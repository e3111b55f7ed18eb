"""Chained streams of a `LocalPlatform`: rows of joins, made at once of what is published to the tables of their lefts.

They are made as streams make them. While a feature is unavailable, as before the first upload, they wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from zipline.api import GroupBy
from zipline.errors import DataError
from zipline.fetch.joins import join_fetch
from zipline.orchestration.events.enriching import Enricher, EnrichingError
from zipline.orchestration.events.logs import Clock
from zipline.orchestration.events.tables import EventTable, Streamed, chain_of, enriched_tables
from zipline.orchestration.events.tiling import Feed
from zipline.plan.online import Kept
from zipline.stores.contract import Store
from zipline.types import DataType


def take(feed: Feed, table: str, rows: pa.Table) -> None:
    """Rows arrive in a table whose events go into the tiles of a feed. DataError where one cannot be computed."""
    taken = feed.take("memory", table, rows, {})
    if taken.failed:
        raise DataError(
            f"row {taken.failed[0]} of what is published to {table!r}: {taken.reason}", subject=feed.kept.group_by.name
        )


class LocalJoins:
    """The joins that one group-by aggregates; their rows go into its tiles."""

    def __init__(
        self,
        group_by: GroupBy,
        kept: Kept,
        feed: Feed,
        store: Store,
        schema: Callable[[str], Mapping[str, DataType]],
        clock: Clock,
    ) -> None:
        self._feed = feed
        tables: dict[str, EventTable] = {}
        joined: dict[str, list[Streamed]] = {}
        for source, projection in zip(group_by.sources, kept.streams, strict=True):
            first, *above = chain_of(source, projection)
            if above:
                name = first[1].table
                tables[name] = EventTable(name, schema(name), (first,), None, "in memory")
            for each in above:
                joined.setdefault(each[1].table, []).append(each)
        self.lefts = frozenset(tables)
        self._enrichers = [
            Enricher(table, join_fetch(table.plan, table.join, store, lambda of: of.group_by.name), clock)
            for table in enriched_tables(joined.values(), tables)
        ]
        self._waiting: list[tuple[str, pa.Table]] = []

    @property
    def is_through(self) -> bool:
        """Whether no rows wait."""
        return not self._waiting

    def publish(self, table: str, rows: pa.Table) -> None:
        """Rows arrive in a table."""
        if table in self.lefts:
            self._waiting.append((table, rows))
            self.make()

    def make(self) -> None:
        """Makes what waits, in order, as far as all features are there."""
        while self._waiting:
            try:
                made = [(each, each.texts(rows)) for each, rows in self._next()]
            except EnrichingError:
                return
            self._waiting.pop(0)
            for enricher, texts in made:
                intake, name = enricher.table.intake, enricher.table.name
                rows = intake.arrow([intake.event(text) for text in texts if text is not None])
                take(self._feed, name, rows)
                if any(each.table.left.name == name for each in self._enrichers):
                    self._waiting.insert(0, (name, rows))

    def _next(self) -> list[tuple[Enricher, pa.Table]]:
        """The first rows that wait, and whoever makes something of them."""
        table, rows = self._waiting[0]
        return [(each, rows) for each in self._enrichers if each.table.left.name == table]
