"""What an online store does, whatever it stands on.

A *space* is a name under which keys live, one for each group-by and environment. A space has *generations*: complete
uploads, immutable once published, of which one is current. And it has *tiles*: values that are overwritten all the
time. Values are bytes that a store does not look into.

Readers see a generation whole or not at all: `publish` makes it current in one step, and what came before stays
readable for a grace, so that a fetch that has begun can end. An upload that is never published is never seen, and is
swept by the next one. A batch of tiles is seen whole or not at all where the store has transactions (memory, LMDB).

`get` answers any number of places and keys in one round trip; a key that is not there is None. Everything a store
raises is a StoreError: the caller says which features are unavailable for it. A PlaceError is of one space alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias

from zipline.clock import DAY
from zipline.errors import ZiplineError
from zipline.values import dataclass

GRACE = 60.0
"""Seconds for which a generation stays readable that is no longer current."""
TILES_KEPT = 4 * DAY
"""Microseconds for which tiles are kept at least: an upload serves two days, and may come late. Older ones go by
themselves (Cassandra) or with the next upload."""
LONGEST_KEY = 480
"""Bytes of the longest key that every store takes."""

Item: TypeAlias = tuple[bytes, bytes]
"""(key, value)"""


class StoreError(ZiplineError):
    """An online store cannot be opened, reached, read or written."""


class PlaceError(StoreError):
    """One place of a store cannot be read, or is not there any more; others may be."""


class DamagedError(PlaceError):
    """The listing of a space is none: its generations cannot be found. The next upload begins a new one."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One upload: complete up to the midnight `end` (microseconds), of the definition with this fingerprint."""

    name: str
    end: int
    fingerprint: str
    rows: int = 0
    size: int = 0
    """Bytes of keys and values."""
    published: int = 0
    """When, in microseconds."""


class Place(NamedTuple):
    """A generation of a space, or its tiles."""

    space: str
    generation: str | None = None


Ask: TypeAlias = tuple[Place, Sequence[bytes]]


class Upload(Protocol):
    """A generation that is being written; leaving it without `publish` throws it away."""

    def __enter__(self) -> Upload: ...

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def put(self, items: Iterable[Item]) -> None:
        """Writes more items, in ascending order of their keys over all calls, each key once."""
        ...

    def publish(self) -> Generation:
        """Makes the generation current."""
        ...


class Store(Protocol):
    """See the module. Thread-safe but for `close`."""

    writers: int
    """Threads that get through most tiles: more than one where the work of writing is another process's."""

    def current(self, space: str) -> Generation | None:
        """The generation that fetches are to read; None before the first."""
        ...

    def generations(self, space: str) -> list[Generation]:
        """Those that can still be read, the newest upload last."""
        ...

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        """For each place the values of its keys (bytes, or a view of them that holds until the next `get`), or None.

        PlaceError for a generation that is not there (any more), or a place that is damaged.
        """
        ...

    def remove(self, space: str) -> None:
        """Deletes a space that nobody reads any more; its tiles may go later, by themselves. One that is not there is
        removed already."""
        ...

    def upload(self, space: str, *, end: int, fingerprint: str) -> Upload:
        """Begins a generation."""
        ...

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        """Writes values over those that are there."""
        ...

    def close(self) -> None: ...
