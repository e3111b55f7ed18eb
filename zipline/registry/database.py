"""How a registry is reached: connections, transactions, the clock, and what their failures mean.

A transaction of `writing` excludes other writers on SQLite from its first statement (BEGIN IMMEDIATE, after a wait of
up to half a minute), so what it reads stays true until it ends; on PostgreSQL it locks what it depends on: a row, or a
table (`exclude_writers`). Instants are of one clock for all who share the registry: the server's on PostgreSQL,
the machine's on SQLite, unless a clock is passed in.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from zipline import clock as system
from zipline.errors import ProjectError, RegistryError

Clock = Callable[[], int]

_BUSY_SECONDS = 30
_CONNECT_SECONDS = 10
_WRITING = "zipline_writing"
_SETTING = "[registry] url of zipline.toml, or ZIPLINE_REGISTRY_URL"
_EXAMPLES = ("sqlite:///path/registry.db", "postgresql://user@host/database")
_SERVER_NOW = sa.text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")


class Database:
    """One registry's connections. `shown` is its URL without the password, `file` the path of SQLite's file."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.url = _parse(url)
        self.shown = self.url.render_as_string(hide_password=True).replace("+psycopg", "")
        self.file = Path(self.url.database) if self.url.database and self.is_file else None
        self._clock = clock
        self._engine = self._open()

    @property
    def is_file(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view; nothing is changed."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All of it or nothing."""
        options = {_WRITING: True}
        with self._translated(), self._engine.connect() as connection, connection.execution_options(**options).begin():
            yield connection

    def now(self, connection: Connection) -> int:
        """The present, in microseconds UTC."""
        if self._clock is not None:
            return self._clock()
        return system.now() if self.is_file else int(connection.execute(_SERVER_NOW).scalar_one())

    def exclude_writers(self, connection: Connection, table: sa.Table) -> None:
        """What the transaction reads of the table stays true until it ends."""
        if not self.is_file:
            connection.execute(sa.text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))

    def insert_missing(self, connection: Connection, table: sa.Table, row: dict[str, Any]) -> None:
        """The row, unless there is one of its primary key."""
        from sqlalchemy.dialects import postgresql, sqlite

        insert: Any = sqlite.insert if self.is_file else postgresql.insert
        connection.execute(insert(table).values(row).on_conflict_do_nothing())

    def close(self) -> None:
        self._engine.dispose()

    def _open(self) -> Engine:
        if self.file is None:
            return self._open_server()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as wrong:
            raise self._unwritable(str(wrong)) from None
        engine = sa.create_engine(self.url, poolclass=NullPool, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine

    def _open_server(self) -> Engine:
        try:
            return sa.create_engine(
                self.url, pool_pre_ping=True, pool_size=2, connect_args={"connect_timeout": _CONNECT_SECONDS}
            )
        except ImportError:
            raise RegistryError(
                "the registry is a PostgreSQL database, but its driver is not installed",
                next_command="pip install 'zipline-features[postgresql]'",
            ) from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as wrong:
            raise self._meaning(str(wrong.orig)) from wrong
        except sqlite3.Error as wrong:
            raise self._meaning(str(wrong)) from wrong

    def _meaning(self, text: str) -> RegistryError:
        first = " ".join(text.split())[:300]
        if self.file is None:
            return RegistryError(
                f"the registry at {self.shown} failed: {first}",
                hint=f"start the server, or mend {_SETTING}",
                next_command="zipline doctor",
            )
        if "not a database" in text or "malformed" in text:
            return RegistryError(
                f"the registry {self.file} is damaged: {first}",
                hint=f"put its backup in place, or move it away (mv {self.file} {self.file}.damaged): a new one is "
                "made, without the history of runs; no table is touched",
                next_command="zipline doctor",
            )
        if "unable to open" in text or "readonly" in text:
            return self._unwritable(first)
        if "locked" in text:
            return RegistryError(
                f"the registry {self.file} was busy for {_BUSY_SECONDS} seconds: {first}",
                hint="run the command again; several machines need a PostgreSQL registry",
                next_command="zipline doctor",
            )
        is_of_disk = "full" in text or "disk" in text
        return RegistryError(
            f"the registry {self.file} could not be written: {first}",
            hint="make room on the disk; it must be a local one, not a network's"
            if is_of_disk
            else f"it is no registry of this software: move it away (mv {self.file} {self.file}.other)",
            next_command="zipline doctor",
        )

    def _unwritable(self, why: str) -> RegistryError:
        return RegistryError(
            f"the registry {self.file} cannot be opened for writing: {why}",
            hint=f"make its folder writable, or name another file in {_SETTING}",
            next_command="zipline doctor",
        )


def _parse(url: str) -> URL:
    wrong = ProjectError(
        "the registry's URL is neither SQLite's nor PostgreSQL's", valid=_EXAMPLES, hint=f"mend {_SETTING}"
    )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise wrong from None
    kind = parsed.get_backend_name() if parsed.drivername != "postgres" else "postgresql"
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise wrong
    if not parsed.database or parsed.database == ":memory:":
        raise ProjectError("a registry is shared by processes: it needs a file", valid=_EXAMPLES)
    return parsed


def _prepare(connection: Any, _record: Any) -> None:
    """Transactions begin where this module says so, and readers never wait for a writer."""
    connection.isolation_level = None
    deadline = system.monotonic() + _BUSY_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            return
        except sqlite3.OperationalError as wrong:
            if "locked" not in str(wrong) or system.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
