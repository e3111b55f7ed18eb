"""Each operation on values small enough to work out by hand, and what it refuses."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.algebra.replays import feature, feature_of, replay, rows
from zipline.algebra import SumOverflow, aggregator, empty_value, result_type
from zipline.algebra.operations import DECLARATIONS, map_type
from zipline.api.operations import Operation
from zipline.errors import DataError, DefinitionError, UnsupportedError
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    DataType,
    DecimalType,
    array,
    map_of,
    struct,
)

NAN, INF = math.nan, math.inf
MONEY = DecimalType(precision=38, scale=2)
MOST, LEAST = 2**63 - 1, -(2**63)


def test_every_public_operation_is_declared_and_no_other() -> None:
    assert set(DECLARATIONS) == {operation.name for operation in Operation}


@pytest.mark.parametrize(
    ("operation", "dtype", "values", "expected"),
    [
        ("COUNT", STRING, ["a", None, "a"], 2),
        ("COUNT", DOUBLE, [NAN, INF, 1.0], 2),
        ("COUNT", struct(x=INT), [{"x": 1}, None], 1),
        ("SUM", BIGINT, [3, None, -5], -2),
        ("SUM", BIGINT, [MOST, 1, -1], MOST),
        ("SUM", BIGINT, [LEAST, MOST], -1),
        ("SUM", DOUBLE, [1e16, 1e-3, -1e16], 1e-3),
        ("SUM", DOUBLE, [1e308, 1e308, -1e308], 1e308),
        ("SUM", DOUBLE, [1e308, 1e308], INF),
        ("SUM", DOUBLE, [-1e308, -1e308], -INF),
        ("SUM", DOUBLE, [0.1] * 10, 1.0),
        ("SUM", DOUBLE, [5e-324, 5e-324], 1e-323),
        ("SUM", DOUBLE, [5e-324, 1e308, -1e308], 5e-324),
        ("SUM", DOUBLE, [INF, 1.0], INF),
        ("SUM", DOUBLE, [-INF, 1e308, 1e308], -INF),
        ("SUM", DOUBLE, [INF, -INF], None),
        ("SUM", DOUBLE, [NAN, 2.0], 2.0),
        ("SUM", FLOAT, [0.5, 0.25], 0.75),
        ("SUM", MONEY, [Decimal("1.25"), Decimal("2.50")], 3.75),
        ("AVERAGE", BIGINT, [1, 2], 1.5),
        ("AVERAGE", BIGINT, [MOST, MOST], float(MOST)),
        ("AVERAGE", DOUBLE, [1.0, None, 2.0, 6.0], 3.0),
        ("AVERAGE", DOUBLE, [1.5e308, 1.5e308], 1.5e308),
        ("AVERAGE", DOUBLE, [INF, 1.0], INF),
        ("AVERAGE", DOUBLE, [INF, -INF], None),
        ("VARIANCE", BIGINT, [2, 4, 4, 4, 5, 5, 7, 9], 4.0),
        ("VARIANCE", DOUBLE, [7.5], 0.0),
        ("VARIANCE", DOUBLE, [1e16, 1e16 + 2], 1.0),
        ("VARIANCE", DOUBLE, [1.0, INF], None),
        ("VARIANCE", MONEY, [Decimal("1.00"), Decimal("3.00")], 1.0),
        ("SKEW", DOUBLE, [0.0, 0.0, 0.0, 4.0], 2 / math.sqrt(3)),
        ("SKEW", DOUBLE, [1.0, 2.0], None),
        ("SKEW", DOUBLE, [1.0, 1.0, 1.0], None),
        ("SKEW", DOUBLE, [1.0, 2.0, 3.0], 0.0),
        ("SKEW", DOUBLE, [1.0, 2.0, 4.0, -INF], None),
        ("KURTOSIS", DOUBLE, [0.0, 0.0, 0.0, 4.0], 7 / 3 - 3),
        ("KURTOSIS", DOUBLE, [1.0, 2.0, 4.0], None),
        ("KURTOSIS", DOUBLE, [3.0] * 4, None),
        ("KURTOSIS", BIGINT, [-1, 1, -1, 1], -2.0),
        ("MIN", DOUBLE, [2.0, -INF, NAN], -INF),
        ("MIN", STRING, ["b", "a", "é"], "a"),
        ("MAX", STRING, ["z", "é", "Z"], "é"),
        ("MAX", STRING, ["\uffff", "\U0001f600"], "\U0001f600"),
        ("MIN", BOOLEAN, [True, False], False),
        ("MAX", BIGINT, [LEAST, MOST], MOST),
        ("MAX", DATE, [dt.date(2024, 1, 2), dt.date(2023, 12, 31)], dt.date(2024, 1, 2)),
        ("MAX", TIMESTAMP, [dt.datetime(1970, 1, 1, 0, 0, 1), dt.datetime(1970, 1, 1)], 1_000_000),
        ("FIRST", STRING, [None, "x", "y"], "x"),
        ("LAST", STRING, ["x", "y", None], "y"),
        ("FIRST_K", BIGINT, [5, None, 1, 9], [5, 1]),
        ("LAST_K", BIGINT, [5, 1, 9], [9, 1]),
        ("TOP_K", BIGINT, [5, 9, 1, 9], [9, 9]),
        ("BOTTOM_K", BIGINT, [5, 1, 9, 1], [1, 1]),
        ("BOTTOM_K", BIGINT, [5], [5]),
        ("UNIQUE_COUNT", DOUBLE, [0.0, -0.0, NAN, 1.0], 2),
        ("UNIQUE_COUNT", STRING, ["a", "b", "a"], 2),
        ("BOUNDED_UNIQUE_COUNT", BIGINT, [1, 1, 2, 3], 2),
        ("HISTOGRAM", STRING, ["b", "a", None, "b"], {"a": 1, "b": 2}),
        ("HISTOGRAM", BOOLEAN, [True, False, True], {False: 1, True: 2}),
        ("HISTOGRAM", BINARY, [b"\xff", b"\x00"], {b"\x00": 1, b"\xff": 1}),
        ("APPROX_UNIQUE_COUNT", STRING, ["a", "b", "a", None], 2),
        ("APPROX_PERCENTILE", BIGINT, list(range(1, 21)), [1.0, 10.0, 19.0, 20.0]),
        ("APPROX_PERCENTILE", DOUBLE, [7.0], [7.0] * 4),
        ("APPROX_HISTOGRAM_K", STRING, ["c", "a", "b", "c"], {"a": 1, "c": 2}),
        ("APPROX_HISTOGRAM_K", STRING, ["c", "b", "a"], {"a": 1, "b": 1}),
    ],
)
def test_worked_by_hand(operation: str, dtype: DataType, values: list[Any], expected: Any) -> None:
    k = {"k": 2} if DECLARATIONS[operation].needs_k else {}
    percentiles = {"percentiles": (0.0, 0.5, 0.95, 1.0)} if operation == "APPROX_PERCENTILE" else {}
    got = feature(operation, dtype, *values, **k, **percentiles)
    if operation in ("SKEW", "KURTOSIS") and expected is not None:
        expected = pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert got == expected
    assert type(got) is type(expected) or operation in ("SKEW", "KURTOSIS")


@pytest.mark.parametrize("operation", sorted(DECLARATIONS))
def test_nothing_in_the_window_gives_the_empty_value(operation: str) -> None:
    declared = DECLARATIONS[operation]
    built = aggregator(
        operation,
        DOUBLE,
        k=2 if declared.needs_k else None,
        percentiles=(0.5,) if declared.needs_percentiles else None,
    )
    expected = 0 if operation in {"COUNT", "UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT"} else None
    assert built.finalize(built.empty()) == expected == empty_value(operation)
    assert built.finalize(replay(built, rows(None, NAN))) == expected
    assert empty_value(operation, bucketed=True) is None


def test_negative_zero_is_zero() -> None:
    assert math.copysign(1, feature("MIN", DOUBLE, -0.0)) == 1
    assert math.copysign(1, feature("SUM", DOUBLE, -0.0)) == 1
    assert str(feature("MIN", MONEY, Decimal("-0.00"))) == "0.00"


def test_decimals_keep_all_their_digits_and_their_scale() -> None:
    large = Decimal("123456789012345678901234567890123456.78")
    assert feature("MAX", MONEY, large, Decimal("-1")) == large
    assert str(feature("HISTOGRAM", MONEY, Decimal("1"), Decimal("1.00"))) == "{Decimal('1.00'): 2}"


@pytest.mark.parametrize(("values", "total"), [([MOST, 1], MOST + 1), ([LEAST, -1], LEAST - 1)])
def test_an_integer_total_beyond_int64_is_an_error_with_the_total(values: list[int], total: int) -> None:
    with pytest.raises(SumOverflow, match="beyond int64") as caught:
        feature("SUM", BIGINT, *values)
    assert caught.value.total == total
    assert feature("AVERAGE", BIGINT, *values) == float(total) / 2


def test_ties_in_time_are_broken_by_known_at_then_by_value() -> None:
    tied = [("late", (5, 9)), ("b", (5, 7)), ("a", (5, 7)), ("old", (4, 99))]
    assert feature_of("FIRST", STRING, tied) == "old"
    assert feature_of("LAST", STRING, tied) == "late"
    assert feature_of("FIRST_K", STRING, tied, k=3) == ["old", "a", "b"]
    assert feature_of("LAST_K", STRING, tied, k=3) == ["late", "b", "a"]


def test_without_a_second_clock_an_event_is_known_at_its_time() -> None:
    assert feature_of("LAST", STRING, [("z", (5, None)), ("a", (5, 6))]) == "a"
    assert feature_of("LAST", STRING, [("z", (5, None)), ("a", (5, 4))]) == "z"


def test_each_element_of_a_list_counts_at_the_event_s_time() -> None:
    given = [([3, None, 1], (2, None)), (None, (3, None)), ([], (4, None)), ([2], (1, None))]
    assert feature_of("SUM", array(BIGINT), given) == 6
    assert feature_of("COUNT", array(BIGINT), given) == 3
    assert feature_of("LAST", array(BIGINT), given) == 3
    assert feature_of("FIRST_K", array(BIGINT), given, k=2) == [2, 1]
    assert feature_of("HISTOGRAM", array(BIGINT), given) == {1: 1, 2: 1, 3: 1}


def test_buckets_give_one_map_and_skip_null_buckets_and_values() -> None:
    given = [(("b", 1), (1, None)), (("a", 5), (2, None)), ((None, 9), (3, None)), (("c", None), (4, None))]
    given += [(("b", 2), (5, None))]
    assert list(feature_of("SUM", BIGINT, given, bucket=STRING).items()) == [("a", 5), ("b", 3)]
    assert feature_of("COUNT", BIGINT, given[2:4], bucket=STRING) is None
    assert feature_of("VARIANCE", DOUBLE, [((1, INF), (0, None))], bucket=BIGINT) == {1: None}
    assert feature_of("LAST", array(BIGINT), [(("x", [1, 2]), (0, None))], bucket=STRING) == {"x": 2}


def test_a_reversal_empties_its_bucket() -> None:
    built = aggregator("MAX", BIGINT, bucket=STRING, signed=True)
    ir = replay(built, [(("a", 7), (1, None)), (("b", 8), (2, None))])
    ir = built.remove(ir, ("b", 8), (2, None))
    assert built.finalize(ir) == {"a": 7}
    assert built.finalize(built.remove(ir, ("a", 7), (1, None))) is None


@pytest.mark.parametrize(
    ("operation", "element", "expected"),
    [
        ("COUNT", struct(x=INT), BIGINT),
        ("SUM", INT, BIGINT),
        ("SUM", FLOAT, DOUBLE),
        ("SUM", MONEY, DOUBLE),
        ("AVERAGE", BIGINT, DOUBLE),
        ("VARIANCE", INT, DOUBLE),
        ("MIN", INT, INT),
        ("LAST", MONEY, MONEY),
        ("TOP_K", STRING, array(STRING)),
        ("APPROX_PERCENTILE", INT, array(DOUBLE)),
        ("HISTOGRAM", DATE, map_of(DATE, BIGINT)),
        ("APPROX_HISTOGRAM_K", STRING, map_of(STRING, BIGINT)),
        ("BOUNDED_UNIQUE_COUNT", BOOLEAN, BIGINT),
        ("LAST", NULL, NULL),
    ],
)
def test_result_types(operation: str, element: DataType, expected: DataType) -> None:
    assert result_type(operation, element) == expected


def test_aggregators_know_their_result_type() -> None:
    assert aggregator("SUM", array(INT)).result_type == BIGINT
    assert aggregator("TOP_K", STRING, k=3, bucket=INT).result_type == map_type(INT, array(STRING))


@pytest.mark.parametrize("operation", ["SUM", "AVERAGE", "VARIANCE", "SKEW", "KURTOSIS", "APPROX_PERCENTILE"])
def test_numbers_are_not_made_of_booleans(operation: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        result_type(operation, BOOLEAN)
    assert caught.value.hint == "CAST(x AS INT)"


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        ("TOP_K", {}, "needs k"),
        ("TOP_K", {"k": 0}, "needs k"),
        ("TOP_K", {"k": True}, "needs k"),
        ("SUM", {"k": 3}, "takes no k"),
        ("APPROX_PERCENTILE", {}, "needs percentiles"),
        ("APPROX_PERCENTILE", {"percentiles": (1.5,)}, "between 0 and 1"),
        ("SUM", {"percentiles": (0.5,)}, "takes no percentiles"),
        ("SUM", {"bucket": array(INT)}, "a bucket is a scalar"),
        ("APPROX_UNIQUE_COUNT", {"signed": True}, "cannot take back"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(operation: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        aggregator(operation, INT, **arguments)


@pytest.mark.parametrize(
    ("operation", "element"), [("SUM", STRING), ("SUM", DATE), ("MIN", array(INT)), ("LAST", struct(x=INT))]
)
def test_types_that_do_not_fit_are_refused(operation: str, element: DataType) -> None:
    with pytest.raises(DefinitionError, match=f"{operation} does not take"):
        result_type(operation, element)


def test_an_unknown_operation_is_refused_with_the_near_one() -> None:
    with pytest.raises(DefinitionError) as caught:
        aggregator("AVERGE", INT)
    assert caught.value.suggestion == "AVERAGE"


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(BIGINT, "7"), (BIGINT, 1.5), (DOUBLE, "1.5"), (STRING, 7), (BINARY, "x"), (BOOLEAN, 2), (DATE, 3), (NULL, 1)],
)
def test_a_value_of_another_type_is_a_data_error_not_a_guess(dtype: DataType, value: Any) -> None:
    with pytest.raises(DataError, match="is not a value of type"):
        feature("COUNT", dtype, value)


def test_a_list_column_takes_lists() -> None:
    with pytest.raises(DataError, match="is not a list"):
        feature("COUNT", array(STRING), "text")


def test_what_has_no_inverse_says_how_to_get_one() -> None:
    built = aggregator("MIN", INT)
    assert not built.invertible
    with pytest.raises(UnsupportedError, match="has no inverse"):
        built.remove(3, 3, (0, None))
