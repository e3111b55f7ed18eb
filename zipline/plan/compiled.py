"""`zipline compile`: one JSON file for each definition, so that a change of definitions is a diff that people read.

The folder holds what was accepted last; `compare` says what the definitions now would change, `compile_definitions`
accepts them. A breaking change of an online object is refused without a reason; reasons are kept in `overrides.json`
there. The folder is written beside and put in place as a whole; files that stay as they are are not written again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from zipline.errors import BreakingChangeError
from zipline.plan.canonical import Json
from zipline.plan.changes import Changes, DaysOf, changes_between
from zipline.plan.compiled_folder import Folder, remember
from zipline.plan.definitions import Definitions
from zipline.plan.descriptions import Descriptions, Schemas
from zipline.plan.names import Nameable
from zipline.values import dataclass


@dataclass(frozen=True)
class Compilation:
    """What a compilation did to the folder; names of definitions, sorted. `untyped` says why columns are unknown."""

    folder: str
    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    features: int = 0
    untyped: Mapping[str, str] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    forced: tuple[Mapping[str, Any], ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    """Name -> the text of its file."""


@dataclass(frozen=True)
class Comparison:
    """The definitions now against a compiled folder, nothing written."""

    folder: Path
    changes: Changes
    now: Descriptions
    before: Folder


def compare(
    definitions: Definitions,
    folder: str | os.PathLike[str],
    schemas: Schemas | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    days_of: DaysOf | None = None,
) -> Comparison:
    """What the definitions would change of what `folder` holds; DefinitionError where one does not fit.

    `schemas(table)` gives the columns of a table, TableError where it is not there: then the output's columns are
    unknown. `cache` is a file that a compilation wrote. `days_of(join)` are the days that a stored output holds.
    """
    before = Folder(Path(os.path.abspath(folder)), Path(cache) if cache is not None else None)
    now = Descriptions(definitions, schemas, before.kept)
    others = before.others_than(now)
    same = (name for name in before.names if name not in others)
    return Comparison(before.path, changes_between(others, same, now, days_of), now, before)


def compile_definitions(
    definitions: Definitions,
    folder: str | os.PathLike[str],
    schemas: Schemas | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    days_of: DaysOf | None = None,
    reason: str | None = None,
) -> Compilation:
    """Writes `folder`/<kind>/<name>.json for every definition and removes the files of deleted ones.

    As `compare`; BreakingChangeError where an online object breaks and no `reason` is given. Nothing is written when
    something is refused.
    """
    compared = compare(definitions, folder, schemas, cache=cache, days_of=days_of)
    changes, now = compared.changes, compared.now
    if changes.breaking and reason is None:
        raise _refused(changes)
    forced = _forced(changes, compared, reason) if reason is not None else []
    paths = {f"{folder_of(definitions[name])}/{name}.json": now.texts[name] for name in now}
    compared.before.publish(paths, [*compared.before.overrides, *forced])
    if cache is not None:
        remember(Path(cache), now)
    kinds = [folder_of(definition) for definition in definitions.values()]
    return Compilation(
        folder=str(compared.folder),
        created=tuple(each.name for each in changes.created),
        changed=tuple(each.name for each in changes.changed),
        deleted=tuple(each.name for each in changes.deleted),
        unchanged=changes.unchanged,
        counts={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        features=sum(len(group_by.features or ()) for group_by in definitions.group_bys),
        untyped=now.untyped,
        changes=changes,
        forced=tuple(forced),
        texts=now.texts,
    )


def _refused(changes: Changes) -> BreakingChangeError:
    first = changes.breaking[0]
    of_first = [each.what for each in changes.breaking if each.name == first.name]
    others = {each.name for each in changes.breaking} - {first.name}
    users = [user.name for user in changes.consumers.get(first.name, ())]
    more = f"; so do {', '.join(sorted(others))}" if others else ""
    used = f" (used by {', '.join(users)})" if users else ""
    listed = f"{'; '.join(of_first[:5])}{f' and {len(of_first) - 5} more' if len(of_first) > 5 else ''}"
    return BreakingChangeError(
        f"is online, and breaks for those who ask for it: {listed}{used}{more}",
        subject=first.name,
        breaks=tuple((each.name, each.what, each.where) for each in changes.breaking),
        hint="give the new values another name and let consumers move, or say why the old ones may go",
        next_command='zipline compile --force --reason "..."',
    )


def _forced(changes: Changes, compared: Comparison, reason: str) -> list[dict[str, Json]]:
    before = compared.before.others_than(compared.now)
    return [
        {
            "name": name,
            "reason": reason,
            "breaks": [each.what for each in changes.breaking if each.name == name],
            "from": before[name]["fingerprint"],
            "to": compared.now[name]["fingerprint"] if name in compared.now else None,
        }
        for name in dict.fromkeys(each.name for each in changes.breaking)
    ]


def folder_of(definition: Nameable) -> str:
    """The folder of a kind of definition: group_by, join, staging_query, ..."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(definition).__name__).lower()
