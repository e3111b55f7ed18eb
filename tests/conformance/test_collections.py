"""Orders, ties, lists, buckets and approximations: DESIGN section 2, "Values"."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zipline import Aggregation
from zipline.errors import DataError

from .adapters import Adapter, Arrow
from .questions import events, feature, features, made, operation, values
from .tables import table

INF, NAN = math.inf, math.nan
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


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
