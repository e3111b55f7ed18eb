"""What holds of every operation whatever the values: merge is replay, order and pieces do not matter, remove undoes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.algebra.replays import Row, each, quick, replay, replay_in_pieces
from zipline.algebra import aggregator, decode, encode
from zipline.algebra.contract import Aggregator
from zipline.algebra.operations import DECLARATIONS
from zipline.types import BIGINT, DOUBLE, STRING, DataType, array

INTEGERS = st.one_of(st.integers(-3, 3), st.integers(-(2**40), 2**40))
FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 1e16, 1e-3, 1e308, -1e308, 5e-324, math.inf, math.nan]), st.floats())
TEXTS = st.one_of(st.sampled_from(["", "a", "b", "é", "\U0001f600"]), st.text(max_size=4))
MOMENTS = ("VARIANCE", "SKEW", "KURTOSIS")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "APPROX_PERCENTILE": {"percentiles": (0.0, 0.25, 0.5, 1.0)},
    **{name: {"k": 3} for name, declared in DECLARATIONS.items() if declared.needs_k},
}


def inputs(operation: str) -> list[tuple[DataType, Any]]:
    numbers = [(BIGINT, INTEGERS), (DOUBLE, FLOATS)]
    if operation in MOMENTS:
        return [(BIGINT, st.integers(-1000, 1000)), (DOUBLE, st.integers(-64, 64).map(lambda n: n / 8))]
    text = [] if operation in ("SUM", "AVERAGE", "APPROX_PERCENTILE") else [(STRING, TEXTS)]
    return [*numbers, *text, (array(BIGINT), st.lists(INTEGERS, max_size=3))]


CASES = [
    pytest.param(operation, dtype, values, id=f"{operation}-{dtype}")
    for operation in DECLARATIONS
    for dtype, values in inputs(operation)
]
EXACT = [case for case in CASES if not str(case.values[0]).startswith("APPROX_")]
AT = st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 5)))


def drawn(data: st.DataObject, values: Any, size: int = 12) -> list[Row]:
    rows: list[Row] = data.draw(st.lists(st.tuples(st.one_of(st.none(), values), AT), max_size=size))
    return rows


def same(operation: str, a: Any, b: Any) -> bool:
    """Equal, moments within their tolerance."""
    if operation not in MOMENTS or a is None or b is None:
        return bool(a == b)
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def assert_same_state(operation: str, built: Aggregator, a: Any, b: Any) -> None:
    assert same(operation, built.finalize(a), built.finalize(b))
    if operation not in MOMENTS:
        assert encode(a) == encode(b)


@pytest.mark.parametrize(("operation", "dtype", "values"), CASES)
@each
@given(data=st.data())
def test_pieces_and_order_do_not_matter(operation: str, dtype: DataType, values: Any, data: st.DataObject) -> None:
    built = aggregator(operation, dtype, **ARGUMENTS.get(operation, {}))
    rows = drawn(data, values)
    whole = replay(built, rows)
    shuffled = data.draw(st.permutations(rows))
    cuts = data.draw(st.lists(st.integers(0, 12), max_size=5))
    assert_same_state(operation, built, whole, replay_in_pieces(built, rows, cuts))
    assert_same_state(operation, built, whole, replay_in_pieces(built, shuffled, cuts))


@pytest.mark.parametrize(("operation", "dtype", "values"), CASES)
@each
@given(data=st.data())
def test_merge_is_associative_commutative_and_leaves_its_second_argument(
    operation: str, dtype: DataType, values: Any, data: st.DataObject
) -> None:
    built = aggregator(operation, dtype, **ARGUMENTS.get(operation, {}))
    parts = [drawn(data, values, 6) for _ in range(3)]

    def state(i: int) -> Any:
        return replay(built, parts[i])

    b = state(1)
    before = encode(b)
    left = built.merge(built.merge(state(0), b), state(2))
    assert encode(b) == before
    assert_same_state(operation, built, left, built.merge(state(0), built.merge(state(1), state(2))))
    assert_same_state(operation, built, left, built.merge(state(2), built.merge(state(1), state(0))))
    assert_same_state(operation, built, state(0), built.merge(state(0), built.empty()))
    assert_same_state(operation, built, state(0), built.merge(built.empty(), state(0)))


@pytest.mark.parametrize(("operation", "dtype", "values"), CASES)
@each
@given(data=st.data())
def test_a_decoded_ir_is_the_ir(operation: str, dtype: DataType, values: Any, data: st.DataObject) -> None:
    built = aggregator(operation, dtype, **ARGUMENTS.get(operation, {}))
    ir = replay(built, drawn(data, values))
    blob = encode(ir)
    again = decode(blob)
    assert again == ir
    assert encode(again) == blob
    assert built.finalize(again) == built.finalize(ir)
    value, at = data.draw(st.tuples(values, AT))
    assert encode(built.update(again, value, at)) == encode(built.update(ir, value, at))


@pytest.mark.parametrize(("operation", "dtype", "values"), EXACT)
@each
@given(data=st.data())
def test_removing_equals_recomputing_in_any_order(
    operation: str, dtype: DataType, values: Any, data: st.DataObject
) -> None:
    built = aggregator(operation, dtype, **ARGUMENTS.get(operation, {}), signed=True)
    kept, gone = drawn(data, values), drawn(data, values)
    changes = [(row, True) for row in kept + gone] + [(row, False) for row in gone]
    ir, other = built.empty(), built.empty()
    for (value, at), added in data.draw(st.permutations(changes)):
        change = built.update if added else built.remove
        if data.draw(st.booleans()):
            ir = change(ir, value, at)
        else:
            other = change(other, value, at)
    ir = built.merge(ir, other)
    assert encode(ir) == encode(replay(built, kept))
    plain = aggregator(operation, dtype, **ARGUMENTS.get(operation, {}))
    assert same(operation, built.finalize(ir), plain.finalize(replay(plain, kept)))


@pytest.mark.parametrize("operation", ["SUM", "LAST", "UNIQUE_COUNT", "TOP_K", "APPROX_UNIQUE_COUNT"])
@quick
@given(data=st.data())
def test_buckets_are_the_operation_over_each_bucket_s_rows(operation: str, data: st.DataObject) -> None:
    arguments = ARGUMENTS.get(operation, {})
    pairs = st.tuples(st.one_of(st.none(), st.sampled_from(["x", "y"])), st.one_of(st.none(), INTEGERS))
    rows = drawn(data, pairs)
    built, inner = (aggregator(operation, BIGINT, bucket=bucket, **arguments) for bucket in (STRING, None))
    rows = [row for row in rows if row[0] is not None]
    expected = {
        bucket: inner.finalize(replay(inner, [(pair[1], at) for pair, at in rows if pair[0] == bucket]))
        for bucket in ("x", "y")
        if any(pair[0] == bucket and pair[1] is not None for pair, _ in rows)
    }
    ir = replay_in_pieces(built, rows, data.draw(st.lists(st.integers(0, 12), max_size=3)))
    assert built.finalize(ir) == (expected or None)
    assert encode(ir) == encode(replay(built, rows))
    assert built.finalize(decode(encode(ir))) == built.finalize(ir)


@quick
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.lists(st.integers(0, 30), max_size=4))
def test_sum_and_average_of_floats_are_correctly_rounded(values: list[float], cuts: list[int]) -> None:
    rows: list[Row] = [(value, (0, None)) for value in values]
    total, average = aggregator("SUM", DOUBLE), aggregator("AVERAGE", DOUBLE)
    got = total.finalize(replay_in_pieces(total, rows, cuts))
    try:
        expected = math.fsum(values) if values else None
    except OverflowError:
        return
    assert got == expected
    if expected is not None:
        assert average.finalize(replay(average, rows)) == expected / len(values)


@quick
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_average_of_integers_is_the_exact_total_over_the_count(values: list[int]) -> None:
    built = aggregator("AVERAGE", BIGINT)
    assert built.finalize(replay(built, [(value, (0, None)) for value in values])) == float(sum(values)) / len(values)
