"""What is told of the streaming jobs of a project: a file for each, written once a second by who keeps it going."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

import msgspec

from zipline.clock import SECOND, monotonic, now
from zipline.engines.flink.rest import Checkpoint
from zipline.errors import UsageError, ZiplineError
from zipline.project import EMBEDDED, Project
from zipline.registry.process import Process, is_dead, is_here, this_process
from zipline.values import dataclass

FILE = "status.json"
STOPPED = "stopped"
FRESH = 15 * SECOND
"""How old what is told may be of a process that lives, where that is another machine's."""


@dataclass
class Report:
    """What is known of a job. Times are microseconds; None is not known yet."""

    job: str
    state: str = "starting"
    id: str = ""
    tiles: int = 0
    """Written since the process began."""
    restarts: int = 0
    lag: int | None = None
    """Messages that no checkpoint has yet."""
    until: int | None = None
    """All events that came before are in the tiles."""
    since: int | None = None
    """Events that came before it were deleted from their topics, and some were not read."""
    checkpoint: Checkpoint | None = None
    dead: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    waits_for: list[str] = field(default_factory=list)
    """Group-bys whose tiles another version of the job writes."""


class Status(msgspec.Struct):
    """A job as its process told of it at `at` (microseconds)."""

    at: int
    process: Process
    report: Report

    @property
    def is_alive(self) -> bool:
        is_told = is_here(self.process) or now() - self.at < FRESH  # while a job is started nothing is
        return self.report.state != STOPPED and not is_dead(self.process) and is_told


def write_status(folder: Path, report: Report) -> None:
    """Replaces the file in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{FILE}"
    beside.write_bytes(msgspec.json.encode(Status(now(), this_process(), report)))
    os.replace(beside, folder / FILE)


def statuses(project: Project) -> Iterator[tuple[str, Status]]:
    """Of every job of the project that was ever started on this machine: its folder's name, and what was told last.

    Of the versions of a job those that live, or the one that was told of last.
    """
    versions_of: dict[str, list[tuple[str, Status]]] = {}
    for file in sorted(_folder(project).glob(f"*/{FILE}")):
        with contextlib.suppress(msgspec.MsgspecError, OSError):
            status = _told(file)
            versions_of.setdefault(file.parent.name.rpartition(".")[0], []).append((file.parent.name, status))
    for versions in versions_of.values():
        alive = [(name, status) for name, status in versions if status.is_alive]
        yield from alive or [max(versions, key=lambda each: each[1].at)]


def is_kept_by(folder: Path, pid: int) -> bool:
    """Whether it was a process of this machine that told last of the job with a folder."""
    file = folder / FILE
    return file.exists() and _told(file).process.pid == pid


def status_of(project: Project, job: str | None) -> tuple[str, Status]:
    """That of a job, by its name with or without its version; it need not be named where there is one. UsageError names
    those that there are."""
    known = dict(statuses(project))
    if not known:
        raise UsageError("no streaming job was started here", next_command="zipline stream --engine flink")
    found = [name for name in known if job in (None, name, name.rpartition(".")[0])]
    if not found:
        raise UsageError(f"there is no streaming job {job!r} here", asked=job, valid=list(known))
    if len(found) > 1:
        raise UsageError("there is more than one job: name it", valid=found)
    return found[0], known[found[0]]


def signalled(name: str, status: Status, what: signal.Signals) -> None:
    """Tells a job's process; ZiplineError where it does not live, or is another machine's."""
    here = this_process()
    if status.process.host != here.host:
        raise ZiplineError(f"the job {name} is kept going by {status.process.host}", hint="tell it there")
    if not status.is_alive:
        raise ZiplineError(f"nothing keeps the job {name} going", next_command="zipline stream --engine flink")
    os.kill(status.process.pid, what)


def end_job(project: Project, name: str, within: float) -> Status:
    """Has a job's process end it with a savepoint, that of a cluster too; gives what it told last. ZiplineError where
    it does not end in time, or not as it should."""
    signalled(name, _told(_folder(project) / name / FILE), signal.SIGUSR1)
    until = monotonic() + within
    while True:
        status = _told(_folder(project) / name / FILE)
        if is_dead(status.process):
            break
        if monotonic() > until:
            raise ZiplineError(f"the job {name} has not stopped within {within:.0f} s")
        time.sleep(0.2)
    if status.report.state != STOPPED:
        raise ZiplineError(
            f"what kept the job {name} going has ended, and it is not known that the job has: "
            f"{'; '.join(status.report.troubles.values()) or status.report.state}",
            hint="look at its cluster; it ends there by itself where its savepoint was only slow",
        )
    return status


def _folder(project: Project) -> Path:
    return project.root / EMBEDDED / "stream"


def _told(file: Path) -> Status:
    return msgspec.json.decode(file.read_bytes(), type=Status)
