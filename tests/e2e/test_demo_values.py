"""Features of the real flights, against SQL that was written by hand from the definitions and DESIGN's rules alone.

`asked` holds random departures, `a` is one of them and `a.q` its query time; each expression is one value for it.
Windows of a day or more start at whole hours (from 12 days at whole days), those of an hour or
more at whole five minutes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import zipline
from training.source_tables import source_tables

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS = 240

EXACT = {
    # Events that are known when they happen.
    "origin_schedule_flight_id_count_1h": """
        (SELECT count(*) FROM flights f WHERE f.origin = a.origin AND f.sched_dep < a.q
            AND f.sched_dep >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 1 HOUR))""",
    "carrier_arrivals_arr_delay_average_6h": """
        (SELECT avg(f.arr_delay) FROM flights f WHERE f.carrier = a.carrier AND f.arr_time < a.q
            AND f.arr_time >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 6 HOUR))""",
    "carrier_arrivals_delay_trend": """
        (SELECT avg(f.arr_delay) FROM flights f WHERE f.carrier = a.carrier AND f.arr_time < a.q
            AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 1 DAY))
          - (SELECT avg(f.arr_delay) FROM flights f WHERE f.carrier = a.carrier AND f.arr_time < a.q
            AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 7 DAY))""",
    "carrier_arrivals_arr_delay_variance_7d": """
        (SELECT var_pop(f.arr_delay) FROM flights f WHERE f.carrier = a.carrier AND f.arr_time < a.q
            AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 7 DAY))""",
    "aircraft_rotation_dest_unique_count_30d": """
        (SELECT count(DISTINCT f.dest) FROM flights f WHERE f.tailnum = a.tailnum AND f.arr_time < a.q
            AND f.arr_time >= date_trunc('day', a.q - INTERVAL 30 DAY))""",
    "aircraft_rotation_air_time_sum_7d": """
        (SELECT sum(f.air_time) FROM flights f WHERE f.tailnum = a.tailnum AND f.arr_time < a.q
            AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 7 DAY))""",
    # The second clock: seen by the scheduled departure, but only when it has left or landed.
    "origin_departures_dep_delay_average_3h": """
        (SELECT avg(f.dep_delay) FROM flights f WHERE f.origin = a.origin AND f.sched_dep < a.q
            AND f.dep_time < a.q AND f.sched_dep >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 3 HOUR))""",
    "overdue": """
        (SELECT count(*) FROM flights f WHERE f.origin = a.origin AND f.sched_dep < a.q
            AND (f.dep_time IS NULL OR f.dep_time >= a.q)
            AND f.sched_dep >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 3 HOUR))""",
    "route_outcomes_arr_delay_average_1d": """
        (SELECT avg(f.arr_delay) FROM flights f WHERE f.origin = a.origin AND f.dest = a.dest
            AND f.sched_dep < a.q AND f.arr_time < a.q
            AND f.sched_dep >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 1 DAY))""",
    "system_state_disrupted_average_12h": """
        (SELECT avg(CASE WHEN f.cancelled OR f.arr_delay > 15 THEN 1.0 ELSE 0.0 END) FROM flights f
            WHERE NOT f.diverted AND f.sched_dep < a.q
            AND CASE WHEN f.cancelled THEN f.sched_dep + INTERVAL 3 HOUR ELSE f.arr_time END < a.q
            AND f.sched_dep >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 12 HOUR))""",
    "flight_history_disrupted_count": """
        (SELECT count(*) FROM flights f WHERE NOT f.diverted AND f.carrier = a.carrier AND f.flight = a.flight
            AND f.origin = a.origin AND f.dest = a.dest AND f.sched_dep < a.q
            AND CASE WHEN f.cancelled THEN f.sched_dep + INTERVAL 3 HOUR ELSE f.arr_time END < a.q)""",
    "origin_airport_weather_rain_sum_6h": """
        (SELECT sum(w.rain) FROM weather w WHERE w.airport = a.origin AND w.observed_at < a.q
            AND w.observed_at + INTERVAL 1 HOUR < a.q
            AND w.observed_at >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 6 HOUR))""",
    "origin_airport_weather_visibility_last_6h": """
        (SELECT arg_max(w.visibility, w.observed_at) FROM weather w WHERE w.airport = a.origin
            AND w.observed_at + INTERVAL 1 HOUR < a.q
            AND w.observed_at >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 6 HOUR))""",
    # SNAPSHOT: whole UTC days, and what was known when the day began.
    "carrier_reliability_cancelled_sum_7d": """
        (SELECT sum(CAST(f.cancelled AS INT)) FROM flights f WHERE f.carrier = a.carrier AND NOT f.diverted
            AND f.sched_dep < date_trunc('day', a.q) AND f.sched_dep >= date_trunc('day', a.q) - INTERVAL 7 DAY
            AND CASE WHEN f.cancelled THEN f.sched_dep + INTERVAL 3 HOUR ELSE f.arr_time END
                < date_trunc('day', a.q))""",
    "origin_airport_climate_temperature_average_30d": """
        (SELECT avg(w.temperature) FROM weather w WHERE w.airport = a.origin
            AND w.observed_at >= date_trunc('day', a.q) - INTERVAL 30 DAY AND w.observed_at < date_trunc('day', a.q)
            AND w.observed_at + INTERVAL 1 HOUR < date_trunc('day', a.q))""",
    # Lists: largest first, newest first.
    "carrier_reliability_arr_delay_top_k3_7d": """
        (SELECT list(d ORDER BY d DESC)[:3] FROM (SELECT f.arr_delay AS d FROM flights f
            WHERE f.carrier = a.carrier AND f.arr_delay IS NOT NULL AND f.arr_time < date_trunc('day', a.q)
            AND f.sched_dep < date_trunc('day', a.q) AND f.sched_dep >= date_trunc('day', a.q) - INTERVAL 7 DAY))""",
    "destination_arrivals_arr_delay_top_k3_1d": """
        (SELECT list(f.arr_delay ORDER BY f.arr_delay DESC)[:3] FROM flights f WHERE f.dest = a.dest
            AND f.arr_time < a.q AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 1 DAY))""",
    "route_outcomes_arr_delay_last_k5_7d": """
        (SELECT list(f.arr_delay ORDER BY f.sched_dep DESC, f.arr_time DESC, f.arr_delay DESC)[:5]
            FROM flights f WHERE f.origin = a.origin AND f.dest = a.dest AND f.arr_delay IS NOT NULL
            AND f.sched_dep < a.q AND f.arr_time < a.q
            AND f.sched_dep >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 7 DAY))""",
    # Maps.
    "carrier_arrivals_late_sum_1d_by_origin": """
        (SELECT map_from_entries(list((origin, late))) FROM (
            SELECT f.origin, sum(CAST(f.arr_delay > 15 AS INT)) AS late FROM flights f WHERE f.carrier = a.carrier
            AND f.arr_time < a.q AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, a.q - INTERVAL 1 DAY)
            GROUP BY f.origin))""",
    "origin_departures_delay_class_histogram_6h": """
        (SELECT map_from_entries(list((class, n))) FROM (
            SELECT CASE WHEN f.dep_delay > 60 THEN 'severe' WHEN f.dep_delay > 15 THEN 'long'
                WHEN f.dep_delay > 0 THEN 'short' ELSE 'none' END AS class, count(*) AS n
            FROM flights f WHERE f.origin = a.origin AND f.dep_time < a.q AND f.sched_dep < a.q
            AND f.sched_dep >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 6 HOUR) GROUP BY class))""",
    # Entities: the newest snapshot of a day before the query's day.
    "fleet_departures": """
        (SELECT count(*) FROM flights f WHERE f.tailnum = a.tailnum AND f.dep_time < date_trunc('month', a.q))""",
    "operator_fleet_seats_average": """
        (SELECT avg(p.seats) FROM fleet p WHERE p.operator = a.carrier
            AND p.ds = strftime(date_trunc('month', a.q) - INTERVAL 1 DAY, '%Y-%m-%d'))""",
    "dest_airports_longitude": "(SELECT any_value(p.longitude) FROM airports p WHERE p.airport = a.dest)",
    "aircraft_age": "2013 - (SELECT any_value(p.built) FROM planes p WHERE p.tailnum = a.tailnum)",
    # The label: what happened within two days after the query.
    "label_flight_outcome_late_max_2d": """
        (SELECT CAST(f.arr_delay > 15 AS INT) FROM flights f WHERE f.flight_id = a.flight_id)""",
}
EMPTY = {"fleet_departures": 0}
"""What SQL says where the platform has no row at all."""


@pytest.fixture(scope="module")
def sources() -> dict[str, pa.Table]:
    return source_tables()


@pytest.fixture(scope="module")
def database(sources: dict[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, rows in sources.items():
        connection.register(f"{name}_arrow", rows)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {name}_arrow")
    connection.execute(
        f"""CREATE TABLE asked AS SELECT *, sched_dep AS q FROM flights WHERE sched_dep < '2013-12-29'
        ORDER BY md5(flight_id || 'sample') LIMIT {ROWS}"""
    )
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def rows(sources: dict[str, pa.Table], database: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The output of the join for the flights asked for: the whole tables, fewer rows on the left."""
    join = zipline.load(CONFIGS).find("flights.departures.departures")
    asked = database.sql("SELECT * FROM asked").to_arrow_table()
    left = dataclasses.replace(join.left, table="asked", name=None)
    return zipline.backfill(dataclasses.replace(join, left=left), tables={**sources, "asked": asked}).to_pylist()


def values(database: duckdb.DuckDBPyConnection, expression: str) -> dict[str, Any]:
    found = dict(database.sql(f"SELECT a.flight_id, {expression} FROM asked a").fetchall())
    assert len(found) == ROWS
    return found


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) or isinstance(found, float):
        return found is not None and expected is not None and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(expected, dict):
        return dict(found) == expected if found is not None else not expected
    return bool(found == expected)


@pytest.mark.parametrize("column", EXACT)
def test_feature_equals_sql_written_by_hand(
    database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], column: str
) -> None:
    expected = values(database, EXACT[column])
    found = {row["flight_id"]: row[column] for row in rows}
    if column in EMPTY:
        found = {key: EMPTY[column] if value is None else value for key, value in found.items()}
    assert found.keys() == expected.keys()
    assert sum(value not in (None, 0, {}) for value in expected.values()) > ROWS // 8, "the sample says little"
    assert {key: (found[key], expected[key]) for key in found if not same(found[key], expected[key])} == {}


def test_percentiles_are_within_two_percent_of_rank(
    database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]
) -> None:
    delays = values(
        database,
        """(SELECT list(f.arr_delay) FROM flights f WHERE f.carrier = a.carrier AND f.arr_time < a.q
            AND f.arr_time >= date_trunc('day', a.q - INTERVAL 30 DAY))""",
    )
    for row in rows:
        seen = delays[row["flight_id"]]
        found = row["carrier_arrivals_arr_delay_approx_percentile_p50_p95_30d"]
        if seen is None:
            assert found is None
            continue
        for fraction, value in zip((0.5, 0.95), found, strict=True):
            below, upto = sum(d < value for d in seen), sum(d <= value for d in seen)
            assert below / len(seen) - 0.02 - 1 / len(seen) <= fraction <= upto / len(seen) + 0.02 + 1 / len(seen)


def test_no_feature_of_a_flight_sees_the_flight_itself(sources: dict[str, pa.Table]) -> None:
    """The last flight of all, with an outcome as strange as can be: nothing but its label may change."""
    definitions = zipline.load(CONFIGS)
    join = definitions.find("flights.departures.departures")
    flights = sources["flights"].to_pandas()
    own = flights[flights["arr_time"].notna() & (flights["ds"] == "2013-07-10")].iloc[[100]]
    changed = flights.copy()
    changed.loc[own.index, ["dep_delay", "arr_delay", "air_time"]] = 999
    left = dataclasses.replace(join.left, table="asked", name=None)
    asked = pa.Table.from_pandas(own, schema=sources["flights"].schema, preserve_index=False)
    outputs = []
    for frame in (flights, changed):
        table = pa.Table.from_pandas(frame, schema=sources["flights"].schema, preserve_index=False)
        tables = {**sources, "flights": table, "asked": asked}
        outputs.append(zipline.backfill(dataclasses.replace(join, left=left), tables=tables, as_of="2014-01-01"))
    before, after = (output.to_pylist()[0] for output in outputs)
    assert {name for name in before if before[name] != after[name]} <= {"label_flight_outcome_late_max_2d"}
    assert before["label_flight_outcome_late_max_2d"] == 0
    assert after["label_flight_outcome_late_max_2d"] == 1


def test_three_hundred_features_of_the_loop(sources: dict[str, pa.Table], database: duckdb.DuckDBPyConnection) -> None:
    join = zipline.load(CONFIGS).find("flights.routes.route_history")
    asked = database.sql("SELECT * FROM asked").to_arrow_table()
    left = dataclasses.replace(join.left, table="asked", name=None)
    output = zipline.backfill(dataclasses.replace(join, left=left), tables={**sources, "asked": asked})
    assert sum(name.startswith("landings_") for name in output.column_names) == 300
    expected = values(
        database,
        """(SELECT max(f.arr_delay) FROM flights f WHERE f.carrier = a.carrier AND f.origin = a.origin
            AND f.dest = a.dest AND f.arr_time < a.q AND f.arr_time >= date_trunc('day', a.q - INTERVAL 14 DAY))""",
    )
    found = output.select(["flight_id", "landings_carrier_route_arr_delay_max_14d"]).to_pydict()
    assert dict(zip(*found.values(), strict=True)) == expected
