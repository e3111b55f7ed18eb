"""Random expressions over random rows: DuckDB and the compiled Python give the same value, or both fail.

Functions whose last places are the libraries' own (exp, ln, power) are left to the table of cases.
"""

from __future__ import annotations

import math
import re
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.expression_cases import at
from zipline.arrow import to_arrow
from zipline.errors import DataError
from zipline.expressions import parse
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, INT, STRING, TIMESTAMP, array

COLUMNS = {
    "i": INT,
    "n": BIGINT,
    "x": DOUBLE,
    "y": DOUBLE,
    "s": STRING,
    "z": STRING,
    "f": BOOLEAN,
    "g": BOOLEAN,
    "t": TIMESTAMP,
    "u": TIMESTAMP,
    "d": DATE,
    "l": array(BIGINT),
}
WORDS = (
    "",
    " ",
    "a",
    "AbC",
    "ß",
    "é",
    "ΑΣ",
    "😀",
    "12",
    " -7 ",
    "1.5e3",
    "x'y",
    "2013-02-28",
    "2013-01-01T10:00:00Z",
    "a%b",
)
DOUBLES = (0.0, -0.0, 1.0, -1.5, 2.5, 0.1, 1e16, 1e-3, 1e308, -1e308, math.inf, -math.inf, math.nan, 4503599627370497.5)
WHOLES = (0, 1, -1, 7, -7, 1000, 2**31 - 1, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63))
MOMENTS = (0, -1, at("2012-02-29 12:34:56.789"), at("2013-03-10 02:30"), at("2013-11-03 01:30"))
LETTERS = st.characters(codec="utf-8", exclude_characters="\0")

ROWS = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(2**31), 2**31 - 1) | st.sampled_from(WHOLES[:8]),
        "n": st.none() | st.sampled_from(WHOLES) | st.integers(-50, 50),
        "x": st.none() | st.sampled_from(DOUBLES) | st.floats(-1e6, 1e6),
        "y": st.none() | st.sampled_from(DOUBLES) | st.floats(-10, 10),
        "s": st.none() | st.sampled_from(WORDS) | st.text(LETTERS, max_size=6),
        "z": st.none() | st.sampled_from(WORDS),
        "f": st.none() | st.booleans(),
        "g": st.none() | st.booleans(),
        "t": st.none() | st.sampled_from(MOMENTS) | st.integers(at("1900-01-01"), at("2100-01-01")),
        "u": st.none() | st.sampled_from(MOMENTS),
        "d": st.none() | st.dates(),
        "l": st.none() | st.lists(st.none() | st.integers(-3, 3), max_size=3),
    }
)


SIGNS = ("=", "<", "<=", "<>", "IS DISTINCT FROM")
LEAVES = {
    "w": ("i", "n", "3", "-2", "0", "9223372036854775807"),
    "r": ("x", "y", "0.5", "-1e3", "0.0"),
    "c": ("f", "g", "TRUE", "FALSE", "NULL"),
    "s": ("s", "z", "'a'", "''", "'Éß'"),
    "t": ("t", "u", "TIMESTAMP '2013-07-01 06:30:00'", "CAST(d AS TIMESTAMP)"),
}
"""Per kind of value: w whole number, r double, c condition, s text, t instant."""

RULES = {
    "w": (
        "(<w> + <w>)",
        "(<w> - <w>)",
        "(<w> * <w>)",
        "(<w> DIV <w>)",
        "(<w> % <w>)",
        "(- <w>)",
        "abs(<w>)",
        "greatest(<w>, <w>)",
        "length(<s>)",
        "sign(<r>)",
        "CASE WHEN <c> THEN <w> WHEN <c> THEN <w> ELSE <w> END",
        "coalesce(<w>, <w>)",
        "nullif(<w>, <w>)",
        "TRY_CAST(<s> AS BIGINT)",
        "TRY_CAST(<r> AS INT)",
        "CAST(<w> AS SMALLINT)",
        "CAST(<c> AS INT)",
        "hour(<t>)",
        "dayofweek(<t>)",
        "week(<t>)",
        "date_diff('hour', <t>, <t>)",
        "unix_millis(<t>)",
        "size(l)",
        "l[<w>]",
    ),
    "r": (
        "(<r> + <r>)",
        "(<r> - <r>)",
        "(<r> * <r>)",
        "(<r> / <r>)",
        "(<w> / <w>)",
        "(- <r>)",
        "abs(<r>)",
        "round(<r>)",
        "round(<r>, 2)",
        "floor(<r>)",
        "ceil(<r>)",
        "sqrt(<r>)",
        "least(<r>, <r>)",
        "if(<c>, <r>, <w>)",
        "coalesce(<r>, <r>)",
        "nullif(<r>, <r>)",
        "TRY_CAST(<s> AS DOUBLE)",
    ),
    "c": (
        *(f"(<{kind}> {sign} <{kind}>)" for sign in SIGNS for kind in "wrst"),
        "(<w> > <r>)",
        "(<c> AND <c>)",
        "(<c> OR <c> OR <c>)",
        "(NOT <c>)",
        "(<c> IS NOT TRUE)",
        "(<r> IS NULL)",
        "(<s> IS NOT NULL)",
        "(<w> BETWEEN <w> AND <w>)",
        "(<s> BETWEEN <s> AND <s>)",
        "(<w> IN (<w>, <w>))",
        "(<r> NOT IN (<r>, 0.5))",
        "(<s> LIKE '%a_b%')",
        "regexp_matches(<s>, '^[a-zé]+\\d*$')",
        "starts_with(<s>, <s>)",
        "contains(<s>, <s>)",
        "array_contains(l, <w>)",
    ),
    "s": (
        "lower(<s>)",
        "upper(<s>)",
        "trim(<s>)",
        "(<s> || <s>)",
        "substring(<s>, <w>, <w>)",
        "replace(<s>, <s>, <s>)",
        "CASE WHEN <c> THEN <s> END",
        "coalesce(<s>, <s>)",
        "CAST(<w> AS STRING)",
        "CAST(<c> AS STRING)",
        "CAST(<t> AS STRING)",
        "regexp_extract(<s>, '([a-z]*)(\\d)', 1)",
    ),
    "t": (
        "date_trunc('week', <t>)",
        "date_trunc('month', <t>)",
        "(<t> + INTERVAL '90' MINUTE)",
        "(<t> - INTERVAL '1' MONTH)",
        "coalesce(<t>, <t>)",
        "greatest(<t>, <t>)",
        "TRY_CAST(<s> AS TIMESTAMP)",
        "(<t> AT TIME ZONE 'America/New_York')",
        "from_utc_timestamp(<t>, 'Asia/Kolkata')",
    ),
}
_HOLE = re.compile("<([wrcst])>")


@st.composite
def expressions(draw: st.DrawFn, deepest: int) -> str:
    """A random expression of some levels."""

    def written(kind: str, depth: int) -> str:
        if depth == 0 or draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from(LEAVES[kind]))
        return _HOLE.sub(lambda hole: written(hole[1], depth - 1), draw(st.sampled_from(RULES[kind])))

    return written(draw(st.sampled_from("wrcst")), deepest)


FAILED = "failed"


@pytest.fixture(scope="module")
def connection() -> Any:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute("SET threads = 1")
        yield opened


def on_duckdb(connection: Any, text: str, row: dict[str, Any]) -> object:
    expression = parse(text, COLUMNS)
    sql = expression.sql("duckdb")
    inputs = pa.table(
        {name: pa.array([row[name]], to_arrow(dtype), from_pandas=False) for name, dtype in COLUMNS.items()}
    )
    connection.register("inputs", inputs)
    try:
        ((result,),) = connection.sql(
            f"SELECT {f'epoch_us({sql})' if expression.type == TIMESTAMP else sql} FROM inputs"
        ).fetchall()
    except duckdb.Error:
        return FAILED
    return result


def on_python(text: str, row: dict[str, Any]) -> object:
    try:
        return parse(text, COLUMNS).python()(row)
    except DataError:
        return FAILED


CHECKS = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(CHECKS, max_examples=300)
@given(text=expressions(deepest=1), row=ROWS)
def test_single_operations_agree_also_where_they_fail(connection: Any, text: str, row: dict[str, Any]) -> None:
    expected, actual = on_duckdb(connection, text, row), on_python(text, row)
    assert (type(expected), expected) == (type(actual), actual)


@settings(CHECKS, max_examples=300)
@given(text=expressions(deepest=4), row=ROWS)
def test_nested_expressions_agree(connection: Any, text: str, row: dict[str, Any]) -> None:
    """An engine may leave out what the result does not depend on, and with it a failure."""
    expected, actual = on_duckdb(connection, text, row), on_python(text, row)
    if FAILED not in (expected, actual):
        assert (type(expected), expected) == (type(actual), actual)
