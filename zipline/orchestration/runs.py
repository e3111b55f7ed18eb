"""A run under a lock, recorded: what was asked, what came of it, what it took.

    with recorded_run(registry, "backfill", {"start": "2013-07-01"}, subject=plan.name, output=output.uri) as run:
        ...
        run.check()                                   # before each publication: LockLostError where it must not
        run.count(rows=100, bytes_written=5_000)

The run's outcome is `done` when the block ends, `stopped` on an interrupt or SIGTERM, `failed` with its text on any
other error, and `lost` when nobody could say so any more: the process was killed, or stood still for too long.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from types import FrameType
from typing import ParamSpec

from zipline.clock import monotonic
from zipline.engines.contract import Computed
from zipline.errors import LockLostError, ZiplineError
from zipline.orchestration.memory import PeakMemory
from zipline.registry import Lock, Measures, Outcome, Registry
from zipline.registry.locks import LEASE
from zipline.values import dataclass

_LONGEST_ERROR = 4000
_P = ParamSpec("_P")


@dataclass
class Recording:
    """What a run says of itself while it goes on. `token` grows from run to run of one output."""

    id: int
    token: int
    measures: Measures
    _lock: Lock
    _predicted: Mapping[str, float] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, str]:
        """What a commit of the run keeps with it: of two commits the one of the higher token is the newer run's."""
        return {"run": str(self.id), "token": str(self.token)}

    def check(self) -> None:
        """LockLostError where the run must publish nothing more."""
        self._lock.check()

    def expect(self, measures: Mapping[str, float]) -> None:
        """Keeps with the run what was predicted of it (`Cost.measures`), so that later predictions learn from it."""
        self._predicted = dict(measures)

    def count(self, *, rows: int = 0, bytes_read: int = 0, bytes_written: int = 0) -> None:
        """Adds to what was read and written so far."""
        before = self.measures
        self.measures = replace(
            before,
            rows=(before.rows or 0) + rows,
            bytes_read=(before.bytes_read or 0) + bytes_read,
            bytes_written=(before.bytes_written or 0) + bytes_written,
        )

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the seconds of the block to the step of that name."""
        began = monotonic()
        try:
            yield
        finally:
            self.add_step_seconds({name: monotonic() - began})

    def counting(self, engine: Callable[_P, Computed]) -> Callable[_P, Computed]:
        """The engine, which adds what its steps took to the run."""

        def counted(*arguments: _P.args, **named: _P.kwargs) -> Computed:
            result = engine(*arguments, **named)
            self.add_step_seconds(result.report.seconds)
            return result

        return counted

    def add_step_seconds(self, seconds: Mapping[str, float]) -> None:
        total = dict(self.measures.step_seconds)
        for name, more in seconds.items():
            total[name] = total.get(name, 0.0) + more
        self.measures = replace(self.measures, step_seconds=total)


@contextmanager
def recorded_run(
    registry: Registry,
    what: str,
    arguments: Mapping[str, object],
    *,
    subject: str,
    output: str | None = None,
    fingerprint: str | None = None,
    days: Sequence[str] = (),
    lease: float = LEASE,
) -> Iterator[Recording]:
    """Holds the lock of `output` (default: of `subject`) for the block, and records it as a run of `subject`.

    `what` is the command. LockedError names who else is at it, and then no run is recorded. An error of the block
    goes on as it is.
    """
    with registry.locks.acquire(output or subject, f"zipline {what} {subject}", lease=lease) as lock:
        run = registry.runs.start(
            what,
            subject,
            arguments,
            fingerprint=fingerprint,
            days=days,
            lock=lock.name,
            token=lock.token,
        )
        recording = Recording(run, lock.token, Measures(), lock)
        yield from _recorded(registry, recording)


def _recorded(registry: Registry, recording: Recording) -> Iterator[Recording]:
    began = monotonic()

    def finish(outcome: Outcome, error: str | None = None) -> None:
        measures = replace(recording.measures, peak_bytes=memory.bytes)
        seconds, predicted = monotonic() - began, recording._predicted
        registry.runs.finish(recording.id, outcome, measures, seconds, error, predicted=predicted)

    with PeakMemory() as memory, _terminated_as_interrupted():
        try:
            yield recording
        except BaseException as error:
            try:
                finish(_outcome_of(error), _text_of(error))
            except ZiplineError as unrecorded:
                error.add_note(f"and the run's outcome could not be recorded: {unrecorded.what}")
            raise
        finish(Outcome.DONE)


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, LockLostError):
        return Outcome.LOST
    return Outcome.STOPPED if isinstance(error, KeyboardInterrupt) else Outcome.FAILED


def _text_of(error: BaseException) -> str:
    text = str(error) if isinstance(error, ZiplineError) else f"{type(error).__name__}: {error}"
    return text[:_LONGEST_ERROR]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, by which schedulers end a run, unwinds it like Ctrl-C, so that its lock is given back."""
    can_be_set = threading.current_thread() is threading.main_thread()
    if not can_be_set or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("terminated")
