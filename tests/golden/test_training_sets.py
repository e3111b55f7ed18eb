"""Whole training sets, by hand: two keys with two feature sets at given times, and labels sixty days on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import zipline
from zipline import (
    Accuracy,
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
)

UTC = pa.timestamp("us", tz="UTC")


def instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


# Bookings by user and by listing

BOOKINGS = [
    # Of listing 456, by strangers: four before January 1, one exactly then.
    (901, 456, "2017-11-30 10:00"),
    (902, 456, "2017-12-24 18:00"),
    (903, 456, "2017-12-31 00:00"),
    (904, 456, "2017-12-31 23:59:59"),
    (905, 456, "2018-01-01 00:00"),
    # By user 123: none before January 1, two from then on.
    (123, 601, "2018-01-01 00:00"),
    (123, 602, "2018-01-03 12:00"),
    # By user 234: two before January 4, one exactly then.
    (234, 603, "2018-01-02 08:00"),
    (234, 604, "2018-01-03 23:00"),
    (234, 605, "2018-01-04 00:00"),
    # Of listing 567: eight before January 4, one after.
    *((910 + n, 567, f"2017-12-{20 + n} 09:00") for n in range(5)),
    *((920 + n, 567, f"2018-01-0{1 + n} 09:00") for n in range(3)),
    (930, 567, "2018-01-04 09:00"),
    # By user 456: one before January 2, one after. Of listing 789: its first exactly on January 2.
    (456, 606, "2018-01-01 20:00"),
    (456, 607, "2018-01-02 20:00"),
    (940, 789, "2018-01-02 00:00"),
]
ASKED = [(123, 456, "2018-01-01"), (234, 567, "2018-01-04"), (456, 789, "2018-01-02")]
EXPECTED = [
    (123, 456, instant("2018-01-01"), 0, 4),
    (234, 567, instant("2018-01-04"), 2, 8),
    (456, 789, instant("2018-01-02"), 1, 0),
]


def bookings() -> pa.Table:
    users, listings, times = zip(*BOOKINGS, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users, pa.int64()),
            "listing_id": pa.array(listings, pa.int64()),
            "booked_at": pa.array([instant(time) for time in times], UTC),
        }
    )


def asked(time: str) -> pa.Table:
    users, listings, times = zip(*ASKED, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users, pa.int64()),
            "listing_id": pa.array(listings, pa.int64()),
            time: pa.array([instant(text) for text in times], UTC),
        }
    )


def bookings_by(key: str, accuracy: Accuracy = Accuracy.TEMPORAL) -> GroupBy:
    query = Query(select={key: key, "booking": "booked_at"}, time="booked_at")
    return GroupBy(
        keys=[key],
        sources=[EventSource("bookings", query=query)],
        aggregations=[Aggregation("booking", Operation.COUNT)],
        accuracy=accuracy,
        name=f"stays.bookings.by_{key.removesuffix('_id')}",
    )


@pytest.mark.parametrize("accuracy", list(Accuracy))
def test_two_keys_and_two_feature_sets_at_given_times(accuracy: Accuracy) -> None:
    # Every query is at a midnight, where both accuracies see the same.
    join = Join(
        left=EventSource("stays", query=Query(select={"user_id": "user_id", "listing_id": "listing_id"}, time="at")),
        parts=[JoinPart(bookings_by("user_id", accuracy)), JoinPart(bookings_by("listing_id", accuracy))],
        name="stays.training",
    )
    made = zipline.backfill(join, tables={"stays": asked("at"), "bookings": bookings()})
    assert made.column_names == ["user_id", "listing_id", "ts", "by_user_booking_count", "by_listing_booking_count"]
    assert rows_of(made) == EXPECTED


def test_each_feature_set_by_itself() -> None:
    tables = {"bookings": bookings()}
    for key, column, place in (("user_id", 3, 0), ("listing_id", 4, 1)):
        made = zipline.aggregate(bookings_by(key), asked("ts").select([key, "ts"]), tables=tables)
        assert rows_of(made) == [(row[place], row[2], row[column]) for row in EXPECTED]


CONFIG = """
from zipline import Aggregation, EventSource, GroupBy, Operation, Query

def bookings_by(key):
    query = Query(select={key: key, "booking": "booked_at"}, time="booked_at")
    return GroupBy(
        keys=[key],
        sources=[EventSource("bookings", query=query)],
        aggregations=[Aggregation("booking", Operation.COUNT, windows=["7d", None])],
        owner="stays",
    )

by_user = bookings_by("user_id")
by_listing = bookings_by("listing_id")
"""


def test_a_training_set_from_rows_and_names_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs" / "stays").mkdir(parents=True)
    (tmp_path / "configs" / "stays" / "bookings.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    features = ["stays.bookings.by_user.booking_count", "stays.bookings.by_listing.booking_count"]
    made = zipline.training_set(asked("ts"), features=features, tables={"bookings": bookings()})
    assert made.column_names == ["user_id", "listing_id", "ts", "by_user_booking_count", "by_listing_booking_count"]
    assert rows_of(made) == EXPECTED


# Features of 2017-08-16 with labels of 2017-10-15, sixty days on

LISTINGS = [
    # listing, rating, is it still active; by the day of the snapshot
    (1, 4.5, True, "2017-08-15"),
    (1, 4.6, True, "2017-08-16"),
    (2, 3.0, True, "2017-08-16"),
    (1, 4.7, True, "2017-10-14"),
    (2, 3.1, True, "2017-10-14"),
    (1, 4.8, True, "2017-10-15"),
    (2, 3.2, False, "2017-10-15"),
]
VIEWS = [
    (1, "2017-08-14 12:00"),
    (1, "2017-08-16 00:00"),
    (1, "2017-08-16 23:59:59"),
    (1, "2017-08-17 00:00"),
    (2, "2017-08-15 12:00"),
    (1, "2017-10-14 23:59:59"),
    (1, "2017-10-15 00:00"),
    (1, "2017-10-15 12:00"),
    (1, "2017-10-15 23:59:59"),
    (2, "2017-10-14 12:00"),
]


def tables() -> dict[str, pa.Table]:
    listings, ratings, active, days = zip(*LISTINGS, strict=True)
    viewed, times = zip(*VIEWS, strict=True)
    return {
        "listings": pa.table({"listing": listings, "rating": ratings, "active": active, "ds": days}),
        "views": pa.table({"listing": viewed, "viewed_at": pa.array([instant(time) for time in times], UTC)}),
    }


def listing_columns(*columns: str, **bounds: str) -> EntitySource:
    select = {column: column for column in ("listing", *columns)}
    return EntitySource("listings", query=Query(select=select, **bounds))


state = GroupBy(keys=["listing"], sources=[listing_columns("rating")], accuracy=Accuracy.SNAPSHOT, name="state")
outcome = GroupBy(keys=["listing"], sources=[listing_columns("active")], name="outcome")
daily_views = GroupBy(
    keys=["listing"],
    sources=[EventSource("views", query=Query(select={"listing": "listing", "view": "viewed_at"}, time="viewed_at"))],
    aggregations=[Aggregation("view", Operation.COUNT, windows=["1d"])],
    accuracy=Accuracy.SNAPSHOT,
    name="views",
)


def listing_days(label: GroupBy, day: str) -> Join:
    """The listings of one day's snapshot, with the day's features and a label sixty days on."""
    return Join(
        left=listing_columns(start=day, end=day),
        parts=[JoinPart(state), JoinPart(daily_views)],
        labels=LabelPart([JoinPart(label)], offset="60d"),
        name="listing_days",
    )


FEATURES = ["listing", "ts", "state_rating", "views_view_count_1d"]
END_OF_AUGUST_16 = instant("2017-08-17")


def test_features_of_the_snapshot_pair_with_labels_of_the_snapshot_sixty_days_on() -> None:
    made = zipline.backfill(listing_days(outcome, "2017-08-16"), tables=tables())
    assert made.column_names == [*FEATURES, "label_outcome_active"]
    assert rows_of(made) == [(1, END_OF_AUGUST_16, 4.6, 2, True), (2, END_OF_AUGUST_16, 3.0, 0, False)]


def test_features_of_the_day_pair_with_the_events_of_the_day_sixty_days_on() -> None:
    # The newest view is a second before October 15 ends: only `as_of` says that the day is complete.
    join = listing_days(daily_views, "2017-08-16")
    assert zipline.backfill(join, tables=tables()).num_rows == 0
    made = zipline.backfill(join, tables=tables(), as_of="2017-10-16")
    assert made.column_names == [*FEATURES, "label_views_view_count_1d"]
    assert rows_of(made) == [(1, END_OF_AUGUST_16, 4.6, 2, 3), (2, END_OF_AUGUST_16, 3.0, 0, 0)]


def test_scoring_rows_of_the_labels_day_have_no_labels() -> None:
    for label in (outcome, daily_views):
        join = listing_days(label, "2017-10-15")
        assert zipline.backfill(join, tables=tables()).num_rows == 0
        scored = zipline.backfill(join, tables=tables(), training=False)
        assert scored.column_names == FEATURES
        end = instant("2017-10-16")
        assert rows_of(scored) == [(1, end, 4.8, 3), (2, end, 3.2, 0)]


def test_over_all_days_only_those_with_a_day_sixty_days_on_have_labels() -> None:
    join = Join(
        left=listing_columns(),
        parts=[JoinPart(state)],
        labels=LabelPart([JoinPart(outcome)], offset="60d"),
        name="all_days",
    )
    made = zipline.backfill(join, tables=tables())
    # August 15 pairs with October 14, when listing 1 was active; October's own days are immature.
    assert rows_of(made) == [
        (1, instant("2017-08-16"), 4.5, True),
        (1, END_OF_AUGUST_16, 4.6, True),
        (2, END_OF_AUGUST_16, 3.0, False),
    ]
    assert zipline.backfill(join, tables=tables(), training=False).num_rows == len(LISTINGS)
