"""`zipline compile`: one JSON file for each definition, so that a change of definitions is a diff that people read.

A file holds the canonical definition, its fingerprint, owner, the author's line and, where the schemas of the sources
are known, the columns and types of the output. The folder is written beside and put in place as a whole.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zipline.api import GroupBy, Join
from zipline.errors import TableError
from zipline.plan.canonical import Json, canonical, pretty
from zipline.plan.definitions import Definitions
from zipline.plan.fingerprints import Fingerprints
from zipline.plan.names import Nameable
from zipline.types import DataType

Schemas = Callable[[str], Mapping[str, DataType]]


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


def compile_definitions(
    definitions: Definitions, out_dir: str | os.PathLike[str], schemas: Schemas | None = None
) -> Compilation:
    """Writes `out_dir`/<kind>/<name>.json for every definition and removes the files of deleted ones.

    `schemas(table)` gives the columns of a table, TableError where it is not there: then the output's columns are left
    out and `untyped` says why. A column or type that does not fit is a DefinitionError, and nothing is written.
    """
    folder = Path(os.path.abspath(out_dir))
    fingerprints, untyped, types = Fingerprints(), dict[str, str](), _Types(schemas)
    files: dict[str, str] = {}
    for name, definition in definitions.items():
        described = _describe(definitions, definition, fingerprints)
        try:
            described |= types.columns(definition)
        except TableError as error:
            meant = f"; did you mean {error.suggestion!r}?" if error.suggestion else ""
            untyped[name] = error.what + meant
        files[f"{_folder_of(definition)}/{name}.json"] = pretty(described)
    before = _read(folder)
    _publish(folder, files)
    return Compilation(
        folder=str(folder),
        created=_names(path for path in files if path not in before),
        changed=_names(path for path, text in files.items() if before.get(path, text) != text),
        deleted=_names(path for path in before if path not in files),
        unchanged=_names(path for path, text in files.items() if before.get(path) == text),
        counts=_counts(definitions),
        features=sum(len(group_by.features or ()) for group_by in definitions.group_bys),
        untyped=untyped,
    )


def _describe(definitions: Definitions, definition: Nameable, fingerprints: Fingerprints) -> dict[str, Json]:
    return {
        "kind": type(definition).__name__,
        "name": definition.name,
        "fingerprint": fingerprints.of(definition),
        "owner": definitions.owner(definition),
        "location": definitions.site(definition),
        "needs": list(definitions.needs(definition)),
        "definition": canonical(definition, fingerprints.reference),
    }


class _Types:
    """Output columns of group-bys and joins; the schema of each table is asked for once."""

    def __init__(self, schemas: Schemas | None) -> None:
        self._schemas = schemas
        self._known: dict[str, Mapping[str, DataType]] = {}

    def columns(self, definition: Nameable) -> dict[str, Json]:
        if self._schemas is None or not isinstance(definition, (GroupBy, Join)):
            return {}
        from zipline.plan.build import plan_group_by, plan_join

        if isinstance(definition, Join):
            columns = plan_join(definition, self._schema).columns
        else:
            group_by = plan_group_by(definition, self._schema)
            columns = (*group_by.keys, *group_by.columns)
        return {"columns": [[name, str(dtype)] for name, dtype in columns]}

    def _schema(self, table: str) -> Mapping[str, DataType]:
        if table not in self._known:
            assert self._schemas is not None
            self._known[table] = self._schemas(table)
        return self._known[table]


def _folder_of(definition: Nameable) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(definition).__name__).lower()


def _counts(definitions: Definitions) -> dict[str, int]:
    kinds = [_folder_of(definition) for definition in definitions.values()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _names(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(Path(path).stem for path in paths))


def _read(folder: Path) -> dict[str, str]:
    return {f"{p.parent.name}/{p.name}": p.read_text("utf-8", "replace") for p in folder.glob("*/*.json")}


def _publish(folder: Path, files: Mapping[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    fresh, former = beside / "new", beside / "old"
    try:
        fresh.mkdir()
        for path, text in files.items():
            (fresh / path).parent.mkdir(exist_ok=True)
            (fresh / path).write_bytes(text.encode("utf-8", "surrogatepass"))
        if folder.exists():
            folder.rename(former)
        fresh.rename(folder)
    except BaseException:
        if former.exists() and not folder.exists():
            former.rename(folder)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
