"""Locks: at most one holder of a name, and what becomes of one whose holder is gone.

A holder has a lease that a background thread renews. A lock can be taken when it was released, when its lease is over,
or at once when its holder was of this process table and is dead. Every taking has a token one higher than the last;
a holder whose lock was taken away (it stood still for longer than its lease) finds another token than its own, and
must look before it publishes: `Lock.check` proves that the lock is still held, and renews it for a whole lease. Should
it stand still after that, the table itself refuses: it was opened before the look, and a newer holder's commit shows.
"""

from __future__ import annotations

import threading
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from zipline.clock import SECOND, to_text
from zipline.errors import LockedError, LockLostError, RegistryError
from zipline.registry.database import Database
from zipline.registry.process import Process, is_dead, is_here, this_process
from zipline.registry.runs import mark_lost
from zipline.registry.schema import locks
from zipline.values import dataclass

LEASE = 120.0
"""Seconds without a sign of life after which a lock may be taken from a machine that cannot be asked."""
_RENEWALS_PER_LEASE = 4


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lock; `renewed` is its last sign of life. `is_alive`: the lock cannot be taken."""

    name: str
    token: int
    what: str
    process: Process
    since: int
    renewed: int
    expires: int
    is_alive: bool


class Locks:
    """The locks of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, what: str, *, lease: float = LEASE) -> Lock:
        """The lock `name` for this process, which says that it does `what`.

        LockedError names the holder. It is never waited for: whoever calls knows what else there is to do.
        """
        process = this_process()
        with self._database.writing() as connection:
            self._database.insert_missing(connection, locks, {"name": name, "token": 0})
            row = connection.execute(_named(name).with_for_update()).mappings().one()
            now = self._database.now(connection)
            holder = _holder(row, now)
            if holder is not None and holder.is_alive:
                raise _refused(holder, now)
            if holder is not None:
                mark_lost(connection, name, holder.token, holder.renewed)
            token = int(row["token"]) + 1
            held = {"token": token, "what": what, "since": now, **_process_row(process), **_lease(now, lease)}
            connection.execute(sa.update(locks).where(locks.c.name == name).values(held))
        return Lock(self._database, name, token, lease)

    def holder(self, name: str) -> Holder | None:
        """Who has the lock, dead or alive; None when it is free."""
        with self._database.reading() as connection:
            row = connection.execute(_named(name)).mappings().one_or_none()
            return _holder(row, self._database.now(connection)) if row is not None else None

    def held(self) -> tuple[Holder, ...]:
        """Every lock that has a holder, by name."""
        with self._database.reading() as connection:
            return holders(connection, self._database.now(connection))


class Lock:
    """A lock that this process has taken. `token` is higher than those of all holders before."""

    def __init__(self, database: Database, name: str, token: int, lease: float) -> None:
        self.name, self.token = name, token
        self._database, self._lease = database, lease
        self._ended = threading.Event()
        self._is_lost = False
        self._heart = threading.Thread(target=self._beat, name=f"lease of {name}", daemon=True)
        self._heart.start()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except RegistryError as kept:
            if error is None:
                raise
            error.add_note(f"and the lock could not be given back, it ends with its lease: {kept.what}")

    def check(self) -> None:
        """Proves that the lock is still held, and renews its lease; LockLostError where it is not."""
        if self._is_lost or self._ended.is_set() or not self._renew():
            raise self._lost()

    def release(self) -> None:
        """Gives the lock back; one that was lost stays its new holder's."""
        self._ended.set()
        if self._heart is not threading.current_thread():
            self._heart.join()
        free = dict.fromkeys(("what", "host", "pid", "machine", "process_started", "since", "renewed", "expires"))
        with self._database.writing() as connection:
            connection.execute(self._mine(sa.update(locks)).values(free))

    def _renew(self) -> bool:
        with self._database.writing() as connection:
            leased = _lease(self._database.now(connection), self._lease)
            held = connection.execute(self._mine(sa.update(locks)).values(leased)).rowcount == 1
        self._is_lost = not held
        return held

    def _mine(self, statement: sa.Update) -> sa.Update:
        return statement.where(locks.c.name == self.name, locks.c.token == self.token)

    def _beat(self) -> None:
        while not self._ended.wait(self._lease / _RENEWALS_PER_LEASE):
            try:
                if not self._renew():
                    return
            except RegistryError:
                continue

    def _lost(self) -> LockLostError:
        return LockLostError(
            "this run is no longer the only one that may write the table: it stood still for longer than its lease "
            f"of {self._lease:g} s",
            subject=self.name,
            hint="another run may have taken its place; nothing more is published by this one. What it published "
            "before stays",
            next_command="zipline doctor",
        )


def holders(connection: Connection, now: int) -> tuple[Holder, ...]:
    rows = connection.execute(sa.select(locks).where(locks.c.host.is_not(None)).order_by(locks.c.name)).mappings()
    return tuple(holder for row in rows if (holder := _holder(row, now)) is not None)


def _named(name: str) -> sa.Select[tuple[object, ...]]:
    return sa.select(locks).where(locks.c.name == name)


def _holder(row: RowMapping, now: int) -> Holder | None:
    if row["host"] is None:
        return None
    process = Process(row["host"], row["pid"], row["machine"], row["process_started"])
    return Holder(
        name=row["name"],
        token=row["token"],
        what=row["what"],
        process=process,
        since=row["since"],
        renewed=row["renewed"],
        expires=row["expires"],
        is_alive=now < row["expires"] and not is_dead(process),
    )


def _process_row(process: Process) -> dict[str, object]:
    return {
        "host": process.host,
        "pid": process.pid,
        "machine": process.machine,
        "process_started": process.started,
    }


def _lease(now: int, seconds: float) -> dict[str, int]:
    return {"renewed": now, "expires": now + round(seconds * SECOND)}


def _refused(holder: Holder, now: int) -> LockedError:
    ago, left = max(0, now - holder.renewed) // SECOND, max(0, holder.expires - now) // SECOND + 1
    stop = (
        f"or stop it (kill {holder.process.pid}), which frees it at once"
        if is_here(holder.process)
        else f"or stop it there; should that machine be gone, it is free {left} s from now"
    )
    return LockedError(
        f"another run is at work on it: {holder.what}, {holder.process}, "
        f"since {to_text(holder.since - holder.since % SECOND)}, last sign of life {ago} s ago",
        subject=holder.name,
        hint=f"wait until it ends, {stop}; then run the same command again",
        next_command="zipline doctor",
    )
