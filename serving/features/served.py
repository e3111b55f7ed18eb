"""The joins that a server answers, and their exchange when the definitions change.

`Served` is one state of the definitions: every join with `online=True`, planned. `Definitions` holds the present one:
what was applied last, or the project's files where nothing ever was. A change is seen within seconds; the new state is
made beside the present one, in a thread, and takes over in one step: requests that have begun end on what they began
with. Definitions that cannot be loaded or planned leave the present state where it is, and are told in the log, in the
metrics and by `/v1/status`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.features.batching import Batches
from serving.features.events import Events
from serving.features.metrics import Metrics
from serving.features.requests import RequestReader
from serving.features.responses import answered
from serving.problems import Problem
from zipline.clock import now
from zipline.errors import ZiplineError
from zipline.fetch.applied import served_folder
from zipline.fetch.caching import FetchCache
from zipline.fetch.fetcher import Fetcher
from zipline.fetch.joins import JoinFetch
from zipline.fetch.results import Result
from zipline.plan.definitions import load
from zipline.project import Project
from zipline.stores.contract import PlaceError, Store, StoreError
from zipline.stores.opening import VERSION
from zipline.values import dataclass

LOOK_EVERY = 2.0
"""Seconds between two looks at the files of definitions."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedJoin:
    """One join: what reads its requests, and what answers them."""

    name: str
    fetch: JoinFetch
    reader: RequestReader
    batches: Batches

    @property
    def team(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Served:
    """One state of the definitions."""

    joins: Mapping[str, ServedJoin]
    digest: str
    events: Events | None = None

    def join(self, name: str, told: Callable[[str], bool]) -> ServedJoin:
        """Problem 404 where it is not served, with the joins of the teams that whoever asks is `told` of."""
        found = self.joins.get(name)
        if found is None:
            valid = sorted(each.name for each in self.joins.values() if told(each.team))
            raise Problem(404, "unknown_join", "there is no online join of that name", valid=valid)
        return found

    def ages(self, store: Store) -> dict[str, int | None]:
        """When the upload of each group-by ended; None where there is none, or it cannot be known."""
        spaces = {name: space for join in self.joins.values() for name, space in join.fetch.spaces.items()}
        found: dict[str, int | None] = dict.fromkeys(spaces)
        for name, space in spaces.items():
            try:
                generation = store.current(space)
            except PlaceError:
                continue
            except StoreError:  # the others would wait for it too
                break
            found[name] = None if generation is None else generation.end
        return found


class Definitions:
    """See the module. `current` is None until the first state is made."""

    def __init__(
        self,
        project: Project,
        store: Store,
        metrics: Metrics,
        readers: Executor,
        *,
        is_local: bool,
    ) -> None:
        self._project, self._store, self._metrics = project, store, metrics
        self._readers, self._is_local = readers, is_local
        self._cache = FetchCache(counted=self._looked)
        self.current: Served | None = None
        self.wrong: str | None = None
        self._seen = ""

    @property
    def served(self) -> Served:
        """Problem 503 before the first state."""
        if self.current is None:
            raise Problem(503, "not_ready", "the definitions are not loaded yet", retry_after=1)
        return self.current

    def _looked(self, space: str, hits: int, misses: int) -> None:
        self._metrics.looked(space.removeprefix(self._project.key_prefix).partition(VERSION)[0], hits, misses)

    def look(self) -> bool:
        """Takes up the definitions if they changed; whether they did. Never raises: `wrong` says why they were not."""
        try:
            folder = served_folder(self._project, self._store)
            digest = digest_of(folder)
            if digest == self._seen:
                return False
            self._seen = digest
            made = self._made(folder, digest)
            self._take_over(made)
            self.wrong = None
            self._metrics.reloads.labels("done").inc()
        except Exception as wrong:
            before, self.wrong = self.wrong, str(wrong)
            if not isinstance(wrong, ZiplineError):
                self.wrong = f"{type(wrong).__name__}: {wrong}"
            self._metrics.reloads.labels("failed").inc()
            if self.wrong != before:
                _log.error("the definitions were not taken up: %s", self.wrong)
        return True

    def _take_over(self, made: Served) -> None:
        """The tiles have one writer: it is exchanged before requests see the new state."""
        self.close()
        self.current = made
        if made.events is not None:
            made.events.follow()

    def close(self) -> None:
        """Ends what follows events."""
        if self.current is not None and self.current.events is not None:
            self.current.events.stop()

    def _made(self, folder: Path, digest: str) -> Served:
        definitions = load(folder)
        fetcher = Fetcher(self._project, store=self._store, definitions=definitions, cache=self._cache)
        joins = {}
        for join in definitions.joins:
            if join.online:
                name = str(join.name)
                fetch = fetcher.join(name)
                _warm(fetch)
                reader = RequestReader(fetch, self._project.serve.rows)
                joins[name] = ServedJoin(name, fetch, reader, self._batches(name, fetch))
        return Served(joins, digest, Events(self._project, definitions, self._store))

    def _batches(self, name: str, fetch: JoinFetch) -> Batches:
        seen: Callable[[Result, int], None] = lambda result, _: self._metrics.fetched(name, result)  # noqa: E731
        executor = self._readers if fetch.asks_others or not self._is_local else None
        return Batches(fetch.fetch, waiting=self._project.serve.waiting, executor=executor, seen=seen)


def _warm(fetch: JoinFetch) -> None:
    """One fetch of nobody's key, so that the first request need not load kernels."""
    with suppress(ZiplineError):
        answered(fetch.fetch([{name: None for name, _ in fetch.given}], now(), True))


def digest_of(folder: Path) -> str:
    """Changes with the names, sizes and times of the files of definitions."""
    found: list[tuple[Any, ...]] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(files):
            if name.endswith(".py"):
                try:
                    facts = os.stat(os.path.join(place, name))
                except OSError:
                    continue
                found.append((place, name, facts.st_size, facts.st_mtime_ns))
    return str(hash(tuple(found)))
