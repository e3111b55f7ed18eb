"""The locks of who keeps a streaming job going: one process has a job, and one writes a group-by's tiles."""

from __future__ import annotations

from contextlib import ExitStack

from zipline.errors import LockedError
from zipline.orchestration.events.opening import tiles_lock
from zipline.orchestration.streaming.jobs import job_lock_name
from zipline.registry import Lock, Registry


class Locks:
    """The locks of a job and of its group-bys' tiles, until they are given back."""

    def __init__(self, registry: Registry, held: ExitStack, *, beside: bool) -> None:
        self._registry, self._held, self._beside = registry, held, beside
        self._taken: dict[str, Lock] = {}

    def take(self, space: str) -> bool:
        """Whether this process writes the tiles of a space from now on; where another one does, a LockedError, unless
        it may be begun beside that one."""
        if space not in self._taken:
            try:
                self._taken[space] = self._held.enter_context(tiles_lock(self._registry, space))
            except LockedError:
                if not self._beside:
                    raise
                return False
        return True

    def take_job(self, job: str) -> None:
        """LockedError where another process keeps it going."""
        self._taken[job] = self._held.enter_context(self._registry.locks.acquire(job_lock_name(job), "zipline stream"))

    def check(self) -> None:
        """LockLostError where another process may have one."""
        for lock in self._taken.values():
            lock.check()
