"""What operations make of the values seen: DESIGN section 2, "Values". Every expected value is worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zipline import Aggregation, Operation
from zipline.errors import DataError

from .adapters import Adapter, Arrow
from .questions import NOON, events, feature, features, group_by_of, operation, queries, values
from .tables import AggregateCase, table

INF, NAN = math.inf, math.nan
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
WITH_ARGUMENTS: dict[str, dict[str, Any]] = {
    "FIRST_K": {"k": 2},
    "LAST_K": {"k": 2},
    "TOP_K": {"k": 2},
    "BOTTOM_K": {"k": 2},
    "APPROX_HISTOGRAM_K": {"k": 4},
    "APPROX_PERCENTILE": {"percentiles": [0.5]},
}
COUNTS = ("COUNT", "UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT")


def made(name: str, window: str | None = None, **arguments: Any) -> Aggregation:
    return operation(name, window, **{**WITH_ARGUMENTS.get(name, {}), **arguments})


ALL = tuple(Operation.__members__)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("COUNT", 5),
        ("SUM", 14.0),  # 4 + 1 + 4 + 2 + 3
        ("AVERAGE", 2.8),
        ("VARIANCE", 1.36),  # deviations 1.2 -1.8 1.2 -0.8 0.2: squares 1.44 3.24 1.44 0.64 0.04 = 6.8, over 5
        ("SKEW", -0.576 / 1.36**1.5),  # cubes 1.728 -5.832 1.728 -0.512 0.008 = -2.88, over 5 is -0.576
        ("KURTOSIS", 3.0112 / 1.36**2 - 3),  # fourths 2.0736 10.4976 2.0736 0.4096 0.0016 = 15.056, over 5
        ("MIN", 1.0),
        ("MAX", 4.0),
        ("FIRST", 4.0),
        ("LAST", 3.0),
        ("FIRST_K", [4.0, 1.0]),
        ("LAST_K", [3.0, 2.0]),
        ("TOP_K", [4.0, 4.0]),
        ("BOTTOM_K", [1.0, 2.0]),
        ("UNIQUE_COUNT", 4),
        ("BOUNDED_UNIQUE_COUNT", 4),
        ("APPROX_UNIQUE_COUNT", 4),
        ("APPROX_PERCENTILE", [3.0]),
        ("HISTOGRAM", {4.0: 2, 1.0: 1, 2.0: 1, 3.0: 1}),
        ("APPROX_HISTOGRAM_K", {4.0: 2, 1.0: 1, 2.0: 1, 3.0: 1}),
    ],
)
def test_each_operation_on_five_values(adapter: Adapter, name: str, expected: Any) -> None:
    rows = values("DOUBLE", 4.0, 1.0, 4.0, 2.0, 3.0)
    assert feature(adapter, rows, made(name)) == pytest.approx(expected, rel=1e-12)


def test_every_operation_is_tested_on_five_values() -> None:
    marks = test_each_operation_on_five_values.pytestmark
    assert [name for name, _ in marks[0].args[1]] == list(ALL)


@pytest.mark.parametrize("name", ALL)
def test_null_and_nan_are_skipped_by_every_operation(adapter: Adapter, name: str) -> None:
    with_gaps = values("DOUBLE", NAN, 4.0, None, 1.0, NAN, 2.0, 8.0, None)
    without = values("DOUBLE", 4.0, 1.0, 2.0, 8.0)
    assert feature(adapter, with_gaps, made(name)) == feature(adapter, without, made(name))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("given", [(), (None, None), (NAN, None)], ids=["no events", "nulls", "NaN and null"])
def test_nothing_in_the_window_is_zero_for_counts_and_null_for_all_others(
    adapter: Adapter, name: str, given: tuple[Any, ...]
) -> None:
    expected = 0 if name in COUNTS else None
    assert feature(adapter, values("DOUBLE", *given), made(name)) == expected
    assert feature(adapter, values("DOUBLE", *given), made(name, "1d")) == expected


@pytest.mark.parametrize("name", ALL)
def test_default_replaces_the_empty_window_value(adapter: Adapter, name: str) -> None:
    default: Any = -1 if name in COUNTS else _default_of(name)
    assert feature(adapter, values("DOUBLE", None), made(name, default=default)) == default


def _default_of(name: str) -> Any:
    if name.endswith("HISTOGRAM") or name == "APPROX_HISTOGRAM_K":
        return {0.5: 0}
    return [0.5] if name.endswith("_K") or name == "APPROX_PERCENTILE" else 0.5


def test_default_replaces_nothing_else(adapter: Adapter) -> None:
    # Two values are too few for SKEW, inf - inf has no sum, 0 is a sum: none of these is an empty window.
    assert feature(adapter, values("DOUBLE", 1.0, 2.0), made("SKEW", default=9.0)) is None
    assert feature(adapter, values("DOUBLE", INF, -INF), made("SUM", default=9.0)) is None
    assert feature(adapter, values("BIGINT", 1, -1), made("SUM", default=9)) == 0


def test_default_is_not_part_of_the_name(adapter: Adapter) -> None:
    rows = values("BIGINT", 1)
    result = adapter.run(AggregateCase(group_by_of(rows, made("SUM", default=7)), queries(NOON), {"events": rows}))
    assert result.columns[2:] == ("value_sum",)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("COUNT", (INF, -INF, 1.0), 3),
        ("SUM", (INF, 1.0), INF),
        ("SUM", (-INF, 1.0, -INF), -INF),
        ("SUM", (INF, -INF, 1.0), None),
        ("AVERAGE", (INF, 1.0), INF),
        ("AVERAGE", (INF, -INF), None),
        ("VARIANCE", (INF, 1.0), None),
        ("VARIANCE", (INF,), None),
        ("SKEW", (INF, 1.0, 2.0), None),
        ("KURTOSIS", (-INF, 1.0, 2.0, 3.0), None),
        ("MIN", (INF, 1.0, -INF), -INF),
        ("MAX", (INF, 1.0, -INF), INF),
        ("MAX", (-INF,), -INF),
        ("FIRST", (INF, 1.0), INF),
        ("LAST", (1.0, -INF), -INF),
        ("TOP_K", (1.0, INF, -INF), [INF, 1.0]),
        ("BOTTOM_K", (1.0, INF, -INF), [-INF, 1.0]),
        ("LAST_K", (1.0, INF, -INF), [-INF, INF]),
        ("UNIQUE_COUNT", (INF, INF, -INF), 2),
        ("HISTOGRAM", (INF, INF, 1.0), {INF: 2, 1.0: 1}),
        ("APPROX_PERCENTILE", (INF, 1.0, -INF), [1.0]),
    ],
)
def test_infinities_are_values_and_what_they_make_undefined_is_null(
    adapter: Adapter, name: str, given: tuple[float, ...], expected: Any
) -> None:
    assert feature(adapter, values("DOUBLE", *given), made(name)) == expected


def test_infinities_outside_the_window_leave_no_trace(adapter: Adapter) -> None:
    rows = events("DOUBLE", ("2024-03-05 08:00", INF), ("2024-03-05 09:00", -INF), ("2024-03-05 11:30", 2.5))
    asked = [made(name, "1h") for name in ("SUM", "AVERAGE", "VARIANCE", "MAX")]
    assert features(adapter, rows, *asked) == [2.5, 2.5, 0.0, 2.5]


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


# Order, counts and collections


def test_top_k_is_descending_and_bottom_k_ascending_with_duplicates(adapter: Adapter) -> None:
    rows = values("BIGINT", 5, 1, 5, 3, 1)
    assert feature(adapter, rows, made("TOP_K", k=4)) == [5, 5, 3, 1]
    assert feature(adapter, rows, made("BOTTOM_K", k=4)) == [1, 1, 3, 5]


def test_first_k_is_oldest_first_and_last_k_newest_first_with_duplicates(adapter: Adapter) -> None:
    rows = values("STRING", "b", "a", "b", "c")
    assert feature(adapter, rows, made("FIRST_K", k=3)) == ["b", "a", "b"]
    assert feature(adapter, rows, made("LAST_K", k=3)) == ["c", "b", "a"]


def test_fewer_values_than_k_give_a_shorter_list(adapter: Adapter) -> None:
    for name in ("TOP_K", "BOTTOM_K", "FIRST_K", "LAST_K"):
        assert feature(adapter, values("BIGINT", 7), made(name, k=3)) == [7]


def test_bounded_unique_count_counts_up_to_k_by_default_8(adapter: Adapter) -> None:
    rows = values("BIGINT", *range(10), 3)
    assert feature(adapter, rows, operation("BOUNDED_UNIQUE_COUNT")) == 8
    assert feature(adapter, rows, operation("BOUNDED_UNIQUE_COUNT", k=3)) == 3
    assert feature(adapter, rows, operation("BOUNDED_UNIQUE_COUNT", k=20)) == 10


def test_strings_are_ordered_by_code_point(adapter: Adapter) -> None:
    # U+1F6EB lies above U+FB00, though its UTF-16 form lies below.
    rows = values("STRING", "b", "\U0001f6eb", "\ufb00", "B", "é", "")
    assert feature(adapter, rows, made("TOP_K", k=6)) == ["\U0001f6eb", "\ufb00", "é", "b", "B", ""]
    assert feature(adapter, rows, made("MIN")) == ""
    assert feature(adapter, rows, made("MAX")) == "\U0001f6eb"


def test_an_empty_text_is_a_value(adapter: Adapter) -> None:
    rows = values("STRING", "", "", None)
    assert features(adapter, rows, made("COUNT"), made("UNIQUE_COUNT"), made("LAST")) == [2, 1, ""]


def test_both_zeros_are_one_value(adapter: Adapter) -> None:
    rows = values("DOUBLE", 0.0, -0.0, 0.0)
    assert feature(adapter, rows, made("UNIQUE_COUNT")) == 1
    assert feature(adapter, rows, made("HISTOGRAM")) == {0.0: 3}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("BOOLEAN", (True, False, True)),
        ("DATE", ("2024-03-02", "2024-03-01", "2024-03-02")),
        ("TIMESTAMP", ("2024-03-02 01:00", "2024-03-01", "2024-03-02 01:00")),
        ("STRING", ("b", "a", "b")),
        ("INT", (2, 1, 2)),
        ("FLOAT", (2.5, 1.5, 2.5)),
    ],
)
def test_values_keep_their_type(adapter: Adapter, kind: str, given: tuple[Any, ...]) -> None:
    rows = values(kind, *given)
    high, low, _ = (row["value"] for row in rows.rows)
    names = ("MIN", "MAX", "FIRST", "LAST", "LAST_K", "UNIQUE_COUNT", "HISTOGRAM", "COUNT")
    expected = [low, high, high, high, [high, low], 2, {high: 2, low: 1}, 3]
    assert features(adapter, rows, *(made(name) for name in names)) == expected


def test_float_columns_are_summed_as_the_values_they_hold(adapter: Adapter) -> None:
    # The float32 nearest to 0.1 is 0.100000001490116...
    assert feature(adapter, values("FLOAT", 0.1, 0.1), made("SUM")) == pytest.approx(0.20000000298023224, rel=1e-9)


# Ties


def test_values_of_one_time_are_ordered_by_their_own_order(adapter: Adapter) -> None:
    rows = events("BIGINT", *(("2024-03-05 11:00", value) for value in (2, 3, 1)))
    assert feature(adapter, rows, made("FIRST")) == 1
    assert feature(adapter, rows, made("LAST")) == 3
    assert feature(adapter, rows, made("FIRST_K", k=2)) == [1, 2]
    assert feature(adapter, rows, made("LAST_K", k=2)) == [3, 2]


def test_of_one_time_the_later_known_is_the_later_value(adapter: Adapter) -> None:
    schema = "user STRING, value BIGINT, t TIMESTAMP, known TIMESTAMP"
    rows = table(
        schema,
        ("ann", 9, "2024-03-05 11:00", "2024-03-05 11:01"),
        ("ann", 1, "2024-03-05 11:00", "2024-03-05 11:02"),
        ("ann", 5, "2024-03-05 11:00", "2024-03-05 11:02"),
    )
    assert feature(adapter, rows, made("FIRST")) == 9
    assert feature(adapter, rows, made("LAST")) == 5
    assert feature(adapter, rows, made("LAST_K", k=3)) == [5, 1, 9]


def test_time_comes_before_known_at_in_ties(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, t TIMESTAMP, known TIMESTAMP",
        ("ann", 1, "2024-03-05 11:00", "2024-03-05 11:30"),
        ("ann", 2, "2024-03-05 11:10", "2024-03-05 11:11"),
    )
    assert feature(adapter, rows, made("LAST")) == 2


def test_a_null_at_the_last_time_leaves_the_last_value(adapter: Adapter) -> None:
    rows = events("STRING", ("2024-03-05 11:00", "b"), ("2024-03-05 11:00", "a"), ("2024-03-05 11:30", None))
    assert feature(adapter, rows, made("LAST")) == "b"


# Lists


def test_list_inputs_contribute_each_element_at_the_events_time(adapter: Adapter) -> None:
    rows = values("ARRAY<BIGINT>", [3, 1], None, [], [None, 2], [5])
    names = ("COUNT", "SUM", "FIRST", "LAST", "TOP_K", "UNIQUE_COUNT", "HISTOGRAM")
    # The first event's elements tie: 1 before 3.
    expected = [4, 11, 1, 5, [5, 3], 4, {3: 1, 1: 1, 2: 1, 5: 1}]
    assert features(adapter, rows, *(made(name) for name in names)) == expected


def test_null_and_nan_elements_are_skipped(adapter: Adapter) -> None:
    rows = values("ARRAY<DOUBLE>", [NAN, None], [1.5, NAN], [None])
    assert features(adapter, rows, made("COUNT"), made("AVERAGE"), made("LAST_K")) == [1, 1.5, [1.5]]


def test_lists_of_text(adapter: Adapter) -> None:
    rows = values("ARRAY<STRING>", ["b", "a"], ["b"], [None])
    assert features(adapter, rows, made("UNIQUE_COUNT"), made("HISTOGRAM"), made("MAX")) == [2, {"b": 2, "a": 1}, "b"]


# Buckets


def bucketed(name: str, window: str | None = None, **arguments: Any) -> Aggregation:
    return made(name, window, buckets=["channel"], **arguments)


CHANNELS = table(
    "user STRING, channel STRING, value DOUBLE, t TIMESTAMP",
    ("ann", "web", 1.0, "2024-03-05 11:00"),
    ("ann", "shop", 2.0, "2024-03-05 11:10"),
    ("ann", "web", 4.0, "2024-03-05 11:20"),
    ("ann", None, 8.0, "2024-03-05 11:30"),
    ("ann", "post", None, "2024-03-05 11:40"),
    ("ann", "web", 16.0, "2024-03-04 11:00"),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("COUNT", {"web": 2, "shop": 1}),
        ("SUM", {"web": 5.0, "shop": 2.0}),
        ("AVERAGE", {"web": 2.5, "shop": 2.0}),
        ("VARIANCE", {"web": 2.25, "shop": 0.0}),
        ("MAX", {"web": 4.0, "shop": 2.0}),
        ("LAST", {"web": 4.0, "shop": 2.0}),
        ("FIRST_K", {"web": [1.0, 4.0], "shop": [2.0]}),
        ("UNIQUE_COUNT", {"web": 2, "shop": 1}),
        ("HISTOGRAM", {"web": {1.0: 1, 4.0: 1}, "shop": {2.0: 1}}),
    ],
)
def test_buckets_give_one_map_with_null_buckets_skipped(adapter: Adapter, name: str, expected: Any) -> None:
    assert feature(adapter, CHANNELS, bucketed(name, "6h")) == expected


def test_an_empty_map_is_null_for_counts_too(adapter: Adapter) -> None:
    assert feature(adapter, CHANNELS, bucketed("COUNT", "6h"), query="2024-03-01") is None
    assert feature(adapter, CHANNELS, bucketed("SUM", "6h"), query="2024-03-01") is None


def test_buckets_may_be_of_any_type(adapter: Adapter) -> None:
    rows = table(
        "user STRING, level INT, day DATE, value BIGINT, t TIMESTAMP",
        ("ann", 1, "2024-03-01", 3, "2024-03-05 11:00"),
        ("ann", 2, "2024-03-01", 4, "2024-03-05 11:00"),
        ("ann", 1, None, 5, "2024-03-05 11:00"),
    )
    by_level, by_day = features(adapter, rows, made("SUM", buckets=["level", "day"]))
    assert by_level == {1: 8, 2: 4}
    assert by_day == {rows.rows[0]["day"]: 7}


def test_nan_buckets_are_skipped_and_both_zeros_are_one_bucket(adapter: Adapter) -> None:
    rows = table(
        "user STRING, channel DOUBLE, value BIGINT, t TIMESTAMP",
        ("ann", NAN, 1, "2024-03-05 11:00"),
        ("ann", 0.0, 2, "2024-03-05 11:00"),
        ("ann", -0.0, 4, "2024-03-05 11:00"),
    )
    assert feature(adapter, rows, bucketed("SUM")) == {0.0: 6}


def test_a_bucket_whose_value_is_undefined_stays_with_null(adapter: Adapter) -> None:
    rows = table(
        "user STRING, channel STRING, value DOUBLE, t TIMESTAMP",
        ("ann", "web", INF, "2024-03-05 11:00"),
        ("ann", "web", -INF, "2024-03-05 11:00"),
        ("ann", "shop", 2.0, "2024-03-05 11:00"),
    )
    assert feature(adapter, rows, bucketed("SUM")) == {"web": None, "shop": 2.0}
    assert feature(adapter, rows, bucketed("SKEW")) == {"web": None, "shop": None}


def test_each_bucket_keeps_the_rules_of_ties_and_lists(adapter: Adapter) -> None:
    rows = table(
        "user STRING, channel STRING, value ARRAY<BIGINT>, t TIMESTAMP",
        ("ann", "web", [3, 9], "2024-03-05 11:00"),
        ("ann", "web", [5], "2024-03-05 11:00"),
        ("ann", "shop", [], "2024-03-05 11:00"),
    )
    assert feature(adapter, rows, bucketed("LAST_K")) == {"web": [9, 5]}


def test_a_sum_beyond_int64_in_a_bucket_is_an_error_too(engine: Arrow) -> None:
    rows = table(
        "user STRING, channel STRING, value BIGINT, t TIMESTAMP",
        ("ann", "web", INT64_MAX, "2024-03-05 11:00"),
        ("ann", "web", INT64_MAX, "2024-03-05 11:00"),
    )
    with pytest.raises(DataError) as raised:
        feature(engine, rows, bucketed("SUM"))
    assert "value_sum_by_channel" in str(raised.value)
    assert "ann" in str(raised.value)


# Approximations


def test_approx_unique_count_is_within_5_percent(adapter: Adapter) -> None:
    first = values("BIGINT", 0)
    rows = first.with_rows([first.rows[0] | {"value": number * 7919 % 20000} for number in range(40000)])
    assert abs(feature(adapter, rows, made("APPROX_UNIQUE_COUNT")) - 20000) <= 1000


def test_approx_percentile_is_a_list_of_doubles_within_2_percent_of_rank(adapter: Adapter) -> None:
    first = values("BIGINT", 0)
    rows = first.with_rows([first.rows[0] | {"value": number * 7919 % 20000} for number in range(20000)])
    ranks = [0.0, 0.01, 0.5, 0.95, 0.999, 1.0]
    got = feature(adapter, rows, made("APPROX_PERCENTILE", percentiles=ranks))
    assert all(isinstance(value, float) for value in got)
    # The values are 0 to 19999 once each, so a value is its rank.
    assert [abs(value / 20000 - rank) <= 0.02 for value, rank in zip(got, ranks, strict=True)] == [True] * 6


def test_approx_percentile_of_one_value_is_that_value(adapter: Adapter) -> None:
    assert feature(adapter, values("BIGINT", 7), made("APPROX_PERCENTILE", percentiles=[0.1, 0.9])) == [7.0, 7.0]


def test_approx_histograms_are_exact_up_to_k_values(adapter: Adapter) -> None:
    rows = values("STRING", "a", "b", "a", "c", "a")
    assert feature(adapter, rows, made("APPROX_HISTOGRAM_K", k=3)) == {"a": 3, "b": 1, "c": 1}


def test_approx_histograms_keep_values_that_make_up_most_of_the_events(adapter: Adapter) -> None:
    first = values("STRING", "a")
    given = ["heavy" if number % 2 else f"light {number % 100}" for number in range(1000)]
    rows = first.with_rows([first.rows[0] | {"value": value} for value in given])
    assert "heavy" in feature(adapter, rows, made("APPROX_HISTOGRAM_K", k=8))
