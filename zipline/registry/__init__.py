"""What the platform remembers between runs: definitions as they were compiled, runs, locks, forced changes.

    with open_registry(project) as registry:
        changes = registry.record(definitions)            # created, changed, deleted
        registry.consumers("flights.carriers.arrivals")   # who uses it
        with registry.locks.acquire(output, "zipline backfill flights.departures") as lock:
            lock.check()                                  # before each publication
        registry.runs.recent()

A registry is one SQLite file (`.zipline/registry.db`) or a PostgreSQL database, named by [registry] url of
`zipline.toml`. Rows that come out are frozen values; instants are microseconds UTC. Each subject has a module:
`versions`, `overrides`, `runs`, `locks`; `schema` and `migrations` say how they are kept, `database` how they are
reached. This package and nothing else imports SQLAlchemy, which takes a fifth of a second: names are imported when they
are first used, and `has_registry`, `finished_runs` and `record_compilation` do without it where a file is the registry.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from zipline.registry.places import file_of, url_of

if TYPE_CHECKING:
    from zipline.project import Project
    from zipline.registry.file import finished_runs, record_compilation
    from zipline.registry.locks import Holder, Lock
    from zipline.registry.overrides import Override
    from zipline.registry.recording import Changes, Compiled
    from zipline.registry.registry import Registry, find_registry, open_registry
    from zipline.registry.run import Measures, Outcome, Run
    from zipline.registry.versions import Version

_MODULES = {
    "Changes": "recording",
    "Compiled": "recording",
    "Holder": "locks",
    "Lock": "locks",
    "Measures": "run",
    "Outcome": "run",
    "Override": "overrides",
    "Registry": "registry",
    "Run": "run",
    "Version": "versions",
    "find_registry": "registry",
    "finished_runs": "file",
    "open_registry": "registry",
    "record_compilation": "file",
}

__all__ = [
    "Changes",
    "Compiled",
    "Holder",
    "Lock",
    "Measures",
    "Outcome",
    "Override",
    "Registry",
    "Run",
    "Version",
    "find_registry",
    "finished_runs",
    "has_registry",
    "open_registry",
    "record_compilation",
]


def has_registry(where: Project | str) -> bool:
    """Whether there is one to look into: False where its file has not been written yet, True for any server."""
    file = file_of(url_of(where))
    return file is None or file.exists()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
