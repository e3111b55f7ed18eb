"""What operations make of the values seen: DESIGN section 2, "Values". Every expected value is worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zipline import Operation

from .adapters import Adapter
from .questions import NOON, events, feature, features, group_by_of, made, queries, values
from .tables import AggregateCase

INF, NAN = math.inf, math.nan
INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
COUNTS = ("COUNT", "UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT")


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
    minutes = ((1, 4.0), (3, 1.0), (5, 2.0), (6, 8.0))
    without = events("DOUBLE", *((f"2024-03-05 11:{minute:02d}", value) for minute, value in minutes))
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
