"""What is noted of a job's progress, and told of what is lost for it, as brokers answer or do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import SECOND
from zipline.orchestration.events.kafka_client import KafkaUnreachableError
from zipline.orchestration.streaming import progress
from zipline.orchestration.streaming.brokers import Bounds, Offsets, Place
from zipline.orchestration.streaming.progress import JobProgress, Mark

PLACE = ("bought", 0)
NOW = 100 * SECOND


class Brokers:
    """One partition, the messages of which came a second after one another, and a topic of tiles. `happens` is done
    before the answer to a question."""

    def __init__(self, low: int = 0, end: int = 0, committed: int | None = None) -> None:
        self.low, self.end_ = low, end
        self.groups: dict[str, Offsets] = {}
        if committed is not None:
            self.groups["group"] = {PLACE: committed}
        self.lost: list[int] = []
        self.happens: dict[str, Callable[[], None]] = {}

    def reads_to(self, offset: int) -> None:
        self.groups["group"] = {PLACE: offset}

    def bounds(self, topics: Sequence[str]) -> Bounds:
        return {PLACE: (self.low, self.end_)}

    id = "first"

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(topics, self.id)

    def end(self, topic: str) -> int:
        return len(self.lost)

    def begin(self, group: str, topics: Sequence[str], since: int) -> None:
        self.groups[group] = {PLACE: max(self.low, since // SECOND)}

    def commit(self, group: str, offsets: Offsets) -> None:
        self.groups[group] = {**self.groups.get(group, {}), **offsets}

    def committed(self, group: str, places: Iterable[Place]) -> Offsets:
        self._ask("committed" if group == "group" else "")
        return dict(self.groups.get(group, {}))

    def begins(self, bounds: Bounds, *, are_unread: bool = False) -> int:
        self._ask("begins")
        low, end = bounds[PLACE]
        return EVER_BEFORE if not low else low * SECOND if low < end else NOW if are_unread else 0

    def came(self, place: Place, offset: int) -> int | None:
        self._ask("came")
        return offset * SECOND if self.low <= offset < self.end_ - self.marks else None

    marks = 0
    """Of transactions, at the end."""

    def tell_lost(self, tiles: str, since: int) -> None:
        self._ask("tell_lost")
        self.lost.append(since)

    def _ask(self, question: str) -> None:
        self.happens.pop(question, lambda: None)()


def unreachable() -> None:
    raise KafkaUnreachableError("no answer")


@pytest.fixture(autouse=True)
def _at_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "now", lambda: NOW)


def marks_of(brokers: Any) -> JobProgress:
    return JobProgress(brokers, ["bought"], "group", "tiles")


def test_all_before_the_first_message_that_is_not_checkpointed_is_in_the_tiles() -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    assert marks.reached(0) == Mark(0, 4 * SECOND, 5)
    brokers.reads_to(9)
    marks.look(posted=1 << 60)
    assert marks.reached(0) == Mark(0, NOW, 0)
    marks.look(posted=7 * SECOND)
    assert marks.reached(0) == Mark(0, 7 * SECOND, 0)
    marks.look(posted=None)
    assert marks.reached(0) is None
    brokers.end_, brokers.marks = 12, 3
    marks.look(posted=1 << 60)
    assert marks.reached(0) == Mark(0, NOW, 0), "nothing but marks of transactions is left"
    assert brokers.lost == []


@pytest.mark.parametrize("fails", ["", "begins", "tell_lost"])
def test_what_was_deleted_unread_is_told_once_and_again_where_that_failed(fails: str) -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    brokers.low = 6
    if fails:
        brokers.happens[fails] = unreachable
        with pytest.raises(KafkaUnreachableError):
            marks.look(posted=1 << 60)
        assert marks.reached(9) is None
    for _ in range(3):
        marks.look(posted=1 << 60)
        assert brokers.lost == [6 * SECOND]
    assert marks.reached(0) is None, "who has not read of it knows of no progress"
    assert marks.reached(1) == Mark(1, 6 * SECOND, 3)


@pytest.mark.parametrize("question", ["committed", "came"])
def test_what_is_deleted_while_it_is_looked_is_told_before_there_is_a_mark(question: str) -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    marks.reached(0)

    def deleted_and_gone_on() -> None:
        brokers.low = 8
        brokers.reads_to(9)

    brokers.happens[question] = deleted_and_gone_on
    marks.look(posted=1 << 60)
    assert brokers.lost == [8 * SECOND]
    assert marks.reached(9) is None
    marks.look(posted=1 << 60)
    assert marks.reached(9) == Mark(1, NOW, 0)
    assert brokers.lost == [8 * SECOND]


@pytest.mark.parametrize("is_same_process", [True, False])
@pytest.mark.parametrize("is_followed", [True, False])
def test_what_was_deleted_since_the_last_look_is_told_by_who_goes_on(is_same_process: bool, is_followed: bool) -> None:
    brokers = Brokers(end=9, committed=4)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    brokers.low = 8
    brokers.reads_to(9)  # from the first that was there
    again = marks if is_same_process else marks_of(brokers)
    again.follow() if is_followed else again.begin()
    assert brokers.lost == [8 * SECOND]


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
    assert brokers.groups["group"] == {PLACE: 5}
    anew.look(posted=1 << 60)
    assert brokers.lost == [5 * SECOND, 5 * SECOND]
    brokers.low = 9
    anew.look(posted=1 << 60)
    assert brokers.lost == [5 * SECOND, 5 * SECOND, NOW], "nothing is left that tells how old it was"


def test_a_topic_that_was_made_anew_is_told_and_gone_on_with_from_its_beginning() -> None:
    brokers = Brokers(end=9, committed=7)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    marks.reached(0)
    brokers.end_ = 3
    for _ in range(3):
        marks.look(posted=1 << 60)
        assert brokers.lost == [NOW]
    assert marks.reached(1) == Mark(1, 0, 3), "what the job had got to was in another topic"
    brokers.reads_to(3)
    marks.look(posted=1 << 60)
    assert marks.reached(1) == Mark(1, NOW, 0)


@pytest.mark.parametrize("fails", ["", "tell_lost"])
def test_a_topic_that_was_made_anew_and_has_more_than_before_is_told(fails: str) -> None:
    brokers = Brokers(end=9, committed=9)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    assert (brokers.lost, marks.reached(0)) == ([], Mark(0, NOW, 0))
    brokers.id, brokers.end_ = "second", 20
    if fails:
        brokers.happens[fails] = unreachable
        with pytest.raises(KafkaUnreachableError):
            marks.look(posted=1 << 60)
    for _ in range(3):
        marks.look(posted=1 << 60)
        assert brokers.lost == [NOW]
    assert marks.reached(0) is None


def test_a_topic_that_was_made_anew_with_fewer_partitions_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(end=9, committed=9)
    other = ("bought", 1)
    partitions = {PLACE, other}

    def commit(group: str, offsets: Offsets) -> None:
        if not partitions >= offsets.keys():
            unreachable()
        Brokers.commit(brokers, group, offsets)

    monkeypatch.setattr(brokers, "bounds", lambda _: dict.fromkeys(partitions, (0, 9)))
    monkeypatch.setattr(brokers, "commit", commit)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    partitions.remove(other)
    brokers.id = "second"
    for _ in range(3):
        marks.look(posted=1 << 60)
        assert brokers.lost == [NOW]


def test_a_topic_that_is_made_anew_before_the_first_look_is_told_and_before_the_job_is_not() -> None:
    brokers = Brokers(end=9)
    marks = marks_of(brokers)
    marks.begin(since=0)
    brokers.id = "second"
    marks.look(posted=1 << 60)
    assert brokers.lost == [NOW]
    brokers.id = "third"
    marks.begin(since=0)
    marks.look(posted=1 << 60)
    assert brokers.lost == [NOW], "it is read from its beginning"


def test_brokers_that_know_an_id_only_now_and_then_tell_of_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(end=9, committed=9)
    marks = marks_of(brokers)
    for known in ({}, {"bought": "first"}, {}, {"bought": "first"}):
        monkeypatch.setattr(brokers, "ids", lambda _, known=known: known)
        marks.begin() if not brokers.groups.get("group.looked") else marks.look(posted=1 << 60)
    assert brokers.lost == []


@pytest.mark.parametrize("is_followed", [True, False])
def test_a_topic_that_the_brokers_know_nothing_of_may_have_been_made_anew(is_followed: bool) -> None:
    brokers = Brokers(end=9, committed=7)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    brokers.groups.clear()
    again = marks_of(brokers)
    again.follow() if is_followed else again.begin()
    assert brokers.lost == [NOW]
    marks_of(brokers).follow()
    assert brokers.lost == [NOW], "it is told once"


def test_what_the_brokers_forget_of_a_quiet_partition_is_known_all_the_same() -> None:
    brokers = Brokers(end=9, committed=9)
    marks = marks_of(brokers)
    marks.begin()
    marks.look(posted=1 << 60)
    marks.reached(0)
    del brokers.groups["group"]
    marks.look(posted=1 << 60)
    assert marks.reached(0) == Mark(0, NOW, 0)
    marks_of(brokers).begin()
    assert brokers.groups["group"] == {PLACE: 9}, "the job goes on from there"
