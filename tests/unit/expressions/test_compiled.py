"""Compiled expressions as the online path calls them: what rows may hold, what comes out, what a bad row gives."""

from __future__ import annotations

import datetime as dt
import pickle
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from zipline.errors import DataError, Location
from zipline.expressions import parse, parse_time
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, INT, STRING, TIMESTAMP, DataType, array, map_of

NOON = 1_357_041_600_000_000  # 2013-01-01 12:00 UTC
TOKYO = dt.timezone(dt.timedelta(hours=9))


def value(text: str, columns: Mapping[str, DataType], **row: Any) -> Any:
    return parse(text, columns).python()(row)


@pytest.mark.parametrize(
    "noon",
    [
        NOON,
        dt.datetime(2013, 1, 1, 12, tzinfo=dt.timezone.utc),
        dt.datetime(2013, 1, 1, 12),
        dt.datetime(2013, 1, 1, 21, tzinfo=TOKYO),
        "2013-01-01T12:00:00Z",
    ],
)
def test_instants_come_in_any_form_and_go_out_as_microseconds(noon: Any) -> None:
    assert value("t", {"t": TIMESTAMP}, t=noon) == NOON
    assert value("hour(t)", {"t": TIMESTAMP}, t=noon) == 12


@pytest.mark.parametrize("day", [dt.date(2013, 1, 1), dt.datetime(2013, 1, 1, 5), 15706])
def test_dates_come_in_any_form_and_go_out_as_dates(day: Any) -> None:
    assert value("d", {"d": DATE}, d=day) == dt.date(2013, 1, 1)
    assert type(value("d", {"d": DATE}, d=day)) is dt.date


def test_numbers_of_other_libraries_become_plain_ones() -> None:
    assert value("a + 1", {"a": BIGINT}, a=np.int64(2**62)) == 2**62 + 1
    assert type(value("a", {"a": BIGINT}, a=np.int8(5))) is int
    assert type(value("a", {"a": DOUBLE}, a=np.float32(0.5))) is float
    assert type(value("a", {"a": DOUBLE}, a=5)) is float
    assert value("a", {"a": DOUBLE}, a=Decimal("0.5")) == 0.5
    assert value("a", {"a": BOOLEAN}, a=np.bool_(True)) is True
    assert value("a[1]", {"a": array(BIGINT)}, a=np.array([7, 8])) == 7


def test_overflow_of_a_narrow_numpy_integer_does_not_wrap() -> None:
    with pytest.raises(DataError, match="overflow"):
        value("a + 1", {"a": BIGINT}, a=np.int64(2**63 - 1))


def test_maps_come_as_mappings_or_as_pairs() -> None:
    columns = {"m": map_of(STRING, BIGINT)}
    assert value("m['a'] + 1", columns, m={"a": 1}) == 2
    assert value("m['a'] + 1", columns, m=[("a", 1)]) == 2
    assert value("m['b']", columns, m={"a": 1}) is None


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        (BIGINT, "5"),
        (BIGINT, 2.5),
        (BIGINT, float("nan")),
        (DOUBLE, "0.5"),
        (DOUBLE, True),
        (STRING, 5),
        (BOOLEAN, "true"),
        (TIMESTAMP, "yesterday"),
        (TIMESTAMP, 2.5),
        (DATE, "x"),
        (array(BIGINT), "abc"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(dtype: DataType, bad: Any) -> None:
    with pytest.raises(DataError) as failure:
        value("a", {"a": dtype}, a=bad)
    assert repr(bad) in failure.value.what


def test_a_missing_column_is_an_error_that_lists_the_row() -> None:
    expression = parse(
        "price * quantity", {"price": DOUBLE, "quantity": BIGINT}, subject="join 'j'", where=Location("a", 1)
    )
    with pytest.raises(DataError) as failure:
        expression.python()({"price": 1.0, "quantitiy": 2})
    assert "no column 'quantity'" in failure.value.what
    assert failure.value.suggestion == "quantitiy"
    assert failure.value.subject == "join 'j'"


def test_a_failure_names_the_value_and_the_expression() -> None:
    with pytest.raises(DataError) as failure:
        value("CAST(s AS INT) + 1", {"s": STRING}, s="12a")
    assert failure.value.what == "'12a' is not a INT, in 'CAST(s AS INT) + 1'"


def test_instants_outside_the_calendar_fail() -> None:
    with pytest.raises(DataError, match="years 1 to 9999"):
        value("year(t)", {"t": TIMESTAMP}, t=2**62)
    with pytest.raises(DataError, match="years 1 to 9999"):
        value("t + INTERVAL '1' YEAR", {"t": TIMESTAMP}, t="9999-06-01T00:00:00Z")


def test_the_function_is_compiled_once() -> None:
    expression = parse("a + 1", {"a": INT})
    assert expression.python() is expression.python()


def test_expressions_travel_by_pickle() -> None:
    for expression in (parse("a + 1", {"a": INT, "b": INT}), parse_time("d", {"d": DATE})):
        expression.python()
        copy = pickle.loads(pickle.dumps(expression))
        assert copy == expression
        assert copy.sql("duckdb") == expression.sql("duckdb")


def test_an_expression_knows_its_text_type_and_columns() -> None:
    expression = parse(" a+b ", {"a": INT, "b": DOUBLE, "c": INT})
    assert (expression.text, expression.type, expression.columns) == (" a+b ", DOUBLE, frozenset({"a", "b"}))


@pytest.mark.parametrize(
    ("text", "columns", "row", "expected"),
    [
        ("t", {"t": TIMESTAMP}, {"t": NOON}, NOON),
        ("d", {"d": DATE}, {"d": dt.date(1970, 1, 2)}, 86_400_000_000),
        ("s", {"s": STRING}, {"s": "1970-01-01T01:00:00+01:00"}, 0),
        ("s", {"s": STRING}, {"s": None}, None),
        ("timestamp_millis(n)", {"n": BIGINT}, {"n": 5}, 5000),
    ],
)
def test_a_clock_is_always_an_instant(
    text: str, columns: dict[str, DataType], row: dict[str, Any], expected: Any
) -> None:
    clock = parse_time(text, columns)
    assert clock.type == TIMESTAMP
    assert clock.python()(row) == expected


def test_a_clock_of_unparsable_text_is_an_error() -> None:
    with pytest.raises(DataError, match="01/02/2013"):
        parse_time("s", {"s": STRING}).python()({"s": "01/02/2013"})


def test_a_derivation_of_three_operators_takes_less_than_two_microseconds() -> None:
    evaluate = parse("(a - b) / c > 0.5", {"a": DOUBLE, "b": DOUBLE, "c": DOUBLE}).python()
    row = {"a": 3.0, "b": 1.0, "c": 2.0}

    def best(rounds: int = 20, calls: int = 2000) -> float:
        fastest = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(calls):
                evaluate(row)
            fastest = min(fastest, time.perf_counter() - start)
        return fastest / calls

    assert evaluate(row) is True
    assert best() < 2e-6
