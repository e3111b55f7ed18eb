"""Sparing what fails: after some failures in a row it is asked once in a while, instead of by everybody every time.

So a source that hangs costs its time a few times, and then once in `PAUSE` seconds, whoever asks.
"""

from __future__ import annotations

import threading

from zipline.clock import monotonic

TOLERATED, PAUSE = 5, 1.0
"""Failures in a row after which something is spared, and seconds between two trials."""


class Breaker:
    """See the module. Thread-safe."""

    def __init__(self, tolerated: int = TOLERATED) -> None:
        self._guard = threading.Lock()
        self._tolerated = tolerated
        self._failures, self._next = 0, 0.0

    def may_ask(self) -> bool:
        """Whether to ask now: who is told so says what came of it."""
        if self._failures < self._tolerated:
            return True
        with self._guard:
            clock = monotonic()
            if clock < self._next:
                return False
            self._next = clock + PAUSE
            return True

    def failed(self) -> None:
        with self._guard:
            self._failures += 1
            self._next = monotonic() + PAUSE

    def answered(self) -> None:
        if self._failures:
            with self._guard:
                self._failures = 0
