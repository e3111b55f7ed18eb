"""Requests that wait are fetched together, within bounds, and one's fault is nobody else's."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serving.features.batching import Batches
from serving.features.requests import Request
from serving.problems import Problem
from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline.clock import DAY, HOUR, MINUTE, SECOND, monotonic, to_datetime, to_micros
from zipline.errors import DataError
from zipline.fetch.joins import JoinFetch

SOON = 60.0


@pytest.fixture(scope="module")
def fetch() -> JoinFetch:
    events = EventSource("events", query=Query(select=["k", "v"], time="t"))
    sums = GroupBy(
        ["k"], [events], [Aggregation("v", Operation.SUM)], accuracy=Accuracy.SNAPSHOT, online=True, name="sums"
    )
    join = Join(EventSource("asked", query=Query(select=["k"], time="t")), [JoinPart(sums)], online=True, name="join")
    rows = [{"k": key, "v": key * 10, "t": "2024-03-01T12:00:00"} for key in range(5)]
    platform = LocalPlatform(join, tables={"events": rows, "asked": [{"k": 1, "t": "2024-03-01"}]})
    platform.advance("2024-03-02")
    platform.upload("2024-03-01")
    return platform.join("join")


class Watched:
    """A fetch that says how many rows each call had."""

    def __init__(self, fetch: JoinFetch) -> None:
        self.fetch, self.calls = fetch, list[int]()

    def __call__(self, rows: Sequence[dict[str, Any]], q: int, is_now: bool) -> Any:
        self.calls.append(len(rows))
        if any(row["k"] == "bad" for row in rows):
            raise DataError("a text is no integer")
        return self.fetch.fetch(rows, q, is_now)


def asked(batches: Batches, *requests: Request, until: float | None = None) -> list[Any]:
    """What comes of requests that arrive at once: values, or the status of a problem."""

    async def gathered() -> list[Any]:
        ends = monotonic() + SOON if until is None else until
        found: list[Any] = []
        waiting = []
        for request in requests:
            try:
                waiting.append(batches.ask(request, ends))
            except Problem as problem:
                waiting.append(asyncio.get_running_loop().create_future())
                waiting[-1].set_exception(problem)
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(answer, Problem):
                found.append(answer.status)
            else:
                found.append([row["sums_v_sum"] for row in answer.of.values[answer.first : answer.last]])
        return found

    return asyncio.run(gathered())


def request(*keys: Any, at: int | None = None) -> Request:
    return Request([{"k": key} for key in keys], at)


def test_what_waits_is_one_fetch_and_each_gets_its_own_rows(fetch: JoinFetch) -> None:
    watched = Watched(fetch)
    found = asked(Batches(watched, waiting=100), request(1), request(2, 3), request(), request(4))
    assert found == [[10], [20, 30], [], [40]]
    assert watched.calls == [4]


def test_a_request_alone_waits_for_nobody(fetch: JoinFetch) -> None:
    watched = Watched(fetch)
    assert asked(Batches(watched, waiting=100), request(3)) == [[30]]
    assert watched.calls == [1]


def test_requests_of_different_times_are_different_fetches(fetch: JoinFetch) -> None:
    watched = Watched(fetch)
    later = 1_709_400_000_000_000
    found = asked(Batches(watched, waiting=100), request(1), request(2, at=later), request(3, at=later), request(4))
    assert found == [[10], [20], [30], [40]]
    assert watched.calls == [1, 2, 1]


def test_large_batches_are_cut_but_a_large_request_is_not(fetch: JoinFetch) -> None:
    watched = Watched(fetch)
    asked(Batches(watched, waiting=10_000), *(request(*[1] * 100) for _ in range(5)), request(*[1] * 700))
    assert watched.calls == [200, 200, 100, 700]


def test_one_request_that_fails_fails_alone(fetch: JoinFetch) -> None:
    watched = Watched(fetch)
    assert asked(Batches(watched, waiting=100), request(1), request("bad"), request(2)) == [[10], 400, [20]]
    assert watched.calls == [3, 1, 1, 1]


def test_what_is_too_late_is_not_fetched(fetch: JoinFetch) -> None:
    watched = Watched(fetch)
    assert asked(Batches(watched, waiting=100), request(1), until=monotonic() - 1) == [504]
    assert watched.calls == []


def test_above_the_bound_requests_are_refused_and_room_comes_back(fetch: JoinFetch) -> None:
    batches = Batches(Watched(fetch), waiting=4)
    assert asked(batches, request(1, 2, 3), request(4, 4), request(4)) == [[10, 20, 30], 503, [40]]
    assert batches.waiting == 0
    assert asked(batches, request(1)) == [[10]]


def test_one_request_above_the_bound_is_answered_where_nothing_waits(fetch: JoinFetch) -> None:
    assert asked(Batches(Watched(fetch), waiting=2), request(1, 2, 3)) == [[10, 20, 30]]


def test_a_store_over_the_network_is_read_in_threads(fetch: JoinFetch) -> None:
    threads = set()

    def noted(rows: Sequence[dict[str, Any]], q: int, is_now: bool) -> Any:
        threads.add(threading.current_thread().name)
        return fetch.fetch(rows, q, is_now)

    with ThreadPoolExecutor(2, thread_name_prefix="reader") as executor:
        batches = Batches(noted, waiting=100, executor=executor)
        assert asked(batches, *(request(key) for key in range(5))) == [[0], [10], [20], [30], [40]]
    assert all(name.startswith("reader") for name in threads)


def test_what_is_no_fault_of_a_request_is_an_internal_problem(
    fetch: JoinFetch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(rows: Sequence[dict[str, Any]], q: int, is_now: bool) -> Any:
        raise RuntimeError("of the server")

    assert asked(Batches(broken, waiting=100), request(1)) == [500]
    assert "a fetch failed: RuntimeError" in caplog.text


# A clock that is set back. A fetch is as of what the clock says, over what has arrived: never a number of another time.


@pytest.fixture
def hourly() -> tuple[LocalPlatform, JoinFetch]:
    """At 10:00 of a day, uploaded until its beginning; an event in every hour from the day before on."""
    events = EventSource("events", topic=Topic("events"), query=Query(select=["k", "v"], time="t"))
    counts = [Aggregation("v", Operation.COUNT, windows=["1h", "7d"])]
    group_by = GroupBy(["k"], [events], counts, online=True, name="sums")
    left = EventSource("asked", query=Query(select=["k"], time="t"))
    join = Join(left, [JoinPart(group_by)], online=True, name="join")
    rows = [{"k": 1, "v": 1, "t": to_datetime(TEN - hours * HOUR - MINUTE)} for hours in range(24)]
    tables = {"events": rows[10:], "asked": [{"k": 1, "t": "2024-03-01"}]}
    platform = LocalPlatform(join, tables=tables)
    platform.advance(TEN - 10 * HOUR)
    platform.upload("2024-03-01")
    platform.join("join")
    platform.publish("events", rows[:10])
    platform.advance(TEN)
    return platform, platform.join("join")


TEN = to_micros("2024-03-02T10:00:00Z")


def answers_at(batches: Batches, clock: list[int], at: int) -> tuple[int, dict[str, Any], dict[str, str]]:
    """(the instant of the answer, its values, what is not `ok`) when the clock says `at`."""
    clock[0] = at

    async def asks() -> Any:
        return await batches.ask(request(1), monotonic() + SOON)

    answer = asyncio.run(asks())
    return answer.at, answer.values()[0], answer.statuses()[0]


@pytest.mark.parametrize(
    ("back", "instant", "values", "statuses"),
    [
        (10 * SECOND, TEN, (1, 24), {}),
        (2 * HOUR, TEN - 2 * HOUR, (1, 22), {}),
        (3 * DAY, TEN - 3 * DAY, (None, None), dict.fromkeys(["sums_v_count_1h", "sums_v_count_7d"], "unavailable")),
    ],
    ids=["10 s", "2 h", "3 d"],
)
def test_a_clock_that_is_set_back_gives_what_was_right_then_or_nothing(
    hourly: tuple[LocalPlatform, JoinFetch],
    back: int,
    instant: int,
    values: tuple[Any, Any],
    statuses: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By seconds time stands still; by hours it is the values of that time; before the upload's end nothing is known,
    which is no fault of the request."""
    platform, fetch = hourly
    clock = [TEN]
    monkeypatch.setattr("serving.features.batching.now", lambda: clock[0])
    batches = Batches(fetch.fetch, waiting=10)
    right = {"sums_v_count_1h": 1, "sums_v_count_7d": 24}
    assert answers_at(batches, clock, TEN) == (TEN, right, {})
    expected = dict(zip(right, values, strict=True))
    assert answers_at(batches, clock, TEN - back) == (instant, expected, statuses)
    if not statuses:
        platform.assert_online_equals_offline("join", at=to_datetime(instant), keys=[{"k": 1}])
    assert answers_at(batches, clock, TEN + SECOND)[0] == TEN + SECOND


def test_a_time_that_is_asked_for_before_the_upload_is_the_callers(hourly: tuple[LocalPlatform, JoinFetch]) -> None:
    _, fetch = hourly
    assert asked(Batches(fetch.fetch, waiting=10), request(1, at=TEN - 3 * DAY)) == [400]
