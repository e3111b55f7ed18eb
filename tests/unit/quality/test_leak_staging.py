"""Leaks planted behind staging queries over the real flights: what is made of the label's column before it happened."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from training.source_tables import source_tables
from zipline import (
    Accuracy,
    Aggregation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
    StagingQuery,
)
from zipline.engines.frames import open_tables
from zipline.quality.leaks import Leak, LeakReport, check_leaks

DAILY = """
    SELECT carrier, avg(arr_delay) AS delay, count(*) AS flights, CAST(ds AS TIMESTAMP) AS day, ds
    FROM flights
    WHERE ds BETWEEN {{ start_date }} AND {{ end_date }}
    GROUP BY carrier, ds
"""
WITHIN = """
    WITH ranked AS (
        SELECT carrier, ds, arr_delay, row_number() OVER (PARTITION BY carrier, ds ORDER BY arr_delay DESC) AS place
        FROM flights WHERE ds BETWEEN {{ start_date }} AND {{ end_date }}
    )
    SELECT r.carrier, r.arr_delay AS delay, CAST(r.ds AS TIMESTAMP) + INTERVAL 8 HOUR AS day, r.ds
    FROM ranked AS r WHERE place = 1
"""


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Three weeks of the flights."""
    flights = source_tables()["flights"]
    days = flights.column("ds")
    return {"flights": flights.filter(pc.and_(pc.greater_equal(days, "2013-06-10"), pc.less_equal(days, "2013-06-30")))}


def staged(sql: str = DAILY, name: str = "daily") -> StagingQuery:
    return StagingQuery(sql, name=name)


def rates(query: StagingQuery, column: str = "delay", time: str = "day", **more: Any) -> GroupBy:
    return GroupBy(
        name="rates",
        keys=["carrier"],
        sources=[EventSource(query, Query(["carrier", column], time=time))],
        aggregations=[Aggregation(column, Operation.AVERAGE, windows=["7d"])],
        **more,
    )


def departures(*parts: GroupBy) -> Join:
    landed = EventSource(
        "flights",
        Query({"flight_id": "flight_id", "late": "CAST(arr_delay > 15 AS INT)"}, ["arr_time IS NOT NULL"], "arr_time"),
    )
    outcome = GroupBy(
        name="flight_outcome",
        keys=["flight_id"],
        sources=[landed],
        aggregations=[Aggregation("late", Operation.MAX, windows=["2d"])],
    )
    return Join(
        name="departures",
        left=EventSource("flights", Query(["flight_id", "carrier"], time="sched_dep")),
        parts=[JoinPart(part) for part in parts],
        labels=LabelPart([JoinPart(outcome)], offset="2d"),
        row_id=["flight_id"],
    )


def report(tables: dict[str, pa.Table], *parts: GroupBy) -> LeakReport:
    join = departures(*parts)
    return check_leaks(join, open_tables(tables, join))


def of_label(found: LeakReport) -> list[Leak]:
    return [leak for leak in found.leaks if leak.kind == "label as feature"]


@pytest.mark.parametrize("sql", [DAILY, WITHIN], ids=["an average of the day", "the worst of the day, at eight"])
def test_an_aggregate_of_the_outcomes_of_a_day_that_is_not_over(tables: dict[str, pa.Table], sql: str) -> None:
    [leak] = of_label(report(tables, rates(staged(sql))))
    assert leak.columns == ("rates_delay_average_7d",)
    assert leak.evidence["path"] == ["rates_delay_average_7d", "daily.delay", "flights.arr_delay"]
    assert leak.evidence["share_changed"] > 0.8
    assert leak.evidence["rows"] >= 10
    assert "by the staging query daily, whose rows are seen at day" in leak.message
    assert "known_at" in leak.remedy


@pytest.mark.parametrize(
    "part",
    [
        rates(staged(), accuracy=Accuracy.SNAPSHOT),
        rates(staged(), time="day + INTERVAL '36' HOUR"),
        rates(staged(), column="flights"),
    ],
    ids=["whole days", "half a day after the day", "another column"],
)
def test_a_query_that_waits_or_says_nothing_of_the_outcome_is_no_leak(
    tables: dict[str, pa.Table], part: GroupBy
) -> None:
    found = report(tables, part)
    assert (of_label(found), found.skipped) == ([], ())


def test_a_query_over_a_query(tables: dict[str, pa.Table]) -> None:
    sql = (
        "SELECT carrier, delay * 60 AS seconds, day, ds FROM daily WHERE ds BETWEEN {{ start_date }} AND {{ end_date }}"
    )
    lower, upper = staged(), staged(sql, "upper")
    join = departures(rates(upper, "seconds"))
    found = check_leaks(join, open_tables({**tables, "daily": lower}, join), {"daily": lower, "upper": upper})
    [leak] = of_label(found)
    assert leak.evidence["path"] == ["rates_seconds_average_7d", "upper.seconds", "daily.delay", "flights.arr_delay"]


def test_a_query_that_is_run_whole(tables: dict[str, pa.Table]) -> None:
    day = "date_trunc('day', sched_dep)"
    sql = f"SELECT carrier, avg(arr_delay) AS delay, {day} AS day FROM flights GROUP BY carrier, day"
    [leak] = of_label(report(tables, rates(staged(sql))))
    assert leak.evidence["share_changed"] > 0.05


def test_the_outcome_in_the_conditions_of_a_query(tables: dict[str, pa.Table]) -> None:
    sql = DAILY.replace("GROUP BY", "AND arr_delay > 15 GROUP BY")
    [leak] = of_label(report(tables, rates(staged(sql), column="flights")))
    assert leak.evidence["path"][-1] == "flights.arr_delay"
