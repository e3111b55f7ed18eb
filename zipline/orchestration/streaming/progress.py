"""Until when all events are in the tiles of a job, and since when.

*Until.* Nothing is sent through the job to find out. Flink tells the brokers with every checkpoint how far it has read,
and before that checkpoint the job has sent every tile that changed. So if, in this order, it is noted

    1. the time, and where the topics end that are read
    2. how far the job has got as of its newest checkpoint
    3. where the topic of tiles ends

then whoever has read the tiles up to (3) has all that came before (1), where (2) has reached the ends of (1); else all
that came before the first message that (2) has not reached.

*Since.* Messages that topics delete before the job has read them are lost for its tiles. That is said in the topic of
tiles, before a mark is noted and before a job begins behind what is gone: so whoever reads the tiles knows it before
they are told to be complete, and again whenever they are read again. How far the job had got at each look is kept by
the brokers: what is deleted of all behind that counts as lost, though the job may have read it in between. A topic
that has another id than at the last look, or ends before that, was made anew, or may have been if the brokers know
nothing of it any more: then all that came until now counts as lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import monotonic, now
from zipline.orchestration.streaming.brokers import Admin, Offsets
from zipline.values import dataclass

KEPT_EVERY = 3600.0


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
        """How far the job had got when it was looked last, or further where it is told that something is lost."""
        self._ids: dict[str, str] = {}
        """Those that the topics had."""
        self._kept = -KEPT_EVERY
        self.lag: int | None = None

    def begin(self, since: int | None = None) -> None:
        """Before the job is started: with `since` it begins anew, with the messages that came from then on."""
        if since is None:
            self.follow()
            reached = self._admin.committed(self._group, self._known)
            gone = {place: offset for place, offset in self._known.items() if place not in reached}
            self._admin.commit(self._group, gone)  # the brokers have forgotten it
        else:
            self._ids = self._admin.ids(self._topics)
            self._admin.begin(self._group, self._topics, since)
            bounds = self._admin.bounds(self._topics)
            self._tell(self._admin.begins(bounds))
            self._keep({place: low for place, (low, _) in bounds.items()})

    def follow(self) -> None:
        """Before it is looked at a job that runs, or did."""
        bounds = self._admin.bounds(self._topics)
        reached = self._admin.committed(self._group, bounds)
        kept = self._admin.committed(self._kept_by, bounds)
        self._known = {place: min(kept.get(place, offset), offset) for place, offset in (kept | reached).items()}
        known = {topic for topic, _ in self._known}
        if any(topic not in known for topic in self._topics):
            self._tell(now())
            self._keep({place: low for place, (low, _) in bounds.items()} | self._known)
        self.look_for_lost()

    def look(self, posted: int | None) -> None:
        """Notes one more mark. What was posted before `posted` is in the topics; None is not known."""
        asked, bounds = now(), self._admin.bounds(self._topics)
        found = self._admin.committed(self._group, bounds)
        reached = {
            place: max(found[place] if found.get(place, end + 1) <= end else self._known.get(place, 0), low)
            for place, (low, end) in bounds.items()
        }
        behind = {
            place: self._admin.came(place, reached[place]) for place, (_, end) in bounds.items() if reached[place] < end
        }
        if self.look_for_lost():  # while it was asked
            return
        self._keep(reached)
        # Where nothing came any more, only marks of transactions are left.
        times = {place: at for place, at in behind.items() if at is not None}
        self.lag = sum(bounds[place][1] - reached[place] for place in times)
        tiles = self._admin.end(self._tiles)
        if posted is not None:
            self._marks.append(Mark(tiles, min([asked, posted, *times.values()]), self.lag))

    def look_for_lost(self) -> bool:
        """Tells what is gone that the job had not read; whether there is something."""
        ids, bounds = self._admin.ids(self._topics), self._admin.bounds(self._topics)
        gone = {place: bound for place, bound in bounds.items() if self._known.get(place, 0) < bound[0]}
        changed = {topic for topic, found in ids.items() if self._ids.get(topic, found) != found}
        ended = {topic for (topic, number), (_, end) in bounds.items() if self._known.get((topic, number), 0) > end}
        anew = {place: bound for place, bound in bounds.items() if place[0] in changed | ended}
        if gone:
            self._tell(self._admin.begins(gone, are_unread=True))
        if anew:
            self._tell(now())
        if gone or anew:
            kept = {place: offset for place, offset in self._known.items() if place in bounds}
            self._keep(kept | {place: low for place, (low, _) in (gone | anew).items()})
        self._ids |= ids
        return bool(gone or anew)

    def _tell(self, since: int) -> None:
        if since > EVER_BEFORE:
            self._admin.tell_lost(self._tiles, since)

    def _keep(self, known: Offsets) -> None:
        """The brokers forget what is not told again for days."""
        if known != self._known or monotonic() - self._kept > KEPT_EVERY:
            self._admin.commit(self._kept_by, known)
            self._kept = monotonic()
        self._known = known

    @property
    def _kept_by(self) -> str:
        """A group of consumers that reads nothing."""
        return f"{self._group}.looked"

    def reached(self, offset: int) -> Mark | None:
        """The newest mark of who has read the tiles up to an offset, told once."""
        found = None
        while self._marks and self._marks[0].tiles <= offset:
            found = self._marks.popleft()
        return found
