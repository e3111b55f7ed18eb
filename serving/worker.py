"""One process of the server, put together: store, definitions, access, counters, log, and the two applications.

`worker` is the factory that every worker process calls; what it needs of the command line comes in variables, since the
processes are started afresh.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from serving.access import Access, load_tokens
from serving.control import control_plane
from serving.features.app import FeatureApp
from serving.features.metrics import Metrics
from serving.features.request_log import RequestLog
from serving.features.served import LOOK_EVERY, Definitions
from serving.models.predict import Models
from zipline.errors import ZiplineError
from zipline.project import Project, load_project
from zipline.serve_settings import Serve
from zipline.stores.opening import open_store

SETTINGS = "ZIPLINE_SERVED_"
"""Variables of this beginning tell a worker what the command line said."""
LOCAL_STORES = ("lmdb", "memory")
READERS = 4
"""Threads that read a store over the network, and wait for external sources."""
_log = logging.getLogger(__name__)


class Worker:
    """The parts of a process, and what runs beside requests."""

    def __init__(self, project: Project) -> None:
        settings = project.serve
        self._settings = settings
        self.metrics = Metrics()
        self.store = self.metrics.measured(open_store(project), project.online.store)
        is_local = project.online.store in LOCAL_STORES
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="zipline-fetch")
        self.log = RequestLog(settings.log_folder, settings.log, self.metrics) if settings.log else None
        self.definitions = Definitions(project, self.store, self.metrics, self._readers, is_local=is_local)
        self._access = load_tokens(settings.tokens) if settings.tokens else Access()
        self._tokens_seen = _changed(settings.tokens)
        control = control_plane(self.definitions, self.store, lambda: self._access, self.metrics, self._lifespan)
        models = Models(project.root / ".zipline" / "models")
        self.app = FeatureApp(
            settings, self.definitions, lambda: self._access, self.metrics, control, log=self.log, models=models
        )

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(self.definitions.look)
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it would hold up requests
        watching = asyncio.create_task(self._watch())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        self.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._look_at_tokens()
            await asyncio.to_thread(self.definitions.look)

    def _look_at_tokens(self) -> None:
        seen = _changed(self._settings.tokens)
        if seen == self._tokens_seen:
            return
        self._tokens_seen = seen
        try:
            self._access = load_tokens(self._settings.tokens)
        except ZiplineError as wrong:
            _log.error("the tokens stay as they were: %s", wrong.what)

    def close(self) -> None:
        """Writes what is to be written, and gives the store back."""
        if self.log is not None:
            self.log.close()
        self.definitions.close()
        self._readers.shutdown(wait=True)
        self.metrics.ended()
        self.store.close()


def worker() -> Any:
    """The application of a worker process."""
    return Worker(project_of_variables()).app


def variables(project: Project, settings: Serve) -> dict[str, str]:
    """What `project_of_variables` needs."""
    named = {name: str(getattr(settings, name)) for name in Serve.__slots__}
    place = {"project": str(project.root), "environment": project.environment}
    return {SETTINGS + name.upper(): value for name, value in (place | named).items()}


def project_of_variables() -> Project:
    """The project, with the settings that the command line gave."""
    given = {name.removeprefix(SETTINGS).lower(): value for name, value in os.environ.items() if SETTINGS in name}
    environment = given["environment"]
    project = load_project(given["project"], None if environment == "default" else environment)
    kinds = {name: type(getattr(project.serve, name)) for name in Serve.__slots__}
    return replace(project, serve=Serve(**{name: kind(given[name]) for name, kind in kinds.items()}))


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError:
        return 0
