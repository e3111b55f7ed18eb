"""Keys of many rows at once are the keys that are written one by one, in the order of their bytes."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipline.arrow import to_arrow
from zipline.stores.contract import LONGEST_KEY
from zipline.stores.key_columns import ordered_keys
from zipline.stores.keys import key_writer
from zipline.types import BIGINT, BINARY, BOOLEAN, DATE, DOUBLE, FLOAT, STRING, TIMESTAMP, TINYINT, DecimalType

MONEY = DecimalType(precision=12, scale=2)
UTC = dt.timezone.utc
VALUES: dict[Any, Any] = {
    TINYINT: st.integers(-128, 127),
    BIGINT: st.integers(-(2**63), 2**63 - 1),
    FLOAT: st.floats(width=32),
    DOUBLE: st.floats(),
    BOOLEAN: st.booleans(),
    STRING: st.text(st.characters(exclude_categories=["Cs"])),
    BINARY: st.binary(),
    DATE: st.dates(),
    TIMESTAMP: st.datetimes(timezones=st.just(UTC)),
    MONEY: st.decimals(-(10**9), 10**9, places=2),
}


@st.composite
def tables(draw: Any) -> tuple[list[Any], list[tuple[Any, ...]]]:
    types = draw(st.lists(st.sampled_from(list(VALUES)), max_size=3))
    row = st.tuples(*(st.none() | VALUES[dtype] for dtype in types))
    rows = draw(st.lists(row, max_size=12))
    return types, rows + rows[: draw(st.integers(0, 3))]


@settings(deadline=None)
@given(tables())
def test_they_are_those_written_one_by_one(table: tuple[list[Any], list[tuple[Any, ...]]]) -> None:
    types, rows = table
    columns = [pa.array([row[n] for row in rows], to_arrow(dtype)) for n, dtype in enumerate(types)]
    write = key_writer(types)
    one_by_one = [write(row) for row in rows]
    keys, places = ordered_keys(columns, types, len(rows))
    assert keys == sorted({key for key in one_by_one if key is not None})
    assert [one_by_one[place] for place in places.tolist()] == keys


@pytest.mark.parametrize(("first", "rows"), [(0, 4), (1, 3), (3, 1)])
def test_columns_that_are_slices_of_others(first: int, rows: int) -> None:
    numbers, texts = pa.array([4, None, 2, 1]).slice(first, rows), pa.array(["", "a", None, "b"]).slice(first, rows)
    keys, places = ordered_keys([numbers, texts], [BIGINT, STRING], rows)
    write = key_writer([BIGINT, STRING])
    whole = [(number, text) for number, text in zip(numbers.to_pylist(), texts.to_pylist(), strict=True)]
    assert [write(whole[place]) for place in places.tolist()] == keys
    assert len(keys) == sum(None not in key for key in whole)


def test_long_ones_are_cut_alike() -> None:
    texts = ["x" * 1_000, "y", None, "x" * 1_001, "x" * (LONGEST_KEY - 53), "x" * (LONGEST_KEY - 52)]
    write = key_writer([STRING])
    keys, _ = ordered_keys([pa.array(texts)], [STRING], len(texts))
    assert keys == sorted(write([text]) or b"" for text in texts if text is not None)
    assert len(keys) == 5


def test_equal_keys_are_one() -> None:
    floats = pa.array([0.0, -0.0, math.nan, None, 1.0])
    keys, places = ordered_keys([floats], [DOUBLE], 5)
    assert len(keys) == 2
    assert places.tolist() in ([0, 4], [1, 4])
    money, _ = ordered_keys([pa.array([Decimal("1.50"), Decimal("1.5")])], [MONEY], 2)
    assert len(money) == 1
    assert ordered_keys([], [], 3) == ([b"\0"], np.zeros(1))
    assert ordered_keys([], [], 0)[0] == []
