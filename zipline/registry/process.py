"""Which process did something, and whether it still lives.

A process is known by its number, the tick of its start and its machine: the kernel's boot and the process table that
the number belongs to. Two containers of one name are two machines, and a number given away again is another process.
Where the system does not tell (no /proc) a process is never known to be dead, and a lease must decide.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from zipline.values import dataclass

_PROC = Path("/proc")
_ENDED = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Process:
    """`host` is for people; `machine` and `started` are None where the system does not tell them."""

    host: str
    pid: int
    machine: str | None = None
    started: int | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Process:
    pid = os.getpid()
    return Process(socket.gethostname(), pid, _machine(), _started(pid))


def is_here(process: Process) -> bool:
    """Whether its number can be looked up in this process table."""
    return process.machine is not None and process.machine == _machine()


def is_dead(process: Process) -> bool:
    """True only where it is certain."""
    return is_here(process) and process.started is not None and _started(process.pid) != process.started


def _machine() -> str | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """The tick at which the process began; None where there is none, or only its remains."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    # The first thread of a killed process may be over while another still finishes a write and holds its files.
    threads = int(fields[17])
    return None if fields[0] in _ENDED and threads <= 1 else int(fields[19])
