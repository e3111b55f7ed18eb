"""Random differential tests of joins, labels and their maturity, of totals beyond int64, and of daily states."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest

from zipline import Accuracy, Aggregation, EntitySource, GroupBy, Operation, Query
from zipline.errors import DataError

from . import oracle
from .adapters import Adapter, Arrow
from .comparison import assert_agrees, assert_all_agree
from .features import OverflowedTotal
from .generate import SEED
from .generate_joins import JoinScenario, join_scenarios
from .instants import DAY, day_of, instant, micros
from .questions import group_by_of, operation
from .streams import HUGE, WORDS, Draw
from .tables import AggregateCase, BackfillCase, Table
from .tallies import TALLIES

CASES = 25
SCENARIOS = join_scenarios()


@cache
def cases_of(scenario: JoinScenario, training: bool) -> list[BackfillCase]:
    return scenario.cases(CASES, training=training)


@pytest.mark.parametrize("training", [True, False], ids=["training", "scoring"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_joins_agree_with_the_oracle(engine: Adapter, scenario: JoinScenario, training: bool) -> None:
    cases = cases_of(scenario, training)
    assert_all_agree(cases, engine.run_batch(cases))


def test_joins_run_as_one_job_give_what_they_give_alone(adapter: Adapter) -> None:
    cases = cases_of(SCENARIOS[0], True)[:8]
    assert_all_agree(cases, [adapter.run(case) for case in cases])
    assert_all_agree(cases, adapter.run_batch(cases))


def test_rows_mature_and_immature_are_drawn() -> None:
    cases = [case for scenario in SCENARIOS for case in cases_of(scenario, True)]
    asked = sum(len(case.tables["left"].rows) for case in cases)
    mature = sum(len(oracle.run(case).rows) for case in cases)
    TALLIES["left rows of random joins"] = {"cases": len(cases), "rows": asked, "mature": mature}
    assert asked // 4 < mature < asked * 3 // 4


# Totals beyond int64


def overflowing(number: int) -> AggregateCase:
    """A small case of integers so large that some sums do not fit."""
    draw = Draw(f"{SEED} overflow {number}")
    rows = [
        {
            "user": draw.one(["ann", "bob"]),
            "value": draw.one(HUGE),
            "t": instant(micros("2024-03-05") + n * 3_600_000_000),
        }
        for n in range(draw.number(2, 8))
    ]
    events = Table({"user": "STRING", "value": "BIGINT", "t": "TIMESTAMP"}, tuple(rows))
    asked = [{"user": user, "ts": instant(micros("2024-03-05 04:30"))} for user in ("ann", "bob")]
    group_by = group_by_of(events, operation("SUM", "2h"), operation("SUM"))
    return AggregateCase(group_by, Table({"user": "STRING", "ts": "TIMESTAMP"}, tuple(asked)), {"events": events})


@pytest.mark.parametrize("number", range(16))
def test_an_overflow_is_an_error_where_the_oracle_has_one_and_only_there(engine: Arrow, number: int) -> None:
    case = overflowing(number)
    try:
        oracle.run(case)
    except OverflowedTotal:
        overflows = _overflows(case)
        with pytest.raises(DataError) as raised:
            engine.run(case)
        text = str(raised.value)
        assert any(feature in text and user in text for feature, user in overflows), (overflows, text)
    else:
        assert_agrees(case, engine.run(case))


def _overflows(case: AggregateCase) -> set[tuple[str, str]]:
    """Every feature and user that overflow: an engine may report any one of them."""
    found = set()
    for row in case.queries.rows:
        for aggregation in case.group_by.aggregations:
            alone = oracle_case(case, aggregation, row["user"])
            try:
                oracle.run(alone)
            except OverflowedTotal as overflow:
                found.add((overflow.feature, str(row["user"])))
    return found


def oracle_case(case: AggregateCase, aggregation: Aggregation, user: str) -> AggregateCase:
    rows = [row for row in case.queries.rows if row["user"] == user]
    group_by = dataclasses.replace(case.group_by, aggregations=[aggregation])
    return AggregateCase(group_by, case.queries.with_rows(rows), case.tables)


def test_overflows_and_sums_that_fit_are_both_drawn() -> None:
    overflowed = 0
    for number in range(16):
        try:
            oracle.run(overflowing(number))
        except OverflowedTotal:
            overflowed += 1
    assert 4 <= overflowed <= 14


# State at the end of days


def state(number: int) -> AggregateCase:
    """Snapshots with gaps between days, keys that come and go, several rows of a key, and queries on midnights."""
    draw = Draw(f"{SEED} state {number}")
    first = micros("2024-02-27")
    rows = [
        {
            "user": draw.one(["ann", "bob", "é", None]),
            "plan": draw.one(WORDS),
            "level": draw.number(0, 3),
            "since": instant(day - draw.number(0, 3) * DAY + draw.number(0, DAY - 1)),
            "ds": instant(day).date().isoformat(),
        }
        for day in (first + n * DAY for n in range(6))
        if draw.chance(0.6)
        for _ in range(draw.number(1, 6))
    ]
    draw.random.shuffle(rows)
    schema = {"user": "STRING", "plan": "STRING", "level": "BIGINT", "since": "TIMESTAMP", "ds": "STRING"}
    times = [
        day_of(draw.query_time("2024-03-01")) if draw.chance(0.4) else draw.query_time("2024-03-01") for _ in range(6)
    ]
    asked = [{"user": draw.one(["ann", "bob", "é", "eve", None]), "ts": instant(time)} for time in times]
    select = {name: name for name in ("user", "plan", "level")}
    aggregations = [
        Aggregation("level", Operation[name], windows=["1d", "3d", None]) for name in ("SUM", "COUNT", "LAST")
    ]
    group_by = GroupBy(
        keys=["user"],
        sources=[EntitySource("users", query=Query(select=select, time="since"))],
        aggregations=aggregations if number % 2 else [],
        accuracy=draw.one([Accuracy.TEMPORAL, Accuracy.SNAPSHOT]),
        name="users",
    )
    queries = Table({"user": "STRING", "ts": "TIMESTAMP"}, tuple(asked))
    return AggregateCase(group_by, queries, {"users": Table(schema, tuple(rows))})


@pytest.mark.parametrize("number", range(30))
def test_states_agree_with_the_oracle(engine: Adapter, number: int) -> None:
    case = state(number)
    assert_agrees(case, engine.run(case))
