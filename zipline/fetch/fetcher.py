"""`Fetcher`: features of a project's joins by key, as its online store has them.

    fetcher = Fetcher(load_project())
    fetcher.fetch("flights.departures.departures", [{"carrier": "UA", "origin": "JFK", ...}]).rows()

They are those of the definitions that were applied last (`zipline.fetch.applied`), else of the project's files. Joins
are planned when they are first asked for, and kept until other definitions are applied: a fetch looks for these, when
nobody has for `LOOK` seconds, and plans again before it answers. Applied definitions that cannot be loaded or planned
here leave what is fetched as it is, and are told in the log. A fetcher may be used by several threads.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from zipline.api import Join
from zipline.clock import monotonic, now, to_micros
from zipline.fetch.applied import served_folder
from zipline.fetch.caching import FetchCache
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.fetch.results import Result
from zipline.plan.build import plan_join
from zipline.plan.definitions import Definitions, load
from zipline.project import Project, load_project
from zipline.stores.contract import Store
from zipline.stores.opening import open_store, space_of
from zipline.tables.catalog import Catalog, open_catalog

Instant: TypeAlias = dt.datetime | dt.date | str | int
LOOK = 2.0
LOOK_AGAIN = 60.0
"""Seconds after which it is tried again to take up what could not be."""
_log = logging.getLogger(__name__)


class Fetcher:
    """See the module. Without a project it is that of the current folder; `store` is by default the project's.

    `cache` serves the group-bys that declare one; by default it is this fetcher's own. With `definitions` these are
    fetched, whatever is applied.
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
        self._folder: Path | None = None
        self._looks = float("inf") if definitions is not None else 0.0
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
        if monotonic() > self._looks and self._planning.acquire(blocking=self._definitions is None):
            try:
                self._look()
            finally:
                self._planning.release()
        found = self._joins.get(name)
        if found is None:
            with self._planning:
                definitions = self._look() if self._definitions is None else self._definitions
                found = self._joins[name] = self._joins.get(name) or self._planned(name, definitions)
        return found

    def close(self) -> None:
        """Gives the store back."""
        self.store.close()

    def _look(self) -> Definitions:
        """Takes up what was applied since: all joins that were asked for at once, but those that are no more."""
        definitions = self._definitions
        try:
            folder = served_folder(self.project, self.store)
            if definitions is None or folder != self._folder:
                definitions = load(folder)
                names = {str(join.name) for join in definitions.joins} & self._joins.keys()
                self._joins = {name: self._planned(name, definitions) for name in names}
                self._definitions, self._folder = definitions, folder
            self._looks = monotonic() + LOOK
            return definitions
        except Exception as wrong:
            if self._definitions is None:
                raise
            self._looks = monotonic() + LOOK_AGAIN
            _log.error("what was applied is not taken up: %s: %s", type(wrong).__name__, wrong)
            return self._definitions

    def _planned(self, name: str, definitions: Definitions) -> JoinFetch:
        catalog = self._catalog or open_catalog(project=self.project)
        join = definitions.find(name, Join)
        plan = plan_join(join, lambda table: catalog.table(table).schema)
        return join_fetch(plan, join, self.store, partial(space_of, self.project), self._cache)
