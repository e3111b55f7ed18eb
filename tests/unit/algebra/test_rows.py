"""Rows of any types as values: in the order of lookups, and back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from zipline.algebra.codec import decode, encode
from zipline.algebra.nested import to_algebra
from zipline.algebra.rows import Latest
from zipline.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    STRING,
    TIMESTAMP,
    DataType,
    DecimalType,
    StructType,
    array,
    map_of,
)

NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.timezone.utc)
STRUCT = StructType(fields=(("a", BIGINT), ("b", array(STRING))))
ASCENDING: list[tuple[DataType, list[Any]]] = [
    (BIGINT, [None, -1, 0, 2**60]),
    (DOUBLE, [None, float("-inf"), -0.5, 0.0, float("inf")]),
    (STRING, [None, "", "A", "a", "ä", "😀"]),
    (BOOLEAN, [None, False, True]),
    (DATE, [None, dt.date(2024, 1, 1), dt.date(2024, 1, 2)]),
    (TIMESTAMP, [None, NOON, NOON + dt.timedelta(microseconds=1)]),
    (DecimalType(precision=10, scale=2), [None, Decimal("-1.50"), Decimal("2.00")]),
    (array(BIGINT), [None, [], [None], [None, 1], [0], [0, None], [0, 0], [1]]),
    (STRUCT, [None, {"a": None, "b": ["x"]}, {"a": 1, "b": None}, {"a": 1, "b": []}, {"a": 2, "b": None}]),
    (map_of(STRING, BIGINT), [None, [], [("a", None)], [("a", 1)], [("a", 1), ("b", 0)], [("b", 0)]]),
]


@pytest.mark.parametrize(("dtype", "values"), ASCENDING, ids=[str(dtype) for dtype, _ in ASCENDING])
def test_of_rows_at_one_time_the_latest_is_the_greatest_and_comes_back_as_it_was(
    dtype: DataType, values: list[Any]
) -> None:
    rows = Latest([BIGINT, dtype], signed=True)
    ir = rows.empty()
    for number, value in enumerate(values):
        ir = rows.update(ir, (7, value), (5, None))
        for row in values[:number]:
            assert rows.finalize(rows.update(decode(encode(ir)), (7, row), (5, None))) == (7, to_algebra(value, dtype))
    for value in reversed(values):
        assert rows.finalize(decode(encode(ir))) == (7, to_algebra(value, dtype))
        ir = rows.remove(ir, (7, value), (5, None))
    assert ir == rows.empty()
    assert rows.finalize(ir) is None


@pytest.mark.parametrize(("dtype", "values"), ASCENDING, ids=[str(dtype) for dtype, _ in ASCENDING])
def test_where_no_row_is_taken_back_the_latest_alone_is_kept(dtype: DataType, values: list[Any]) -> None:
    rows = Latest([BIGINT, dtype])
    made = [rows.prepare((7, value), (5, None)) for value in values]
    for order in (made, made[::-1], [*made[1::2], *made[::2]]):
        ir = decode(encode(rows.merge_all(order)))
        assert ir == made[-1]
        assert rows.finalize(ir) == (7, to_algebra(values[-1], dtype))


def test_rows_are_ordered_by_time_then_by_when_they_were_known_then_by_column() -> None:
    rows = Latest([BIGINT, BIGINT])
    ascending = [((9, 9), (1, None)), ((8, 8), (2, 1)), ((7, 7), (2, None)), ((1, 5), (2, 3)), ((3, None), (2, 3))]
    ir = rows.empty()
    assert rows.finalize(ir) is None
    for row, at in ascending:
        ir = rows.update(ir, row, at)
        assert rows.finalize(ir) == row
    for row, at in ascending:
        ir = rows.update(ir, row, at)
    assert ir == (2, 3, ((3,), ()))


def test_a_later_row_goes_before_a_greater_one_and_a_row_that_is_missing_takes_no_other_away() -> None:
    rows = Latest([BIGINT], signed=True)
    ir = rows.update(rows.update(rows.empty(), 9, (1, None)), 3, (2, None))
    assert rows.finalize(ir) == (3,)
    ir = rows.remove(ir, 9, (2, None))
    assert (rows.finalize(ir), rows.orphans(ir)) == ((3,), 1)


def test_nan_is_null_and_minus_zero_is_zero_also_to_a_reversal() -> None:
    rows = Latest([DOUBLE], signed=True)
    ir = rows.update(rows.update(rows.empty(), float("nan"), (1, None)), -0.0, (1, None))
    assert rows.remove(rows.remove(ir, None, (1, None)), 0.0, (1, None)) == rows.empty()
