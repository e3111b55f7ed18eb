"""What is fetched equals a backfill at that time over the events that had arrived: at random, on every store.

Events come late, become known late, cross midnights, tie and have no key, and every operation is asked for, lookups
too. Whatever a status permits to differ is counted, so that a test which compares nothing would be seen.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from typing import Any

import pytest

from tests.integration.stores.opened import Opening
from zipline import (
    Accuracy,
    Aggregation,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    Operation,
    Query,
    Topic,
    Window,
)
from zipline.orchestration.local_platform import LocalPlatform
from zipline.stores.contract import PlaceError, StoreError
from zipline.stores.memory import MemoryStore

START = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
DAY, HOUR = 86_400, 3_600
WINDOWS = ["3m", "90m", "6h", "1d", "7d", "30d", None]
EXACT = [operation for operation in Operation if not operation.name.startswith("APPROX")]
K = {Operation.FIRST_K: 2, Operation.LAST_K: 3, Operation.TOP_K: 2, Operation.BOTTOM_K: 3}
NUMERIC = {Operation.SUM, Operation.AVERAGE, Operation.VARIANCE, Operation.SKEW, Operation.KURTOSIS}


def aggregations(draw: random.Random) -> list[Aggregation]:
    found = []
    for operation in EXACT:
        inputs = ["x", "n"] if operation in NUMERIC else ["x", "n", "word", "at"]
        for column in draw.sample(inputs, 2):
            windows = draw.sample(WINDOWS, 3)
            buckets = ["word"] if draw.random() < 0.2 else []
            found.append(Aggregation(column, operation, windows=windows, k=K.get(operation), buckets=buckets))
    found.append(Aggregation("n", Operation.COUNT, windows=["7d"], default=-1))
    found.append(Aggregation("x", Operation.MIN, windows=["4h"], default=0.25))
    return found


class Stream:
    """Events in the order in which they arrive, and how many of each kind there were."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.kinds = draw, Counter[str]()

    def event(self, arrival: float) -> dict[str, Any]:
        draw, happened = self.draw, arrival
        kind = draw.choice(["on time"] * 6 + ["late", "known late", "over midnight", "no key", "tied"])
        if kind == "late":
            happened -= draw.choice([5, 400, 5_000, 30_000, 2 * DAY])
        if kind == "over midnight":
            happened = arrival - arrival % DAY - draw.uniform(0, 30)
        if kind == "tied":
            happened -= happened % (2 * HOUR)
        known = arrival if kind == "known late" else happened
        if kind == "known late":
            happened -= draw.choice([60, 4_000, DAY, 8 * DAY])
        self.kinds[kind] += 1
        return {
            "key": None if kind == "no key" else draw.randrange(4),
            "x": draw.choice([None, float("nan"), draw.uniform(-5, 5), 1e11, -0.0]),
            "n": draw.choice([None, draw.randrange(-3, 3), 2**55]),
            "word": draw.choice([None, "a", "bb", ""]),
            "at": START + dt.timedelta(seconds=draw.randrange(1000)),
            "tags": draw.choice([None, [], [None, 1], [1]]),
            "t": START + dt.timedelta(seconds=happened),
            "known": START + dt.timedelta(seconds=known),
        }

    def events(self, first: float, last: float, count: int) -> list[dict[str, Any]]:
        return [self.event(at) for at in sorted(self.draw.uniform(first, last) for _ in range(count))]


def joined(draw: random.Random) -> Join:
    selected = ["key", "x", "n", "word", "at"]

    def source(*columns: str, **clocks: str) -> EventSource:
        query = Query(select=["key", *columns] if columns else selected, time="t", **clocks)
        return EventSource("events", topic=Topic("events"), query=query)

    plain = GroupBy(["key"], [source()], aggregations(draw), online=True, name="plain")
    known = GroupBy(["key"], [source(known_at="known")], aggregations(draw), online=True, name="known")
    everything = GroupBy(
        [],
        [source(known_at="known")],
        [Aggregation("n", Operation.COUNT, windows=["6h", None])],
        online=True,
        name="all",
    )
    daily = GroupBy(
        ["key"],
        [source(known_at="known")],
        [Aggregation("x", Operation.SUM, windows=["1d", "7d"]), Aggregation("word", Operation.TOP_K, k=2)],
        derivations=[Derivation("twice", "x_sum_7d * 2")],
        accuracy=Accuracy.SNAPSHOT,
        online=True,
        name="daily",
    )
    row = GroupBy(["key"], [source("tags", "word", "x")], online=True, name="row")
    known_row = GroupBy(["key"], [source("n", known_at="known")], online=True, name="known_row")
    last = GroupBy([], [source(), source(known_at="known")], online=True, name="last")
    left = EventSource("asked", query=Query(select=["who"], time="t"))
    parts = [JoinPart(each, key_map={"who": "key"}) for each in (plain, known, daily, row, known_row)]
    return Join(left=left, parts=[*parts, JoinPart(everything), JoinPart(last)], online=True, name="joined")


@pytest.mark.parametrize(
    ("opening", "seed"),
    [("memory", 0), ("memory", 1), ("lmdb", 2), ("redis", 4), ("cassandra", 5)],
    indirect=["opening"],
)
def test_fetches_at_random_times_equal_backfills(seed: int, opening: Opening) -> None:
    """A history of its own for every store: what is computed is the same on all of them."""
    draw, store = random.Random(seed), opening()
    stream = Stream(draw)
    keys = [{"who": who} for who in (0, 1, 2, 3, 99, None)]
    asked = [{**key, "t": START + dt.timedelta(days=43)} for key in keys]
    platform = LocalPlatform(
        joined(draw), tables={"asked": asked, "events": stream.events(0, 40 * DAY, 500)}, store=store
    )
    now = 40 * DAY + 0.0
    platform.advance(START + dt.timedelta(seconds=now))
    platform.upload("2024-04-09")
    compared, uploaded = 0, 40
    while now < 43 * DAY:
        later = now + draw.choice([40, 200, 2_000, 20_000])
        for event in stream.events(now, later, draw.randrange(6)):
            platform.publish("events", [event])
        now = later
        platform.advance(START + dt.timedelta(seconds=now))
        # An upload comes as late as it likes, up to two days after its day.
        if now // DAY > uploaded and draw.random() < 0.2 + (now / DAY - uploaded - 1):
            uploaded = int(now // DAY)
            platform.upload((START + dt.timedelta(days=uploaded - 1)).date().isoformat())
        compared += platform.assert_online_equals_offline("joined", keys=keys)
    assert compared > 20_000
    assert all(stream.kinds[kind] * 100 > sum(stream.kinds.values()) for kind in stream.kinds)
    assert set(stream.kinds) == {"on time", "late", "known late", "over midnight", "no key", "tied"}


TABLES = {
    "asked": [{"key": "a", "t": START}],
    "events": [
        {"key": "a", "n": 1, "t": START - dt.timedelta(days=2)},
        {"key": "a", "n": 2, "t": START - dt.timedelta(hours=1)},
    ],
}


def small(windows: list[Any] | None = None) -> tuple[Join, LocalPlatform]:
    source = EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t"))
    totals = GroupBy(
        ["key"],
        [source],
        [Aggregation("n", Operation.SUM, windows=windows or ["1d", "7d", None])],
        online=True,
        name="totals",
    )
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    join = Join(
        left=left,
        parts=[JoinPart(totals)],
        derivations=[] if windows else [Derivation("more", "totals_n_sum_1d + 1")],
        name="j",
    )
    return join, LocalPlatform(join, tables=TABLES)


def test_statuses_say_where_a_value_comes_from() -> None:
    _, platform = small()
    platform.advance(START + dt.timedelta(hours=1))
    before = platform.fetch("j", [{"key": "a"}])
    assert before.rows() == [dict.fromkeys(["totals_n_sum_1d", "totals_n_sum_7d", "totals_n_sum", "more"])]
    assert {before.status(0, name) for name in before.features} == {"unavailable"}
    platform.upload("2024-02-29")
    found = platform.fetch("j", [{"key": "a"}, {"key": "nobody"}, {"key": None}])
    assert found.rows()[0] == {"totals_n_sum_1d": 2, "totals_n_sum_7d": 3, "totals_n_sum": 3, "more": 3}
    assert {found.status(0, name) for name in found.features} == {"ok"}
    assert {found.status(row, name) for row in (1, 2) for name in found.features} == {"default"}
    platform.advance(START + dt.timedelta(days=3, seconds=1))
    late = platform.fetch("j", [{"key": "a"}])
    assert late.status(0, "totals_n_sum_7d") == late.status(0, "totals_n_sum") == "unavailable"
    assert late.rows()[0]["totals_n_sum_7d"] is late.rows()[0]["totals_n_sum"] is None
    assert late.status(0, "totals_n_sum_1d") == "default", "a window that begins after the upload needs nothing of it"


def test_what_happened_since_the_upload_is_seen_at_once() -> None:
    _, platform = small(["1h", "1d"])
    platform.advance(START + dt.timedelta(hours=3))
    platform.upload("2024-02-29")
    platform.publish("events", [{"key": "a", "n": 10, "t": START + dt.timedelta(hours=2, minutes=30)}])
    assert platform.fetch("j", [{"key": "a"}]).rows()[0]["totals_n_sum_1d"] == 12
    assert platform.fetch("j", [{"key": "a"}]).rows()[0]["totals_n_sum_1h"] == 10
    earlier = START + dt.timedelta(hours=2)
    assert platform.fetch("j", [{"key": "a"}], at=earlier).rows()[0]["totals_n_sum_1d"] == 2


def test_a_time_before_everything_that_is_kept_is_an_error() -> None:
    _, platform = small()
    platform.advance(START)
    platform.upload("2024-02-29")
    with pytest.raises(Exception, match=r"totals is kept from 2024-03-01T00:00:00Z on, not at 2024-02-28"):
        platform.fetch("j", [{"key": "a"}], at="2024-02-28")


def test_a_window_of_any_length_is_kept_whole() -> None:
    """Cut at every start that a query of the next two days can have."""
    from zipline.algebra.windows import bounds
    from zipline.plan.online import SERVED, Kept

    draw = random.Random(5)
    for _ in range(40):
        windows = [f"{draw.randrange(1, 60)}m", f"{draw.randrange(1, 24)}h", f"{draw.randrange(1, 40)}d"]
        join, platform = small(windows)
        kept = Kept(platform._plan(join.name or "").parts[0].group_by)
        end = 20_000 * DAY * 1_000_000
        cuts = set(kept.cuts(end))
        for _ in range(100):
            q = end + draw.randrange(SERVED + 1)
            for window in windows:
                start = bounds(q, Window(window).micros, "TEMPORAL")[0]
                assert start is not None
                assert start >= end or start in cuts


def test_a_store_that_does_not_answer_makes_its_features_unavailable_and_is_asked_again() -> None:
    class Down(MemoryStore):
        is_down = is_lost = False

        def current(self, space: str) -> Any:
            if self.is_lost:
                raise StoreError("no answer")
            return super().current(space)

        def get(self, asks: Any) -> Any:
            if self.is_down:
                raise StoreError("no answer")
            return super().get(asks)

    store = Down()
    join, _ = small()
    platform = LocalPlatform(join, tables=TABLES, store=store)
    platform.advance(START + dt.timedelta(hours=1))
    platform.upload("2024-02-29")
    assert platform.fetch("j", [{"key": "a"}]).rows()[0]["more"] == 3
    store.is_down = True
    found = platform.fetch("j", [{"key": "a"}])
    assert {found.status(0, name) for name in found.features} == {"unavailable"}
    assert set(found.rows()[0].values()) == {None}
    store.is_lost = True
    assert {platform.fetch("j", [{"key": "a"}]).status(0, name) for name in found.features} == {"unavailable"}
    store.is_down = store.is_lost = False
    assert platform.fetch("j", [{"key": "a"}]).rows()[0]["more"] == 3


def test_a_part_that_cannot_be_read_hurts_no_other() -> None:
    class Damaged(MemoryStore):
        is_damaged = False

        def get(self, asks: Any) -> Any:
            if self.is_damaged and any(place.space == "other" for place, _ in asks):
                raise PlaceError("damaged")
            return super().get(asks)

    source = EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t"))
    sums = [Aggregation("n", Operation.SUM, windows=["7d"])]
    parts = [JoinPart(GroupBy(["key"], [source], sums, online=True, name=name)) for name in ("totals", "other")]
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    store = Damaged()
    platform = LocalPlatform(Join(left=left, parts=parts, name="j"), tables=TABLES, store=store)
    platform.advance(START + dt.timedelta(hours=1))
    platform.upload("2024-02-29")
    assert platform.fetch("j", [{"key": "a"}]).rows() == [{"totals_n_sum_7d": 3, "other_n_sum_7d": 3}]
    store.is_damaged = True
    found = platform.fetch("j", [{"key": "a"}])
    assert found.rows() == [{"totals_n_sum_7d": 3, "other_n_sum_7d": None}]
    assert [found.status(0, name) for name in found.features] == ["ok", "unavailable"]


@pytest.mark.parametrize(("freshness", "stale_after"), [(None, 60), ("10m", 600)])
def test_a_stream_that_stalls_makes_its_features_stale(freshness: str | None, stale_after: int) -> None:
    source = EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t"))
    sums = [Aggregation("n", Operation.SUM, windows=["7d"]), Aggregation("n", Operation.TOP_K, k=1)]
    totals = GroupBy(["key"], [source], sums, online=True, freshness=freshness, name="totals")
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    platform = LocalPlatform(Join(left=left, parts=[JoinPart(totals)], name="j"), tables=TABLES)
    platform.advance(START + dt.timedelta(hours=1))
    platform.upload("2024-02-29")
    platform.fetch("j", [{"key": "a"}])
    for seconds, expected in ((0, "ok"), (stale_after, "ok"), (stale_after + 1, "stale")):
        later = START + dt.timedelta(hours=1, seconds=seconds)
        found = platform.fetch("j", [{"key": "a"}, {"key": "nobody"}], at=later)
        assert {found.status(0, name) for name in found.features} == {expected}
        assert found.time(0, "totals_n_sum_7d") == min(later, START + dt.timedelta(hours=1))
        assert found.status(1, "totals_n_sum_7d") == ("stale" if expected == "stale" else "default")


class Damaging(MemoryStore):
    """Changes what it reads of an upload."""

    def __init__(self) -> None:
        super().__init__()
        self.damage: Any = lambda value: value

    def get(self, asks: Any) -> Any:
        found = super().get(asks)
        return [
            [None if value is None else self.damage(bytes(value)) for value in values] if place.generation else values
            for (place, _), values in zip(asks, found, strict=True)
        ]


DAMAGES = {
    "a bit": lambda value: value[:-1] + bytes([value[-1] ^ 1]),
    "cut": lambda value: value[:-1],
    "cut by a word": lambda value: value[:-8],
    "longer": lambda value: value + bytes(8),
    "nothing left": lambda value: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("accuracy", [Accuracy.TEMPORAL, Accuracy.SNAPSHOT])
@pytest.mark.parametrize("others", [[], [Aggregation("n", Operation.TOP_K, windows=["7d"], k=1)]], ids=["", "irs"])
def test_what_is_damaged_is_an_error_and_never_a_number(damage: str, accuracy: Accuracy, others: list[Any]) -> None:
    source = EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t"))
    sums = [Aggregation("n", Operation.SUM, windows=["7d"]), Aggregation("n", Operation.COUNT, windows=["7d"]), *others]
    totals = GroupBy(["key"], [source], sums, accuracy=accuracy, online=True, name="totals")
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    store = Damaging()
    platform = LocalPlatform(Join(left=left, parts=[JoinPart(totals)], name="j"), tables=TABLES, store=store)
    platform.advance(START)
    platform.upload("2024-02-29")
    asked = [{"key": "a"}, {"key": "nobody"}]
    assert platform.fetch("j", asked).rows()[0]["totals_n_sum_7d"] == 3
    store.damage = DAMAGES[damage]
    found = platform.fetch("j", asked)
    assert set(found.rows()[0].values()) == {None}
    assert {found.status(0, name) for name in found.features} == {"error"}
    assert {found.status(1, name) for name in found.features} == {"default"}


@pytest.mark.parametrize("accuracy", [Accuracy.TEMPORAL, Accuracy.SNAPSHOT])
def test_a_key_that_an_older_definition_did_not_upload_is_not_said_to_have_nothing(accuracy: Accuracy) -> None:
    def platform_of(where: list[str], store: Any) -> LocalPlatform:
        query = Query(select=["key", "n"], where=where, time="t")
        source = EventSource("events", topic=Topic("events"), query=query)
        counts = [Aggregation("n", Operation.COUNT, windows=["7d"]), Aggregation("n", Operation.TOP_K, k=1)]
        totals = GroupBy(["key"], [source], counts, accuracy=accuracy, online=True, name="totals")
        left = EventSource("asked", query=Query(select=["key"], time="t"))
        platform = LocalPlatform(Join(left=left, parts=[JoinPart(totals)], name="j"), tables=TABLES, store=store)
        platform.advance(START)
        return platform

    store = MemoryStore()
    platform_of(["n > 100"], store).upload("2024-02-29")
    changed = platform_of([], store)
    found = changed.fetch("j", [{"key": "a"}])
    assert {found.status(0, name) for name in found.features} == {"error"}
    changed.upload("2024-02-29")
    assert changed.fetch("j", [{"key": "a"}]).rows() == [{"totals_n_count_7d": 2, "totals_n_top_k1": [2]}]


def test_tiles_of_an_older_definition_are_begun_anew_and_read_by_neither_as_numbers() -> None:
    def platform_of(operation: Operation, store: Any) -> LocalPlatform:
        source = EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t"))
        totals = GroupBy(["key"], [source], [Aggregation("n", operation, windows=["7d"])], online=True, name="totals")
        left = EventSource("asked", query=Query(select=["key"], time="t"))
        platform = LocalPlatform(Join(left=left, parts=[JoinPart(totals)], name="j"), tables=TABLES, store=store)
        platform.advance(START + dt.timedelta(hours=3))
        platform.upload("2024-02-29")
        return platform

    store = MemoryStore()
    late = [{"key": "a", "n": 10, "t": START + dt.timedelta(hours=2, minutes=30)}]
    older = platform_of(Operation.SUM, store)
    older.join("j")
    older.publish("events", late)
    assert older.fetch("j", [{"key": "a"}]).rows() == [{"totals_n_sum_7d": 13}]
    changed = platform_of(Operation.MIN, store)
    changed.join("j")
    changed.publish("events", late)
    assert changed.fetch("j", [{"key": "a"}]).rows() == [{"totals_n_min_7d": 1}]
    found = older.fetch("j", [{"key": "a"}])
    assert (found.rows(), found.status(0, "totals_n_sum_7d")) == ([{"totals_n_sum_7d": None}], "error")


@pytest.mark.parametrize(
    ("accuracy", "a_day_later"),
    [
        (Accuracy.TEMPORAL, [(3, "ok"), (0, "default"), (3, "ok")]),
        (Accuracy.SNAPSHOT, [(3, "stale"), (2, "stale"), (3, "stale")]),
    ],
)
def test_a_group_by_over_a_joins_output_is_served_as_of_its_upload(
    accuracy: Accuracy, a_day_later: list[tuple[int, str]]
) -> None:
    """A day later both orders have left the window of a day; values are those of the upload still."""
    source = EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t"))
    sums = [Aggregation("n", Operation.SUM, windows=["7d"])]
    totals = GroupBy(["key"], [source], sums, online=True, name="totals")
    orders = EventSource("orders", topic=Topic("orders"), query=Query(select=["key", "shop"], time="t"))
    parent = Join(left=orders, parts=[JoinPart(totals)], online=True, name="parent")
    over = JoinSource(parent, query=Query(select={"shop": "shop", "sum": "totals_n_sum_7d"}, time="ts"))
    most = [Aggregation("sum", Operation.MAX, windows=["7d"]), Aggregation("sum", Operation.COUNT, windows=["1d"])]
    shops = GroupBy(["shop"], [over], most, accuracy=accuracy, online=True, name="shops")
    newest = GroupBy(["shop"], [over], accuracy=accuracy, online=True, name="newest")
    left = EventSource("asked", query=Query(select=["shop"], time="t"))
    placed = [
        {"key": "a", "shop": "north", "t": START - dt.timedelta(hours=2)},
        {"key": "a", "shop": "north", "t": START - dt.timedelta(minutes=2)},
        {"key": "b", "shop": "south", "t": START - dt.timedelta(days=20)},
    ]
    tables = {**TABLES, "orders": placed, "asked": [{"shop": "north", "t": START}]}
    platform = LocalPlatform(Join(left=left, parts=[JoinPart(shops), JoinPart(newest)], name="j"), tables=tables)
    platform.advance(START)
    platform.upload("2024-02-29")
    found = platform.fetch("j", [{"shop": "north"}, {"shop": "south"}])
    assert found.rows() == [
        {"shops_sum_max_7d": 3, "shops_sum_count_1d": 2, "newest_sum": 3},
        {"shops_sum_max_7d": None, "shops_sum_count_1d": 0, "newest_sum": None},
    ]
    assert platform.assert_online_equals_offline("j") > 0
    platform.advance(START + dt.timedelta(days=1, hours=1))
    later = platform.fetch("j", [{"shop": "north"}])
    assert [(later.rows()[0][name], later.status(0, name)) for name in later.rows()[0]] == a_day_later
