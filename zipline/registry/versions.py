"""Compiled definitions: each fingerprint that a name has had, from when to when, and who uses whom.

Recording a compilation closes the versions of definitions that changed or are gone, and opens those of new ones; it is
one transaction. What is no part of a fingerprint (the owner, the line, the description) is kept up to date in the
version that is active.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from zipline.registry.database import Database
from zipline.registry.schema import consumers, versions
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class Compiled:
    """One definition of a compilation. `canonical` is its JSON text, `needs` the names of those it uses directly."""

    name: str
    kind: str
    fingerprint: str
    canonical: str
    owner: str | None = None
    location: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a compilation changed, against the one recorded before; names, sorted."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


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
        given = {definition.name: definition for definition in definitions}
        with self._database.writing() as connection:
            self._database.exclude_writers(connection, versions)
            now = self._database.now(connection)
            active = {row.name: row for row in self._recorded(connection)}
            changed = [name for name in given if name in active and _has_changed(active[name], given[name])]
            created = [name for name in given if name not in active]
            deleted = [name for name in active if name not in given]
            self._close(connection, [active[name].id for name in (*changed, *deleted)], now)
            self._open(connection, [given[name] for name in (*created, *changed)], now, by or author())
            kept = [name for name in given if name in active and name not in set(changed)]
            _refresh(connection, [(active[name], given[name]) for name in kept])
            self._connect(connection, given)
        return Changes(*(tuple(sorted(names)) for names in (created, changed, deleted, kept)))

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

    def _recorded(self, connection: Connection) -> Iterator[_Recorded]:
        mine = sa.and_(versions.c.scope == self._scope, versions.c.active_to.is_(None))
        for row in connection.execute(sa.select(*(versions.c[name] for name in _Recorded._fields)).where(mine)):
            yield _Recorded(*row)

    def _all(self) -> sa.Select[Any]:
        return sa.select(versions).where(versions.c.scope == self._scope)

    def _active(self) -> sa.Select[Any]:
        return self._all().where(versions.c.active_to.is_(None))

    def _read(self, query: sa.Select[Any], *, newest_first: bool = False) -> tuple[Version, ...]:
        order = (versions.c.active_from.desc(), versions.c.id.desc()) if newest_first else (versions.c.name,)
        with self._database.reading() as connection:
            return tuple(_version(row) for row in connection.execute(query.order_by(*order)).mappings())

    def _close(self, connection: Connection, ids: list[int], now: int) -> None:
        if ids:
            closing = sa.update(versions).where(versions.c.id == sa.bindparam("closed")).values(active_to=now)
            connection.execute(closing, [{"closed": each} for each in ids])

    def _open(self, connection: Connection, definitions: list[Compiled], now: int, by: str) -> None:
        if not definitions:
            return
        seen = self._first_seen(connection)
        rows = [
            {
                "scope": self._scope,
                **{name: getattr(each, name) for name in ("name", "kind", "fingerprint", *_MUTABLE)},
                "first_seen": seen.get((each.name, each.fingerprint), now),
                "active_from": now,
                "compiled_by": by,
            }
            for each in definitions
        ]
        connection.execute(versions.insert(), rows)

    def _first_seen(self, connection: Connection) -> Mapping[tuple[str, str], int]:
        of = (versions.c.name, versions.c.fingerprint)
        query = sa.select(*of, sa.func.min(versions.c.first_seen)).where(versions.c.scope == self._scope).group_by(*of)
        return {(name, fingerprint): first for name, fingerprint, first in connection.execute(query)}

    def _connect(self, connection: Connection, definitions: Mapping[str, Compiled]) -> None:
        wanted = {(need, each.name) for each in definitions.values() for need in each.needs}
        before = {(need, name) for need, names in self._uses(connection).items() for name in names}
        mine, columns = consumers.c.scope == self._scope, (consumers.c.definition, consumers.c.consumer)
        gone = [{"used": need, "user": name} for need, name in sorted(before - wanted)]
        fresh = [{"scope": self._scope, "definition": n, "consumer": c} for n, c in sorted(wanted - before)]
        if gone:
            pair = (columns[0] == sa.bindparam("used"), columns[1] == sa.bindparam("user"))
            connection.execute(sa.delete(consumers).where(mine, *pair), gone)
        if fresh:
            connection.execute(consumers.insert(), fresh)

    def _uses(self, connection: Connection) -> dict[str, set[str]]:
        query = sa.select(consumers.c.definition, consumers.c.consumer).where(consumers.c.scope == self._scope)
        found: dict[str, set[str]] = {}
        for need, consumer in connection.execute(query):
            found.setdefault(need, set()).add(consumer)
        return found


def author() -> str:
    """Who runs this process, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


_MUTABLE = ("canonical", "owner", "location")


class _Recorded(NamedTuple):
    """What is compared of an active version."""

    id: int
    name: str
    kind: str
    fingerprint: str
    canonical: str
    owner: str | None
    location: str | None


def _has_changed(before: _Recorded, now: Compiled) -> bool:
    return before.fingerprint != now.fingerprint or before.kind != now.kind


def _refresh(connection: Connection, kept: Iterable[tuple[_Recorded, Compiled]]) -> None:
    rows = [
        {"kept": before.id, "canonical": now.canonical, "owner": now.owner, "location": now.location}
        for before, now in kept
        if (before.canonical, before.owner, before.location) != (now.canonical, now.owner, now.location)
    ]
    if rows:
        connection.execute(sa.update(versions).where(versions.c.id == sa.bindparam("kept")), rows)


def _version(row: RowMapping) -> Version:
    return Version(**{name: row[name] for name in Version.__dataclass_fields__})
