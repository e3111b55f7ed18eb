"""How a compilation is recorded: statements that any connection to a registry runs, in one transaction.

The versions of definitions that changed or are gone are closed, those of new ones are opened. What is no part of a
fingerprint (the owner, the line, the description) is kept up to date in the version that is active.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from zipline.values import dataclass

_ACTIVE = """
SELECT id, name, kind, fingerprint, canonical, owner, location FROM zipline_versions
WHERE scope = :scope AND active_to IS NULL"""
_FIRST_SEEN = """
SELECT name, fingerprint, min(first_seen) FROM zipline_versions WHERE scope = :scope GROUP BY name, fingerprint"""
_CLOSE = "UPDATE zipline_versions SET active_to = :now WHERE id = :id"
_OPEN = """
INSERT INTO zipline_versions
(scope, name, kind, fingerprint, canonical, owner, location, first_seen, active_from, compiled_by)
VALUES (:scope, :name, :kind, :fingerprint, :canonical, :owner, :location, :first_seen, :now, :by)"""
_REFRESH = "UPDATE zipline_versions SET canonical = :canonical, owner = :owner, location = :location WHERE id = :id"
_USES = "SELECT definition, consumer FROM zipline_consumers WHERE scope = :scope"
_DISCONNECT = """
DELETE FROM zipline_consumers WHERE scope = :scope AND definition = :definition AND consumer = :consumer"""
_CONNECT = "INSERT INTO zipline_consumers (scope, definition, consumer) VALUES (:scope, :definition, :consumer)"


class Statements(Protocol):
    """A transaction that writes. Parameters are named, `:name`."""

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> Iterable[Sequence[Any]]: ...

    def run(self, statement: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Once for each of the parameters, of which there are some."""


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


class _Recorded(NamedTuple):
    """What is compared of an active version."""

    id: int
    name: str
    kind: str
    fingerprint: str
    canonical: str
    owner: str | None
    location: str | None


def recorded(
    statements: Statements, scope: str, definitions: Iterable[Compiled], *, now: int, by: str | None = None
) -> Changes:
    """Records all definitions there are; active ones that are not among them are deleted."""
    given = {definition.name: definition for definition in definitions}
    active = {row[1]: _Recorded(*row) for row in statements.rows(_ACTIVE, {"scope": scope})}
    changed = {name for name in given if name in active and _has_changed(active[name], given[name])}
    created = {name for name in given if name not in active}
    deleted = {name for name in active if name not in given}
    kept = given.keys() & active.keys() - changed
    _each(statements, _CLOSE, [{"id": active[name].id, "now": now} for name in sorted(changed | deleted)])
    if fresh := [each for name, each in given.items() if name in created or name in changed]:
        first = {(name, text): seen for name, text, seen in statements.rows(_FIRST_SEEN, {"scope": scope})}
        shared = {"scope": scope, "now": now, "by": by or author()}
        seen = [first.get((each.name, each.fingerprint), now) for each in fresh]
        rows = [{**_facts(each), **shared, "first_seen": at} for each, at in zip(fresh, seen, strict=True)]
        _each(statements, _OPEN, rows)
    stale = [name for name in sorted(kept) if _is_stale(active[name], given[name])]
    _each(statements, _REFRESH, [{**_mutable(given[name]), "id": active[name].id} for name in stale])
    _connect(statements, scope, given)
    return Changes(*(tuple(sorted(names)) for names in (created, changed, deleted, kept)))


def author() -> str:
    """Who runs this process, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _connect(statements: Statements, scope: str, definitions: Mapping[str, Compiled]) -> None:
    wanted = {(need, each.name) for each in definitions.values() for need in each.needs}
    before = {(need, name) for need, name in statements.rows(_USES, {"scope": scope})}
    for statement, pairs in ((_DISCONNECT, before - wanted), (_CONNECT, wanted - before)):
        _each(statements, statement, [{"scope": scope, "definition": n, "consumer": c} for n, c in sorted(pairs)])


def _each(statements: Statements, statement: str, parameters: Sequence[Mapping[str, Any]]) -> None:
    if parameters:
        statements.run(statement, parameters)


def _has_changed(before: _Recorded, now: Compiled) -> bool:
    return before.fingerprint != now.fingerprint or before.kind != now.kind


def _is_stale(before: _Recorded, now: Compiled) -> bool:
    return (before.canonical, before.owner, before.location) != (now.canonical, now.owner, now.location)


def _facts(each: Compiled) -> dict[str, Any]:
    return {"name": each.name, "kind": each.kind, "fingerprint": each.fingerprint, **_mutable(each)}


def _mutable(each: Compiled) -> dict[str, Any]:
    return {"canonical": each.canonical, "owner": each.owner, "location": each.location}
