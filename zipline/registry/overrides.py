"""Overrides: breaking changes of online objects that somebody forced, and why."""

from __future__ import annotations

import sqlalchemy as sa

from zipline.errors import UsageError
from zipline.registry.database import Database
from zipline.registry.recording import author
from zipline.registry.schema import overrides
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class Override:
    """A change from one fingerprint to another; None is a definition that was not there, or is there no more."""

    name: str
    reason: str
    made_by: str
    from_fingerprint: str | None
    to_fingerprint: str | None
    made: int


class Overrides:
    """The overrides of one scope of a registry. They are added and never changed."""

    def __init__(self, database: Database, scope: str) -> None:
        self._database, self._scope = database, scope

    def add(
        self,
        name: str,
        reason: str,
        *,
        from_fingerprint: str | None = None,
        to_fingerprint: str | None = None,
        by: str | None = None,
    ) -> Override:
        """Keeps who forced the change and why; UsageError where no reason is given."""
        if not reason.strip():
            raise UsageError("a forced change needs a reason", subject=name, hint="say why, for those who ask later")
        with self._database.writing() as connection:
            made = self._database.now(connection)
            row = Override(name, reason.strip(), by or author(), from_fingerprint, to_fingerprint, made)
            values = {field: getattr(row, field) for field in Override.__dataclass_fields__}
            connection.execute(overrides.insert().values(scope=self._scope, **values))
        return row

    def of(self, name: str | None = None) -> tuple[Override, ...]:
        """Those of one definition, or all; newest first."""
        columns = [overrides.c[field] for field in Override.__dataclass_fields__]
        query = sa.select(*columns).where(overrides.c.scope == self._scope)
        query = query if name is None else query.where(overrides.c.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(overrides.c.id.desc())).mappings()
            return tuple(Override(**row) for row in rows)
