"""How the same features are often made: one SQL aggregate per day, joined back by day. It leaks, and this measures it.

A day's average holds flights that had not landed when the question was asked, and the flight itself. `daily_features`
is what such a table shows offline; `as_served` is what the same query gives when it runs at the moment of the question,
over what has happened by then. Nothing else of the project uses this module.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa

KEYS = {
    "carrier": ["carrier"],
    "origin": ["origin"],
    "route": ["origin", "dest"],
    "aircraft": ["tailnum"],
}
VALUES = {"dep_delay": "dep_time", "arr_delay": "arr_time"}
"""Measured value -> when it is known."""


def daily_features(flights: pa.Table, rows: pa.Table) -> pa.Table:
    """`rows` (with flight_id) and the averages of the whole UTC day that each was scheduled in."""
    return _joined(flights, rows, _whole_day)


def as_served(flights: pa.Table, rows: pa.Table) -> pa.Table:
    """The same columns, over what was known of that day at the scheduled departure."""
    return _joined(flights, rows, _until_now)


def column_names() -> tuple[str, ...]:
    return tuple(f"{name}_{value}_of_the_day" for name in KEYS for value in VALUES)


def _joined(flights: pa.Table, rows: pa.Table, feature: Callable[[str, str, str], str]) -> pa.Table:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("flights", flights)
    asked = "SELECT flight_id, row_number() OVER () AS place FROM asked"
    connection.register("asked", rows.select(["flight_id"]))
    connection.execute(f"CREATE TABLE questions AS SELECT * FROM ({asked}) JOIN flights USING (flight_id)")
    for name, keys in KEYS.items():
        for value, known_at in VALUES.items():
            sql = feature(", ".join(keys), value, known_at)
            column = f"{name}_{value}_of_the_day"
            found = connection.sql(f"SELECT feature FROM ({sql}) ORDER BY place").to_arrow_table()
            rows = rows.append_column(column, found.column("feature").cast(pa.float64()))
    connection.close()
    return rows


def _whole_day(keys: str, value: str, _: str) -> str:
    return f"""
        SELECT place, feature FROM questions LEFT JOIN (
            SELECT {keys}, ds, avg({value}) AS feature FROM flights GROUP BY {keys}, ds
        ) AS days USING ({keys}, ds)
    """


def _until_now(keys: str, value: str, known_at: str) -> str:
    return f"""
        SELECT place, feature FROM questions ASOF LEFT JOIN (
            SELECT {keys}, ds, {known_at} AS known_at,
                avg({value}) OVER (PARTITION BY {keys}, ds ORDER BY {known_at}) AS feature
            FROM flights WHERE {known_at} IS NOT NULL
        ) AS days
        ON {" AND ".join(f"questions.{key} = days.{key}" for key in [*keys.split(", "), "ds"])}
            AND questions.sched_dep > days.known_at
    """
