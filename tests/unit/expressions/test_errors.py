"""What is outside the subset, or not typed, is refused with the part at fault and what would be valid."""

from __future__ import annotations

import pytest

from zipline.errors import ExpressionError, Location
from zipline.expressions import parse, parse_time, referenced_columns
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, NULL, STRING, TIMESTAMP, array, struct

COLUMNS = {
    "arr_delay": DOUBLE,
    "carrier": STRING,
    "distance": BIGINT,
    "arrived_at": TIMESTAMP,
    "day": DATE,
    "late": BOOLEAN,
    "tags": array(STRING),
    "place": struct(x=DOUBLE, city=STRING),
}


def refused(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as failure:
        parse(text, COLUMNS, subject="group-by 'a'", where=Location("configs/a.py", 7))
    assert failure.value.subject == "group-by 'a'"
    assert failure.value.where == Location("configs/a.py", 7)
    assert str(failure.value.where) in str(failure.value)
    return failure.value


def test_an_unknown_column_lists_the_columns_and_the_nearest() -> None:
    error = refused("arr_dely > 15")
    assert "'arr_dely'" in error.what
    assert "'arr_dely > 15'" in error.what
    assert error.suggestion == "arr_delay"
    assert error.valid == tuple(COLUMNS)


def test_names_are_case_sensitive_and_the_nearest_is_named() -> None:
    assert refused("Carrier = 'AA'").suggestion == "carrier"


def test_an_unknown_function_lists_the_functions_of_the_subset() -> None:
    error = refused("lowr(carrier)")
    assert "'lowr'" in error.what
    assert error.suggestion == "lower"
    assert {"lower", "coalesce", "to_timestamp", "json_get", "date_trunc"} <= set(error.valid)
    assert not {"negate", "case", "="} & set(error.valid)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lower(distance)", "argument 1 of lower is BIGINT, accepted is STRING"),
        ("carrier + 1", "argument 1 of + is STRING, accepted is BIGINT or DOUBLE"),
        ("arr_delay % 2", "argument 1 of % is DOUBLE, accepted is BIGINT"),
        ("hour(carrier)", "argument 1 of hour is STRING, accepted is TIMESTAMP"),
        ("hour(distance)", "argument 1 of hour is BIGINT, accepted is TIMESTAMP"),
        ("late < late", "argument 1 of < is BOOLEAN, accepted is STRING or a number, STRING, DATE or TIMESTAMP"),
        ("tags = tags", "argument 1 of = is ARRAY<STRING>, accepted is a scalar type"),
        ("carrier = 5", "the arguments of = are STRING and INT, which have no type in common"),
        ("day = '2013-01-01'", "the arguments of = are DATE and STRING, which have no type in common"),
        ("late AND distance", "argument 2 of AND is BIGINT, accepted is BOOLEAN"),
        ("NOT distance", "a condition must be BOOLEAN, this is BIGINT"),
        ("CASE WHEN distance THEN 1 END", "a condition must be BOOLEAN, this is BIGINT"),
        ("CASE WHEN late THEN 1 ELSE 'x' END", "the branches are INT and STRING, which have no type in common"),
        ("coalesce(distance, carrier)", "the arguments of coalesce are BIGINT and STRING"),
        ("distance || carrier", "argument 1 of || is BIGINT, accepted is STRING"),
        ("carrier[1]", "[...] is asked of a STRING, only an ARRAY or a MAP has elements"),
        ("carrier.x", "'x' is asked of a STRING, only a STRUCT has fields"),
        ("lower(carrier, carrier)", "lower does not take 2 arguments"),
        ("CAST(arr_delay AS STRING)", "a DOUBLE cannot be cast to STRING"),
        ("CAST(distance AS TIMESTAMP)", "a BIGINT cannot be cast to TIMESTAMP"),
        ("CAST(tags AS STRING)", "a ARRAY<STRING> cannot be cast to STRING"),
        ("CAST(carrier AS DATETIMEZ)", "'DATETIMEZ' is not a type"),
        ("CAST(carrier AS UUID)", "'UUID' is not a type"),
        ("DATE '2013-02-30'", "'2013-02-30' is not a DATE"),
        ("TIMESTAMP 'yesterday'", "'yesterday' is not a TIMESTAMP"),
        ("arrived_at - arrived_at", "instants are not subtracted with -"),
        ("arrived_at + 5", "argument 1 of + is TIMESTAMP, accepted is BIGINT or DOUBLE"),
        ("date_trunc('fortnight', arrived_at)", "'fortnight' is not a unit here"),
        ("date_trunc(carrier, arrived_at)", "'carrier' is not a unit here"),
        ("date_diff('month', day, day)", "'month' is not a unit here"),
        ("EXTRACT(century FROM day)", "'century' is not a part of an instant"),
        ("arrived_at + INTERVAL '1.5' DAY", "an INTERVAL is a whole number and a unit"),
        ("arrived_at + INTERVAL distance DAY", "an INTERVAL is a whole number and a unit"),
        ("carrier LIKE carrier", "the LIKE pattern must be a literal, not 'carrier'"),
        ("regexp_matches(carrier, carrier)", "the regular expression must be a literal"),
        ("regexp_extract(carrier, '[A-Z]', 1)", "has 0 groups, and no group 1"),
        ("regexp_matches(carrier, '(?=x)')", "only (...) and (?:...) are portable"),
        ("regexp_matches(carrier, '(a)\\1')", "'\\1', which is not portable"),
        ("regexp_matches(carrier, '\\bAA')", "'\\b', which is not portable"),
        ("regexp_matches(carrier, 'a++')", "possessive quantifier '++'"),
        ("regexp_matches(carrier, '[a&&b]')", "has '&' inside a class"),
        ("regexp_matches(carrier, 'a{')", "not a repeat"),
        ("regexp_matches(carrier, '(')", "is not a regular expression"),
        ("json_get(carrier, 'a.b')", "'a.b' is not a JSON path"),
        ("json_get(carrier, '$.*')", "'$.*' is not a JSON path"),
        ("to_timestamp(carrier, '%d.%m.%y')", "uses '%y'"),
        ("to_timestamp(carrier, '%H:%M')", "lacks %"),
        ("round(arr_delay, distance)", "the decimal places must be a literal"),
        ("round(arr_delay, 99)", "round takes 0 to 15 decimal places"),
        ("trim(BOTH 'x' FROM carrier)", "trim removes spaces only"),
        ("9223372036854775808", "a whole number beyond 64 bits"),
        ("1e999", "a number beyond the range of DOUBLE"),
    ],
)
def test_what_does_not_fit_says_so(text: str, says: str) -> None:
    assert says in refused(text).what


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sum(distance)", "sum aggregates over rows"),
        ("count(*)", "count aggregates over rows"),
        ("count(DISTINCT carrier)", "count aggregates over rows"),
        ("sum(distance) OVER (PARTITION BY carrier)", "a window function is outside the subset"),
        ("row_number() OVER ()", "a window function is outside the subset"),
        ("lag(distance)", "lag is a window function"),
        ("(SELECT 1)", "a query inside an expression is outside the subset"),
        ("distance IN (SELECT 1)", "IN takes a list of values"),
        ("EXISTS (SELECT 1)", "a query inside an expression is outside the subset"),
        ("*", "* is outside the subset"),
        ("place.*", "* is outside the subset"),
        ("distance; carrier", "holds several statements"),
        ("distance, carrier", "a list of expressions is not one expression"),
        ("distance) + (distance", "is not one expression"),
        ("distance AS d", "a name after an expression is outside the subset"),
        ("?", "a parameter is outside the subset"),
        (":p", "a parameter is outside the subset"),
        ("@p", "a parameter is outside the subset"),
        ("current_timestamp", "current_timestamp is not determined by the row"),
        ("now()", "now is not determined by the row"),
        ("rand() > 0.5", "rand is not determined by the row"),
        ("carrier ILIKE 'a%'", "ILIKE is outside the subset"),
        ("distance & 1", "BitwiseAnd is not part of the subset"),
        ("carrier SIMILAR TO 'a'", "SimilarTo is not part of the subset"),
        ("INTERVAL '1' DAY", "an INTERVAL stands only after"),
        ("carrier -> 'x'", "JSONExtract is not part of the subset"),
        ("DROP TABLE x", "does not parse"),
        ("distance +", "does not parse"),
        ("(distance", "does not parse"),
        ("'open", "does not parse"),
        ("", "an expression is SQL text"),
        ("   ", "an expression is SQL text"),
        ("-- nothing", "is not one expression"),
    ],
)
def test_what_is_outside_the_subset_is_named(text: str, says: str) -> None:
    assert says in refused(text).what


def test_what_is_outside_the_subset_lists_what_is_inside() -> None:
    error = refused("distance & 1")
    assert "coalesce" in error.valid
    assert error.hint is not None
    assert "BETWEEN" in error.hint


def test_a_type_error_names_the_part_of_the_text_it_is_in() -> None:
    assert refused("late OR lower(distance) = 'x'").what.startswith(
        "'LOWER(distance)' in \"late OR lower(distance) = 'x'\""
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("CAST(distance AS TIMESTAMP)", "timestamp_seconds"),
        ("hour(distance)", "timestamp_millis"),
        ("hour(carrier)", "to_timestamp"),
        ("arrived_at - arrived_at", "date_diff"),
        ("sum(distance)", "Aggregation"),
        ("carrier ILIKE 'a%'", "operators"),
        ("arr_delay % 2", "CAST"),
        ("arrived_at + INTERVAL distance DAY", "timestampadd"),
    ],
)
def test_the_way_out_is_hinted(text: str, hint: str) -> None:
    assert hint in (refused(text).hint or "")


def test_a_missing_field_lists_the_fields() -> None:
    error = refused("place.ctiy")
    assert error.valid == ("x", "city")
    assert error.suggestion == "city"


def test_very_deep_nesting_is_an_error_and_not_a_crash() -> None:
    for text in (
        "(" * 500 + "distance" + ")" * 500,
        "abs(" * 400 + "distance" + ")" * 400,
        " + ".join(["distance"] * 2000),
    ):
        assert "deep" in refused(text).what


def test_long_chains_of_and_or_and_branches_are_not_deep() -> None:
    chain = " OR ".join(f"distance = {n}" for n in range(500))
    assert parse(chain, COLUMNS).python()({"distance": 499}) is True
    case = "CASE " + " ".join(f"WHEN distance = {n} THEN {n}" for n in range(500)) + " END"
    assert parse(case, COLUMNS).python()({"distance": 499}) == 499


def test_a_clock_must_be_a_time() -> None:
    with pytest.raises(ExpressionError) as failure:
        parse_time("distance", COLUMNS, subject="source", where=Location("a.py", 1))
    assert "distance' is BIGINT, a time must be" in failure.value.what
    assert "timestamp_seconds(distance)" in (failure.value.hint or "")
    assert failure.value.subject == "source"
    for text in ("late", "arr_delay", "tags"):
        with pytest.raises(ExpressionError):
            parse_time(text, COLUMNS)


def test_referenced_columns_need_no_types() -> None:
    assert referenced_columns("coalesce(a, b.c) > 1 AND date_trunc(day, t) = date_trunc('day', \"u v\")") == {
        "a",
        "b",
        "t",
        "u v",
    }
    assert referenced_columns("1 + 2") == frozenset()
    with pytest.raises(ExpressionError):
        referenced_columns("a +")


def test_columns_of_unknown_type_are_null() -> None:
    assert parse("a", {"a": NULL}).type == NULL
    assert parse("a + 1", {"a": NULL}).type == BIGINT
