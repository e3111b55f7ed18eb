"""Partials by hop and day of availability: merging those of whole hops and days equals replaying the events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.algebra.replays import quick
from zipline.algebra import aggregator, decode, encode
from zipline.algebra.tiles import Event, empty, merge_up, partials, seen, take
from zipline.algebra.windows import TILE_LEVELS, bounds, floor
from zipline.clock import DAY, HOUR, MINUTE, to_micros
from zipline.errors import UsageError
from zipline.types import BIGINT, DOUBLE, STRING

NOON = to_micros("2024-03-10T12:00:00")
MIDNIGHT = to_micros("2024-03-10")
AGGREGATORS = [
    aggregator("SUM", DOUBLE),
    aggregator("COUNT", BIGINT),
    aggregator("LAST", STRING),
    aggregator("TOP_K", BIGINT, k=2),
    aggregator("HISTOGRAM", STRING),
    aggregator("APPROX_UNIQUE_COUNT", STRING),
    aggregator("SUM", BIGINT, bucket=STRING),
]

TIMES = st.integers(-3 * 24 * 60, 3 * 24 * 60).map(lambda minutes: MIDNIGHT + minutes * MINUTE) | st.integers(
    MIDNIGHT - 3 * DAY, MIDNIGHT + 3 * DAY
)
NUMBERS = st.integers(-5, 5)
EVENTS = st.builds(
    lambda t, late, n: Event(
        t=t,
        values=(n + 0.1, n, f"v{n}", n, None if n == 0 else f"v{n}", f"v{n}", (f"b{n % 2}", n)),
        known_at=None if late is None else t + late,
    ),
    TIMES,
    st.none() | st.integers(-HOUR, 2 * DAY),
    NUMBERS,
)


def replayed(events: list[Event]) -> list[Any]:
    irs = empty(AGGREGATORS)
    for event in events:
        take(irs, event, AGGREGATORS)
    return irs


def blobs(irs: list[Any]) -> list[bytes]:
    return [encode(ir) for ir in irs]


def test_a_partial_is_keyed_by_the_hop_of_its_time_and_the_day_it_became_available() -> None:
    late = to_micros("2024-03-12T03:00:00")
    built = [aggregator("COUNT", BIGINT)]
    events = [
        Event(NOON + 7 * MINUTE, (1,)),
        Event(NOON + 9 * MINUTE, (1,), known_at=NOON - HOUR),
        Event(NOON + 8 * MINUTE, (1,), known_at=late),
        Event(NOON + 8 * MINUTE, (1,), mutation_time=late + DAY),
    ]
    assert partials(events, built, 5 * MINUTE) == {
        (NOON + 5 * MINUTE, MIDNIGHT): [2],
        (NOON + 5 * MINUTE, to_micros("2024-03-12")): [1],
        (NOON + 5 * MINUTE, to_micros("2024-03-13")): [1],
    }


def test_hops_before_1970_are_floored() -> None:
    assert list(partials([Event(-1, (1,))], [aggregator("COUNT", BIGINT)], HOUR)) == [(-HOUR, -DAY)]


def test_a_reversal_is_taken_from_the_partial_of_its_own_availability() -> None:
    built = [aggregator("MAX", BIGINT, signed=True)]
    insert = Event(NOON, (7,), mutation_time=NOON)
    reversal = Event(NOON, (7,), mutation_time=NOON + DAY, is_reversal=True)
    found = partials([reversal, insert], built, HOUR)
    assert list(found) == [(NOON, MIDNIGHT + DAY), (NOON, MIDNIGHT)]
    (then,) = seen(found, built, None, NOON + DAY, available_before=MIDNIGHT + DAY)
    (after,) = seen(found, built, None, NOON + DAY, available_before=MIDNIGHT + 2 * DAY)
    assert (built[0].finalize(then), built[0].finalize(after)) == (7, None)


@quick
@given(st.lists(EVENTS, max_size=25), st.sampled_from(TILE_LEVELS), st.sampled_from(TILE_LEVELS))
def test_merging_up_equals_partials_of_the_coarser_hop(events: list[Event], a: int, b: int) -> None:
    fine, coarse = min(a, b), max(a, b)
    merged = merge_up(partials(events, AGGREGATORS, fine), AGGREGATORS, coarse)
    direct = partials(events, AGGREGATORS, coarse)
    assert {key: blobs(irs) for key, irs in merged.items()} == {key: blobs(irs) for key, irs in direct.items()}


@quick
@given(
    st.lists(EVENTS, max_size=25),
    st.integers(-2, 3),
    st.sampled_from([None, HOUR, 6 * HOUR, DAY, 12 * DAY]),
    st.sampled_from(["TEMPORAL", "SNAPSHOT"]),
)
def test_at_a_midnight_the_partials_seen_are_the_events_seen(
    events: list[Event], day: int, window: int | None, accuracy: Any
) -> None:
    q = MIDNIGHT + day * DAY
    start, end = bounds(q, window, accuracy)
    expected = [
        event for event in events if (start is None or start <= event.t) and event.t < end and event.availability < end
    ]
    found = partials(events, AGGREGATORS, 5 * MINUTE)
    before = {key: blobs(irs) for key, irs in found.items()}
    assert blobs(seen(found, AGGREGATORS, start, end, available_before=end)) == blobs(replayed(expected))
    assert {key: blobs(irs) for key, irs in found.items()} == before


@quick
@given(st.lists(EVENTS, max_size=25), st.integers(-1, 2), st.integers(1, 2), st.integers(0, 23))
def test_an_upload_and_what_became_available_since_is_everything_once(
    events: list[Event], day: int, days_since: int, hour: int
) -> None:
    upload_end = MIDNIGHT + day * DAY
    q = upload_end + (days_since - 1) * DAY + hour * HOUR
    after_q_s_day = floor(q, DAY) + DAY
    found = partials(events, AGGREGATORS, 5 * MINUTE)
    uploaded = seen(found, AGGREGATORS, None, upload_end, available_before=upload_end)
    since = seen(found, AGGREGATORS, None, q, available_from=upload_end, available_before=after_q_s_day)
    stored = [decode(blob) for blob in blobs(uploaded)]
    served = [one.merge(a, b) for one, a, b in zip(AGGREGATORS, stored, since, strict=True)]
    expected = [event for event in events if event.t < q and event.availability < after_q_s_day]
    assert blobs(served) == blobs(replayed(expected))


def test_availability_is_bounded_by_midnights_only() -> None:
    with pytest.raises(UsageError, match="bound it by midnights"):
        seen({}, AGGREGATORS, None, NOON, available_before=NOON)
