"""Printed text: it parses in its dialect, quotes names, and does not depend on sessions or on physical types."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
import sqlglot

from tests.conformance.expression_cases import Case, at, every_case
from zipline.expressions import DIALECTS, FUNCTIONS, Dialect, parse
from zipline.expressions.functions import ALIASES, CALLABLE, SPECIAL
from zipline.expressions.nodes import Call, walk
from zipline.types import BIGINT, DOUBLE, STRING, TIMESTAMP

CASES = list(every_case())
_READS: dict[Dialect, str] = {"duckdb": "duckdb", "spark": "spark", "flink": "hive"}
"""sqlglot has no dialect of Flink; Hive's quoting is the same, and the standard's words are understood."""


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_printed_text_parses(case: Case, dialect: Dialect) -> None:
    sql = parse(case.expression, case.columns).sql(dialect)
    if dialect == "flink":
        sql = sql.replace("TIMESTAMP_LTZ(6)", "TIMESTAMP").replace("TIMESTAMP(6)", "TIMESTAMP")
    (statement,) = sqlglot.parse(f"SELECT {sql} AS result FROM inputs", dialect=_READS[dialect])
    assert isinstance(statement, sqlglot.exp.Select)
    assert len(statement.expressions) == 1


def test_every_function_of_the_subset_has_a_case() -> None:
    nodes = [node for case in CASES for node in walk(parse(case.expression, case.columns).node)]
    assert {node.name for node in nodes if isinstance(node, Call)} - {"to_timestamp"} == set(FUNCTIONS)


def test_every_callable_name_is_declared() -> None:
    assert set(CALLABLE) <= set(FUNCTIONS) | set(SPECIAL)
    assert set(ALIASES.values()) <= set(CALLABLE)


@pytest.mark.parametrize(("dialect", "quoted"), [("duckdb", '"a ""b"'), ("spark", '`a "b`'), ("flink", '`a "b`')])
def test_names_are_quoted(dialect: Dialect, quoted: str) -> None:
    assert parse('"a ""b"', {'a "b': STRING}).sql(dialect) == quoted


def test_spark_escapes_backslashes_and_quotes_in_text() -> None:
    assert parse("s = 'it''s \\n'", {"s": STRING}).sql("spark") == "(`s` = 'it\\'s \\\\n')"


def test_plain_arithmetic_is_checked_for_nan_once() -> None:
    assert parse("a - b", {"a": DOUBLE, "b": DOUBLE}).sql("duckdb") == 'NULLIF(("a" - "b"), CAST(\'NaN\' AS DOUBLE))'


INSTANT = at("2013-01-01 23:30")


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "text", ["hour(t)", "date_trunc('day', t)", "CAST(t AS STRING)", "CAST(s AS TIMESTAMP)", "CAST(t AS DATE)"]
)
def test_duckdb_gives_the_same_in_every_session_zone(text: str, zone: str) -> None:
    inputs = pa.table({"t": pa.array([INSTANT], pa.timestamp("us", "UTC")), "s": ["2013-01-01 23:30"]})
    expression = parse(text, {"t": TIMESTAMP, "s": STRING})
    sql = expression.sql("duckdb")
    query = f"SELECT {f'epoch_us({sql})' if expression.type == TIMESTAMP else sql} FROM inputs"
    with duckdb.connect() as connection:
        connection.register("inputs", inputs)
        found = []
        for session in ("UTC", zone):
            connection.execute(f"SET TimeZone = '{session}'")
            found.append(connection.sql(query).fetchall())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("unit", "zone"), [("us", "UTC"), ("us", None), ("ms", None), ("ns", None), ("s", "Asia/Tokyo")]
)
def test_duckdb_reads_every_timestamp_type_as_the_same_instant(unit: str, zone: str | None) -> None:
    column = pa.array([INSTANT], pa.timestamp("us")).cast(pa.timestamp(unit)).cast(pa.int64())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("inputs", pa.table({"t": column.cast(pa.timestamp(unit, zone))}))
        for text, expected in (("hour(t)", 23), ("unix_micros(t)", INSTANT)):
            sql = parse(text, {"t": TIMESTAMP}).sql("duckdb")
            assert connection.sql(f"SELECT {sql} FROM inputs").fetchall() == [(expected,)]


def test_conditions_on_plain_columns_can_be_pushed_to_a_reader() -> None:
    condition = parse("s = 'AA' AND n > 5", {"s": STRING, "n": BIGINT})
    assert condition.sql("duckdb") == """(("s" = 'AA') AND ("n" > CAST(5 AS BIGINT)))"""
