"""What is noted of a job's progress, and told of what is lost for it, as brokers answer or do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from zipline.clock import SECOND
from zipline.orchestration.events.kafka_client import KafkaUnreachableError
from zipline.orchestration.streaming import progress
from zipline.orchestration.streaming.brokers import Bounds, Offsets, Place
from zipline.orchestration.streaming.progress import JobProgress, Mark

PLACE = ("bought", 0)


class Brokers:
    """One partition, the messages of which came a second after one another, and a topic of tiles."""

    def __init__(self, low: int = 0, end: int = 0, committed: int | None = None) -> None:
        self.low, self.end_, self.at = low, end, committed
        self.lost: list[int] = []
        self.fails = ""

    def bounds(self, topics: Iterable[str]) -> Bounds:
        return {PLACE: (self.low, self.end_)}

    def end(self, topic: str) -> int:
        return len(self.lost)

    def begin(self, group: str, topics: Iterable[str], since: int) -> None:
        self.at = max(self.low, since // SECOND)

    def committed(self, group: str, places: Iterable[Place]) -> Offsets:
        return {} if self.at is None else {PLACE: self.at}

    def begins(self, bounds: Bounds) -> int:
        self._answer("begins")
        return bounds[PLACE][0] * SECOND

    def came(self, place: Place, offset: int) -> int:
        return offset * SECOND

    def tell_lost(self, tiles: str, since: int) -> None:
        self._answer("tell_lost")
        self.lost.append(since)

    def _answer(self, question: str) -> None:
        if self.fails == question:
            raise KafkaUnreachableError("no answer")


@pytest.fixture(autouse=True)
def _at_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "now", lambda: 100 * SECOND)


def marks_of(brokers: Any) -> JobProgress:
    return JobProgress(brokers, ["bought"], "group", "tiles")


def test_all_before_the_first_message_that_is_not_checkpointed_is_in_the_tiles() -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    assert marks.reached(0) == Mark(0, 4 * SECOND, 5)
    brokers.at = 9
    marks.look(posted=1 << 60)
    assert marks.reached(0) == Mark(0, 100 * SECOND, 0)
    marks.look(posted=7 * SECOND)
    assert marks.reached(0) == Mark(0, 7 * SECOND, 0)
    marks.look(posted=None)
    assert marks.reached(0) is None
    assert brokers.lost == []


@pytest.mark.parametrize("fails", ["", "begins", "tell_lost"])
def test_what_was_deleted_unread_is_told_once_and_again_where_that_failed(fails: str) -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    brokers.low, brokers.fails = 6, fails
    if fails:
        with pytest.raises(KafkaUnreachableError):
            marks.look(posted=1 << 60)
        assert marks.reached(9) is None
        brokers.fails = ""
    for _ in range(2):
        marks.look(posted=1 << 60)
        assert brokers.lost == [6 * SECOND]
    assert marks.reached(0) is None, "who has not read of it knows of no progress"
    assert marks.reached(1) == Mark(1, 6 * SECOND, 3)


def test_what_the_job_may_have_read_after_it_was_deleted_is_lost() -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    brokers.low, brokers.at = 6, 9
    marks.look(posted=1 << 60)
    assert brokers.lost == [6 * SECOND]


def test_what_is_gone_when_a_job_begins_is_told_before_it_does() -> None:
    brokers = Brokers(low=3, end=9, committed=4)
    marks_of(brokers).begin()
    assert brokers.lost == []
    brokers.low = 5
    marks_of(brokers).begin()
    assert brokers.lost == [5 * SECOND]
    anew = marks_of(brokers)
    anew.begin(since=2 * SECOND)
    assert brokers.lost == [5 * SECOND, 5 * SECOND]
    assert brokers.at == 5
    anew.look(posted=1 << 60)
    assert brokers.lost == [5 * SECOND, 5 * SECOND]
    brokers.at = None  # the brokers have forgotten it
    anew.look(posted=1 << 60)
    assert [anew.reached(2), anew.lag] == [Mark(2, 5 * SECOND, 4), 4]
