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
reached. This package and nothing else imports SQLAlchemy.
"""

from zipline.registry.locks import Holder, Lock
from zipline.registry.overrides import Override
from zipline.registry.registry import Registry, find_registry, open_registry
from zipline.registry.runs import Measures, Outcome, Run
from zipline.registry.versions import Changes, Compiled, Version

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
    "open_registry",
]
