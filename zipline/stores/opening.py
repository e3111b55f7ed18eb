"""The online store of a project. Each store's client is imported when a project has that store."""

from __future__ import annotations

from collections.abc import Callable

from zipline.errors import ProjectError
from zipline.plan.online import Kept
from zipline.project import Project
from zipline.stores.contract import Store

VERSION = "@"
"""Stands in a space's name before the version; no name of a definition has it."""


def open_store(project: Project) -> Store:
    """The store that `[online]` of the project names."""
    online = project.online
    if online.store == "lmdb":
        from zipline.stores.lmdb import LmdbStore

        return LmdbStore(online.url)
    if online.store == "memory":
        from zipline.stores.memory import MemoryStore

        return MemoryStore()
    return _of_servers(online.store)(online.url, username=online.username, password=online.password)


def _of_servers(kind: str) -> Callable[..., Store]:
    """The store that stands on servers of this kind; ProjectError where their client is not installed."""
    try:
        if kind == "redis":
            from zipline.stores.redis import RedisStore

            return RedisStore
        from zipline.stores.cassandra import CassandraStore

        return CassandraStore
    except ModuleNotFoundError:
        raise ProjectError(
            f"the online store is {kind.capitalize()}, and its client is not installed",
            hint=f"pip install 'zipline-features[{kind}]'",
        ) from None


def space_of(project: Project, kept: Kept) -> str:
    """Where a version of a group-by lies in the environment's store: another definition lies beside it."""
    return f"{project.key_prefix}{kept.group_by.name}{VERSION}{kept.fingerprint[:12]}"
