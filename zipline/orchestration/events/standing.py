"""The tiles of one group-by and how far the logs have been read that they are made of.

How far each log has been read stands beside the tiles and is written in one batch with them: in stores that take a
batch whole or not at all, a crash at any moment neither loses an event nor counts one twice. What is stored is looked
at before every batch, so a store that went back to an earlier state, or a write of which the answer was lost, is gone
on from where it stands.

Tiles that another engine wrote are made anew: the logs are read from their beginning, chunks that were there count as
empty, and the position is kept only once the logs have been read to their end. Should the process be killed before, it
begins again. Until then nothing is said to be complete, so features are `stale`. (Another definition has tiles of its
own, in another space.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from zipline.algebra.layout import EVER_BEFORE
from zipline.engines.local.tiles import TileWriter
from zipline.errors import DataError, LockedError
from zipline.orchestration.events.logs import Position
from zipline.plan.online import Kept
from zipline.stores.contract import Item, Place, Store
from zipline.stores.tiles import POSITION, PROGRESS, Progress

LOCAL, FLINK = "local", "flink"
"""The engines that write tiles. Each has logs of its own, so neither goes on with what the other made."""
_UNKNOWN = b""


class _Stored(msgspec.Struct):
    """What stands under POSITION. Without `logs` the tiles are being made anew. Events that came before `since` may be
    missing in them."""

    logs: dict[str, dict[str, int]] | None = None
    engine: str = LOCAL
    since: int = EVER_BEFORE


class Tiles:
    """See the module. One thread uses an object, and one process has one of a group-by."""

    engine = LOCAL

    def __init__(self, kept: Kept, store: Store, space: str, *, takes_over: bool = True) -> None:
        """Tiles of another engine are made anew; unless it `takes_over`, they are a LockedError."""
        self.kept, self.space, self._takes_over = kept, space, takes_over
        self._store = store
        self._logs: dict[str, dict[str, int]] = {}
        self._since = EVER_BEFORE
        self._own: set[bytes] | None = None
        self._stored: bytes | None = _UNKNOWN
        self.look()

    @property
    def since(self) -> int:
        """Of events that came before it some are lost."""
        return self._since

    @property
    def name(self) -> str:
        return self.kept.group_by.name

    def position(self, log: str) -> Position:
        """How far a log has been read."""
        return self._logs.get(log, {})

    def look(self) -> bool:
        """Whether what is stored is what was written last; where it is not, it is gone on from what is."""
        stored = self._store.get([(Place(self.space), [POSITION])])[0][0]
        found = None if stored is None else bytes(stored)
        if found == self._stored:
            return True
        before = _stored(found, self.space)
        is_ours = before is None or before.engine == self.engine
        if before is not None and not is_ours and not self._takes_over:
            raise LockedError(
                f"the tiles of {self.space} are those of engine {before.engine}",
                subject=self.space,
                next_command=f"zipline stream --engine {before.engine}",
            )
        self._stored = found
        if before is None or (is_ours and before.logs is not None):
            self._begin(None, before.logs or {} if before else {})
            self._since = before.since if before else EVER_BEFORE
            return False
        self._begin(set(), {})
        self._since = EVER_BEFORE
        nothing = Progress(EVER_BEFORE).written()
        self._store.put_tiles(self.space, [(PROGRESS, nothing), *self._position_items(None)])
        return False

    def lose(self, since: int) -> None:
        """Says that events are gone which nobody has read, all of which came before `since`."""
        self._since = max(self._since, since)

    def progress(self, until: int, *, is_all: bool) -> None:
        """Says that all events that came before `until` are in the tiles; not while these are made anew.

        With `is_all` they are those of all logs: then what was made anew is complete.
        """
        if self._own is not None and is_all:
            self._begin(None, self._logs)
        if self._own is None:
            with self._undone():
                self._writer.progress(until, self._position_items(self._logs), since=self._since)

    def _begin(self, own: set[bytes] | None, logs: Mapping[str, dict[str, int]]) -> None:
        self._own, self._logs = own, dict(logs)
        self._writer = TileWriter(self.kept, self._store, self.space, own)

    @contextmanager
    def _writing(self, logs: dict[str, dict[str, int]]) -> Iterator[list[Item]]:
        """Gives the position, to be written with what it is the position of."""
        with self._undone():
            yield self._position_items(logs)
        self._logs = logs

    def _add_own(self, items: Sequence[Item]) -> None:
        """Says that these were written since all is made anew."""
        if self._own is not None:
            self._own.update(name for name, _ in items)

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """A write that fails may have been done all the same: the next look finds out, or all is made anew."""
        try:
            yield
        except BaseException:
            self._stored = _UNKNOWN
            if self._own is not None:
                self._begin(set(), {})
            raise

    def _position_items(self, logs: dict[str, dict[str, int]] | None) -> list[Item]:
        if self._own is not None and logs is not None:
            return []
        self._stored = msgspec.json.encode(_Stored(logs, self.engine, self._since))
        return [(POSITION, self._stored)]


def engine_of(store: Store, space: str) -> str | None:
    """The engine that wrote a space's tiles, or is making them anew; None where none has."""
    found = store.get([(Place(space), [POSITION])])[0][0]
    stored = _stored(None if found is None else bytes(found), space)
    return None if stored is None else stored.engine


def _stored(found: bytes | None, space: str) -> _Stored | None:
    if found is None:
        return None
    try:
        return msgspec.json.decode(found, type=_Stored)
    except msgspec.MsgspecError as wrong:
        raise DataError(f"the position of the stream of {space} cannot be read: {wrong}") from None
