"""The schema's versions, and the way from one to the next.

Opening a registry brings it to the newest schema, in one transaction: a step that fails leaves it as it was. The
tables of a step are written down here as they were then, so that a later change of `schema` does not change the past.
A registry of a newer schema is refused: an older program would not understand what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Index, MetaData, String, Table, Text

from zipline.errors import RegistryError
from zipline.registry.database import Database
from zipline.registry.schema import Id, metadata, schemas

_PACKAGE = "zipline-features"
_SERVER_LOCK = sa.text("SELECT pg_advisory_xact_lock(7236102583)")


def migrate(database: Database) -> None:
    """Makes the tables where there are none, and mends older ones. RegistryError where they are newer."""
    with database.reading() as connection:
        found = _found(connection)
    if found == NEWEST:
        return
    with database.writing() as connection:
        if not database.is_file:
            connection.execute(_SERVER_LOCK)
        version = _found(connection)
        if version > NEWEST:
            raise _newer(database, connection, version)
        if version == 0:
            metadata.create_all(connection)
            _stamp(database, connection, NEWEST)
        for step in range(version + 1, NEWEST + 1) if version else ():
            _STEPS[step](connection)
            _stamp(database, connection, step)


def _found(connection: Connection) -> int:
    if not sa.inspect(connection).has_table(schemas.name):
        return 0
    return connection.execute(sa.select(sa.func.max(schemas.c.version))).scalar_one() or 0


def _stamp(database: Database, connection: Connection, version: int) -> None:
    row = {"version": version, "software": _software(), "applied": database.now(connection)}
    connection.execute(schemas.insert().values(row))


def _software() -> str:
    try:
        return f"{_PACKAGE} {version_of(_PACKAGE)}"
    except PackageNotFoundError:
        return _PACKAGE


def _newer(database: Database, connection: Connection, version: int) -> RegistryError:
    writer = connection.execute(sa.select(schemas.c.software).where(schemas.c.version == version)).scalar_one()
    return RegistryError(
        f"the registry at {database.shown} has schema {version}, written by {writer}; "
        f"this is {_software()}, which knows schemas up to {NEWEST}",
        hint=f"install {writer} or newer, or name another registry in [registry] url of zipline.toml",
        next_command=f"pip install --upgrade {_PACKAGE}",
    )


def _add_overrides(connection: Connection) -> None:
    """2: forced breaking changes; of a run the seconds of each step, and what was predicted of it."""
    Table(
        "zipline_overrides",
        MetaData(),
        Column("id", Id, primary_key=True),
        Column("scope", String(500), nullable=False),
        Column("name", String(500), nullable=False),
        Column("reason", Text, nullable=False),
        Column("made_by", Text, nullable=False),
        Column("from_fingerprint", String(64)),
        Column("to_fingerprint", String(64)),
        Column("made", BigInteger, nullable=False),
        Index("zipline_overrides_by_name", "scope", "name"),
    ).create(connection)
    for column in ("step_seconds", "predicted"):
        connection.execute(sa.text(f"ALTER TABLE zipline_runs ADD COLUMN {column} TEXT DEFAULT '{{}}' NOT NULL"))


_STEPS: Mapping[int, Callable[[Connection], None]] = {2: _add_overrides}
"""Schema -> what makes it of the one before."""
NEWEST = max(_STEPS)
