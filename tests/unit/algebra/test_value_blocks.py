"""Blocks of values: what is read is what was written, of every type, and what is damaged is not read."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.algebra.replays import quick
from zipline.algebra.columnar import folding, value_reading
from zipline.algebra.columnar.value_blocks import ValueForm
from zipline.algebra.nested import from_algebra
from zipline.arrow import to_arrow
from zipline.fetch.online_values import reader_of
from zipline.fetch.results import STATUSES
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    STRING,
    TIMESTAMP,
    TINYINT,
    DataType,
    DecimalType,
    array,
    map_of,
    struct,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
INSTANTS = st.datetimes(timezones=st.just(dt.timezone.utc))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES: dict[DataType, Any] = {
    TINYINT: st.integers(-128, 127),
    BIGINT: INTEGERS,
    FLOAT: st.floats(width=32),
    DOUBLE: st.floats(),
    BOOLEAN: st.booleans(),
    DATE: st.dates(),
    TIMESTAMP: INSTANTS,
    STRING: TEXTS,
    BINARY: st.binary(max_size=6),
    DecimalType(precision=12, scale=2): st.decimals(-(10**9), 10**9, places=2),
    array(DOUBLE): st.lists(st.none() | st.floats(allow_nan=False), max_size=3),
    array(TIMESTAMP): st.lists(INSTANTS, max_size=3),
    map_of(STRING, BIGINT): st.dictionaries(TEXTS, INTEGERS, max_size=3).map(lambda value: list(value.items())),
    struct(a=BIGINT, b=array(STRING)): st.fixed_dictionaries({"a": INTEGERS, "b": st.lists(TEXTS, max_size=2)}),
}


def form(types: list[DataType], tag: int = 7) -> ValueForm:
    return ValueForm(tag, bytes([tag] * 32), tuple((f"c{n}", dtype) for n, dtype in enumerate(types)))


def table(types: list[DataType], rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = {f"c{n}": pa.array([row[n] for row in rows], to_arrow(dtype)) for n, dtype in enumerate(types)}
    return pa.table(columns) if columns else pa.table({"none": pa.nulls(len(rows))})


def read(own: ValueForm, blocks: list[Any]) -> list[tuple[Any, ...]]:
    """The rows, in the order of the columns."""
    opened = own.opened(blocks)
    assert opened.is_whole.all()
    found: dict[str, list[Any]] = {}
    for n, (name, dtype) in enumerate(own.fixed):
        words = np.ascontiguousarray(opened.words[:, n])
        values = (words.view(np.float64) if dtype.is_float else words).tolist()
        restore = reader_of(dtype) or (lambda value: value)
        found[name] = [restore(v) if p else None for v, p in zip(values, opened.present[:, n].tolist(), strict=True)]
    for n, (name, dtype) in enumerate(own.rest):
        found[name] = [from_algebra(row[n], dtype) for row in opened.rest]
    return list(zip(*(found[name] for name, _ in own.columns), strict=True))


def expected(value: Any, dtype: DataType) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    return dict(value) if value is not None and dtype == map_of(STRING, BIGINT) else value


@st.composite
def tables(draw: Any) -> tuple[list[DataType], list[tuple[Any, ...]]]:
    types = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=8))
    row = st.tuples(*(st.none() | VALUES[dtype] for dtype in types))
    return types, draw(st.lists(row, max_size=5))


@quick
@given(tables())
def test_what_is_read_is_what_was_written(given_: tuple[list[DataType], list[tuple[Any, ...]]]) -> None:
    types, rows = given_
    own = form(types)
    blocks = list(own.written(table(types, rows)))
    assert read(own, blocks) == [
        tuple(expected(value, dtype) for value, dtype in zip(row, types, strict=True)) for row in rows
    ]
    assert blocks == [next(own.written(table(types, [row]))) for row in rows], "however many are written at once"
    assert read(own, [memoryview(block) for block in blocks]) == read(own, blocks)


def test_infinities_and_zeros_and_more_columns_than_a_word_has_bits() -> None:
    types: list[DataType] = [DOUBLE] * 130
    row = tuple([math.inf, -math.inf, -0.0, 5e-324, None] * 26)
    found = read(form(types), list(form(types).written(table(types, [row, row]))))
    assert found == [row, row]
    assert math.copysign(1, found[0][2]) == 1, "no zero is negative"


def answered(own: ValueForm, blocks: list[bytes], at: list[int], columns: Any, **asked: bool) -> Any:
    """(words, whether they are values, statuses, what is said of all) by the kernel of fetches."""
    shape = len(at), len(columns)
    found = np.zeros(shape, np.int64), np.zeros(shape, np.bool_), np.zeros(shape, np.uint8)
    facts = np.array([(asked.get("is_there", True), asked["is_foreign"], asked["is_stale"], len(blocks))], np.int64)
    parts = np.array([(own.tag, own.first, own.end, 0, len(columns))], np.int64)
    words = np.frombuffer(b"".join(blocks), np.int64)
    sizes, places = np.array([len(each) for each in blocks], np.int64), np.array([at], np.int64)
    said = value_reading.answer(words, sizes, places, facts, parts, columns, *found)
    return *found, said


@quick
@given(tables().filter(lambda drawn: len(drawn[1]) > 0), st.data())
def test_rows_are_read_at_once_as_blocks_are_one_by_one(given_: tuple[Any, list[tuple[Any, ...]]], data: Any) -> None:
    types, rows = given_
    own = form(types)
    blocks = list(own.written(table(types, rows)))
    broken = data.draw(st.integers(0, len(blocks)))
    blocks[broken:] = [block[:-8] for block in blocks[broken:]]
    at = data.draw(st.lists(st.integers(-1, len(blocks) - 1), max_size=6))
    columns = np.array([(n, n % 2, 5, dtype.is_float) for n, (_, dtype) in enumerate(own.fixed)], np.int64)
    columns = columns.reshape(-1, 4)
    words, present, status, said = answered(own, blocks, at, columns, is_stale=False, is_foreign=False)
    opened = own.opened(blocks)
    for row, block in enumerate(at):
        for n in range(len(own.fixed)):
            found = int(words[row, n]), bool(present[row, n]), STATUSES[status[row, n]]
            has_empty = bool(n % 2)
            if block < 0:
                assert found == (5, has_empty, "default")
            elif not opened.is_whole[block]:
                assert found[1:] == (False, "error")
            else:
                word, is_there = int(opened.words[block, n]), bool(opened.present[block, n])
                is_empty = (is_there and word == 5) if has_empty else not is_there
                assert found == (word, is_there, "default" if is_empty else "ok")
    assert bool(said & folding.ABSENT) == (not present.all())
    assert bool(said & folding.TROUBLED) == bool((status != folding.OK).any())
    floats = [n for n, (_, dtype) in enumerate(own.fixed) if dtype.is_float]
    infinite = np.isinf(words.view(np.float64)) & present
    assert bool(said & folding.INFINITE) == bool(infinite[:, floats].any())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"is_stale": False, "is_foreign": False}, "ok"),
        ({"is_stale": True, "is_foreign": False}, "stale"),
        ({"is_stale": True, "is_foreign": True}, "error"),
        ({"is_stale": True, "is_foreign": False, "is_there": False}, "unavailable"),
    ],
)
def test_all_rows_are_stale_or_of_another_definition_or_could_not_be_read(
    asked: dict[str, bool], expected: str
) -> None:
    own = form([DOUBLE])
    blocks = list(own.written(table([DOUBLE], [(1.5,)])))
    _, present, status, _ = answered(own, blocks, [0], np.array([(0, 0, 0, 1)], np.int64), **asked)
    assert STATUSES[status[0, 0]] == expected
    assert bool(present[0, 0]) == (expected in ("ok", "stale"))


def test_kernels_know_statuses_by_their_numbers() -> None:
    numbers = folding.DEFAULTED, folding.OK, folding.STALE, folding.UNAVAILABLE, folding.WRONG
    assert [STATUSES[number] for number in numbers] == list(STATUSES)
