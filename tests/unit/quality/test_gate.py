"""Checks of a group-by hold in the joins that take its columns."""

import datetime as dt

import pyarrow as pa
import pytest

from zipline import Aggregation, Check, EventSource, GroupBy, Join, JoinPart, Operation, Query
from zipline.errors import DefinitionError
from zipline.plan.build import plan_join
from zipline.plan.steps import JoinPlan
from zipline.quality.gate import Gate
from zipline.types import BIGINT, STRING, TIMESTAMP

SCHEMAS = {
    "visits": {"visitor": STRING, "at": TIMESTAMP},
    "sales": {"user": STRING, "amount": BIGINT, "at": TIMESTAMP},
}


def planned(*checks: Check, features: list[str] | None = None, join_checks: list[Check] | None = None) -> JoinPlan:
    spending = GroupBy(
        keys=["user"],
        sources=[EventSource("sales", Query(time="at"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d", "7d"])],
        checks=checks,
        name="spending",
    )
    part = JoinPart(spending, key_map={"visitor": "user"}, prefix="visitor", features=features)
    left = EventSource("visits", Query(select=["visitor"], time="at"))
    return plan_join(Join(left, [part], checks=join_checks or [], name="visits"), SCHEMAS.__getitem__)


def rows(*sums: int | None) -> pa.Table:
    at = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
    return pa.table(
        {
            "visitor": pa.array(["ann"] * len(sums)),
            "ts": pa.array([at] * len(sums), pa.timestamp("us", tz="UTC")),
            "visitor_spending_amount_sum_1d": pa.array(sums, pa.int64()),
            "visitor_spending_amount_sum_7d": pa.array(sums, pa.int64()),
        }
    )


def test_a_check_of_a_group_by_is_made_on_the_prefixed_column() -> None:
    gate = Gate(planned(Check.not_null("amount_sum_7d", max_rate=0.5)))
    assert [result.passed for result in gate(rows(1, 2, None), None, 0)] == [True]
    assert [result.passed for result in gate(rows(1, None, None), None, 0)] == [False]


def test_a_condition_sees_the_group_bys_own_names() -> None:
    gate = Gate(planned(Check.sql("amount_sum_1d <= amount_sum_7d AND user <> ''")))
    assert [result.passed for result in gate(rows(1, 2), None, 0)] == [True]


def test_a_check_of_a_column_that_the_join_does_not_take_is_not_made() -> None:
    gate = Gate(planned(Check.not_null("amount_sum_7d"), features=["amount_sum_1d"]))
    assert gate.checks == ()


def test_the_joins_own_checks_come_first() -> None:
    own = Check.unique(["visitor"])
    gate = Gate(planned(Check.not_null("amount_sum_1d"), join_checks=[own]))
    assert [result.check.kind for result in gate(rows(1, 2), None, 0)] == ["unique", "not_null"]
    assert [result.passed for result in gate(rows(1, 2), None, 0)] == [False, True]


def test_a_check_that_does_not_fit_the_column_is_refused_before_any_work() -> None:
    with pytest.raises(DefinitionError, match="matches"):
        Gate(planned(Check.matches("amount_sum_1d", "[0-9]+")))
