"""The form of an expression that never fails on Flink, and the condition that says where it would."""

from __future__ import annotations

import pytest

from zipline.expressions import parse
from zipline.expressions.failures import attempted, failing
from zipline.types import BIGINT, DOUBLE, INT, STRING

COLUMNS = {"n": BIGINT, "small": INT, "x": DOUBLE, "s": STRING, "CAST(": STRING}


@pytest.mark.parametrize(
    "text",
    [
        "n",
        "x + 1",
        "n > 3",
        "upper(s)",
        "CAST(small AS BIGINT)",
        "TRY_CAST(s AS INT)",
        "n % 2",
        "CASE WHEN n > 1 THEN s END",
    ],
)
def test_what_cannot_fail_costs_nothing(text: str) -> None:
    expression = parse(text, COLUMNS)
    assert failing(expression.node) is None
    assert attempted(expression.node) == expression.sql("flink")


@pytest.mark.parametrize("text", ["CAST(s AS INT)", "n + 1", "n DIV small", "timestamp_seconds(n)", "abs(n) > 2"])
def test_what_can_fail_has_no_cast_that_does(text: str) -> None:
    node = parse(text, COLUMNS).node
    assert failing(node) is not None
    assert " CAST(" not in attempted(node)


def test_text_and_names_stay_as_they_are() -> None:
    sql = attempted(parse("CAST(\"CAST(\" || 'it''s CAST(' AS INT)", COLUMNS).node)
    assert "`CAST(`" in sql
    assert "'it''s CAST('" in sql
    assert "`TRY_CAST(`" not in sql


def test_a_branch_that_is_not_taken_does_not_count() -> None:
    condition = failing(parse("CASE WHEN n > 0 THEN CAST(s AS INT) ELSE 0 END", COLUMNS).node)
    assert condition is not None
    assert condition.startswith("(CASE WHEN ((`n` > ")
    assert condition.endswith("ELSE FALSE END)")
