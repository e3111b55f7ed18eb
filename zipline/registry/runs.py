"""Runs: what was asked, what came of it, and what it took.

A run is `running` until it says how it ended: `done`, `failed` or `stopped` (by its user). One that can no longer say
so, because its process was killed or its machine is gone, is `lost`: it reads so as soon as its lock is found without
it, and is written down so by whoever takes that lock next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from zipline.clock import SECOND
from zipline.registry.database import Database
from zipline.registry.process import is_dead, this_process
from zipline.registry.run import Measures, Outcome, Run, process_of, run_of
from zipline.registry.schema import locks, runs


class Runs:
    """The runs of one scope of a registry."""

    def __init__(self, database: Database, scope: str) -> None:
        self._database, self._scope = database, scope

    def start(
        self,
        what: str,
        subject: str,
        arguments: Mapping[str, object],
        *,
        fingerprint: str | None = None,
        days: Sequence[str] = (),
        lock: str | None = None,
        token: int | None = None,
    ) -> int:
        """The id of a new run of this process; `lock` and `token` are of the lock that it holds."""
        process = this_process()
        row = {
            "scope": self._scope,
            "what": what,
            "subject": subject,
            "arguments": json.dumps(dict(arguments), default=str, ensure_ascii=False, sort_keys=True),
            "fingerprint": fingerprint,
            "first_day": min(days, default=None),
            "last_day": max(days, default=None),
            "days": len(days),
            "outcome": Outcome.RUNNING.value,
            "host": process.host,
            "pid": process.pid,
            "machine": process.machine,
            "process_started": process.started,
            "lock": lock,
            "token": token,
        }
        with self._database.writing() as connection:
            row["started"] = self._database.now(connection)
            return int(connection.execute(runs.insert().values(row).returning(runs.c.id)).scalar_one())

    def finish(
        self,
        run: int,
        outcome: Outcome,
        measures: Measures,
        seconds: float,
        error: str | None = None,
        *,
        predicted: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """How the run ended, what it took, and what had been predicted of it."""
        with self._database.writing() as connection:
            row = {
                "rows": measures.rows,
                "bytes_read": measures.bytes_read,
                "bytes_written": measures.bytes_written,
                "peak_bytes": measures.peak_bytes,
                "step_seconds": json.dumps(dict(measures.step_seconds)),
                "predicted": json.dumps(dict(predicted)),
                "seconds": seconds,
                "outcome": outcome.value,
                "error": error,
                "ended": self._database.now(connection),
            }
            connection.execute(sa.update(runs).where(runs.c.id == run).values(row))

    def find(self, run: int) -> Run | None:
        found = self._read(sa.select(runs).where(runs.c.id == run))
        return found[0] if found else None

    def recent(
        self, *, subject: str | None = None, outcomes: Iterable[Outcome] = (), most: int = 100
    ) -> tuple[Run, ...]:
        """The newest first: of one definition, or with one of these outcomes, where asked for."""
        wanted = {Outcome(outcome) for outcome in outcomes}
        query = sa.select(runs).where(runs.c.scope == self._scope).order_by(runs.c.started.desc(), runs.c.id.desc())
        if subject is not None:
            query = query.where(runs.c.subject == subject)
        if wanted:
            stored = {*wanted, *([Outcome.RUNNING] if Outcome.LOST in wanted else [])}
            query = query.where(runs.c.outcome.in_([outcome.value for outcome in stored]))
        found = self._read(query.limit(most))
        return tuple(run for run in found if not wanted or run.outcome in wanted)

    def count(self) -> int:
        """How many there are."""
        with self._database.reading() as connection:
            query = sa.select(sa.func.count()).select_from(runs).where(runs.c.scope == self._scope)
            return int(connection.execute(query).scalar_one())

    def _read(self, query: sa.Select[tuple[object, ...]]) -> tuple[Run, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
            held = _held_tokens(connection, rows, self._database.now(connection))
        return tuple(run_of(row, _outcome(row, held)) for row in rows)


def mark_lost(connection: Connection, lock: str, token: int, ended: int) -> None:
    """Whoever ran under this taking of the lock did not end by itself; its last sign of life was then."""
    under = sa.update(runs).where(runs.c.lock == lock, runs.c.token == token, runs.c.outcome == Outcome.RUNNING.value)
    lasted = (ended - runs.c.started) / float(SECOND)
    connection.execute(under.values(outcome=Outcome.LOST.value, ended=ended, seconds=lasted))


def _held_tokens(connection: Connection, rows: Sequence[RowMapping], now: int) -> set[tuple[str, int]]:
    """(lock, token) of the leases that the running ones of these runs still have."""
    names = {row["lock"] for row in rows if row["outcome"] == Outcome.RUNNING.value and row["lock"]}
    query = sa.select(locks.c.name, locks.c.token).where(locks.c.name.in_(names), locks.c.expires > now)
    return {(name, token) for name, token in connection.execute(query)} if names else set()


def _outcome(row: RowMapping, held: set[tuple[str, int]]) -> Outcome:
    outcome = Outcome(row["outcome"])
    if outcome is not Outcome.RUNNING:
        return outcome
    without_lock = row["lock"] is not None and (row["lock"], row["token"]) not in held
    return Outcome.LOST if without_lock or is_dead(process_of(row)) else outcome
