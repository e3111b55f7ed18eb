"""Opening a registry, and the one object that everything is reached from."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from zipline.project import Project
from zipline.registry.database import Clock, Database
from zipline.registry.locks import Locks
from zipline.registry.migrations import migrate
from zipline.registry.overrides import Override, Overrides
from zipline.registry.places import file_of, scope_of, url_of
from zipline.registry.recording import Changes, Compiled
from zipline.registry.runs import Runs
from zipline.registry.versions import Versions


class Registry:
    """An open registry: `versions`, `overrides` and `runs` of one scope, and the `locks`, which are shared by all.

    It may be used by several threads. `url` hides the password.
    """

    def __init__(self, database: Database, scope: str) -> None:
        self._database = database
        self.url = database.shown
        self.versions = Versions(database, scope)
        self.overrides = Overrides(database, scope)
        self.runs = Runs(database, scope)
        self.locks = Locks(database)

    def record(self, definitions: Iterable[Compiled], *, by: str | None = None) -> Changes:
        """Records a compilation: all definitions there are. See `Versions.record`."""
        return self.versions.record(definitions, by=by)

    def override(
        self,
        name: str,
        reason: str,
        *,
        from_fingerprint: str | None = None,
        to_fingerprint: str | None = None,
        by: str | None = None,
    ) -> Override:
        """Keeps that a breaking change was forced, by whom and why. See `Overrides.add`."""
        return self.overrides.add(name, reason, from_fingerprint=from_fingerprint, to_fingerprint=to_fingerprint, by=by)

    def now(self) -> int:
        """The present, on the registry's clock."""
        with self._database.reading() as connection:
            return self._database.now(connection)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_registry(where: Project | str, *, clock: Clock | None = None) -> Registry:
    """The registry of a project, or at a URL; made where there is none, migrated where it is older.

    `clock` gives microseconds UTC; without it the time is the server's (PostgreSQL) or the machine's (SQLite).
    RegistryError where it is newer than this software, damaged, or cannot be reached or written.
    """
    database = Database(url_of(where), clock)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return Registry(database, scope_of(where))


def find_registry(where: Project | str, *, clock: Clock | None = None) -> Registry | None:
    """The registry where there is one: None, and nothing is made, where its file has not been written yet."""
    file = file_of(url_of(where))
    return open_registry(where, clock=clock) if file is None or file.exists() else None
