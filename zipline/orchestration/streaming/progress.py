"""Until when all events are in the tiles of a job.

Nothing is sent through the job to find out. Flink tells the brokers with every checkpoint how far it has read, and
before that checkpoint the job has sent every tile that changed. So if, in this order, it is noted

    1. the time, and where the topics end that are read
    2. how far the job has got as of its newest checkpoint
    3. where the topic of tiles ends

then whoever has read the tiles up to (3) has all that came before (1), where (2) has reached the ends of (1); else all
that came before the first message that (2) has not reached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import now
from zipline.orchestration.streaming.brokers import Admin, Offsets
from zipline.values import dataclass


@dataclass(frozen=True)
class Mark:
    """Who has read the tiles up to this offset has all events that came before `until`; `lag` are the messages that the
    job had not checkpointed."""

    tiles: int
    until: int
    lag: int


class Progress:
    """Marks of one job, in order."""

    def __init__(self, admin: Admin, topics: Sequence[str], group: str, tiles: str) -> None:
        self._admin, self._topics, self._group, self._tiles = admin, tuple(topics), group, tiles
        self._marks: deque[Mark] = deque()
        self._gone: Offsets = {}
        self.lag: int | None = None
        self.lost = EVER_BEFORE
        """Since when nothing is missing: messages that the job has not read may be gone."""

    def look(self, posted: int | None) -> None:
        """Notes one more mark, where there has been a checkpoint; what was posted before `posted` is in the topics."""
        if posted is None:
            return
        asked, bounds = now(), self._admin.bounds(self._topics)
        ends = {place: end for place, (_, end) in bounds.items()}
        reached = self._admin.committed(self._group, ends)
        if any(end > 0 and place not in reached for place, end in ends.items()) or not ends:
            return
        for place, (low, _) in bounds.items():
            reached[place] = max(reached.get(place, 0), self._gone.get(place, 0))
            self._gone[place] = low
        is_lost = any(reached[place] < low for place, (low, _) in bounds.items())
        self.lost = self._admin.begins(self._topics, reached) if is_lost else EVER_BEFORE
        reached = {place: max(offset, self._gone[place]) for place, offset in reached.items()}
        behind = {place: reached[place] for place, end in ends.items() if reached[place] < end}
        self.lag = sum(ends[place] - offset for place, offset in behind.items())
        tiles = self._admin.ends([self._tiles])[self._tiles, 0]
        times = [self._admin.came(place, offset) for place, offset in behind.items()]
        self._marks.append(Mark(tiles, min([asked, posted, *(at for at in times if at is not None)]), self.lag))

    def reached(self, offset: int) -> Mark | None:
        """The newest mark of who has read the tiles up to an offset, told once."""
        found = None
        while self._marks and self._marks[0].tiles <= offset:
            found = self._marks.popleft()
        return found
