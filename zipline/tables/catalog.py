"""Names to tables: what the caller passed in memory, else the project's warehouse, else a path.

`table(name)` looks, in this order, in the tables passed to `open_catalog`; in the `[tables.NAME]` sections of the
project, of which those of Spark's catalog are opened by the `opener` that a command brings with its session; in the
warehouse, where an environment sees its own table (`table_prefix` + name) before the shared one of the
plain name; a name with a separator, a data file's extension or a URL scheme is opened as a path, below the project's
root. A table is opened once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from zipline.errors import TableError
from zipline.tables.contract import Table
from zipline.tables.memory import MemoryTable
from zipline.tables.paths import EXTENSIONS, PathSource, format_of, is_path, open_path
from zipline.tables.rows import to_table
from zipline.tables.storage import Storage, joined

if TYPE_CHECKING:
    from zipline.project import Project

Opener = Callable[[str, str], Table]
"""(name here, name in the catalog of a Spark session) -> the table."""


class Catalog:
    """The tables that one piece of work can read."""

    def __init__(self, tables: Mapping[str, object], project: Project | None, opener: Opener | None = None) -> None:
        self._given = dict(tables)
        self._project = project
        self._opener = opener
        self._opened: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        """The table of that name; TableError with the names there are."""
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def with_tables(self, tables: Mapping[str, object]) -> Catalog:
        """The same catalog with more tables in memory, which win; what is open stays open."""
        more = Catalog(self._given | dict(tables), self._project, self._opener)
        more._opened = {name: table for name, table in self._opened.items() if name not in tables}
        return more

    def is_given(self, name: str) -> bool:
        """Whether the table is one of those passed in, which win over all others of its name."""
        return name in self._given

    def names(self) -> list[str]:
        """Every name that `table` would find, paths apart."""
        configured = list(self._project.tables) if self._project else []
        return list(dict.fromkeys([*self._given, *configured, *self._stored()]))

    def _open(self, name: str) -> Table:
        if name in self._given:
            return _open_given(name, self._given[name], self._options)
        if self._project and name in self._project.tables:
            settings = self._project.tables[name]
            if settings.catalog:
                return self._of_spark(name, settings.catalog)
            source = PathSource(settings.path, settings.null_values, settings.delimiter)
            return open_path(name, source, options=self._options, root=self._project.root)
        if is_path(name):
            return open_path(name, PathSource(name), options=self._options, root=self._root)
        found = self._in_warehouse(name)
        if found is None:
            raise self._unknown(name)
        return open_path(name, PathSource(found), options=self._options)

    def _of_spark(self, name: str, known_as: str) -> Table:
        if self._opener is None:
            raise TableError(
                f"the table {name!r} is {known_as} of Spark's catalog, which a session of Spark opens",
                hint='run it with --engine spark, in Python with engine="spark"; or give a path in [tables.NAME]',
            )
        return self._opener(name, known_as)

    @property
    def _root(self) -> Path | None:
        return self._project.root if self._project else None

    @property
    def _options(self) -> Mapping[str, str]:
        return self._project.storage_options if self._project else {}

    def _in_warehouse(self, name: str) -> str | None:
        if self._project is None:
            return None
        children = Storage(self._project.warehouse, self._options).children(self._project.warehouse)
        for wanted in dict.fromkeys([self._project.table_prefix + name, name]):
            for child in children:
                if child == wanted or (format_of(child) and _bare(child) == wanted):
                    return joined(self._project.warehouse, child)
        return None

    def _stored(self) -> list[str]:
        if self._project is None:
            return []
        storage = Storage(self._project.warehouse, self._options)
        bare = [_bare(child) for child in storage.children(self._project.warehouse) if child[0] not in "._"]
        return [name.removeprefix(self._project.table_prefix) for name in bare]

    def _unknown(self, name: str) -> TableError:
        if self._project is None:
            hint = "pass it in tables={...}, or give a path"
        else:
            hint = f"looked in {self._project.warehouse}; pass it in tables={{...}}, or give a path"
        return TableError(
            f"there is no table {name!r}",
            asked=name,
            valid=self.names(),
            hint=hint,
            next_command="zipline doctor" if self._project else None,
        )


def open_catalog(
    tables: Mapping[str, object] | None = None, project: Project | None = None, opener: Opener | None = None
) -> Catalog:
    """The catalog of tables in memory (at paths, or open already) and of a project's warehouse. Nothing is read yet.

    Without an `opener` the project's tables of Spark's catalog cannot be read.
    """
    return Catalog(tables or {}, project, opener)


def _open_given(name: str, rows: object, options: Mapping[str, str]) -> Table:
    if isinstance(rows, PathSource):
        return open_path(name, rows, options=options)
    if isinstance(rows, (str, os.PathLike)):
        return open_path(name, PathSource(rows), options=options)
    if _are_paths(rows):
        return open_path(name, PathSource(rows), options=options)
    if isinstance(rows, Table):
        return rows
    return MemoryTable(name, to_table(name, rows))


def _are_paths(rows: object) -> TypeGuard[Sequence[str | os.PathLike[str]]]:
    return isinstance(rows, Sequence) and bool(rows) and all(isinstance(each, (str, os.PathLike)) for each in rows)


def _bare(child: str) -> str:
    """A stored table's name: its file's name without the extensions of a data file."""
    if format_of(child) is None:
        return child
    stem = child.rsplit(".", 1)[0]
    return stem.rsplit(".", 1)[0] if stem.rsplit(".", 1)[-1].lower() in EXTENSIONS else stem
