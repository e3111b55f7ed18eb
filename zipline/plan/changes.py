"""What a change of definitions means: compiled before against now.

Definitions are created, changed or deleted, each changed field with the author's line. Of a join's columns it is said
which will be recomputed and why, which are new and which go; on which days (those that its output holds), and who
consumes it. A change is breaking where somebody may be asking for values online: an online object is deleted or goes
offline, its keys or types change, a column goes, or an existing column gets another identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from zipline.plan.canonical import Json
from zipline.plan.descriptions import Description, Descriptions
from zipline.plan.field_changes import FieldChange, field_changes
from zipline.plan.reasons import READS, Reasons
from zipline.values import dataclass

DaysOf = Callable[[str], Sequence[str]]
"""Name of a join -> the days that its stored output holds."""

_SUBSTANCE = ("kind", "fingerprint", "owner", "definition")
_VALUES = ("columns", "keys", "rows", "identities")
"""What makes a compiled definition another one; its line in a file and its users do not, nor that it is typed now."""


@dataclass(frozen=True)
class Consumer:
    """A definition that uses another one, directly or not."""

    name: str
    kind: str
    owner: str


@dataclass(frozen=True)
class DefinitionChange:
    """A definition that was created, changed or deleted; `fields` are its own changed ones."""

    name: str
    kind: str
    owner: str
    where: str
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True)
class ColumnChange:
    """A column of a join: `what` is new, recomputed or dropped; `reasons` say why a value may be another one."""

    name: str
    what: str
    reasons: tuple[FieldChange, ...] = ()


@dataclass(frozen=True)
class JoinChange:
    """What becomes of a join's output. `rows` is why its rows are others (None: they are the same)."""

    name: str
    owner: str
    columns: tuple[ColumnChange, ...]
    kept: int
    rows: tuple[FieldChange, ...] | None = None
    days: tuple[str, ...] = ()
    consumers: tuple[Consumer, ...] = ()


@dataclass(frozen=True)
class Break:
    """Why a change is breaking for those who ask for an object online."""

    name: str
    what: str
    where: str


@dataclass(frozen=True)
class Changes:
    """Everything that changed, by name."""

    created: tuple[DefinitionChange, ...] = ()
    changed: tuple[DefinitionChange, ...] = ()
    deleted: tuple[DefinitionChange, ...] = ()
    unchanged: tuple[str, ...] = ()
    joins: tuple[JoinChange, ...] = ()
    breaking: tuple[Break, ...] = ()
    consumers: Mapping[str, tuple[Consumer, ...]] = field(default_factory=dict)
    """Who uses a changed or deleted definition."""

    def __bool__(self) -> bool:
        return bool(self.created or self.changed or self.deleted)


def changes_between(
    before: Mapping[str, Description], same: Iterable[str], now: Descriptions, days_of: DaysOf | None = None
) -> Changes:
    """What changed from the compiled descriptions `before`, by name; those of `same` are as they were."""
    changed = [name for name in sorted(before) if name in now and _differs(before[name], now[name])]
    unchanged = sorted({*same, *(name for name in before if name in now)} - {*changed})
    gone = [name for name in sorted(before) if name not in now]
    fields = {name: _fields(before[name], now[name], now) for name in changed}
    reasons, users = Reasons(fields), _Users(before, now)
    known = {*unchanged, *changed}
    return Changes(
        created=tuple(_definition(now[name]) for name in now if name not in known),
        changed=tuple(_definition(now[name], _own(fields[name])) for name in changed),
        deleted=tuple(_definition(before[name]) for name in gone),
        unchanged=tuple(unchanged),
        joins=tuple(
            _join(before[name], now[name], now, reasons, users, days_of)
            for name in changed
            if now[name]["kind"] == "Join" and _has_values(before[name], now[name])
        ),
        breaking=tuple(_breaks(before, now, [*changed, *gone])),
        consumers={name: users.of(name) for name in (*changed, *gone) if users.of(name)},
    )


def _differs(before: Description, now: Description) -> bool:
    values = _VALUES if _has_values(before, now) else ()
    return any(before.get(name) != now.get(name) for name in (*_SUBSTANCE, *values))


def _definition(described: Description, fields: tuple[FieldChange, ...] = ()) -> DefinitionChange:
    return DefinitionChange(described["name"], described["kind"], described["owner"], described["location"], fields)


def _fields(before: Description, now: Description, all_now: Descriptions) -> tuple[FieldChange, ...]:
    """The changed fields, and the changed types of what is read."""
    name = now["name"]
    found = field_changes(name, before["definition"], now["definition"], all_now.definition(name))
    one, other = before.get(READS, {}), now.get(READS, {})
    types = [
        FieldChange(name, (READS, table, column), one[table].get(column), other[table].get(column), now["location"])
        for table in one
        for column in dict.fromkeys((*one[table], *other.get(table, {})))
        if table in other and one[table].get(column, "") != other[table].get(column, "")
    ]
    release = [before.get("semantics"), now.get("semantics")]
    if None not in release and release[0] != release[1]:
        types.append(FieldChange(name, ("semantics",), release[0], release[1]))
    return (*found, *types)


def _own(fields: Iterable[FieldChange]) -> tuple[FieldChange, ...]:
    return tuple(change for change in fields if change.path[0] != READS)


def _has_values(before: Description, now: Description) -> bool:
    return "identities" in before and "identities" in now


def _join(
    before: Description,
    now: Description,
    all_now: Descriptions,
    reasons: Reasons,
    users: _Users,
    days_of: DaysOf | None,
) -> JoinChange:
    name, plan = now["name"], all_now.join_plan(now["name"])
    rows = reasons.of_rows(plan) if before.get("rows") != now.get("rows") else None
    one, other = _in_order(before), _in_order(now)
    columns = [ColumnChange(column, "dropped") for column in one if column not in other]
    columns += [ColumnChange(column, "new") for column in other if column not in one]
    columns += [
        ColumnChange(column, "recomputed", reasons.of(plan, column) if one[column] != other[column] else ())
        for column in other
        if column in one and (one[column] != other[column] or rows is not None)
    ]
    return JoinChange(
        name=name,
        owner=now["owner"],
        columns=tuple(columns),
        kept=sum(one.get(column) == other[column] for column in other) if rows is None else 0,
        rows=rows,
        days=tuple(days_of(name)) if days_of and (columns or rows is not None) else (),
        consumers=users.of(name),
    )


def _in_order(described: Description) -> dict[str, str]:
    """Column -> identity, as the output has them."""
    identities = described["identities"]
    return {name: identities[name] for name, _ in described["columns"] if name in identities}


class _Users:
    """Who uses what, as defined now; of what is gone, those that used it and are still there."""

    def __init__(self, before: Mapping[str, Description], now: Descriptions) -> None:
        self._now = now
        self._direct: dict[str, list[str]] = {}
        for name in now:
            for need in now.about(name)[2]:
                self._direct.setdefault(need, []).append(name)
        for name, described in before.items():
            if name not in now:
                self._direct[name] = [user for user in described.get("consumers", ()) if user in now]

    def of(self, name: str) -> tuple[Consumer, ...]:
        found: dict[str, None] = {}
        pending = [name]
        while pending:
            for user in self._direct.get(pending.pop(), ()):
                if user not in found:
                    found[user] = None
                    pending.append(user)
        return tuple(Consumer(user, *self._now.about(user)[:2]) for user in sorted(found))


def _breaks(before: Mapping[str, Description], now: Descriptions, names: Iterable[str]) -> Iterable[Break]:
    for name in names:
        if _is_online(before[name]):
            after = now.get(name)
            where = (after or before[name])["location"]
            for what in _what_breaks(before[name], after):
                yield Break(name, what, where)


def _is_online(described: Description) -> bool:
    definition = described["definition"]
    return isinstance(definition, dict) and definition.get("online") is True


def _what_breaks(before: Description, now: Description | None) -> Iterable[str]:
    if now is None:
        yield "is deleted"
    elif not _is_online(now):
        yield "is no longer online"
    elif "identities" in before and "identities" in now:
        yield from _broken_columns(before, now)
    elif before["fingerprint"] != now["fingerprint"]:
        yield "changes, and without its tables nobody can say what becomes of its columns"


def _broken_columns(before: Description, now: Description) -> Iterable[str]:
    asked_alike = before.get("keys") == now.get("keys")
    if not asked_alike:
        yield f"its keys change: {_typed(before.get('keys'))} -> {_typed(now.get('keys'))}"
    types, types_now = dict(before["columns"]), dict(now["columns"])
    for column, identity in before["identities"].items():
        if column not in types_now:
            yield f"{column} goes"
        elif types[column] != types_now[column]:
            yield f"{column} is {types[column]}, and will be {types_now[column]}"
        elif asked_alike and identity != now["identities"].get(column):
            yield f"{column} gets other values"


def _typed(columns: Json) -> str:
    pairs: Any = columns or []
    return ", ".join(f"{name} {dtype}" for name, dtype in pairs) or "(none)"
