"""Reversals of what is not there, and the size to which a signed multiset may grow."""

from __future__ import annotations

import pytest

from tests.unit.algebra.replays import replay
from zipline.algebra import aggregator, signed
from zipline.algebra.contract import Aggregator
from zipline.algebra.signed import TooManyRows
from zipline.types import BIGINT, DOUBLE, STRING, array

AT = (1, None)


def reversed_(built: Aggregator, *values: object) -> object:
    ir = built.empty()
    for value in values:
        ir = built.remove(ir, value, AT)
    return ir


@pytest.mark.parametrize("operation", ["COUNT", "SUM", "AVERAGE", "MAX", "LAST", "TOP_K", "UNIQUE_COUNT", "HISTOGRAM"])
@pytest.mark.parametrize("dtype", [BIGINT, DOUBLE])
def test_a_reversal_of_what_is_not_there_is_counted_until_it_comes(operation: str, dtype: object) -> None:
    built = aggregator(operation, dtype, k=2 if operation == "TOP_K" else None, signed=True)
    ir = reversed_(built, 7, 7, None)
    assert built.orphans(ir) == 2
    ir = built.update(ir, 7, AT)
    assert built.orphans(ir) == 1
    assert built.finalize(ir) in (0, None)
    assert built.orphans(built.merge(ir, replay(built, [(7, AT)]))) == 0


@pytest.mark.parametrize(("operation", "expected"), [("MAX", 5), ("LAST", 5), ("UNIQUE_COUNT", 1), ("FIRST_K", [5])])
def test_a_reversal_of_one_value_takes_no_other_away(operation: str, expected: object) -> None:
    built = aggregator(operation, BIGINT, k=2 if operation == "FIRST_K" else None, signed=True)
    ir = built.update(reversed_(built, 9), 5, AT)
    assert (built.orphans(ir), built.finalize(ir)) == (1, expected)


def test_elements_and_buckets_are_counted_each() -> None:
    of_lists = aggregator("MAX", array(BIGINT), signed=True)
    assert of_lists.orphans(reversed_(of_lists, [1, 2, None], [])) == 2
    by_bucket = aggregator("SUM", BIGINT, bucket=STRING, signed=True)
    ir = by_bucket.update(reversed_(by_bucket, ("a", 1), ("b", 1)), ("c", 1), AT)
    assert by_bucket.orphans(ir) == 2


def test_a_key_of_too_many_rows_is_an_error_until_it_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "LARGEST", 3)
    built = aggregator("MAX", BIGINT, signed=True)
    ir = replay(built, [(n, AT) for n in range(3)])
    assert built.finalize(ir) == 2
    ir = built.update(ir, 2, AT)
    with pytest.raises(TooManyRows, match=r"4 rows of one key") as raised:
        built.finalize(ir)
    assert raised.value.rows == 4
    assert built.finalize(built.remove(ir, 2, AT)) == 2


def test_missing_rows_count_towards_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "LARGEST", 3)
    built = aggregator("MAX", BIGINT, signed=True)
    with pytest.raises(TooManyRows):
        built.finalize(reversed_(built, 1, 2, 3, 3))


def test_operations_with_an_inverse_have_no_such_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "LARGEST", 1)
    built = aggregator("SUM", BIGINT, signed=True)
    assert built.finalize(replay(built, [(n, AT) for n in range(5)])) == 10
