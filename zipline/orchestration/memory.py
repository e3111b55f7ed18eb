"""The most memory that this process has held since a moment.

Linux keeps the peak of a process and lets it be set back (`/proc/self/clear_refs`), which costs nothing and misses
nothing. Elsewhere the resident size is looked at twenty times a second, and short peaks between are missed. Runs of
one process at the same time see each other's memory.
"""

from __future__ import annotations

import re
import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"
_INTERVAL = 0.05


class PeakMemory:
    """Measures while it is entered; `bytes` is the peak so far, of everything that the process holds."""

    def __init__(self) -> None:
        self._is_exact = False
        self._highest = 0
        self._ended = threading.Event()

    @property
    def bytes(self) -> int:
        self._look()
        return self._highest

    def __enter__(self) -> PeakMemory:
        self._is_exact = _set_back()
        if not self._is_exact:
            threading.Thread(target=self._watch, name="peak memory", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look()
        self._ended.set()

    def _look(self) -> None:
        if not self._ended.is_set():
            self._highest = max(self._highest, _status("VmHWM") if self._is_exact else resident_bytes())

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._look()


def resident_bytes() -> int:
    """What the process holds now; where the system does not tell, the most that it ever held."""
    return _status("VmRSS") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _set_back() -> bool:
    try:
        _CLEAR.write_text(_RESET_PEAK, "ascii")
    except OSError:
        return False
    return _status("VmHWM") > 0


def _status(field: str) -> int:
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text("ascii", "replace"), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0
