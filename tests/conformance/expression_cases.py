"""What every function of the SQL subset gives, written by hand: one table that each engine must reproduce.

A `Case` is an expression over typed columns and rows of (inputs..., expected). Instants are microseconds UTC
(`at("2013-01-01 06:30")`), dates are `datetime.date`. `Fails("word")` says that the row has no value and the message
names the word. An engine runs a case as one query over `values()`, and each of `failures()` alone. Results are compared
by `agrees`: exactly, but for `close` cases, whose doubles may differ in the last places.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.types import DataType, parse_type

Row = tuple[Any, ...]
LEAST, MOST = -(2**63), 2**63 - 1
INF = math.inf
NAN = math.nan


@dataclass(frozen=True)
class Fails:
    """Expected where a row has no value: the error names `word`."""

    word: str


@dataclass(frozen=True)
class Case:
    """One expression, the types of its columns and result, and rows of inputs with the expected value last."""

    expression: str
    type: DataType
    columns: dict[str, DataType]
    rows: tuple[Row, ...]
    close: bool = False

    def __str__(self) -> str:
        return self.expression

    def values(self) -> list[Row]:
        return [row for row in self.rows if not isinstance(row[-1], Fails)]

    def failures(self) -> list[Row]:
        return [row for row in self.rows if isinstance(row[-1], Fails)]

    def table(self, rows: list[Row]) -> pa.Table:
        """The inputs of some rows, with their place as `row`."""
        inputs = {
            name: pa.array([row[place] for row in rows], to_arrow(dtype), from_pandas=False)
            for place, (name, dtype) in enumerate(self.columns.items())
        }
        return pa.table({"row": pa.array(range(len(rows)), pa.int64()), **inputs})

    def agrees(self, expected: object, actual: object) -> bool:
        """Whether a value is the expected one. Zeros are equal whatever their sign; a bool is not a number."""
        if isinstance(expected, float) and isinstance(actual, float) and self.close and math.isfinite(expected):
            return math.isclose(expected, actual, rel_tol=1e-14, abs_tol=1e-300)
        return type(expected) is type(actual) and expected == actual


def at(text: str) -> int:
    """Microseconds UTC of a time written out."""
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)) // dt.timedelta(microseconds=1)


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def case(expression: str, signature: str, *rows: Row, close: bool = False) -> Case:
    """`signature` is `name TYPE; name TYPE -> TYPE`."""
    inputs, _, result = signature.rpartition("->")
    columns = {}
    for part in filter(None, (part.strip() for part in inputs.split(";"))):
        name, _, dtype = part.partition(" ")
        columns[name] = parse_type(dtype)
    assert all(len(row) == len(columns) + 1 for row in rows), expression
    return Case(expression, parse_type(result), columns, rows, close)


def every_case() -> Iterator[Case]:
    yield from (*ARITHMETIC, *ROUNDING, *LOGIC, *CHOICE, *STRINGS, *PATTERNS, *CASTS, *INSTANTS, *ZONES, *NESTED, *LITERALS)


ARITHMETIC = (
    case(
        "a + b",
        "a BIGINT; b BIGINT -> BIGINT",
        (1, 2, 3),
        (MOST, 0, MOST),
        (MOST, -1, MOST - 1),
        (None, 1, None),
        (1, None, None),
        (MOST, 1, Fails("verflow")),
        (LEAST, -1, Fails("verflow")),
    ),
    case("a + b", "a INT; b INT -> BIGINT", (2147483647, 1, 2147483648), (-5, 3, -2)),
    case("a + b", "a TINYINT; b SMALLINT -> BIGINT", (127, 32767, 32894)),
    case(
        "a + b",
        "a DOUBLE; b DOUBLE -> DOUBLE",
        (0.1, 0.2, 0.30000000000000004),
        (1e308, 1e308, INF),
        (INF, -INF, None),
        (NAN, 1.0, None),
        (None, 1.0, None),
    ),
    case("a + b", "a BIGINT; b DOUBLE -> DOUBLE", (1, 0.5, 1.5), (2**53 + 1, 0.0, 9007199254740992.0)),
    case("a + b", "a FLOAT; b FLOAT -> DOUBLE", (0.5, 0.25, 0.75), (16777216.0, 1.0, 16777217.0)),
    case("a + b", "a DECIMAL(10, 2); b INT -> DOUBLE", (Decimal("1.25"), 2, 3.25), (None, 2, None)),
    case("a - b", "a BIGINT; b BIGINT -> BIGINT", (1, 2, -1), (LEAST, 0, LEAST), (LEAST, 1, Fails("verflow"))),
    case("a - b", "a DOUBLE; b DOUBLE -> DOUBLE", (0.3, 0.1, 0.19999999999999998), (INF, INF, None)),
    case(
        "a * b",
        "a BIGINT; b BIGINT -> BIGINT",
        (6, -7, -42),
        (2**31, 2**31, 2**62),
        (LEAST, 1, LEAST),
        (LEAST, -1, Fails("verflow")),
        (2**32, 2**31, Fails("verflow")),
    ),
    case("a * b", "a DOUBLE; b DOUBLE -> DOUBLE", (1.5, -2.0, -3.0), (INF, 0.0, None), (1e200, 1e200, INF)),
    case(
        "a / b",
        "a BIGINT; b BIGINT -> DOUBLE",
        (7, 2, 3.5),
        (-7, 2, -3.5),
        (1, 3, 0.3333333333333333),
        (1, 0, None),
        (0, 0, None),
        (MOST, 1, 9223372036854775808.0),
        (None, 0, None),
    ),
    case(
        "a / b",
        "a DOUBLE; b DOUBLE -> DOUBLE",
        (1.0, 4.0, 0.25),
        (1.0, 0.0, None),
        (1.0, -0.0, None),
        (INF, INF, None),
        (1.0, INF, 0.0),
        (NAN, 2.0, None),
        (2.0, NAN, None),
    ),
    case("a / 4 - 1", "a INT -> DOUBLE", (6, 0.5), (None, None)),
    case(
        "a DIV b",
        "a BIGINT; b BIGINT -> BIGINT",
        (7, 2, 3),
        (-7, 2, -3),
        (7, -2, -3),
        (-7, -2, 3),
        (7, 0, None),
        (MOST, 10, 922337203685477580),
        (LEAST, 10, -922337203685477580),
        (LEAST, 1, LEAST),
        (None, 2, None),
        (2, None, None),
        (LEAST, -1, Fails("verflow")),
    ),
    case("a DIV 2", "a INT -> BIGINT", (-1, 0), (5, 2)),
    case(
        "a % b",
        "a BIGINT; b BIGINT -> BIGINT",
        (7, 3, 1),
        (-7, 3, -1),
        (7, -3, 1),
        (-7, -3, -1),
        (7, 0, None),
        (LEAST, -1, 0),
        (MOST, 1000, 807),
        (None, 3, None),
        (3, None, None),
    ),
    case("mod(a, 5)", "a INT -> BIGINT", (-8, -3), (8, 3)),
    case("-a", "a BIGINT -> BIGINT", (5, -5), (MOST, -MOST), (None, None), (LEAST, Fails("verflow"))),
    case("-a", "a INT -> BIGINT", (-2147483648, 2147483648)),
    case("-a", "a DOUBLE -> DOUBLE", (2.5, -2.5), (INF, -INF), (NAN, None)),
    case("abs(a)", "a BIGINT -> BIGINT", (-5, 5), (5, 5), (-MOST, MOST), (None, None), (LEAST, Fails("verflow"))),
    case("abs(a)", "a DOUBLE -> DOUBLE", (-2.5, 2.5), (-INF, INF), (NAN, None), (None, None)),
    case("sign(a)", "a BIGINT -> INT", (-5, -1), (0, 0), (MOST, 1), (None, None)),
    case("sign(a)", "a DOUBLE -> INT", (-0.5, -1), (-0.0, 0), (INF, 1), (NAN, None)),
    case("sqrt(a)", "a DOUBLE -> DOUBLE", (9.0, 3.0), (2.0, 1.4142135623730951), (0.0, 0.0), (-1.0, None), (INF, INF), (NAN, None)),
    case("sqrt(a)", "a INT -> DOUBLE", (16, 4.0), (-1, None)),
    case("ln(a)", "a DOUBLE -> DOUBLE", (1.0, 0.0), (0.0, None), (-1.0, None), (INF, INF), (NAN, None), (10.0, 2.302585092994046), close=True),
    case("exp(a)", "a DOUBLE -> DOUBLE", (0.0, 1.0), (1.0, 2.718281828459045), (1000.0, INF), (-1000.0, 0.0), (-INF, 0.0), (NAN, None), close=True),
    case(
        "power(a, b)",
        "a DOUBLE; b DOUBLE -> DOUBLE",
        (2.0, 10.0, 1024.0),
        (2.0, -1.0, 0.5),
        (0.0, 0.0, 1.0),
        (0.0, -1.0, None),
        (-8.0, 1.0 / 3.0, None),
        (-2.0, 3.0, -8.0),
        (10.0, 400.0, INF),
        (-10.0, 401.0, -INF),
        (NAN, 0.0, None),
        (1.0, NAN, None),
        (None, 0.0, None),
        close=True,
    ),
    case("pow(a, 2)", "a INT -> DOUBLE", (-3, 9.0)),
    case(
        "greatest(a, b)",
        "a BIGINT; b BIGINT -> BIGINT",
        (1, 2, 2),
        (None, 2, 2),
        (1, None, 1),
        (None, None, None),
        (LEAST, MOST, MOST),
    ),
    case("greatest(a, b, c)", "a INT; b BIGINT; c INT -> BIGINT", (1, None, 3, 3), (None, 7, None, 7), (5, 4, 3, 5)),
    case("greatest(a, b)", "a DOUBLE; b DOUBLE -> DOUBLE", (NAN, 1.0, 1.0), (INF, 1.0, INF), (NAN, None, None)),
    case("greatest(a, b)", "a STRING; b STRING -> STRING", ("a", "B", "a"), ("é", "z", "é"), (None, "x", "x")),
    case("least(a, b)", "a BIGINT; b INT -> BIGINT", (1, 2, 1), (None, 2, 2), (1, None, 1)),
    case("least(a, b)", "a STRING; b STRING -> STRING", ("a", "B", "B"), ("", "a", "")),
    case("least(a, b)", "a DATE; b DATE -> DATE", (day("2013-01-02"), day("2013-01-01"), day("2013-01-01"))),
)

ROUNDING = (
    case(
        "round(a)",
        "a DOUBLE -> DOUBLE",
        (0.5, 1.0),
        (1.5, 2.0),
        (2.5, 3.0),
        (-0.5, -1.0),
        (-2.5, -3.0),
        (0.49999999999999994, 0.0),
        (4503599627370495.5, 4503599627370496.0),
        (1e300, 1e300),
        (INF, INF),
        (NAN, None),
        (None, None),
    ),
    case(
        "round(a, 2)",
        "a DOUBLE -> DOUBLE",
        (1.234, 1.23),
        (1.235, 1.24),
        (2.675, 2.68),  # 2.675 * 100 is exactly 267.5 in doubles
        (1.005, 1.0),  # 1.005 * 100 is 100.49999999999999
        (-1.235, -1.24),
        (1e17, 1e17),
        (-INF, -INF),
        (NAN, None),
    ),
    case("round(a)", "a INT -> BIGINT", (7, 7)),
    case("floor(a)", "a DOUBLE -> DOUBLE", (2.7, 2.0), (-2.1, -3.0), (-0.5, -1.0), (1e300, 1e300), (-INF, -INF), (NAN, None), (None, None)),
    case("ceil(a)", "a DOUBLE -> DOUBLE", (2.1, 3.0), (-2.7, -2.0), (1e300, 1e300), (INF, INF), (NAN, None)),
    case("floor(a)", "a BIGINT -> BIGINT", (MOST, MOST), (-3, -3)),
    case("ceiling(a)", "a DECIMAL(5, 1) -> DOUBLE", (Decimal("2.1"), 3.0)),
)

LOGIC = (
    case("a = b", "a BIGINT; b BIGINT -> BOOLEAN", (1, 1, True), (1, 2, False), (None, 1, None), (None, None, None)),
    case("a = b", "a BIGINT; b DOUBLE -> BOOLEAN", (1, 1.0, True), (2**53 + 1, 2.0**53, True), (1, NAN, None)),
    case("a = b", "a STRING; b STRING -> BOOLEAN", ("a", "a", True), ("a", "A", False), ("é", "e\u0301", False), ("", "", True), ("a ", "a", False)),
    case("a = b", "a BOOLEAN; b BOOLEAN -> BOOLEAN", (True, True, True), (True, False, False), (None, True, None)),
    case("a <> b", "a DOUBLE; b DOUBLE -> BOOLEAN", (0.0, -0.0, False), (1.0, 2.0, True), (NAN, NAN, None), (INF, INF, False)),
    case("a < b", "a STRING; b STRING -> BOOLEAN", ("Z", "a", True), ("a", "B", False), ("a", "aa", True), ("\uffff", "😀", True), (None, "a", None)),
    case("a > b", "a DOUBLE; b DOUBLE -> BOOLEAN", (NAN, 1.0, None), (1.0, NAN, None), (INF, 1e308, True), (-INF, 0.0, False)),
    case("a > b", "a DECIMAL(10, 2); b DECIMAL(12, 4) -> BOOLEAN", (Decimal("1.10"), Decimal("1.0999"), True)),
    case("a >= b", "a INT; b BIGINT -> BOOLEAN", (1, 1, True), (0, MOST, False)),
    case("a <= b", "a DATE; b DATE -> BOOLEAN", (day("2013-01-01"), day("2013-01-02"), True), (None, day("2013-01-02"), None)),
    case("a < b", "a DATE; b TIMESTAMP -> BOOLEAN", (day("2013-01-01"), at("2013-01-01 00:00:00.000001"), True), (day("2013-01-01"), at("2013-01-01"), False)),
    case(
        "a AND b",
        "a BOOLEAN; b BOOLEAN -> BOOLEAN",
        (True, True, True),
        (True, False, False),
        (True, None, None),
        (False, None, False),
        (None, False, False),
        (None, None, None),
    ),
    case(
        "a OR b",
        "a BOOLEAN; b BOOLEAN -> BOOLEAN",
        (False, False, False),
        (True, None, True),
        (None, True, True),
        (False, None, None),
        (None, None, None),
    ),
    case("a AND b AND c", "a BOOLEAN; b BOOLEAN; c BOOLEAN -> BOOLEAN", (True, None, False, False), (True, True, True, True), (True, None, True, None)),
    case("a OR b OR c", "a BOOLEAN; b BOOLEAN; c BOOLEAN -> BOOLEAN", (False, None, True, True), (False, None, False, None), (False, False, False, False)),
    case("NOT a", "a BOOLEAN -> BOOLEAN", (True, False), (False, True), (None, None)),
    case("a IS NULL", "a BIGINT -> BOOLEAN", (None, True), (0, False)),
    case("a IS NULL", "a DOUBLE -> BOOLEAN", (NAN, True), (INF, False), (None, True)),
    case("a IS NOT NULL", "a STRING -> BOOLEAN", ("", True), (None, False)),
    case("a IS TRUE", "a BOOLEAN -> BOOLEAN", (True, True), (False, False), (None, False)),
    case("a IS NOT FALSE", "a BOOLEAN -> BOOLEAN", (True, True), (False, False), (None, True)),
    case("a IS DISTINCT FROM b", "a BIGINT; b BIGINT -> BOOLEAN", (1, 1, False), (1, 2, True), (None, 1, True), (None, None, False)),
    case("a IS NOT DISTINCT FROM b", "a DOUBLE; b DOUBLE -> BOOLEAN", (NAN, None, True), (NAN, NAN, True), (0.0, -0.0, True), (1.0, None, False)),
    case(
        "a BETWEEN b AND c",
        "a BIGINT; b BIGINT; c BIGINT -> BOOLEAN",
        (2, 1, 3, True),
        (1, 1, 1, True),
        (0, 1, 3, False),
        (2, 3, 1, False),
        (2, None, 3, None),
        (4, None, 3, False),
        (None, 1, 3, None),
    ),
    case("a NOT BETWEEN 1 AND 3", "a DOUBLE -> BOOLEAN", (0.5, True), (3.0, False), (NAN, None)),
    case("a IN (1, 2, b)", "a BIGINT; b BIGINT -> BOOLEAN", (1, None, True), (3, None, None), (3, 3, True), (4, 3, False), (None, 1, None)),
    case("a NOT IN ('x', 'y')", "a STRING -> BOOLEAN", ("x", False), ("z", True), (None, None)),
    case("a IN (1, 2.5)", "a INT -> BOOLEAN", (1, True), (2, False)),
)

CHOICE = (
    case("CASE WHEN a > 0 THEN 'up' WHEN a < 0 THEN 'down' ELSE 'flat' END", "a DOUBLE -> STRING", (1.0, "up"), (-1.0, "down"), (0.0, "flat"), (NAN, "flat"), (None, "flat")),
    case("CASE WHEN a > 0 THEN 1 END", "a INT -> INT", (1, 1), (0, None), (None, None)),
    case("CASE WHEN a THEN 1 ELSE 2.5 END", "a BOOLEAN -> DOUBLE", (True, 1.0), (False, 2.5), (None, 2.5)),
    case("CASE a WHEN 1 THEN 'one' WHEN 2 THEN 'two' ELSE 'many' END", "a BIGINT -> STRING", (1, "one"), (2, "two"), (3, "many"), (None, "many")),
    case("CASE WHEN s <> 'x' THEN CAST(s AS INT) END", "s STRING -> INT", ("12", 12), ("x", None), ("y", Fails("y"))),
    case("if(a > b, a, b)", "a INT; b BIGINT -> BIGINT", (1, 2, 2), (3, 2, 3), (None, 2, 2)),
    case("if(a, 'yes')", "a BOOLEAN -> STRING", (True, "yes"), (False, None)),
    case("coalesce(a, b, 0)", "a INT; b BIGINT -> BIGINT", (1, 2, 1), (None, 2, 2), (None, None, 0)),
    case("coalesce(a, 0)", "a DOUBLE -> DOUBLE", (NAN, 0.0), (None, 0.0), (INF, INF)),
    case("coalesce(a, CAST(s AS BIGINT))", "a BIGINT; s STRING -> BIGINT", (1, "x", 1), (None, "2", 2), (None, "x", Fails("x"))),
    case("ifnull(s, 'none')", "s STRING -> STRING", ("", ""), (None, "none")),
    case("nullif(a, b)", "a BIGINT; b BIGINT -> BIGINT", (1, 1, None), (1, 2, 1), (None, 1, None), (1, None, 1)),
    case("nullif(s, '')", "s STRING -> STRING", ("", None), ("a", "a"), (None, None)),
    case("nullif(a, 0)", "a DOUBLE -> DOUBLE", (-0.0, None), (NAN, None), (2.0, 2.0)),
)

STRINGS = (
    case("lower(s)", "s STRING -> STRING", ("ABC", "abc"), ("ÉCOLE", "école"), ("ΑΣ", "ασ"), ("İ", "i"), ("ǅ", "ǆ"), ("", ""), (None, None), ("日本😀", "日本😀")),
    case("upper(s)", "s STRING -> STRING", ("abc", "ABC"), ("école", "ÉCOLE"), ("straße", "STRASSE"), ("ﬁ", "FI"), ("ı", "I"), ("", ""), (None, None)),
    case("trim(s)", "s STRING -> STRING", ("  a b  ", "a b"), ("\ta\u00a0 ", "\ta\u00a0"), ("   ", ""), ("", ""), (None, None)),
    case("ltrim(s)", "s STRING -> STRING", ("  a ", "a "), (None, None)),
    case("rtrim(s)", "s STRING -> STRING", (" a  ", " a"), (None, None)),
    case("TRIM(LEADING FROM s)", "s STRING -> STRING", ("  a ", "a ")),
    case("length(s)", "s STRING -> INT", ("", 0), ("abc", 3), ("é", 1), ("e\u0301", 2), ("a😀b", 3), (" a ", 3), (None, None)),
    case("char_length(s)", "s STRING -> INT", ("日本", 2)),
    case(
        "substring(s, a, b)",
        "s STRING; a BIGINT; b BIGINT -> STRING",
        ("héllo", 2, 3, "éll"),
        ("a😀b", 2, 1, "😀"),
        ("abc", 0, 2, "a"),
        ("abc", -1, 3, "a"),
        ("abc", -5, 3, ""),
        ("abc", 2, 0, ""),
        ("abc", 2, -1, ""),
        ("abc", 4, 1, ""),
        ("abc", 2, 100, "bc"),
        ("abc", 1, MOST, "abc"),
        ("abc", LEAST, MOST, ""),
        ("abc", MOST, 1, ""),
        (None, 1, 1, None),
        ("abc", None, 1, None),
        ("abc", 1, None, None),
    ),
    case("substring(s, 2)", "s STRING -> STRING", ("abc", "bc"), ("a", ""), (None, None)),
    case("substring(s, a)", "s STRING; a INT -> STRING", ("abc", -1, "abc"), ("abc", 0, "abc"), ("abc", 9, "")),
    case("SUBSTRING(s FROM 2 FOR 2)", "s STRING -> STRING", ("abcd", "bc")),
    case("concat(s, '-', t)", "s STRING; t STRING -> STRING", ("a", "b", "a-b"), (None, "b", None), ("a", None, None), ("", "", "-")),
    case("s || t", "s STRING; t STRING -> STRING", ("é", "😀", "é😀"), (None, "b", None)),
    case("s || 'it''s \\ \"' || s", "s STRING -> STRING", ("x", "xit's \\ \"x")),
    case(
        "replace(s, a, b)",
        "s STRING; a STRING; b STRING -> STRING",
        ("aXbX", "X", "--", "a--b--"),
        ("aaa", "aa", "b", "ba"),
        ("abc", "", "x", "abc"),
        ("abc", "b", "", "ac"),
        ("a.c", ".", "$1", "a$1c"),
        (None, "a", "b", None),
        ("abc", None, "b", None),
        ("abc", "b", None, None),
        ("abc", "", None, None),
    ),
    case("starts_with(s, t)", "s STRING; t STRING -> BOOLEAN", ("abc", "ab", True), ("abc", "", True), ("abc", "b", False), ("a", "abc", False), (None, "a", None), ("a", None, None)),
    case("ends_with(s, t)", "s STRING; t STRING -> BOOLEAN", ("abc", "bc", True), ("abc", "b", False), ("abc", "", True), (None, "a", None)),
    case("contains(s, t)", "s STRING; t STRING -> BOOLEAN", ("abc", "b", True), ("abc", "x", False), ("abc", "", True), ("a.c", ".", True), ("abc", ".", False), ("a", None, None)),
)

PATTERNS = (
    case("s LIKE 'a%'", "s STRING -> BOOLEAN", ("abc", True), ("a", True), ("ba", False), ("A", False), ("a\nb", True), (None, None)),
    case("s LIKE 'a_c'", "s STRING -> BOOLEAN", ("abc", True), ("a😀c", True), ("a\nc", True), ("ac", False), ("abbc", False)),
    case("s NOT LIKE '%b%'", "s STRING -> BOOLEAN", ("abc", False), ("xyz", True), (None, None)),
    case("s LIKE 'a.c'", "s STRING -> BOOLEAN", ("a.c", True), ("abc", False)),
    case("s LIKE '50!%' ESCAPE '!'", "s STRING -> BOOLEAN", ("50%", True), ("50x", False), ("50!%", False)),
    case("s LIKE 'a\\_'", "s STRING -> BOOLEAN", ("a\\b", True), ("a_", False), ("a\\", False)),
    case("regexp_matches(s, '^[A-Z]{2}\\d+$')", "s STRING -> BOOLEAN", ("AB12", True), ("AB", False), ("AB12\n", False), ("xAB1", False), ("AB١", False), (None, None)),
    case("s RLIKE 'b.d'", "s STRING -> BOOLEAN", ("abcde", True), ("ab\nd", False), ("b😀d", True), ("b\rd", True), ("bd", False)),
    case("regexp_like(s, '(foo|ba[rz])(?:x)?\\.')", "s STRING -> BOOLEAN", ("a baz.", True), ("foox.", True), ("foo", False)),
    case("regexp_matches(s, '\\w\\s\\W')", "s STRING -> BOOLEAN", ("a b", False), ("a é", True), ("é b", False), ("_\t-", True)),
    case("regexp_matches(s, '[^\\d.,-]')", "s STRING -> BOOLEAN", ("1,2.-3", False), ("1a", True)),
    case("rlike(s, 'it''s')", "s STRING -> BOOLEAN", ("it's", True), ("its", False)),
    case(
        "regexp_extract(s, '([a-z]+)-(\\d+)?', 1)",
        "s STRING -> STRING",
        ("xx abc-12 de-3", "abc"),
        ("none", None),
        ("", None),
        (None, None),
    ),
    case("regexp_extract(s, '([a-z]+)-(\\d+)?', 2)", "s STRING -> STRING", ("abc-12", "12"), ("abc-", ""), ("none", None)),
    case("regexp_extract(s, '[0-9]+', 0)", "s STRING -> STRING", ("a12b3", "12"), ("ab", None)),
)

CASTS = (
    case(
        "CAST(s AS BIGINT)",
        "s STRING -> BIGINT",
        ("12", 12),
        (" -7  ", -7),
        ("+5", 5),
        ("007", 7),
        ("-0", 0),
        (str(MOST), MOST),
        (str(LEAST), LEAST),
        (None, None),
        ("", Fails("")),
        ("1.5", Fails("1.5")),
        ("1e3", Fails("1e3")),
        ("1_000", Fails("1_000")),
        ("0x10", Fails("0x10")),
        ("\t1", Fails("1")),
        ("١", Fails("١")),
        ("9223372036854775808", Fails("9223372036854775808")),
    ),
    case(
        "TRY_CAST(s AS INT)",
        "s STRING -> INT",
        ("12", 12),
        ("1.5", None),
        ("x", None),
        ("", None),
        ("2147483648", None),
        ("-2147483648", -2147483648),
        (None, None),
    ),
    case("TRY_CAST(s AS TINYINT)", "s STRING -> TINYINT", ("127", 127), ("128", None), ("-128", -128)),
    case(
        "CAST(s AS DOUBLE)",
        "s STRING -> DOUBLE",
        ("1.5", 1.5),
        (" -2e3 ", -2000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1E+2", 100.0),
        ("1e400", INF),
        ("1e-400", 0.0),
        ("9007199254740993", 9007199254740992.0),
        (None, None),
        ("NaN", Fails("NaN")),
        ("inf", Fails("inf")),
        ("1,5", Fails("1,5")),
        ("1d", Fails("1d")),
        ("", Fails("")),
    ),
    case("TRY_CAST(s AS DOUBLE)", "s STRING -> DOUBLE", ("0.1", 0.1), ("NaN", None), ("1f", None), ("0x1p3", None), (" ", None)),
    case("TRY_CAST(s AS FLOAT)", "s STRING -> FLOAT", ("0.5", 0.5), ("1e39", None), ("x", None)),
    case(
        "CAST(s AS BOOLEAN)",
        "s STRING -> BOOLEAN",
        ("true", True),
        (" FALSE ", False),
        ("t", True),
        ("No", False),
        ("y", True),
        ("1", True),
        ("0", False),
        (None, None),
        ("on", Fails("on")),
        ("2", Fails("2")),
    ),
    case("TRY_CAST(s AS BOOLEAN)", "s STRING -> BOOLEAN", ("yes", True), ("oui", None), ("", None)),
    case(
        "CAST(s AS DECIMAL(6, 2))",
        "s STRING -> DECIMAL(6, 2)",
        ("1.005", Decimal("1.01")),
        ("-1.005", Decimal("-1.01")),
        ("1.0049", Decimal("1.00")),
        ("9999.99", Decimal("9999.99")),
        (None, None),
        ("10000", Fails("10000")),
        ("1e2", Fails("1e2")),
    ),
    case("TRY_CAST(s AS DECIMAL(4, 1))", "s STRING -> DECIMAL(4, 1)", ("999.95", None), ("999.94", Decimal("999.9")), ("x", None)),
    case("CAST(a AS DECIMAL(5, 2))", "a INT -> DECIMAL(5, 2)", (12, Decimal("12.00")), (1000, Fails("1000"))),
    case(
        "CAST(a AS BIGINT)",
        "a DOUBLE -> BIGINT",
        (2.9, 2),
        (-2.9, -2),
        (-0.5, 0),
        (9223372036854774784.0, 9223372036854774784),
        (-9223372036854775808.0, LEAST),
        (NAN, None),
        (None, None),
        (9223372036854775808.0, Fails("")),
        (INF, Fails("")),
        (1e30, Fails("")),
    ),
    case("TRY_CAST(a AS INT)", "a DOUBLE -> INT", (2147483647.9, 2147483647), (2147483648.0, None), (-2147483648.9, -2147483648), (INF, None), (NAN, None)),
    case("CAST(a AS BIGINT)", "a DECIMAL(5, 2) -> BIGINT", (Decimal("2.99"), 2), (Decimal("-2.99"), -2), (None, None)),
    case("CAST(a AS DOUBLE)", "a DECIMAL(5, 2) -> DOUBLE", (Decimal("2.99"), 2.99)),
    case("CAST(a AS DECIMAL(4, 1))", "a DECIMAL(5, 2) -> DECIMAL(4, 1)", (Decimal("2.95"), Decimal("3.0")), (Decimal("-2.95"), Decimal("-3.0"))),
    case("CAST(a AS INT)", "a BIGINT -> INT", (-2147483648, -2147483648), (None, None), (2147483648, Fails("2147483648"))),
    case("TRY_CAST(a AS TINYINT)", "a INT -> TINYINT", (127, 127), (128, None), (-129, None)),
    case("CAST(a AS DOUBLE)", "a BIGINT -> DOUBLE", (2**53 + 1, 9007199254740992.0), (None, None)),
    case("CAST(a AS FLOAT)", "a DOUBLE -> FLOAT", (0.1, 0.10000000149011612), (INF, INF), (NAN, None), (3.4e38, 3.3999999521443642e38), (1e39, Fails(""))),
    case("CAST(a AS BOOLEAN)", "a INT -> BOOLEAN", (0, False), (-2, True), (None, None)),
    case("CAST(a AS INT)", "a BOOLEAN -> INT", (True, 1), (False, 0), (None, None)),
    case("CAST(a > 15 AS INT)", "a DOUBLE -> INT", (16.0, 1), (15.0, 0), (NAN, None)),
    case("CAST(a AS DOUBLE)", "a BOOLEAN -> DOUBLE", (True, 1.0), (False, 0.0)),
    case("CAST(a AS STRING)", "a BOOLEAN -> STRING", (True, "true"), (False, "false"), (None, None)),
    case("CAST(a AS STRING)", "a BIGINT -> STRING", (LEAST, str(LEAST)), (0, "0"), (None, None)),
    case("CAST(a AS STRING)", "a DATE -> STRING", (day("2013-01-02"), "2013-01-02"), (day("0987-01-01"), "0987-01-01"), (None, None)),
    case(
        "CAST(a AS STRING)",
        "a TIMESTAMP -> STRING",
        (at("2013-01-02 03:04:05"), "2013-01-02T03:04:05Z"),
        (at("1969-12-31 23:59:59.999999"), "1969-12-31T23:59:59.999999Z"),
        (at("2013-01-01 00:00:00.5"), "2013-01-01T00:00:00.500000Z"),
        (None, None),
    ),
    case(
        "CAST(s AS DATE)",
        "s STRING -> DATE",
        ("2013-01-02", day("2013-01-02")),
        (" 2012-02-29 ", day("2012-02-29")),
        ("0001-01-01", day("0001-01-01")),
        (None, None),
        ("2013-02-29", Fails("2013-02-29")),
        ("2013-1-2", Fails("2013-1-2")),
        ("20130102", Fails("20130102")),
        ("2013-01-02 10:00", Fails("2013-01-02 10:00")),
        ("0000-01-01", Fails("0000-01-01")),
    ),
    case("TRY_CAST(s AS DATE)", "s STRING -> DATE", ("2013-13-01", None), ("2013-04-31", None), ("x", None), ("9999-12-31", day("9999-12-31"))),
    case(
        "CAST(s AS TIMESTAMP)",
        "s STRING -> TIMESTAMP",
        ("2013-01-02", at("2013-01-02")),
        ("2013-01-02 03:04", at("2013-01-02 03:04")),
        ("2013-01-02T03:04:05", at("2013-01-02 03:04:05")),
        ("2013-01-02T03:04:05Z", at("2013-01-02 03:04:05")),
        (" 2013-01-02 03:04:05.5 ", at("2013-01-02 03:04:05.5")),
        ("2013-01-02T03:04:05.123456789Z", at("2013-01-02 03:04:05.123456")),
        ("2013-01-02T03:04:05+05:30", at("2013-01-01 21:34:05")),
        ("2013-01-02T03:04-0500", at("2013-01-02 08:04")),
        ("2013-01-02 03:04:05.25-05", at("2013-01-02 08:04:05.25")),
        ("1969-12-31T23:59:59.999999Z", -1),
        (None, None),
        ("2013-02-30T00:00:00Z", Fails("2013-02-30")),
        ("2013-01-02T24:00:00", Fails("24:00")),
        ("2013-01-02T03:04:60", Fails("03:04:60")),
        ("2013-01-02T3:04", Fails("3:04")),
        ("2013-01-02T03:04:05 America/New_York", Fails("America")),
        ("2013-01-02Z", Fails("2013-01-02Z")),
        ("yesterday", Fails("yesterday")),
        ("", Fails("")),
    ),
    case("TRY_CAST(s AS TIMESTAMP)", "s STRING -> TIMESTAMP", ("2013-01-02T03:04:05Z", at("2013-01-02 03:04:05")), ("2013-02-30 00:00:00", None), ("x", None), (None, None)),
    case("CAST(a AS TIMESTAMP)", "a DATE -> TIMESTAMP", (day("2013-01-02"), at("2013-01-02")), (day("1969-12-31"), at("1969-12-31")), (None, None)),
    case("CAST(a AS DATE)", "a TIMESTAMP -> DATE", (at("2013-01-02 23:59:59.999999"), day("2013-01-02")), (-1, day("1969-12-31")), (None, None)),
    case("s::INT + 1", "s STRING -> BIGINT", ("41", 42)),
)

INSTANTS = (
    case("year(t)", "t TIMESTAMP -> INT", (at("2013-12-31 23:59:59.999999"), 2013), (-1, 1969), (at("0001-01-01"), 1), (at("9999-12-31 23:59"), 9999), (None, None)),
    case("quarter(t)", "t TIMESTAMP -> INT", (at("2013-03-31"), 1), (at("2013-04-01"), 2), (at("2013-12-31"), 4)),
    case("month(t)", "t TIMESTAMP -> INT", (at("2013-02-28"), 2), (-1, 12)),
    case("week(t)", "t TIMESTAMP -> INT", (at("2012-12-30"), 52), (at("2012-12-31"), 1), (at("2016-01-03"), 53)),
    case("day(t)", "t TIMESTAMP -> INT", (at("2012-02-29 12:00"), 29), (-1, 31)),
    case("dayofweek(t)", "t TIMESTAMP -> INT", (at("2013-01-06"), 1), (at("2013-01-07"), 2), (at("2013-01-05 23:59"), 7), (-1, 4), (at("1969-12-28"), 1)),
    case("dayofyear(t)", "t TIMESTAMP -> INT", (at("2012-12-31"), 366), (at("2013-01-01"), 1)),
    case("hour(t)", "t TIMESTAMP -> INT", (at("2013-01-01 23:59"), 23), (-1, 23), (0, 0), (None, None)),
    case("minute(t)", "t TIMESTAMP -> INT", (at("2013-01-01 23:59"), 59), (-1, 59)),
    case("second(t)", "t TIMESTAMP -> INT", (at("2013-01-01 00:00:59.999999"), 59), (-1, 59)),
    case("year(d)", "d DATE -> INT", (day("2013-01-01"), 2013), (None, None)),
    case("hour(d)", "d DATE -> INT", (day("2013-01-01"), 0)),
    case("EXTRACT(DOW FROM t)", "t TIMESTAMP -> INT", (at("2013-01-06"), 1)),
    case("EXTRACT(epoch FROM t)", "t TIMESTAMP -> BIGINT", (at("2013-01-01"), 1356998400), (-1, -1)),
    case(
        "date_trunc('day', t)",
        "t TIMESTAMP -> TIMESTAMP",
        (at("2013-01-01 23:59:59.999999"), at("2013-01-01")),
        (-1, at("1969-12-31")),
        (None, None),
    ),
    case("date_trunc('week', t)", "t TIMESTAMP -> TIMESTAMP", (at("2013-01-06 12:00"), at("2012-12-31")), (at("2013-01-07"), at("2013-01-07")), (-1, at("1969-12-29"))),
    case("date_trunc('month', t)", "t TIMESTAMP -> TIMESTAMP", (at("2012-02-29 12:00"), at("2012-02-01")), (-1, at("1969-12-01"))),
    case("date_trunc('quarter', t)", "t TIMESTAMP -> TIMESTAMP", (at("2013-06-30 12:00"), at("2013-04-01"))),
    case("date_trunc('year', t)", "t TIMESTAMP -> TIMESTAMP", (at("2013-06-30 12:00"), at("2013-01-01"))),
    case("date_trunc('hour', t)", "t TIMESTAMP -> TIMESTAMP", (at("2013-06-30 12:59"), at("2013-06-30 12:00")), (-1, at("1969-12-31 23:00"))),
    case("date_trunc('minute', t)", "t TIMESTAMP -> TIMESTAMP", (at("2013-06-30 12:59:59"), at("2013-06-30 12:59"))),
    case("date_trunc(second, t)", "t TIMESTAMP -> TIMESTAMP", (at("2013-06-30 12:59:59.9"), at("2013-06-30 12:59:59")), (-1, -1_000_000)),
    case("date_trunc('month', d)", "d DATE -> TIMESTAMP", (day("2013-06-30"), at("2013-06-01"))),
    case(
        "date_diff('hour', a, b)",
        "a TIMESTAMP; b TIMESTAMP -> BIGINT",
        (at("2013-01-01 00:59"), at("2013-01-01 01:00"), 0),
        (at("2013-01-01 00:00"), at("2013-01-01 01:59:59.999999"), 1),
        (at("2013-01-01 02:00"), at("2013-01-01 00:01"), -1),
        (None, at("2013-01-01"), None),
    ),
    case("timestampdiff(MINUTE, a, b)", "a TIMESTAMP; b TIMESTAMP -> BIGINT", (at("2013-01-01"), at("2013-01-02"), 1440)),
    case("date_diff('days', a, b)", "a DATE; b DATE -> BIGINT", (day("2013-01-01"), day("2013-03-01"), 59), (day("1970-01-01"), day("1969-12-31"), -1)),
    case("date_diff('microsecond', a, b)", "a TIMESTAMP; b TIMESTAMP -> BIGINT", (0, at("9999-12-31"), at("9999-12-31"))),
    case(
        "timestampadd('minute', n, t)",
        "n BIGINT; t TIMESTAMP -> TIMESTAMP",
        (90, at("2013-01-01 23:00"), at("2013-01-02 00:30")),
        (-1, 0, -60_000_000),
        (None, 0, None),
        (1, None, None),
    ),
    case("date_add(month, n, t)", "n INT; t TIMESTAMP -> TIMESTAMP", (1, at("2013-01-31 10:00"), at("2013-02-28 10:00")), (-11, at("2013-01-31"), at("2012-02-29")), (12, at("2012-02-29"), at("2013-02-28"))),
    case("t + INTERVAL '1' DAY", "t TIMESTAMP -> TIMESTAMP", (at("2013-12-31 01:00"), at("2014-01-01 01:00")), (None, None)),
    case("t - INTERVAL '90 minutes'", "t TIMESTAMP -> TIMESTAMP", (at("2013-01-01 01:00"), at("2012-12-31 23:30"))),
    case("t + INTERVAL '1' MONTH", "t TIMESTAMP -> TIMESTAMP", (at("2013-01-31"), at("2013-02-28")), (at("2013-12-15 00:00:00.000001"), at("2014-01-15 00:00:00.000001"))),
    case("t - INTERVAL 1 YEAR", "t TIMESTAMP -> TIMESTAMP", (at("2012-02-29"), at("2011-02-28"))),
    case("d + INTERVAL '36' HOUR", "d DATE -> TIMESTAMP", (day("2013-01-01"), at("2013-01-02 12:00"))),
    case("timestamp_seconds(a)", "a BIGINT -> TIMESTAMP", (1356998400, at("2013-01-01")), (-1, -1_000_000), (None, None), (MOST, Fails(""))),
    case("timestamp_millis(a)", "a BIGINT -> TIMESTAMP", (1356998400123, at("2013-01-01 00:00:00.123")), (-1, -1000)),
    case("timestamp_micros(a)", "a BIGINT -> TIMESTAMP", (-1, -1), (1, 1), (at("9999-12-31 23:59:59.999999"), at("9999-12-31 23:59:59.999999"))),
    case("unix_seconds(t)", "t TIMESTAMP -> BIGINT", (at("2013-01-01 00:00:00.9"), 1356998400), (-1, -1), (-1_000_000, -1), (None, None)),
    case("unix_millis(t)", "t TIMESTAMP -> BIGINT", (1999, 1), (-1, -1), (-1000, -1), (0, 0)),
    case("unix_micros(t)", "t TIMESTAMP -> BIGINT", (at("2013-01-01 00:00:00.123456"), 1356998400123456), (-1, -1)),
    case(
        "to_timestamp(s, '%m/%d/%Y %H:%M')",
        "s STRING -> TIMESTAMP",
        ("01/02/2013 03:04", at("2013-01-02 03:04")),
        (" 12/31/1999 23:59 ", at("1999-12-31 23:59")),
        (None, None),
        ("1/2/2013 03:04", Fails("1/2/2013")),
        ("02/30/2013 00:00", Fails("02-30")),
        ("2013-01-02 03:04", Fails("2013-01-02")),
    ),
    case("to_timestamp(s, '%Y%m%d')", "s STRING -> TIMESTAMP", ("20130102", at("2013-01-02")), ("2013010", Fails("2013010"))),
    case("to_timestamp(s, '%d.%m.%Y %H:%M:%S.%f%z')", "s STRING -> TIMESTAMP", ("02.01.2013 03:04:05.25+0130", at("2013-01-02 01:34:05.25")), ("02.01.2013 03:04:05.1Z", at("2013-01-02 03:04:05.1"))),
    case("to_timestamp(s)", "s STRING -> TIMESTAMP", ("2013-01-02T03:04Z", at("2013-01-02 03:04")), ("x", Fails("x"))),
    case("t >= TIMESTAMP '2013-01-01 00:00:00.000001'", "t TIMESTAMP -> BOOLEAN", (at("2013-01-01"), False), (at("2013-01-01 00:00:00.000001"), True)),
    case("d = DATE '2013-01-01'", "d DATE -> BOOLEAN", (day("2013-01-01"), True), (day("2013-01-02"), False)),
    case("coalesce(a, b)", "a TIMESTAMP; b DATE -> TIMESTAMP", (None, day("2013-01-01"), at("2013-01-01")), (5, None, 5)),
)

NEW_YORK = "America/New_York"
ZONES = (
    case(
        "t AT TIME ZONE z",
        "t TIMESTAMP; z STRING -> TIMESTAMP",
        (at("2013-01-01 05:15"), NEW_YORK, at("2013-01-01 10:15")),
        (at("2013-07-01 05:15"), NEW_YORK, at("2013-07-01 09:15")),
        (at("2013-11-03 01:30"), NEW_YORK, at("2013-11-03 05:30")),  # shown twice: the first
        (at("2013-11-03 00:59:59.999999"), NEW_YORK, at("2013-11-03 04:59:59.999999")),
        (at("2013-11-03 02:00"), NEW_YORK, at("2013-11-03 07:00")),
        (at("2013-03-10 01:59"), NEW_YORK, at("2013-03-10 06:59")),
        (at("2013-03-10 02:30"), NEW_YORK, at("2013-03-10 07:30")),  # skipped: on by an hour
        (at("2013-03-10 03:00"), NEW_YORK, at("2013-03-10 07:00")),
        (at("2013-04-07 01:45"), "Australia/Lord_Howe", at("2013-04-06 14:45")),  # clocks back by half an hour
        (at("2013-07-01 12:00"), "Asia/Kolkata", at("2013-07-01 06:30")),
        (at("2013-07-01 12:00"), "America/Phoenix", at("2013-07-01 19:00")),
        (at("2013-07-01 12:00"), "UTC", at("2013-07-01 12:00")),
        (None, "UTC", None),
        (at("2013-07-01 12:00"), None, None),
        (at("2013-07-01 12:00"), "Nowhere/Else", Fails("Nowhere/Else")),
    ),
    case("s AT TIME ZONE 'America/Chicago'", "s STRING -> TIMESTAMP", ("2013-01-01 05:15", at("2013-01-01 11:15")), (None, None), ("x", Fails("x"))),
    case("to_utc_timestamp(d, z)", "d DATE; z STRING -> TIMESTAMP", (day("2013-01-01"), NEW_YORK, at("2013-01-01 05:00"))),
    case(
        "from_utc_timestamp(t, z)",
        "t TIMESTAMP; z STRING -> TIMESTAMP",
        (at("2013-01-01 10:15"), NEW_YORK, at("2013-01-01 05:15")),
        (at("2013-11-03 05:30"), NEW_YORK, at("2013-11-03 01:30")),
        (at("2013-11-03 06:30:00.000001"), NEW_YORK, at("2013-11-03 01:30:00.000001")),
        (None, "UTC", None),
        (0, None, None),
    ),
    case("hour(from_utc_timestamp(t, 'Asia/Tokyo'))", "t TIMESTAMP -> INT", (at("2013-01-01 20:00"), 5)),
)

POINT = "STRUCT<x: DOUBLE, name: STRING, at: TIMESTAMP, inner: STRUCT<n: INT>>"
NESTED = (
    case("size(l)", "l ARRAY<BIGINT> -> INT", ([], 0), ([1, None], 2), (None, None)),
    case("cardinality(m)", "m MAP<STRING, BIGINT> -> INT", ([], 0), ([("a", 1)], 1), (None, None)),
    case("l[n]", "l ARRAY<STRING>; n BIGINT -> STRING", (["a", "b"], 1, "a"), (["a", "b"], 2, "b"), (["a"], 2, None), (["a"], 0, None), (["a"], -1, None), ([None], 1, None), (None, 1, None), (["a"], None, None)),
    case("element_at(l, 1)", "l ARRAY<DOUBLE> -> DOUBLE", ([1.5], 1.5), ([NAN], None), ([], None)),
    case("l[1]", "l ARRAY<TIMESTAMP> -> TIMESTAMP", ([0], 0), ([], None)),
    case("l[1] + 1", "l ARRAY<INT> -> BIGINT", ([41], 42), ([], None)),
    case("array_contains(l, n)", "l ARRAY<BIGINT>; n BIGINT -> BOOLEAN", ([1, 2], 2, True), ([1, None], 2, False), ([], 1, False), (None, 1, None), ([1], None, None)),
    case("array_contains(l, 'x')", "l ARRAY<STRING> -> BOOLEAN", (["x"], True), (["X"], False)),
    case("m['a']", "m MAP<STRING, BIGINT> -> BIGINT", ([("a", 1), ("b", 2)], 1), ([("b", 2)], None), ([], None), (None, None)),
    case("coalesce(m[k], 0)", "m MAP<STRING, BIGINT>; k STRING -> BIGINT", ([("é", 1)], "é", 1), ([("a", 1)], "b", 0), ([("a", 1)], None, 0)),
    case("p.x", f"p {POINT} -> DOUBLE", ({"x": 1.5, "name": "a", "at": 0, "inner": {"n": 1}}, 1.5), ({"x": NAN, "name": "a", "at": 0, "inner": None}, None), (None, None)),
    case("p.inner.n + 1", f"p {POINT} -> BIGINT", ({"x": 1.5, "name": "a", "at": 0, "inner": {"n": 1}}, 2), ({"x": 1.5, "name": "a", "at": 0, "inner": None}, None)),
    case("p.at", f"p {POINT} -> TIMESTAMP", ({"x": 1.5, "name": "a", "at": 7, "inner": None}, 7)),
    case(
        "json_get(s, '$.a.b')",
        "s STRING -> STRING",
        ('{"a": {"b": "x"}}', "x"),
        ('{"a": {"b": 12}}', "12"),
        ('{"a": {"b": -9223372036854775808}}', "-9223372036854775808"),
        ('{"a": {"b": true}}', "true"),
        ('{"a": {"b": null}}', None),
        ('{"a": {"b": ""}}', ""),
        ('{"a": {"b": {"c": [1, 2]}}}', '{"c":[1,2]}'),
        ('{"a": {"b": "\\u00e9\\"\\n"}}', 'é"\n'),
        ('{"a": [1]}', None),
        ('{"a": 1}', None),
        ("{}", None),
        ("{bad", None),
        ("", None),
        (None, None),
    ),
    case("json_get(s, '$.a[1].b')", "s STRING -> STRING", ('{"a": [0, {"b": 5}]}', "5"), ('{"a": []}', None)),
    case("json_get(s, '$[''a b''][0]')", "s STRING -> STRING", ('{"a b": ["z"]}', "z")),
    case("CAST(json_get(s, '$.price') AS DOUBLE)", "s STRING -> DOUBLE", ('{"price": 1.50}', 1.5), ('{"price": 1e2}', 100.0), ('{"price": "2"}', 2.0)),
)

LITERALS = (
    case("a + 9223372036854775807", "a BIGINT -> BIGINT", (0, MOST), (-1, MOST - 1)),
    case("a - -9223372036854775808", "a BIGINT -> BIGINT", (-1, MOST), (LEAST, 0)),
    case("a + 2147483647", "a INT -> BIGINT", (1, 2147483648)),
    case("a * 1.5", "a INT -> DOUBLE", (3, 4.5)),
    case("a * 1e-3", "a DOUBLE -> DOUBLE", (1.0, 0.001)),
    case("a + -2.5", "a DOUBLE -> DOUBLE", (0.0, -2.5)),
    case("s = ''", "s STRING -> BOOLEAN", ("", True), (" ", False)),
    case("s = 'é😀\\n''\"'", "s STRING -> BOOLEAN", ("é😀\\n'\"", True)),
    case("if(a, TRUE, NULL)", "a BOOLEAN -> BOOLEAN", (True, True), (False, None)),
    case("coalesce(NULL, a)", "a DATE -> DATE", (day("2013-01-01"), day("2013-01-01")), (None, None)),
    case("if(a, DATE '2013-01-01', NULL)", "a BOOLEAN -> DATE", (True, day("2013-01-01")), (False, None)),
    case("if(a, TIMESTAMP '1969-12-31T23:59:59.999999Z', NULL)", "a BOOLEAN -> TIMESTAMP", (True, -1), (False, None)),
    case('"order" + "Group"', "order BIGINT; Group BIGINT -> BIGINT", (1, 2, 3)),
    case("date + value", "date BIGINT; value BIGINT -> BIGINT", (1, 2, 3)),
    case("a", "a DOUBLE -> DOUBLE", (NAN, None), (1.5, 1.5)),
    case("t", "t TIMESTAMP -> TIMESTAMP", (at("2013-01-01"), at("2013-01-01")), (None, None)),
    case("s", "s STRING -> STRING", ("x", "x"), (None, None)),
)
