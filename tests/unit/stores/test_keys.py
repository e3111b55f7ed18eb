"""Keys as bytes: equal where the keys are, by type and value."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipline.errors import DataError
from zipline.stores.contract import LONGEST_KEY
from zipline.stores.keys import key_writer
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    STRING,
    TIMESTAMP,
    TINYINT,
    DataType,
    DecimalType,
)

UTC = dt.timezone.utc


def test_parts_do_not_run_into_each_other() -> None:
    write = key_writer([STRING, STRING])
    pairs = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a\0", "bc"), ("a", "\0bc")]
    assert len({write(pair) for pair in pairs}) == len(pairs)


def test_integers_of_all_widths_are_one_kind_and_floats_another() -> None:
    assert key_writer([INT])([1]) == key_writer([BIGINT])([1])
    assert key_writer([FLOAT])([0.5]) == key_writer([DOUBLE])([0.5])
    assert key_writer([DOUBLE])([-0.0]) == key_writer([DOUBLE])([0.0])
    assert key_writer([DOUBLE])([1.0]) != key_writer([BIGINT])([1])
    money = DecimalType(precision=10, scale=2)
    assert key_writer([money])([Decimal("1.5")]) == key_writer([money])([Decimal("1.50")])
    whole = key_writer([DecimalType(precision=38, scale=0)])
    assert whole([Decimal("9" * 38)]) != whole([Decimal("9" * 37 + "8")])


def test_the_same_instant_is_the_same_key() -> None:
    write = key_writer([TIMESTAMP])
    there = dt.timezone(dt.timedelta(hours=2))
    assert write([dt.datetime(2024, 3, 1, 12, tzinfo=UTC)]) == write([dt.datetime(2024, 3, 1, 14, tzinfo=there)])
    assert write(["2024-03-01T12:00:00Z"]) == write([dt.datetime(2024, 3, 1, 12)])


@pytest.mark.parametrize("dtype", [STRING, DOUBLE, BIGINT, DATE, BINARY, BOOLEAN])
def test_a_null_part_is_nobodys_key(dtype: Any) -> None:
    assert key_writer([dtype])([None]) is None
    assert key_writer([dtype, BIGINT])([None, 1]) is None
    assert key_writer([DOUBLE])([math.nan]) is None


def test_no_parts_are_one_key() -> None:
    assert key_writer([])([]) == b"\0"


@pytest.mark.parametrize(
    ("dtype", "value"), [(BIGINT, "12"), (BIGINT, 1.5), (STRING, 12), (DOUBLE, "x"), (BOOLEAN, 2), (DATE, "no day")]
)
def test_a_value_of_another_type_is_refused(dtype: Any, value: Any) -> None:
    with pytest.raises(DataError, match="is not a value of type"):
        key_writer([dtype])([value])


def test_long_keys_fit_and_differ() -> None:
    write = key_writer([STRING])
    keys = ["x" * 1_000, "x" * 1_000 + "y", "x" * 2_000, "x" * (LONGEST_KEY - 60)]
    found = [write([key]) for key in keys]
    assert len(set(found)) == len(keys)
    assert all(key is not None and len(key) + 8 <= LONGEST_KEY for key in found)


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=8)), max_size=8))
def test_bytes_are_equal_if_and_only_if_the_keys_are(keys: list[tuple[str, int, bytes]]) -> None:
    write = key_writer([STRING, BIGINT, BINARY])
    for one, other in itertools.combinations(keys, 2):
        assert (write(one) == write(other)) == (one == other)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (BIGINT, True),
        (BIGINT, 1.0),
        (BIGINT, 2**63),
        (INT, -(2**31) - 1),
        (TINYINT, 128),
        (DOUBLE, False),
        (DOUBLE, 2**53 + 1),
        (FLOAT, 1e39),
        (BOOLEAN, 1),
        (DecimalType(precision=10, scale=2), True),
        (DecimalType(precision=10, scale=2), "one"),
        (DecimalType(precision=10, scale=2), math.inf),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_the_key_that_it_could_be_made(dtype: DataType, value: Any) -> None:
    with pytest.raises(DataError):
        key_writer([dtype])([value])


def test_scalars_of_numpy_are_keys_as_those_of_python_are() -> None:
    same: list[tuple[DataType, Any, Any]] = [
        (BIGINT, np.int32(7), 7),
        (BOOLEAN, np.True_, True),
        (FLOAT, np.float32(0.1), 0.1),
        (DecimalType(precision=10, scale=2), np.float64(1.1), Decimal("1.1")),
    ]
    for dtype, value, other in same:
        assert key_writer([dtype])([value]) == key_writer([dtype])([other])
    for dtype in (BIGINT, DOUBLE, DecimalType(precision=10, scale=2)):
        with pytest.raises(DataError):
            key_writer([dtype])([np.True_])


def test_a_decimal_beyond_the_scale_of_its_type_is_nobodys_key_and_not_its_neighbours() -> None:
    write = key_writer([DecimalType(precision=10, scale=2)])
    assert write([Decimal("1.100")]) == write([Decimal("1.1")]) == write(["1.1"]) == write([1.1])
    assert len({write([Decimal(text)]) for text in ("1.10", "1.101", "1.104", "1.11")}) == 4


def test_a_single_is_the_key_of_what_its_column_holds() -> None:
    assert key_writer([FLOAT])([0.1]) == key_writer([FLOAT])([0.10000000149011612])
