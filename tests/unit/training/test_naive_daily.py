"""What a daily join shows, and what it would serve: three flights of one aircraft on one day."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa

from training.pipelines.naive_daily import as_served, column_names, daily_features


def at(hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime(2013, 7, 1, hour, minute, tzinfo=dt.timezone.utc)


FLIGHTS = pa.table(
    {
        "flight_id": ["a", "b", "c"],
        "carrier": ["UA", "UA", "UA"],
        "origin": ["EWR", "EWR", "EWR"],
        "dest": ["ORD", "BOS", "ORD"],
        "tailnum": ["N1", "N1", None],
        "sched_dep": [at(8), at(10), at(12)],
        "dep_time": [at(8, 10), at(10, 40), None],
        "arr_time": [at(10), at(14), None],
        "dep_delay": [10, 40, None],
        "arr_delay": [20, 50, None],
        "ds": ["2013-07-01", "2013-07-01", "2013-07-01"],
    }
)
ASKED = pa.table({"flight_id": ["c", "a", "b"], "kept": [3, 1, 2]})


def test_the_day_holds_flights_still_in_the_air_and_the_flight_itself() -> None:
    output = daily_features(FLIGHTS, ASKED)
    assert output.column_names == ["flight_id", "kept", *column_names()]
    assert output.column("kept").to_pylist() == [3, 1, 2]
    assert output.column("carrier_arr_delay_of_the_day").to_pylist() == [35, 35, 35]
    assert output.column("route_arr_delay_of_the_day").to_pylist() == [20, 20, 50]
    assert output.column("aircraft_dep_delay_of_the_day").to_pylist() == [None, 25, 25]


def test_what_is_served_was_known_before_the_scheduled_departure() -> None:
    output = as_served(FLIGHTS, ASKED)
    # b was scheduled at the very minute in which a landed: not before it.
    assert output.column("carrier_arr_delay_of_the_day").to_pylist() == [20, None, None]
    assert output.column("carrier_dep_delay_of_the_day").to_pylist() == [25, None, 10]
    assert output.column("route_arr_delay_of_the_day").to_pylist() == [20, None, None]
    assert output.column("aircraft_dep_delay_of_the_day").to_pylist() == [None, None, 10]
