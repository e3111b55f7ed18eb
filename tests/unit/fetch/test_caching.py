"""`GroupBy(cache=...)`: what was read of a key serves fetches of the present, for as long as the definition says."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline import fingerprint as fingerprint_of
from zipline.clock import DAY, HOUR, MINUTE, SECOND, day_text, to_datetime, to_micros
from zipline.fetch.caching import OVERHEAD, Entry, FetchCache
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.fetch.results import Result
from zipline.stores.contract import Ask, Generation, StoreError
from zipline.stores.memory import MemoryStore
from zipline.stores.tiles import PROGRESS, Progress

MIDNIGHT = to_micros("2024-03-02")
BOUND = 5 * SECOND
SUM, COUNT, LAST, WORST = "sums_n_sum_7d", "sums_n_count_7d", "sums_n_last_k2_7d", "days_n_sum_7d"


class Failing(MemoryStore):
    """Counts its reads, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down, self.reads, self.keys = False, 0, 0

    def current(self, space: str) -> Generation | None:
        if self.is_down:
            raise StoreError("it is down")
        return super().current(space)

    def get(self, asks: Sequence[Ask]) -> list[list[Any]]:
        if self.is_down:
            raise StoreError("it is down")
        self.reads += any(keys for _, keys in asks)
        self.keys += sum(len(keys) for place, keys in asks if place.generation is not None)
        return super().get(asks)

    def copy(self) -> MemoryStore:
        found = MemoryStore()
        found._values = {place: dict(values) for place, values in self._values.items()}
        found._generations = {space: list(listing) for space, listing in self._generations.items()}
        return found


def join_of(cache: str | None) -> Join:
    events = EventSource("events", topic=Topic("events"), query=Query(select=["k", "n"], time="t"))
    aggregations = [
        Aggregation("n", Operation.SUM, windows=["7d"]),
        Aggregation("n", Operation.COUNT, windows=["7d", "1h"]),
        Aggregation("n", Operation.LAST_K, k=2, windows=["7d"]),
    ]
    sums = GroupBy(["k"], [events], aggregations, online=True, cache=cache, name="sums")
    snapshot = [
        Aggregation("n", Operation.SUM, windows=["7d"]),
        Aggregation("n", Operation.LAST_K, k=2, windows=["7d"]),
    ]
    days = GroupBy(["k"], [events], snapshot, accuracy=Accuracy.SNAPSHOT, online=True, cache=cache, name="days")
    left = EventSource("asked", query=Query(select=["k"], time="t"))
    return Join(left, [JoinPart(sums), JoinPart(days)], online=True, name="j")


@dataclass
class World:
    """A platform whose time the test says, and a fetch of it through a cache with the same clock."""

    cache: str | None = "5s"
    begins: int = MIDNIGHT + 10 * HOUR
    store: Failing = field(default_factory=Failing)

    def __post_init__(self) -> None:
        tables: Any = {
            "events": [{"k": key, "n": 1, "t": to_datetime(MIDNIGHT - DAY + HOUR)} for key in "abc"],
            "asked": [{"k": "a", "t": to_datetime(MIDNIGHT)}],
        }
        self.join = join_of(self.cache)
        self.platform = LocalPlatform(self.join, tables=tables, store=self.store)
        self.platform.advance(MIDNIGHT)
        self.platform.upload(day_text(MIDNIGHT - DAY))
        self.platform.join("j")
        self.platform.advance(self.begins)
        self.counts = [0, 0]
        self.kept = FetchCache(clock=lambda: self.now, counted=self._counted)
        self.cached = self.fetch_of(self.store, self.kept)

    @property
    def now(self) -> int:
        return self.platform.now

    def _counted(self, _: str, hits: int, misses: int) -> None:
        self.counts[0] += hits
        self.counts[1] += misses

    def fetch_of(self, store: MemoryStore, cache: FetchCache | None = None) -> JoinFetch:
        return join_fetch(self.platform._plan("j"), self.join, store, lambda kept: kept.group_by.name, cache)

    def fetch(self, *keys: str | None) -> Result:
        return self.cached.fetch([{"k": key} for key in keys], self.now, True)

    def sums(self, *keys: str) -> list[Any]:
        return [row[SUM] for row in self.fetch(*keys).rows()]

    def publish(self, key: str, n: int = 1, ago: int = MINUTE) -> None:
        self.platform.publish("events", [{"k": key, "n": n, "t": to_datetime(self.now - ago)}])

    def later(self, micros: int) -> None:
        self.platform.advance(self.now + micros)


def test_the_bound_is_kept_to_the_microsecond() -> None:
    world = World()
    assert world.sums("a") == [1]
    read_until = world.now
    world.publish("a")
    world.later(BOUND)
    found = world.fetch("a")
    assert found.rows()[0][SUM] == 1
    assert found.time(0, SUM) == to_datetime(read_until), "that of what was read"
    world.later(1)
    found = world.fetch("a")
    assert found.rows()[0][SUM] == 2
    assert found.time(0, SUM) == to_datetime(world.now)


def test_only_what_is_missing_is_read_and_looks_are_counted() -> None:
    world = World()
    world.store.reads = 0
    world.fetch("a", "b")
    assert (world.store.reads, world.store.keys, world.counts) == (1, 4, [0, 4])
    world.fetch("a", "b", None, "a")
    assert (world.store.reads, world.store.keys, world.counts) == (1, 4, [4, 4])
    world.fetch("a", "c")
    assert (world.store.reads, world.store.keys, world.counts) == (2, 6, [6, 6])


def test_rows_of_kept_and_of_new_keys_are_each_their_own_and_the_data_time_is_the_oldest() -> None:
    world = World()
    world.sums("a")
    read_until = world.now
    world.publish("a", 10)
    world.publish("b", 10)
    world.later(SECOND)
    found = world.fetch("b", "a", "nobody", None, "b")
    assert [row[SUM] for row in found.rows()] == [11, 1, None, None, 11]
    assert [row[LAST] for row in found.rows()] == [[10, 1], [1], None, None, [10, 1]]
    assert [row[WORST] for row in found.rows()] == [1, 1, None, None, 1]
    assert [found.status(row, SUM) for row in range(5)] == ["ok", "ok", "default", "default", "ok"]
    assert found.time(0, SUM) == to_datetime(read_until)


@pytest.mark.parametrize("keys", [("a",), ("b",), ("a", "b"), ("b", "a")])
def test_what_a_stream_has_lost_is_told_of_kept_and_of_new_keys(keys: tuple[str, ...]) -> None:
    world = World()
    world.store.put_tiles("sums", [(PROGRESS, Progress(world.now, since=world.now).written())])
    world.sums("a")
    world.store.put_tiles("sums", [(PROGRESS, Progress(world.now + SECOND).written())])  # as of another one
    found = world.fetch(*keys)
    is_lost = "a" in keys
    assert {found.status(row, SUM) for row in range(len(keys))} == {"stale" if is_lost else "ok"}
    assert found.time(0, SUM) == to_datetime(MIDNIGHT if is_lost else world.now)


def test_unknown_keys_are_kept_too() -> None:
    world = World()
    assert world.sums("new") == [None]
    world.publish("new", 3)
    world.later(BOUND)
    assert world.sums("new") == [None]
    world.later(1)
    assert world.sums("new") == [3]


def test_a_fetch_as_of_a_time_reads_the_store() -> None:
    world = World()
    world.sums("a")
    world.publish("a")
    for at in (world.now, world.now + SECOND, world.now - 2 * SECOND):
        assert world.cached.fetch([{"k": "a"}], at).rows()[0][SUM] == 2
    assert world.sums("a") == [1]


def test_a_group_by_without_a_cache_reads_the_store_every_time() -> None:
    world = World(cache=None)
    world.sums("a")
    world.publish("a")
    assert world.sums("a") == [2]
    assert (world.counts, len(world.kept)) == ([0, 0], 0)


def test_a_new_generation_ends_an_entry() -> None:
    world = World(begins=MIDNIGHT + DAY + HOUR)
    assert world.fetch("a").rows()[0][WORST] == 1
    world.platform.publish("events", [{"k": "a", "n": 4, "t": to_datetime(MIDNIGHT + HOUR)}])
    world.later(SECOND)
    assert world.fetch("a").rows()[0][WORST] == 1
    world.platform.upload(day_text(MIDNIGHT))
    (row,) = world.fetch("a").rows()
    assert (row[WORST], row[SUM]) == (5, 5)


def test_midnight_ends_an_entry_as_its_chunks_are_others() -> None:
    world = World(begins=MIDNIGHT + DAY - SECOND)
    world.sums("a")
    world.publish("a")
    world.later(SECOND - 1)
    assert world.sums("a") == [1]
    world.later(1)
    assert world.sums("a") == [2]


def test_a_stream_that_stalls_is_stale_no_later_than_without_a_cache() -> None:
    world = World(cache="10m")
    world.sums("a")
    world.later(MINUTE)
    assert world.fetch("a").status(0, SUM) == "ok"
    world.later(1)
    found = world.fetch("a")
    assert (found.status(0, SUM), found.rows()[0][SUM]) == ("stale", 1)


def test_within_the_bound_a_store_that_fails_is_answered_for_and_after_it_is_unavailable() -> None:
    world = World()
    world.fetch("a", "b")
    world.store.is_down = True
    world.later(BOUND)
    found = world.fetch("a", "c", "b", None)
    assert [row[SUM] for row in found.rows()] == [1, None, 1, None]
    for name in (SUM, COUNT, LAST, WORST, "days_n_last_k2_7d"):
        statuses = [found.status(row, name) for row in range(4)]
        assert statuses == ["ok", "unavailable", "ok", "default"], name
        assert found.rows()[1][name] is None
    world.later(1)
    found = world.fetch("a")
    assert {found.status(0, name) for name in found.features} == {"unavailable"}
    assert set(found.rows()[0].values()) == {None}
    world.store.is_down = False
    assert world.sums("a") == [1]


def entry(size: int = 0, at: int = 0) -> Entry:
    return Entry("1", (), at, bytes(size), (), None)


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = FetchCache(entries=3, clock=lambda: 0)
    cache.keep("s", {b"a": entry(), b"b": entry(), b"c": entry()})
    assert set(cache.find("s", "1", (), [b"a"], 0)) == {b"a"}
    cache.keep("s", {b"d": entry()})
    assert set(cache.find("s", "1", (), [b"a", b"b", b"c", b"d"], 0)) == {b"a", b"c", b"d"}


def test_entries_are_bounded_in_bytes() -> None:
    cache = FetchCache(size=10 * (OVERHEAD + 1 + 100), clock=lambda: 0)
    for number in range(50):
        cache.keep("s", {bytes([number]): entry(100)})
        assert cache.size <= 10 * (OVERHEAD + 1 + 100)
    assert len(cache) == 10
    cache.keep("s", {b"x": entry(1 << 20)})
    assert (len(cache), cache.size) == (0, 0), "what is larger than all is not kept"


def test_what_was_read_earlier_does_not_take_the_place_of_what_was_read_later() -> None:
    cache = FetchCache(clock=lambda: 9)
    cache.keep("s", {b"a": entry(1, at=9)})
    cache.keep("s", {b"a": entry(2, at=4)})
    assert cache.find("s", "1", (), [b"a"], 0)[b"a"].at == 9
    assert cache.size == entry(1).size(b"a")


def test_spaces_generations_and_chunks_are_apart() -> None:
    cache = FetchCache(clock=lambda: 0)
    cache.keep("s", {b"a": entry()})
    assert cache.find("t", "1", (), [b"a"], 0) == {}
    assert cache.find("s", "2", (), [b"a"], 0) == {}
    assert cache.find("s", "1", (b"c",), [b"a"], 0) == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("later"), st.sampled_from([1, SECOND, 3 * SECOND, BOUND, BOUND + 1, MINUTE, HOUR, 7 * HOUR])),
        st.tuples(st.just("publish"), st.sampled_from("abn"), st.sampled_from([0, 1, MINUTE, 2 * HOUR, DAY])),
        st.tuples(st.just("upload")),
        st.tuples(st.just("fetch"), st.lists(st.sampled_from(["a", "b", "n", None]), min_size=1, max_size=3)),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_what_is_fetched_is_the_uncached_fetch_of_the_store_as_it_was_within_the_bound(steps: list[Any]) -> None:
    world = World()
    states: list[tuple[int, JoinFetch]] = []

    def remember() -> None:
        states.append((world.now, world.fetch_of(world.store.copy())))

    remember()
    for step, *arguments in steps:
        if step == "later":
            states.append((world.now, states[-1][1]))
            world.later(arguments[0])
        elif step == "publish":
            world.publish(arguments[0], ago=arguments[1])
        elif step == "upload":
            world.platform.upload(day_text(world.now - world.now % DAY - DAY))
        if step != "fetch":
            remember()
            continue
        found = world.fetch(*arguments[0])
        for number, key in enumerate(arguments[0]):
            within = [state.fetch([{"k": key}], world.now) for at, state in states if at >= world.now - BOUND]
            known = [(each.rows()[0], _statuses(each, 0)) for each in within]
            assert (found.rows()[number], _statuses(found, number)) in known


def _statuses(result: Result, row: int) -> list[str]:
    return [result.status(row, name) for name in result.features]


def test_threads_see_whole_keys_while_others_write() -> None:
    world = World(cache="1ms")
    cached = world.fetch_of(world.store, FetchCache(entries=5))
    is_over, wrong = threading.Event(), list[Any]()
    at = world.now + HOUR

    def asks(seed: int) -> None:
        draw, before = random.Random(seed), dict.fromkeys("abcdefgh", 0)
        while not is_over.is_set():
            keys = draw.choices("abcdefgh", k=3)
            try:
                for key, row in zip(keys, cached.fetch([{"k": k} for k in keys], at, True).rows(), strict=True):
                    if (row[SUM] or 0) != row[COUNT] or row[COUNT] < before[key] - 40:
                        wrong.append((key, row, before[key]))
                    before[key] = max(before[key], row[COUNT])
            except Exception as failed:  # a thread's failure is the test's
                wrong.append(failed)
                return

    threads = [threading.Thread(target=asks, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        world.publish("abcdefgh"[number % 8])
    is_over.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("cache", ["5s", "1m"])
def test_the_bound_is_part_of_the_definition(cache: str) -> None:
    with_cache, without = (join_of(each).parts[0].source for each in (cache, None))
    assert fingerprint_of(with_cache) != fingerprint_of(without)
