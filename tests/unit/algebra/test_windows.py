"""Which events a query sees: hops, bounds, labels and the tiles that cover a span."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.algebra.replays import quick
from zipline.algebra.windows import TILE_LEVELS, bounds, cover, floor, hop, label_bounds, tile_hop
from zipline.clock import DAY, HOUR, MINUTE, to_micros
from zipline.errors import UsageError

INSTANTS = st.integers(to_micros("0001-01-01"), to_micros("9999-12-31"))
WINDOWS = st.integers(1, 60 * 24 * 40).map(lambda minutes: minutes * MINUTE)


@pytest.mark.parametrize(
    ("window", "step"),
    [
        (1 * MINUTE, MINUTE),
        (59 * MINUTE, MINUTE),
        (1 * HOUR, 5 * MINUTE),
        (11 * HOUR, 5 * MINUTE),
        (12 * HOUR - MINUTE, 5 * MINUTE),
        (12 * HOUR, HOUR),
        (11 * DAY, HOUR),
        (12 * DAY - HOUR, HOUR),
        (12 * DAY, DAY),
        (30 * DAY, DAY),
    ],
)
def test_hop_of_a_window(window: int, step: int) -> None:
    assert hop(window) == step


@pytest.mark.parametrize(
    ("q", "window", "start"),
    [
        ("2024-03-10T10:07:42", 30 * MINUTE, "2024-03-10T09:37:00"),
        ("2024-03-10T10:07:42", 6 * HOUR, "2024-03-10T04:05:00"),
        ("2024-03-10T10:07:42", 1 * DAY, "2024-03-09T10:00:00"),
        ("2024-03-10T10:07:42", 30 * DAY, "2024-02-09T00:00:00"),
        ("2024-03-10T10:00:00", 1 * DAY, "2024-03-09T10:00:00"),
        ("1969-12-31T23:59:59", 6 * HOUR, "1969-12-31T17:55:00"),
        ("1969-12-31T00:00:01", 12 * DAY, "1969-12-19T00:00:00"),
    ],
)
def test_temporal_window_starts_on_its_hop_and_ends_before_the_query(q: str, window: int, start: str) -> None:
    assert bounds(to_micros(q), window, "TEMPORAL") == (to_micros(start), to_micros(q))


@pytest.mark.parametrize(
    ("q", "start", "end"),
    [
        ("2024-03-10T10:07:42", "2024-03-03", "2024-03-10"),
        ("2024-03-10T00:00:00", "2024-03-03", "2024-03-10"),
        ("1969-12-31T23:59:59", "1969-12-24", "1969-12-31"),
    ],
)
def test_snapshot_window_is_whole_days_before_the_query_s_day(q: str, start: str, end: str) -> None:
    assert bounds(to_micros(q), 7 * DAY, "SNAPSHOT") == (to_micros(start), to_micros(end))


def test_lifetime_has_no_start() -> None:
    q = to_micros("2024-03-10T10:07:42")
    assert bounds(q, None, "TEMPORAL") == (None, q)
    assert bounds(q, None, "SNAPSHOT") == (None, to_micros("2024-03-10"))


def test_label_window_ends_offset_after_the_query_without_hops() -> None:
    q = to_micros("2024-03-10T10:07:42")
    start, end = label_bounds(q, 2 * DAY, 6 * HOUR)
    assert (start, end) == (to_micros("2024-03-12T04:07:42"), to_micros("2024-03-12T10:07:42"))


@quick
@given(st.lists(INSTANTS, min_size=1), st.one_of(st.none(), WINDOWS))
def test_columns_and_single_queries_agree(queries: list[int], window: int | None) -> None:
    column = np.array(queries, dtype=np.int64)
    for accuracy in ("TEMPORAL", "SNAPSHOT"):
        start, end = bounds(column, window, accuracy)
        each = [bounds(q, window, accuracy) for q in queries]
        assert end.dtype == np.int64
        assert end.tolist() == [one_end for _, one_end in each]
        assert (None if start is None else start.tolist()) == (None if window is None else [one for one, _ in each])


@quick
@given(INSTANTS, WINDOWS)
def test_a_temporal_window_is_at_least_as_long_as_asked_and_less_than_a_hop_longer(q: int, window: int) -> None:
    start, end = bounds(q, window, "TEMPORAL")
    assert start is not None
    assert start % hop(window) == 0
    assert window <= end - start < window + hop(window)


@pytest.mark.parametrize(
    ("windows", "finest"),
    [
        ([None], 5 * MINUTE),
        ([30 * DAY], 5 * MINUTE),
        ([7 * DAY, HOUR], 5 * MINUTE),
        ([7 * DAY, 30 * MINUTE], MINUTE),
        ([], 5 * MINUTE),
    ],
)
def test_tiles_are_of_the_smallest_hop_at_most_five_minutes(windows: list[int | None], finest: int) -> None:
    assert tile_hop(windows) == finest


def test_cover_climbs_to_the_largest_tiles_and_down_again() -> None:
    start, end = to_micros("2024-03-09T22:55:00"), to_micros("2024-03-11T07:10:00")
    assert cover(start, end, 5 * MINUTE) == [
        (5 * MINUTE, to_micros("2024-03-09T22:55:00")),
        (HOUR, to_micros("2024-03-09T23:00:00")),
        (DAY, to_micros("2024-03-10")),
        (6 * HOUR, to_micros("2024-03-11T00:00:00")),
        (HOUR, to_micros("2024-03-11T06:00:00")),
        (5 * MINUTE, to_micros("2024-03-11T07:00:00")),
        (5 * MINUTE, to_micros("2024-03-11T07:05:00")),
    ]


def test_nothing_is_covered_by_no_tiles() -> None:
    assert cover(DAY, DAY, MINUTE) == []


def test_a_span_that_does_not_begin_on_a_tile_is_refused() -> None:
    with pytest.raises(UsageError, match="begin and end on tiles"):
        cover(MINUTE, DAY, 5 * MINUTE)
    with pytest.raises(UsageError, match="not a tile level"):
        cover(0, DAY, 7 * MINUTE)


@quick
@given(st.integers(-30_000_000, 30_000_000), st.integers(0, 60 * 24 * 3), st.sampled_from([1, 5]))
def test_tiles_are_disjoint_aligned_and_exactly_the_span(first: int, length: int, finest: int) -> None:
    start, end = first * finest * MINUTE, (first + length) * finest * MINUTE
    tiles = cover(start, end, finest * MINUTE)
    assert all(level in TILE_LEVELS and level >= finest * MINUTE and at % level == 0 for level, at in tiles)
    position = start
    for level, at in tiles:
        assert at == position
        position += level
    assert position == end


@quick
@given(st.integers(0, 200), st.integers(0, 400))
def test_no_cover_has_fewer_tiles(first: int, length: int) -> None:
    start, end = first * MINUTE, (first + length) * MINUTE
    fewest = [0] + [0] * length
    for size in range(1, length + 1):
        position = end - size * MINUTE
        fits = [level for level in TILE_LEVELS if position % level == 0 and position + level <= end]
        fewest[size] = 1 + min(fewest[size - level // MINUTE] for level in fits)
    assert len(cover(start, end, MINUTE)) == fewest[length]


@quick
@given(INSTANTS, WINDOWS, st.integers(0, 2 * DAY))
def test_a_window_since_the_last_upload_is_at_most_forty_tiles(q: int, window: int, since: int) -> None:
    start, end = bounds(q, window, "TEMPORAL")
    assert start is not None
    finest = tile_hop([window])
    assert len(cover(max(start, floor(q - since, DAY)), floor(end, finest), finest)) <= 40


def test_windows_load_neither_numba_nor_sketches() -> None:
    heavy = ("numba", "datasketches", "numpy")
    probe = f"import sys, zipline.algebra.windows; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_operations_load_no_sketches_until_one_is_built() -> None:
    probe = "import sys, zipline.algebra.operations; print('datasketches' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "False\n"
