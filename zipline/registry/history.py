"""The finished runs of a registry's file, without SQLAlchemy: importing that takes longer than all the rest of a plan.

What is read is what `Runs.recent` gives. A server, a file of another schema and one that cannot be read are left to
`open_registry`, which migrates it or says what is wrong.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from zipline.registry.places import file_of, scope_of, url_of
from zipline.registry.run import Outcome, Run, run_of

if TYPE_CHECKING:
    from zipline.project import Project

SCHEMA = 2
"""The schema whose table of runs this is."""
_BUSY_SECONDS = 5
_VERSION = "SELECT max(version) AS newest FROM zipline_schema"
_RUNS = "SELECT * FROM zipline_runs WHERE scope = ? AND outcome = ? ORDER BY started DESC, id DESC LIMIT ?"


def finished_runs(where: Project | str, most: int = 100) -> tuple[Run, ...]:
    """The newest runs of a project that ended well, newest first; () where there is no registry yet."""
    file = file_of(url_of(where))
    if file is not None and not file.exists():
        return ()
    found = _read(file, scope_of(where), most) if file is not None else None
    return found if found is not None else _asked(where, most)


def _read(file: Path, scope: str, most: int) -> tuple[Run, ...] | None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", _BUSY_SECONDS, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            if connection.execute(_VERSION).fetchone()["newest"] != SCHEMA:
                return None
            rows = connection.execute(_RUNS, (scope, Outcome.DONE.value, most)).fetchall()
            return tuple(run_of(row, Outcome.DONE) for row in rows)
    except (sqlite3.Error, IndexError):
        return None


def _asked(where: Project | str, most: int) -> tuple[Run, ...]:
    from zipline.registry.registry import open_registry

    with open_registry(where) as registry:
        return registry.runs.recent(outcomes=[Outcome.DONE], most=most)
