"""How a server that fails is spared: after `TOLERATED` failures in a row it is asked once a second.

A server that hangs holds up who asks for its timeout. Once it is known to hang, one reader a second waits for it, and
all others are told at once that it does not answer; the first answer ends that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zipline.breaker import Breaker
from zipline.stores.contract import PlaceError, StoreError

TOLERATED = 3


class Sparing:
    """See the module. Thread-safe."""

    def __init__(self) -> None:
        self._breaker = Breaker(TOLERATED)
        self._last = ""

    @contextmanager
    def asked(self) -> Iterator[None]:
        """The block asks the server. StoreError without asking where it failed a moment ago; a PlaceError of the block
        is an answer."""
        if not self._breaker.may_ask():
            raise StoreError(f"{self._last} (it is asked again within a second)")
        try:
            yield
        except PlaceError:
            self._breaker.answered()
            raise
        except StoreError as wrong:
            self._last = wrong.what
            self._breaker.failed()
            raise
        self._breaker.answered()
