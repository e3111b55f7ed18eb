"""Until when all events are in the tiles of a job, and since when.

*Until.* Nothing is sent through the job to find out. Flink tells the brokers with every checkpoint how far it has read,
and before that checkpoint the job has sent every tile that changed. So if, in this order, it is noted

    1. the time, and where the topics end that are read
    2. how far the job has got as of its newest checkpoint
    3. where the topic of tiles ends

then whoever has read the tiles up to (3) has all that came before (1), where (2) has reached the ends of (1); else all
that came before the first message that (2) has not reached.

*Since.* Messages that topics delete before the job has read them are lost for its tiles. That is said in the topic of
tiles, between (2) and (3) and before a job begins behind what is gone: so whoever reads the tiles knows it before they
are told to be complete, and again whenever they are read again. What was not checkpointed when it was looked last may
have been read before it was deleted; it counts as lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zipline.clock import now
from zipline.orchestration.streaming.brokers import Admin, Bounds, Offsets
from zipline.values import dataclass


@dataclass(frozen=True)
class Mark:
    """Who has read the tiles up to this offset has all events that came before `until`; `lag` are the messages that the
    job had not checkpointed."""

    tiles: int
    until: int
    lag: int


class JobProgress:
    """Marks of one job, in order. It may be asked by one thread and looked after by another one."""

    def __init__(self, admin: Admin, topics: Sequence[str], group: str, tiles: str) -> None:
        self._admin, self._topics, self._group, self._tiles = admin, tuple(topics), group, tiles
        self._marks: deque[Mark] = deque()
        self._known: Offsets = {}
        """What of the partitions was read, or told to be lost, when it was looked last."""
        self.lag: int | None = None

    def begin(self, since: int | None = None) -> None:
        """Before the job is started: with `since` it begins anew, with the messages that came from then on."""
        bounds = self._admin.bounds(self._topics)
        if since is None:
            self._known = self._admin.committed(self._group, bounds)
        else:
            self._admin.begin(self._group, self._topics, since)
            self._known = {}
        self._look_for_lost(bounds)

    def look(self, posted: int | None) -> None:
        """Notes one more mark. What was posted before `posted` is in the topics; None is not known."""
        if posted is None:
            return
        asked, bounds = now(), self._admin.bounds(self._topics)
        self._look_for_lost(bounds)
        found = self._admin.committed(self._group, bounds)
        reached = {place: max(found.get(place, 0), low) for place, (low, _) in bounds.items()}
        behind = {place: reached[place] for place, (_, end) in bounds.items() if reached[place] < end}
        self.lag = sum(bounds[place][1] - offset for place, offset in behind.items())
        tiles = self._admin.end(self._tiles)
        times = [self._admin.came(place, offset) for place, offset in behind.items()]
        self._marks.append(Mark(tiles, min([asked, posted, *(at for at in times if at is not None)]), self.lag))
        self._known = reached

    def _look_for_lost(self, bounds: Bounds) -> None:
        gone = {place: bound for place, bound in bounds.items() if self._known.get(place, 0) < bound[0]}
        if gone:
            self._admin.tell_lost(self._tiles, self._admin.begins(gone))
            self._known = {**self._known, **{place: low for place, (low, _) in gone.items()}}

    def reached(self, offset: int) -> Mark | None:
        """The newest mark of who has read the tiles up to an offset, told once."""
        found = None
        while self._marks and self._marks[0].tiles <= offset:
            found = self._marks.popleft()
        return found
