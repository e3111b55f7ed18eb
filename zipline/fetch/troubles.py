"""What could not be read, told in the log: the same thing once in ten seconds, however many fetches meet it."""

from __future__ import annotations

import logging
import threading

from zipline.clock import monotonic
from zipline.errors import ZiplineError

AGAIN = 10.0
"""Seconds until the same is said again."""
MOST = 1_000
"""Different things that are remembered."""
_log = logging.getLogger(__name__)


class Troubles:
    """See the module. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._told: dict[str, float] = {}

    def tell(self, wrong: ZiplineError) -> None:
        """Says it, unless that was done a moment ago."""
        clock = monotonic()
        with self._guard:
            if clock - self._told.get(wrong.what, -AGAIN) < AGAIN:
                return
            if len(self._told) >= MOST:
                self._told.clear()
            self._told[wrong.what] = clock
        hint = f" ({wrong.hint})" if wrong.hint else ""
        _log.warning("features are unavailable: %s%s", wrong.what, hint)


TROUBLES = Troubles()
"""Of this process."""
