"""What a process holds of memory: its own, and what is only mapped into it from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True)
class Resident:
    """Bytes. `anonymous` is what the process has made itself, swapped or not; `mapped` are pages of files that are in
    memory now, which the system takes back when it needs room."""

    anonymous: int
    mapped: int

    def __str__(self) -> str:
        return f"{self.anonymous / 1e6:,.1f} MB anonymous, {self.mapped / 1e6:,.1f} MB mapped"


def resident(pid: int | str = "self") -> Resident:
    """Of a running process, as Linux counts it now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    anonymous = kib["Anonymous"]
    return Resident((anonymous + kib.get("Swap", 0)) * _KIB, (kib["Rss"] - anonymous) * _KIB)
