"""`Fetcher`: features of a project's joins by key, as its online store has them.

    fetcher = Fetcher(load_project())
    fetcher.fetch("flights.departures.departures", [{"carrier": "UA", "origin": "JFK", ...}]).rows()

They are those of the definitions that were applied last (`zipline.fetch.applied`), else of the project's files. Joins
are planned when they are first asked for, and kept. A fetcher may be used by several threads.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from zipline.api import Join
from zipline.clock import now, to_micros
from zipline.fetch.applied import served_definitions
from zipline.fetch.caching import FetchCache
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.fetch.results import Result
from zipline.plan.build import plan_join
from zipline.plan.definitions import Definitions
from zipline.project import Project, load_project
from zipline.stores.contract import Store
from zipline.stores.opening import open_store, space_of
from zipline.tables.catalog import Catalog, open_catalog

Instant: TypeAlias = dt.datetime | dt.date | str | int


class Fetcher:
    """See the module. Without a project it is that of the current folder; `store` is by default the project's.

    `cache` serves the group-bys that declare one; by default it is this fetcher's own.
    """

    def __init__(
        self,
        project: Project | str | Path | None = None,
        *,
        store: Store | None = None,
        definitions: Definitions | None = None,
        catalog: Catalog | None = None,
        cache: FetchCache | None = None,
    ) -> None:
        self.project = project if isinstance(project, Project) else load_project(project)
        self.store = store or open_store(self.project)
        self._definitions, self._catalog = definitions, catalog
        self._cache = FetchCache() if cache is None else cache
        self._joins: dict[str, JoinFetch] = {}
        self._planning = threading.Lock()

    def fetch(self, join_name: str, keys: Sequence[Mapping[str, Any]], *, at: Instant | None = None) -> Result:
        """The features of these rows of keys (and of whatever else the join takes from a request), by default now."""
        return self.join(join_name).fetch(keys, now() if at is None else to_micros(at), at is None)

    async def afetch(self, join_name: str, keys: Sequence[Mapping[str, Any]], *, at: Instant | None = None) -> Result:
        """The same beside other work."""
        return await asyncio.to_thread(self.fetch, join_name, keys, at=at)

    def join(self, name: str) -> JoinFetch:
        """What fetches a join. DefinitionError where there is none of that name."""
        found = self._joins.get(name)
        if found is None:
            with self._planning:
                found = self._joins.get(name) or self._planned(name)
        return found

    def close(self) -> None:
        """Gives the store back."""
        self.store.close()

    def _planned(self, name: str) -> JoinFetch:
        definitions = self._loaded()
        catalog = self._catalog or open_catalog(project=self.project)
        join = definitions.find(name, Join)
        plan = plan_join(join, lambda table: catalog.table(table).schema)
        found = self._joins[name] = join_fetch(plan, join, self.store, partial(space_of, self.project), self._cache)
        return found

    def _loaded(self) -> Definitions:
        if self._definitions is None:
            self._definitions = served_definitions(self.project, self.store)
        return self._definitions
