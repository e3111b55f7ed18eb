"""How exact totals, averages and moments are: DESIGN section 2, "Values"."""

from __future__ import annotations

import math

import pytest

from zipline.errors import DataError

from .adapters import Adapter, Arrow
from .questions import events, feature, features, made, values

INF, NAN = math.inf, math.nan
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


# Sums


def test_the_sum_of_integers_is_exact(adapter: Adapter) -> None:
    # 2^53 + 1 is no double.
    rows = values("BIGINT", 2**53, 1)
    assert feature(adapter, rows, made("SUM")) == 9007199254740993


@pytest.mark.parametrize(
    "given", [(INT64_MAX, 1, -1), (INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN, 2), (INT64_MIN, -1, 1)]
)
def test_a_total_within_int64_is_right_whatever_it_passes_through(adapter: Adapter, given: tuple[int, ...]) -> None:
    assert feature(adapter, values("BIGINT", *given), made("SUM")) == sum(given)


@pytest.mark.parametrize("given", [(INT64_MAX, 1), (INT64_MIN, -1), (INT64_MAX,) * 3])
def test_a_total_beyond_int64_is_an_error_that_names_the_feature_and_the_key(
    engine: Arrow, given: tuple[int, ...]
) -> None:
    with pytest.raises(DataError) as raised:
        feature(engine, values("BIGINT", *given), made("SUM", "1d"))
    assert "value_sum_1d" in str(raised.value)
    assert "ann" in str(raised.value)


def test_an_overflow_that_no_query_asks_for_is_no_error(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-01", INT64_MAX), ("2024-03-01", INT64_MAX), ("2024-03-05 11:30", 5))
    assert feature(adapter, rows, made("SUM", "1h")) == 5


def test_small_integers_add_up_beyond_their_own_type(adapter: Adapter) -> None:
    assert feature(adapter, values("INT", 2**31 - 1, 2**31 - 1), made("SUM")) == 4294967294
    assert feature(adapter, values("TINYINT", 127, 127), made("SUM")) == 254


def test_the_average_of_integers_never_overflows(adapter: Adapter) -> None:
    rows = values("BIGINT", INT64_MAX, INT64_MAX, INT64_MAX)
    assert feature(adapter, rows, made("AVERAGE")) == float(INT64_MAX)


def test_the_average_of_integers_is_exact_where_large_ones_cancel(adapter: Adapter) -> None:
    rows = values("BIGINT", INT64_MAX, 1, -INT64_MAX, 1)
    assert feature(adapter, rows, made("AVERAGE")) == 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.1,) * 10, 1.0),
        ((1e6, 1e-6, -1e6), 1e-6),  # magnitudes span 1e12: to 1e-9 of the result
        ((0.1, 0.2, -0.3), 2.7755575615628914e-17),  # the doubles nearest to 0.1, 0.2 and 0.3 leave this
        ((1e5, 3e-7, -1e5, 1e-7), 4e-7),
    ],
)
def test_float_sums_agree_with_exact_arithmetic_to_1e_9_of_the_result(
    adapter: Adapter, given: tuple[float, ...], expected: float
) -> None:
    assert feature(adapter, values("DOUBLE", *given), made("SUM")) == pytest.approx(expected, rel=1e-9, abs=0)
    mean = feature(adapter, values("DOUBLE", *given), made("AVERAGE"))
    assert mean == pytest.approx(expected / len(given), rel=1e-9, abs=0)


def test_a_float_total_is_right_whatever_it_passes_through(adapter: Adapter) -> None:
    assert feature(adapter, values("DOUBLE", 1e308, 1e308, -1e308), made("SUM")) == pytest.approx(1e308, rel=1e-9)
    assert feature(adapter, values("DOUBLE", 1e308, 1e308), made("AVERAGE")) == pytest.approx(1e308, rel=1e-9)


def test_float_sums_beyond_that_span_agree_to_1e_9_of_the_sum_of_magnitudes(adapter: Adapter) -> None:
    # The result is 0.002; 1e-9 of 2e16 is 2e7.
    total = feature(adapter, values("DOUBLE", 1e16, 1e-3, -1e16, 1e-3), made("SUM"))
    assert abs(total) <= 2e7


def test_values_outside_the_window_never_influence_the_error(adapter: Adapter) -> None:
    rows = events(
        "DOUBLE",
        ("2024-03-05 08:00", 1e16),
        ("2024-03-05 09:00", 1e-3),
        ("2024-03-05 11:30", 1e-3),
        ("2024-03-05 11:31", 2e-3),
        ("2024-03-05 12:00", 1e16),
    )
    total, mean, variance = features(adapter, rows, *(made(name, "1h") for name in ("SUM", "AVERAGE", "VARIANCE")))
    assert total == pytest.approx(0.003, rel=1e-9)
    assert mean == pytest.approx(0.0015, rel=1e-9)
    assert variance == pytest.approx(2.5e-7, rel=1e-9)  # (0.0005)^2


# Moments


def test_variance_is_the_populations(adapter: Adapter) -> None:
    assert feature(adapter, values("DOUBLE", 1.0, 3.0), made("VARIANCE")) == 1.0
    assert feature(adapter, values("BIGINT", 5), made("VARIANCE")) == 0.0


def test_variance_survives_a_mean_a_million_times_the_deviation(adapter: Adapter) -> None:
    # 1e9 -/+ 1000 around 1e9: mean / deviation is 1e6.
    rows = values("DOUBLE", 1e9 - 1000, 1e9 + 1000)
    assert feature(adapter, rows, made("VARIANCE")) == pytest.approx(1e6, rel=1e-9)


def test_skew_needs_three_values_and_a_non_zero_variance(adapter: Adapter) -> None:
    assert feature(adapter, values("DOUBLE", 1.0, 2.0), made("SKEW")) is None
    assert feature(adapter, values("DOUBLE", 0.1, 0.1, 0.1), made("SKEW")) is None
    # Mean 1: deviations -1, -1, 2: variance 2, third moment 2: 2 / 2^1.5.
    skew = feature(adapter, values("DOUBLE", 0.0, 0.0, 3.0), made("SKEW"))
    assert skew == pytest.approx(0.7071067811865476, rel=1e-6)


def test_kurtosis_is_excess_and_needs_four_values_and_a_non_zero_variance(adapter: Adapter) -> None:
    assert feature(adapter, values("DOUBLE", 1.0, 2.0, 3.0), made("KURTOSIS")) is None
    assert feature(adapter, values("DOUBLE", 0.1, 0.1, 0.1, 0.1), made("KURTOSIS")) is None
    # Deviations all 1: fourth moment 1 over variance 1 squared, less 3.
    assert feature(adapter, values("DOUBLE", 1.0, 1.0, 3.0, 3.0), made("KURTOSIS")) == pytest.approx(-2.0, rel=1e-6)


def test_the_variance_of_equal_values_is_zero(adapter: Adapter) -> None:
    assert feature(adapter, values("DOUBLE", 0.1, 0.1, 0.1), made("VARIANCE")) == 0.0
