"""Checks: what passes, what fails, what is refused before any work."""

import datetime as dt

import pyarrow as pa
import pytest

from zipline.api import Check
from zipline.arrow import schema_of
from zipline.clock import to_micros
from zipline.errors import DefinitionError, UnsupportedError
from zipline.quality.checks import run_checks, validate_checks

NOON = to_micros("2020-01-02T12:00:00Z")


def ran(check, rows, previous_rows=None, as_of=NOON):
    table = rows if isinstance(rows, pa.Table) else pa.table(rows)
    validate_checks([check], schema_of(table.schema))
    (result,) = run_checks([check], table, previous_rows=previous_rows, as_of=as_of)
    assert result.check is check
    return result


def passed(check, rows, **how):
    return ran(check, rows, **how).passed


def test_not_null_allows_a_rate_and_counts_nan_as_null():
    rows = {"x": [1.0, None, float("nan"), 4.0]}
    assert not passed(Check.not_null("x"), rows)
    assert not passed(Check.not_null("x", max_rate=0.49), rows)
    assert passed(Check.not_null("x", max_rate=0.5), rows)
    assert ran(Check.not_null("x"), rows).observed == 0.5
    assert passed(Check.not_null("x"), {"x": [[1], []]})


def test_between_includes_its_bounds_and_skips_null_and_nan():
    assert passed(Check.between("x", 1, 2), {"x": [1.0, 2.0, None, float("nan")]})
    failed = ran(Check.between("x", 1, 2), {"x": [1, 3, 0, None]})
    assert (failed.passed, failed.observed) == (False, 2)
    assert "2 of 4" in failed.message
    assert not passed(Check.between("x", 1, 2), {"x": [float("inf")]})


def test_between_compares_days_and_instants_by_their_type():
    days = {"d": [dt.date(2020, 1, 1), dt.date(2020, 12, 31)]}
    assert passed(Check.between("d", "2020-01-01", "2020-12-31"), days)
    assert not passed(Check.between("d", "2020-01-02", "2020-12-31"), days)


def test_in_set_compares_by_type_and_skips_null():
    assert passed(Check.in_set("x", ["a", "b"]), {"x": ["a", None, "b"]})
    assert ran(Check.in_set("x", ["a"]), {"x": ["a", "b", "b"]}).observed == 2
    assert passed(Check.in_set("x", [1, 2]), {"x": pa.array([1, 2], pa.uint8())})
    assert not passed(Check.in_set("x", []), {"x": ["a"]})
    assert passed(Check.in_set("x", []), {"x": pa.array([None], pa.string())})


def test_matches_holds_for_the_whole_value():
    assert passed(Check.matches("x", "[A-Z]{3}"), {"x": ["JFK", None]})
    assert ran(Check.matches("x", "[A-Z]{3}"), {"x": ["JFK", "JFKX"]}).observed == 1


def test_unique_counts_rows_that_repeat_another_in_all_columns():
    rows = {"a": ["a", "ab", "a", None, None], "b": ["bc", "c", "bc", "x", "x"]}
    failed = ran(Check.unique(["a", "b"]), rows)
    assert (failed.passed, failed.observed) == (False, 2)
    assert passed(Check.unique(["a", "b"]), {"a": ["a", "ab"], "b": ["bc", "c"]})
    assert passed(Check.unique("a"), {"a": pa.array([], pa.string())})


@pytest.mark.parametrize(
    ("rows", "before", "expected"),
    [(10, None, True), (20, 10, True), (5, 10, True), (21, 10, False), (4, 10, False), (0, 10, False), (0, 0, True)],
)
def test_row_count_change_is_a_factor_up_or_down(rows, before, expected):
    assert passed(Check.row_count_change(2), {"x": range(rows)}, previous_rows=before) is expected


def test_freshness_is_the_age_of_the_newest_query_time():
    times = pa.array([NOON - 7_200_000_000, None, NOON - 3_600_000_000], pa.timestamp("us", "UTC"))
    assert passed(Check.freshness("1h"), {"ts": times})
    stale = ran(Check.freshness("59m"), {"ts": times})
    assert (stale.passed, stale.observed) == (False, 3600)
    assert not passed(Check.freshness("1h"), {"ts": pa.array([None], pa.timestamp("us", "UTC"))})
    assert not passed(Check.freshness("1h"), {"ts": pa.array([], pa.timestamp("us", "UTC"))})


def test_sql_must_hold_for_every_row_and_null_does_not_hold():
    assert passed(Check.sql("a <= b"), {"a": [1, 2], "b": [2, 2]})
    assert ran(Check.sql("a <= b"), {"a": [1, 3, None], "b": [2, 2, 2]}).observed == 2


def test_no_rows_pass_every_check_on_rows():
    empty = pa.table({"x": pa.array([], pa.float64()), "s": pa.array([], pa.string())})
    checks = [Check.not_null("x"), Check.between("x", 0, 1), Check.in_set("s", ["a"]), Check.unique("s")]
    assert all(passed(check, empty) for check in checks)


def test_results_keep_the_order_of_checks_and_know_what_is_critical():
    checks = [
        Check.row_count_change(1.5),
        Check.between("x", 0, 1, severity="warning"),
        Check.not_null("x"),
        Check.between("x", 0, 1),
    ]
    results = run_checks(checks, pa.table({"x": [5]}), previous_rows=1, as_of=NOON)
    assert [result.check for result in results] == checks
    assert [result.passed for result in results] == [True, False, True, False]
    assert [result.is_critical for result in results] == [False, False, False, True]


def test_a_partition_with_columns_of_any_type_is_checked():
    rows = pa.table({"x": [1], "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "n": pa.nulls(1)})
    assert passed(Check.not_null("m"), rows)
    assert not passed(Check.not_null("n"), rows)


SCHEMA = schema_of(
    pa.schema({"x": pa.float64(), "s": pa.string(), "l": pa.list_(pa.int64()), "n": pa.int64(), "none": pa.null()})
)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (Check.not_null("y"), "no column 'y'"),
        (Check.unique(["x", "y"]), "no column 'y'"),
        (Check.freshness("1h"), "no column 'ts'"),
        (Check.matches("x", "a"), "needs STRING"),
        (Check.matches("s", "(a"), r"\(a|missing"),
        (Check.between("l", 0, 1), "no single values"),
        (Check.between("n", "a", "b"), "Could not convert"),
        (Check.in_set("n", ["a"]), "Could not convert"),
        (Check.row_count_change(0.5), "at least 1"),
        (Check.sql("x + 1"), "not BOOLEAN"),
        (Check.sql("y > 1"), "y"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_the_authors_line(check, said):
    with pytest.raises(DefinitionError, match=said) as refused:
        validate_checks([check], SCHEMA)
    assert refused.value.where is not None
    assert refused.value.where.file.endswith("test_checks.py")


def test_a_misspelled_column_is_suggested():
    with pytest.raises(DefinitionError) as refused:
        validate_checks([Check.not_null("delay_averag")], schema_of(pa.schema({"delay_average": pa.float64()})))
    assert refused.value.suggestion == "delay_average"


def test_drift_is_refused_at_validation():
    with pytest.raises(UnsupportedError, match="drift needs a baseline"):
        validate_checks([Check.drift("x")], SCHEMA)
