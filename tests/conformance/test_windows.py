"""Which events a query sees: DESIGN section 2, "Time", "Which events a query at time q sees" and "Two clocks"."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from zipline import EventSource, GroupBy, Query
from zipline.errors import DefinitionError

from .adapters import Adapter
from .instants import at
from .questions import NOON, SNAPSHOT, events, feature, group_by_of, known_events, operation, queries, source_of
from .tables import AggregateCase, table

COUNT, LIFETIME_COUNT = operation("COUNT", "1h"), operation("COUNT")
SUM = operation("SUM", "1h")


def test_an_event_at_exactly_the_query_time_is_never_seen(adapter: Adapter) -> None:
    rows = events(
        "BIGINT", ("2024-03-05 11:59:59.999999", 1), ("2024-03-05 12:00", 2), ("2024-03-05 12:00:00.000001", 4)
    )
    assert feature(adapter, rows, SUM) == 1
    assert feature(adapter, rows, operation("SUM")) == 1


@pytest.mark.parametrize(
    ("window", "start"),
    [
        ("1m", "2024-03-05 12:33"),  # hop 1 minute below 1 h: 12:33:56 floored
        ("30m", "2024-03-05 12:04"),
        ("59m", "2024-03-05 11:35"),
        ("1h", "2024-03-05 11:30"),  # hop 5 minutes from 1 h: 11:34:56 floored
        ("6h", "2024-03-05 06:30"),
        ("719m", "2024-03-05 00:35"),  # 12 h less a minute: 00:35:56, still floored to 5 minutes
        ("12h", "2024-03-05 00:00"),  # hop 1 hour from 12 h: 00:34:56 floored
        ("1d", "2024-03-04 12:00"),
        ("7d", "2024-02-27 12:00"),
        ("287h", "2024-02-22 13:00"),  # 12 d less an hour: 13:34:56, still floored to an hour
        ("12d", "2024-02-22 00:00"),  # hop 1 day from 12 d: February 22, 12:34:56 floored
        ("30d", "2024-02-04 00:00"),
    ],
)
def test_a_temporal_window_starts_at_its_floored_start_inclusive(adapter: Adapter, window: str, start: str) -> None:
    before = at(start) - dt.timedelta(microseconds=1)
    rows = events("BIGINT", (str(before), 1), (start, 2), ("2024-03-05 12:34:55", 4), ("2024-03-05 12:34:56", 8))
    assert feature(adapter, rows, operation("SUM", window), query="2024-03-05 12:34:56") == 6


def test_a_query_exactly_on_a_hop_is_not_moved(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 10:59:59.999999", 1), ("2024-03-05 11:00", 2))
    assert feature(adapter, rows, SUM, query=NOON) == 2


def test_times_before_1970_are_floored_downwards(adapter: Adapter) -> None:
    # 1969-12-31 23:57:30 less an hour is 22:57:30, whose 5-minute hop starts at 22:55.
    rows = events("BIGINT", ("1969-12-31 22:54:59", 1), ("1969-12-31 22:55", 2), ("1969-12-31 23:57:29", 4))
    assert feature(adapter, rows, SUM, query="1969-12-31 23:57:30") == 6


def test_snapshot_days_before_1970_are_whole_days_too(adapter: Adapter) -> None:
    rows = events("BIGINT", ("1969-12-29 23:59", 1), ("1969-12-30 00:00", 2), ("1969-12-31 00:00", 4))
    assert feature(adapter, rows, operation("SUM", "1d"), query="1969-12-31 12:00", accuracy=SNAPSHOT) == 2


def test_a_lifetime_window_sees_everything_before_the_query(adapter: Adapter) -> None:
    rows = events("BIGINT", ("1970-01-01", 1), ("2024-03-05 11:59", 2), ("2024-03-05 12:00", 4))
    assert feature(adapter, rows, operation("SUM")) == 3


def test_snapshot_sees_whole_days_before_the_querys_day(adapter: Adapter) -> None:
    rows = events(
        "BIGINT",
        ("2024-03-01 23:59:59.999999", 1),
        ("2024-03-02", 2),  # day(q) - 3 d, inclusive
        ("2024-03-04 23:59:59.999999", 4),
        ("2024-03-05", 8),  # the query's own day
        ("2024-03-05 11:00", 16),
    )
    assert feature(adapter, rows, operation("SUM", "3d"), accuracy=SNAPSHOT) == 6
    assert feature(adapter, rows, operation("SUM"), accuracy=SNAPSHOT) == 7


def test_snapshot_at_midnight_sees_the_day_that_just_ended(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-03 23:59", 1), ("2024-03-04", 2), ("2024-03-04 23:59", 4), ("2024-03-05", 8))
    assert feature(adapter, rows, operation("SUM", "1d"), query="2024-03-05", accuracy=SNAPSHOT) == 6


def test_snapshot_windows_of_many_days_are_not_floored_further(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-02-03 23:59", 1), ("2024-02-04", 2), ("2024-03-04", 4))
    assert feature(adapter, rows, operation("SUM", "30d"), accuracy=SNAPSHOT) == 6


def test_snapshot_windows_must_be_whole_days() -> None:
    rows = events("BIGINT")
    with pytest.raises(DefinitionError):
        group_by_of(rows, operation("SUM", "6h"), accuracy=SNAPSHOT)


def test_the_default_accuracy_is_temporal(adapter: Adapter) -> None:
    source = EventSource("events", query=Query(select={"user": "user", "value": "value"}, time="t"))
    group_by = GroupBy(keys=["user"], sources=[source], aggregations=[operation("COUNT")], name="small")
    rows = events("BIGINT", ("2024-03-05 11:59", 1))
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))
    assert result.rows[0]["value_count"] == 1


@pytest.mark.parametrize(
    ("written", "kept"), [("24h", "1d"), ("60m", "1h"), ("1440m", "1d"), ("90m", "90m"), ("36h", "36h")]
)
def test_a_window_is_kept_in_its_largest_whole_unit(adapter: Adapter, written: str, kept: str) -> None:
    rows = events("BIGINT", ("2024-03-05 11:59", 1))
    group_by = group_by_of(rows, operation("COUNT", written))
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))
    assert result.columns[2:] == (f"value_count_{kept}",)


def test_each_query_has_its_own_window(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 10:00", 1), ("2024-03-05 11:00", 2), ("2024-03-05 12:00", 4))
    asked = queries("2024-03-05 11:00", "2024-03-05 12:00", "2024-03-05 13:00", "2024-03-05 14:00", "2024-03-05 10:00")
    result = adapter.run(AggregateCase(group_by_of(rows, SUM), asked, {"events": rows}))
    assert [row["value_sum_1h"] for row in result.rows] == [1, 2, 4, None, None]


def test_windows_of_one_group_by_do_not_disturb_each_other(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-02-01", 1), ("2024-03-04", 2), ("2024-03-05 11:30", 4), ("2024-03-05 11:59:30", 8))
    windows = ["1m", "1h", "2d", "30d", None]
    group_by = group_by_of(rows, *(operation("SUM", window) for window in windows))
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}))
    # 30 d before noon of March 5 is February 4, so February 1 is for lifetime alone.
    assert [result.rows[0][column] for column in result.columns[2:]] == [8, 12, 14, 14, 15]


# Two clocks


def test_an_event_is_seen_only_once_it_was_known(adapter: Adapter) -> None:
    rows = known_events(
        "BIGINT",
        ("2024-03-05 11:30", "2024-03-05 11:59:59.999999", 1),
        ("2024-03-05 11:30", "2024-03-05 12:00", 2),  # known exactly at the query: not yet
        ("2024-03-05 11:30", "2024-03-05 12:00:00.000001", 4),
        ("2024-03-05 11:30", "2024-03-06 12:00", 8),
    )
    assert feature(adapter, rows, SUM) == 1
    assert feature(adapter, rows, operation("SUM")) == 1
    assert feature(adapter, rows, operation("SUM"), query="2024-03-06 12:00:00.000001") == 15


def test_known_at_never_lets_an_event_be_seen_before_its_time(adapter: Adapter) -> None:
    rows = known_events("BIGINT", ("2024-03-05 12:00", "2024-03-01", 1), ("2024-03-05 11:59", "2024-03-01", 2))
    assert feature(adapter, rows, SUM) == 2


def test_a_window_is_measured_in_event_time_however_late_the_event_was_known(adapter: Adapter) -> None:
    rows = known_events(
        "BIGINT",
        ("2024-03-05 10:59", "2024-03-05 11:30", 1),  # known within the hour, happened before it
        ("2024-03-05 11:00", "2024-03-05 11:30", 2),
    )
    assert feature(adapter, rows, SUM) == 2


def test_snapshot_needs_an_event_to_be_known_before_the_querys_day(adapter: Adapter) -> None:
    rows = known_events(
        "BIGINT",
        ("2024-03-04 10:00", "2024-03-04 23:59:59.999999", 1),
        ("2024-03-04 10:00", "2024-03-05", 2),  # known at midnight: a day too late
        ("2024-03-04 10:00", "2024-03-05 01:00", 4),
    )
    assert feature(adapter, rows, operation("SUM", "1d"), accuracy=SNAPSHOT) == 1
    assert feature(adapter, rows, operation("SUM"), accuracy=SNAPSHOT) == 1


def test_an_event_known_days_later_is_seen_by_later_queries_only(adapter: Adapter) -> None:
    rows = known_events(
        "BIGINT", ("2024-03-01 10:00", "2024-03-04 09:00", 1), ("2024-03-01 10:00", "2024-03-01 10:00", 2)
    )
    asked = queries(
        "2024-03-02", "2024-03-04 09:00", "2024-03-04 09:00:00.000001", "2024-03-08 10:59", "2024-03-08 11:00"
    )
    result = adapter.run(AggregateCase(group_by_of(rows, operation("SUM", "7d")), asked, {"events": rows}))
    # At 11:00 of March 8 the window starts at 11:00 of March 1.
    assert [row["value_sum_7d"] for row in result.rows] == [2, 2, 3, 3, None]


def test_without_known_at_an_event_is_available_at_its_time(adapter: Adapter) -> None:
    rows = known_events("BIGINT", ("2024-03-05 11:30", "2024-03-09", 1))
    assert feature(adapter, rows, SUM, query=NOON, **_undeclared()) == 1


def _undeclared() -> dict[str, Any]:
    source = EventSource("events", query=Query(select={"user": "user", "value": "value"}, time="t"))
    return {"sources": [source]}


def test_an_event_without_a_time_is_never_seen(adapter: Adapter) -> None:
    rows = events("BIGINT", (None, 1), ("2024-03-05 11:59", 2))
    assert feature(adapter, rows, operation("SUM")) == 2


def test_an_event_without_its_known_at_is_never_seen(adapter: Adapter) -> None:
    rows = known_events("BIGINT", ("2024-03-05 11:59", None, 1), ("2024-03-05 11:59", "2024-03-05 11:59", 2))
    assert feature(adapter, rows, operation("SUM")) == 2


def test_sources_of_one_group_by_keep_their_own_clocks(adapter: Adapter) -> None:
    web = known_events(
        "BIGINT", ("2024-03-05 11:00", "2024-03-05 12:30", 1), ("2024-03-05 11:10", "2024-03-05 11:11", 2)
    )
    shop = events("BIGINT", ("2024-03-05 11:20", 4), ("2024-03-05 12:20", 8))
    select = {"user": "user", "value": "value"}
    sources = [
        EventSource("web", query=Query(select=select, time="t", known_at="known")),
        EventSource("shop", query=Query(select=select, time="t")),
    ]
    group_by = GroupBy(keys=["user"], sources=sources, aggregations=[operation("SUM")], name="small")
    result = adapter.run(AggregateCase(group_by, queries(NOON, "2024-03-05 13:00"), {"web": web, "shop": shop}))
    assert [row["value_sum"] for row in result.rows] == [6, 15]


@pytest.mark.parametrize(("known", "expected"), [("2024-03-05 10:00", [5, 1]), ("2024-03-05 11:30", [1, 5])])
def test_without_a_second_clock_an_event_counts_in_ties_as_known_at_its_time(
    adapter: Adapter, known: str, expected: list[int]
) -> None:
    # Both happened at 11:00. The 5 of the web was known earlier or later than that; the 1 of the shop just then.
    web, shop = known_events("BIGINT", ("2024-03-05 11:00", known, 5)), events("BIGINT", ("2024-03-05 11:00", 1))
    group_by = GroupBy(
        keys=["user"],
        sources=[source_of(web, "web"), source_of(shop, "shop")],
        aggregations=[operation("FIRST_K", k=2)],
        name="small",
    )
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"web": web, "shop": shop}))
    assert result.rows[0]["value_first_k2"] == expected


# Time


def test_zoned_times_are_converted_to_utc(adapter: Adapter) -> None:
    # 20:59:59.999 in Tokyo is 11:59:59.999 UTC; midnight of March 5 there is 15:00 of March 4 here.
    rows = table(
        "user STRING, value BIGINT, t MILLIS_TOKYO",
        ("ann", 1, "2024-03-05 20:59:59.999+09:00"),
        ("ann", 2, "2024-03-05 21:00+09:00"),
        ("ann", 4, "2024-03-05 00:00+09:00"),
    )
    assert feature(adapter, rows, operation("SUM")) == 5
    assert feature(adapter, rows, operation("SUM"), accuracy=SNAPSHOT) == 4


def test_naive_times_are_utc(adapter: Adapter) -> None:
    rows = table("user STRING, value BIGINT, t NAIVE", ("ann", 1, "2024-03-05 11:59"), ("ann", 2, "2024-03-05 12:00"))
    assert feature(adapter, rows, LIFETIME_COUNT) == 1


def test_dates_are_midnight(adapter: Adapter) -> None:
    rows = table("user STRING, value BIGINT, t DATE", ("ann", 1, "2024-03-04"), ("ann", 2, "2024-03-05"))
    assert feature(adapter, rows, operation("SUM", "1d"), query="2024-03-05") == 1
    assert feature(adapter, rows, operation("SUM"), query="2024-03-05 00:00:00.000001") == 3


def test_query_times_may_be_dates_or_zoned_or_naive(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-04 14:59", 1), ("2024-03-04 23:59", 2), ("2024-03-05", 4))
    for kind, midnight in [("DATE", "2024-03-05"), ("NAIVE", "2024-03-05"), ("MILLIS_TOKYO", "2024-03-05 09:00+09:00")]:
        asked = table(f"user STRING, ts {kind}", ("ann", midnight))
        result = adapter.run(AggregateCase(group_by_of(rows, SUM, operation("SUM")), asked, {"events": rows}))
        assert (result.rows[0]["value_sum_1h"], result.rows[0]["value_sum"]) == (2, 3), kind


def test_clocks_are_expressions_over_the_sources_own_columns(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, stamped TIMESTAMP, corrected TIMESTAMP, reported TIMESTAMP",
        ("ann", 1, "2024-03-05 11:50", None, "2024-03-05 11:51"),
        ("ann", 2, "2024-03-05 11:50", "2024-03-05 12:10", "2024-03-05 11:51"),
        ("ann", 4, "2024-03-05 12:10", "2024-03-05 11:40", "2024-03-05 11:51"),
        ("ann", 8, "2024-03-05 11:50", None, None),  # known by its stamp
    )
    clocks = {"time": "COALESCE(corrected, stamped)", "known_at": "COALESCE(reported, stamped)"}
    source = EventSource("events", query=Query(select={"user": "user", "value": "value"}, **clocks))
    group_by = GroupBy(keys=["user"], sources=[source], aggregations=[operation("SUM")], name="small")
    functions = {
        clocks["time"]: lambda row: row["corrected"] or row["stamped"],
        clocks["known_at"]: lambda row: row["reported"] or row["stamped"],
    }
    result = adapter.run(AggregateCase(group_by, queries(NOON), {"events": rows}, functions))
    assert result.rows[0]["value_sum"] == 13
