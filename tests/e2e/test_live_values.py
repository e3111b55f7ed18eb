"""The board's view of the real flights, against SQL by hand: mutations, chaining, staging, bootstrap, twins.

`a` is a departure asked for and `a.q` its query time, as in `test_demo_values`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import zipline
from tests.e2e.test_demo_values import CONFIGS, database, same, sources, values

__all__ = ["database", "sources"]

# A flight leaves the board when it departs, a cancelled one six hours after its scheduled departure.
_WAITING = """FROM flights f WHERE f.origin = a.origin AND f.sched_dep < a.q
    AND CASE WHEN f.cancelled THEN f.sched_dep + INTERVAL 6 HOUR ELSE f.dep_time END >= a.q"""
EXACT = {
    "origin_board_flight_id_count": f"(SELECT count(*) {_WAITING})",
    "origin_board_flight_id_count_1h": f"""
        (SELECT count(*) {_WAITING} AND f.sched_dep >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 1 HOUR))""",
    "origin_board_flight_id_count_by_status": f"""
        (SELECT map_from_entries(list((status, n))) FROM (
            SELECT CASE WHEN f.cancelled AND f.sched_dep + INTERVAL 3 HOUR < a.q THEN 'cancelled' ELSE 'scheduled' END
                AS status, count(*) AS n {_WAITING} GROUP BY status))""",
    "origin_board_sched_dep_min": f"(SELECT min(f.sched_dep) {_WAITING})",
    "carrier_board_flight_id_count": f"(SELECT count(*) {_WAITING} AND f.carrier = a.carrier)",
    "carrier_board_flight_id_first": f"""
        (SELECT first(f.flight_id ORDER BY f.sched_dep, f.flight_id) {_WAITING} AND f.carrier = a.carrier)""",
    "own_share": f"""
        (SELECT count(*) FILTER (WHERE f.carrier = a.carrier) / nullif(count(*), 0) {_WAITING})""",
    "origin_surprises_surprise_average_3h": """
        (SELECT avg(s.surprise) FROM surprises s WHERE s.origin = a.origin AND s.arr_time < a.q
            AND s.arr_time >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 3 HOUR))""",
    "airport_traffic_flights_average_7d": """
        (SELECT avg(n) FROM (SELECT count(*) AS n FROM flights f WHERE f.origin = a.origin
            AND f.ds < strftime(a.q, '%Y-%m-%d') AND f.ds >= strftime(a.q - INTERVAL 7 DAY, '%Y-%m-%d')
            GROUP BY f.ds))""",
    "airport_traffic_cancellations_sum_1d": """
        (SELECT count(*) FILTER (WHERE f.cancelled) FROM flights f WHERE f.origin = a.origin
            AND f.ds = strftime(a.q - INTERVAL 1 DAY, '%Y-%m-%d'))""",
    "weather_service_visibility": """
        (SELECT arg_max(w.visibility, w.observed_at) FROM weather w WHERE w.airport = a.origin
            AND w.observed_at + INTERVAL 1 HOUR < a.q)""",
    "is_weekend": "a.weekday >= 6",
    "label_flight_outcome_late_max_2d": """
        (SELECT CAST(f.arr_delay > 15 AS INT) FROM flights f WHERE f.flight_id = a.flight_id)""",
}
# The parent join, for the landings that any row asked for can see.
_SURPRISES = """
CREATE TABLE surprises AS SELECT origin, arr_time, arr_delay - (
    SELECT avg(f.arr_delay) FROM flights f WHERE f.carrier = s.carrier AND f.arr_time < s.arr_time
        AND f.arr_time >= time_bucket(INTERVAL 1 HOUR, s.arr_time - INTERVAL 7 DAY)) AS surprise
FROM flights s WHERE EXISTS (SELECT * FROM asked a WHERE a.origin = s.origin AND s.arr_time < a.q
    AND s.arr_time >= time_bucket(INTERVAL 5 MINUTE, a.q - INTERVAL 3 HOUR))
"""


@pytest.fixture(scope="module")
def rows(sources: dict[str, pa.Table], database: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    join = zipline.load(CONFIGS).find("flights.live.live_departures")
    database.execute(_SURPRISES)
    asked = database.sql("SELECT * FROM asked").to_arrow_table()
    left = dataclasses.replace(join.left, table="asked", name=None)
    return zipline.backfill(dataclasses.replace(join, left=left), tables={**sources, "asked": asked}).to_pylist()


@pytest.mark.parametrize("column", EXACT)
def test_feature_equals_sql_written_by_hand(
    database: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], column: str
) -> None:
    expected = values(database, EXACT[column])
    found = {row["flight_id"]: row[column] for row in rows}
    assert found.keys() == expected.keys()
    assert sum(value not in (None, 0, {}) for value in expected.values()) > len(rows) // 8, "the sample says little"
    assert {key: (found[key], expected[key]) for key in found if not same(found[key], expected[key])} == {}


def test_a_wind_that_cannot_be_is_corrected_and_all_else_computed(sources: dict[str, pa.Table]) -> None:
    """At Newark on February 12 at 8:00 UTC 1,048 miles per hour were filed, published at 9:00."""
    join = zipline.load(CONFIGS).find("network.airports.airport_hours")
    hours = sources["weather"].to_pandas()
    at_newark = hours[(hours["ds"] == "2013-02-12") & (hours["airport"] == "EWR")]
    morning = at_newark[at_newark["observed_at"].dt.hour.isin([8, 9, 10])]
    asked = pa.Table.from_pandas(morning, schema=sources["weather"].schema, preserve_index=False)
    left = dataclasses.replace(join.left, table="asked", name=None)
    tables = {**sources, "asked": asked}
    column = "airport_weather_wind_speed_last_6h"
    found, uncorrected = (
        zipline.backfill(dataclasses.replace(join, left=left, bootstrap=bootstrap), tables=tables).to_pylist()
        for bootstrap in (join.bootstrap, [])
    )
    assert [row[column] for row in uncorrected][1] > 1_000
    assert [row[column] for row in found][1] == pytest.approx(20.714, abs=1e-3)
    assert max(row[column] for row in found) < 50
    for before, after in zip(uncorrected, found, strict=True):
        assert {name for name in before if before[name] != after[name]} <= {column}
