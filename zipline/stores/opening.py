"""The online store of a project. Each store's client is imported when a project has that store."""

from __future__ import annotations

from zipline.errors import ProjectError
from zipline.project import Project
from zipline.stores.contract import Store

_HERE = ("lmdb", "redis", "memory")


def open_store(project: Project) -> Store:
    """The store that `[online]` of the project names."""
    kind = project.online.store
    if kind == "lmdb":
        from zipline.stores.lmdb import LmdbStore

        return LmdbStore(project.online.url)
    if kind == "redis":
        try:
            from zipline.stores.redis import RedisStore
        except ModuleNotFoundError:
            raise ProjectError(
                "the online store is Redis, and its client is not installed",
                hint="pip install 'zipline-features[redis]'",
            ) from None
        online = project.online
        return RedisStore(online.url, username=online.username, password=online.password)
    if kind == "memory":
        from zipline.stores.memory import MemoryStore

        return MemoryStore()
    raise ProjectError(f"the online store {kind!r} cannot be used yet", asked=kind, valid=_HERE)


def space_of(project: Project, group_by: str) -> str:
    """Where a group-by's features lie in the environment's store."""
    return f"{project.key_prefix}{group_by}"
