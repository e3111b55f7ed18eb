"""Compiled definitions: each fingerprint that a name has had, from when to when, and who uses whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from zipline.registry.database import Database
from zipline.registry.recording import Changes, Compiled, recorded
from zipline.registry.schema import consumers, versions
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class Version:
    """A definition as it was compiled. `active_to` is None while it is the newest; `first_seen` is its
    fingerprint's first compilation, which is earlier than `active_from` after a change back."""

    name: str
    kind: str
    fingerprint: str
    canonical: str
    owner: str | None
    location: str | None
    first_seen: int
    active_from: int
    active_to: int | None
    compiled_by: str


class Versions:
    """The compiled definitions of one scope of a registry."""

    def __init__(self, database: Database, scope: str) -> None:
        self._database, self._scope = database, scope

    def record(self, definitions: Iterable[Compiled], *, by: str | None = None) -> Changes:
        """Records all definitions there are; active ones that are not among them are deleted."""
        with self._database.writing() as connection:
            self._database.exclude_writers(connection, versions)
            now = self._database.now(connection)
            return recorded(_Statements(connection), self._scope, definitions, now=now, by=by)

    def active(self) -> tuple[Version, ...]:
        """The definitions of the newest compilation, by name."""
        return self._read(self._active())

    def history(self, name: str) -> tuple[Version, ...]:
        """Every version of a name, newest first."""
        return self._read(self._all().where(versions.c.name == name), newest_first=True)

    def at(self, instant: int) -> tuple[Version, ...]:
        """The definitions that were active at an instant, by name."""
        until = versions.c.active_to
        alive = sa.and_(versions.c.active_from <= instant, sa.or_(until.is_(None), until > instant))
        return self._read(self._all().where(alive))

    def consumers(self, name: str, *, directly: bool = True) -> tuple[str, ...]:
        """The active definitions that use `name`: directly, or also through others."""
        with self._database.reading() as connection:
            uses = self._uses(connection)
        found: set[str] = set()
        pending = [name]
        while pending:
            fresh = uses.get(pending.pop(), set()) - found
            found |= fresh
            pending += [] if directly else fresh
        return tuple(sorted(found))

    def _all(self) -> sa.Select[Any]:
        return sa.select(versions).where(versions.c.scope == self._scope)

    def _active(self) -> sa.Select[Any]:
        return self._all().where(versions.c.active_to.is_(None))

    def _read(self, query: sa.Select[Any], *, newest_first: bool = False) -> tuple[Version, ...]:
        order = (versions.c.active_from.desc(), versions.c.id.desc()) if newest_first else (versions.c.name,)
        with self._database.reading() as connection:
            return tuple(_version(row) for row in connection.execute(query.order_by(*order)).mappings())

    def _uses(self, connection: Connection) -> dict[str, set[str]]:
        query = sa.select(consumers.c.definition, consumers.c.consumer).where(consumers.c.scope == self._scope)
        found: dict[str, set[str]] = {}
        for need, consumer in connection.execute(query):
            found.setdefault(need, set()).add(consumer)
        return found


class _Statements:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
        return self._connection.execute(sa.text(statement), parameters)

    def run(self, statement: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        self._connection.execute(sa.text(statement), parameters)


def _version(row: RowMapping) -> Version:
    return Version(**{name: row[name] for name in Version.__dataclass_fields__})
