"""What commands that must be quick ask of a registry's file, without SQLAlchemy: importing that takes longer than all
the rest of a plan.

The finished runs are what `Runs.recent` gives, a compilation is recorded as by `Registry.record`. A server, a file that
is not there, one of another schema or that cannot be read or written now is left to `open_registry`, which makes or
migrates it, waits for it, or says what is wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from zipline.clock import now
from zipline.registry.places import file_of, scope_of, url_of
from zipline.registry.recording import Changes, Compiled, recorded
from zipline.registry.run import Outcome, Run, run_of

if TYPE_CHECKING:
    from zipline.project import Project

SCHEMA = 2
"""The schema whose tables these are."""
_BUSY_SECONDS = 5
_VERSION = "SELECT max(version) FROM zipline_schema"
_RUNS = "SELECT * FROM zipline_runs WHERE scope = ? AND outcome = ? ORDER BY started DESC, id DESC LIMIT ?"


def finished_runs(where: Project | str, most: int = 100) -> tuple[Run, ...]:
    """The newest runs of a project that ended well, newest first; () where there is no registry yet."""
    file = file_of(url_of(where))
    if file is not None and not file.exists():
        return ()
    found = _read(file, scope_of(where), most) if file is not None else None
    return found if found is not None else _asked(where, most)


def record_compilation(where: Project | str, definitions: Sequence[Compiled]) -> Changes:
    """`Registry.record`."""
    file = file_of(url_of(where))
    found = _recorded(file, scope_of(where), definitions) if file is not None and file.exists() else None
    if found is not None:
        return found
    from zipline.registry.registry import open_registry

    with open_registry(where) as registry:
        return registry.record(definitions)


class _Statements:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, parameters: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
        return self._connection.execute(statement, parameters)

    def run(self, statement: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(statement, parameters)


def _connected(file: Path, mode: str) -> closing[sqlite3.Connection]:
    """Transactions begin where they are told to."""
    address = f"file:{quote(str(file))}?mode={mode}"
    return closing(sqlite3.connect(address, _BUSY_SECONDS, uri=True, isolation_level=None))


def _is_newest(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(_VERSION).fetchone()[0] == SCHEMA)


def _read(file: Path, scope: str, most: int) -> tuple[Run, ...] | None:
    try:
        with _connected(file, "ro") as connection:
            connection.execute("BEGIN")
            if not _is_newest(connection):
                return None
            connection.row_factory = sqlite3.Row
            rows = connection.execute(_RUNS, (scope, Outcome.DONE.value, most)).fetchall()
            return tuple(run_of(row, Outcome.DONE) for row in rows)
    except (sqlite3.Error, IndexError):
        return None


def _recorded(file: Path, scope: str, definitions: Sequence[Compiled]) -> Changes | None:
    """A connection that is closed before its COMMIT leaves nothing."""
    try:
        with _connected(file, "rw") as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            if not _is_newest(connection):
                return None
            changes = recorded(_Statements(connection), scope, definitions, now=now())
            connection.execute("COMMIT")
            return changes
    except sqlite3.Error:
        return None


def _asked(where: Project | str, most: int) -> tuple[Run, ...]:
    from zipline.registry.registry import open_registry

    with open_registry(where) as registry:
        return registry.runs.recent(outcomes=[Outcome.DONE], most=most)
