"""Arithmetic and number functions: declarations.

Integers are computed in 64 bits and fail beyond them. Flink wraps around, so there they are computed in DECIMAL and
compared with the range; doubles follow IEEE 754 everywhere, NaN becoming null.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from zipline.expressions import values
from zipline.expressions.declarations import Constant, Function, Overload, Printer, Variable, function, overload
from zipline.types import BIGINT, DOUBLE, INT, STRING, DataType

T = Variable("T", accepts="ordered")


def flink_int64(decimal: str) -> str:
    """A whole DECIMAL as BIGINT, failing beyond 64 bits: Flink's own CAST would wrap around."""
    refusal = f"CAST('integer overflow: ' || CAST({decimal} AS STRING) AS BIGINT)"
    inside = f"{decimal} BETWEEN {values.LEAST} AND {values.MOST}"
    return f"CASE WHEN {inside} THEN CAST({decimal} AS BIGINT) ELSE {refusal} END"


def _flink_exact(operator: str) -> Callable[[str, str], str]:
    def printed(left: str, right: str) -> str:
        return flink_int64(f"(CAST({left} AS DECIMAL(19, 0)) {operator} CAST({right} AS DECIMAL(19, 0)))")

    return printed


def _operator(sign: str) -> Function:
    """`+`, `-` or `*`."""
    sql, python = f"({{0}} {sign} {{1}})", f"{{0}} {sign} {{1}}"
    return function(
        sign,
        overload(BIGINT, BIGINT, to=BIGINT, sql=sql, flink=_flink_exact(sign), python=f"int64({python})"),
        overload(DOUBLE, DOUBLE, to=DOUBLE, sql=sql, python=python, carries_nan=True, gives_nan=True),
    )


_NONZERO = re.compile(r"(?:CAST\((?=[0-9]*[1-9])[0-9]+ AS BIGINT\)|(?=[0-9.]*[1-9])[0-9.]+(?:[LD]|e[+-]?[0-9]+))")


def nonzero(divisor: str) -> str:
    """A divisor that is null where it is zero; a literal that is not zero stays as it is."""
    return divisor if _NONZERO.fullmatch(divisor) else f"NULLIF({divisor}, 0)"


def _duckdb_modulo(dividend: str, divisor: str) -> str:
    """DuckDB fails on the least integer % -1."""
    safe = (
        divisor
        if _NONZERO.fullmatch(divisor)
        else f"(CASE {divisor} WHEN 0 THEN NULL WHEN -1 THEN 1 ELSE {divisor} END)"
    )
    return f"({dividend} % {safe})"


def _flink_whole(dividend: str, divisor: str) -> str:
    negated = _flink_exact("-")("0", dividend)
    return f"(CASE WHEN {divisor} = -1 THEN {negated} ELSE {dividend} / {nonzero(divisor)} END)"


def _divide(dividend: str, divisor: str) -> str:
    return f"({dividend} / {nonzero(divisor)})"


def _divide_flink(dividend: str, divisor: str) -> str:
    """Flink's own NULLIF of a computed zero trips its optimizer."""
    safe = divisor if _NONZERO.fullmatch(divisor) else f"CASE WHEN {divisor} <> 0 THEN {divisor} END"
    return f"({dividend} / {safe})"


DIV = overload(
    BIGINT,
    BIGINT,
    to=BIGINT,
    duckdb=lambda dividend, divisor: f"({dividend} // {nonzero(divisor)})",
    spark=lambda dividend, divisor: f"({dividend} div {nonzero(divisor)})",
    flink=_flink_whole,
    python=values.divide_whole,
)
MODULO = overload(
    BIGINT,
    BIGINT,
    to=BIGINT,
    duckdb=_duckdb_modulo,
    spark=lambda dividend, divisor: f"({dividend} % {nonzero(divisor)})",
    flink=lambda dividend, divisor: f"MOD({dividend}, {nonzero(divisor)})",
    python=values.modulo,
)


WHOLE = overload(BIGINT, to=BIGINT, sql="{0}", python="{0}")
"""The overload of a rounding function that has nothing to round."""


def _read_places(text: str) -> int:
    if not text.isdigit() or int(text) > 15:
        raise ValueError(f"round takes 0 to 15 decimal places, as a literal, not {text}")
    return int(text)


PLACES = Constant("decimal places", _read_places)


def _round(whole: str) -> Callable[[str, int], str]:
    """Scaled in double arithmetic, which is the same everywhere; doubles from 2^52 on are whole."""

    def printed(value: str, places: int) -> str:
        factor = f"1e{places}"
        scaled = whole.format(f"({value} * {factor})")
        return f"(CASE WHEN ABS({value}) < 4503599627370496e0 THEN {scaled} / {factor} ELSE {value} END)"

    return printed


_FLINK_ROUND = "(CASE WHEN ABS({0}) < 4503599627370496e0 THEN ROUND({0}, 0) ELSE {0} END)"
"""Flink cannot round infinity."""


def _guarded(condition: str, name: str) -> str:
    """`name` of the argument where the condition over it holds, else null."""
    return f"(CASE WHEN {{0}} {condition} THEN {name}({{0}}) END)"


def _step(name: str) -> Function:
    """floor or ceil: Spark's give BIGINT, so large values, which are whole, stay away from them."""
    spark = f"(CASE WHEN ABS({{0}}) < 4503599627370496e0 THEN CAST({name}({{0}}) AS DOUBLE) ELSE {{0}} END)"
    python = values.floor if name == "floor" else values.ceil
    return function(
        name,
        WHOLE,
        overload(DOUBLE, to=DOUBLE, sql=f"{name}({{0}})", spark=spark, python=python),
    )


def _flink_known(word: str, read: str = "{0}") -> Callable[..., str]:
    """Flink's GREATEST and LEAST are null where any argument is: each argument falls back on the others."""

    def printed(*arguments: str) -> str:
        turns = (", ".join((*arguments[place:], *arguments[:place])) for place in range(len(arguments)))
        return f"{word}({', '.join(read.format(f'COALESCE({turn})') for turn in turns)})"

    return printed


def _flink_text(word: str) -> Printer:
    """Of strings by code point, which is the order of the hexadecimal digits of their UTF-8."""
    chosen = _flink_known(word, "HEX({0})")
    return lambda *arguments: f"DECODE(UNHEX({chosen(*arguments)}), 'UTF-8')"


def _extreme(name: str) -> Function:
    """Nulls are passed over; null only where there is nothing else."""

    def of(dtype: DataType, flink: Printer) -> Overload:
        python = values.greatest if name == "greatest" else values.least
        sql = f"{name}({{all}})"
        return overload(dtype, dtype, to=dtype, sql=sql, flink=flink, python=python, strict=False, variadic=True)

    return function(name, of(STRING, _flink_text(name.upper())), of(T, _flink_known(name.upper())))


NUMBERS = (
    _operator("+"),
    _operator("-"),
    _operator("*"),
    function(
        "/",
        overload(
            DOUBLE,
            DOUBLE,
            to=DOUBLE,
            sql=_divide,
            flink=_divide_flink,
            python="(None if {1} == 0 else {0} / {1})",
            carries_nan=True,
            gives_nan=True,
        ),
    ),
    function("DIV", DIV),
    function("%", MODULO),
    function("mod", MODULO),
    function(
        "negate",
        overload(
            BIGINT,
            to=BIGINT,
            duckdb="(0 - {0})",
            spark="(- {0})",
            flink=lambda x: _flink_exact("-")("0", x),
            python="int64(-{0})",
        ),
        overload(DOUBLE, to=DOUBLE, sql="(- {0})", python="-{0}", carries_nan=True, gives_nan=True),
    ),
    function(
        "abs",
        overload(
            BIGINT,
            to=BIGINT,
            sql="abs({0})",
            flink=lambda x: f"(CASE WHEN {x} < 0 THEN {_flink_exact('-')('0', x)} ELSE {x} END)",
            python="int64(abs({0}))",
        ),
        overload(DOUBLE, to=DOUBLE, sql="abs({0})", python="abs({0})", carries_nan=True, gives_nan=True),
    ),
    function(
        "round",
        WHOLE,
        overload(DOUBLE, to=DOUBLE, sql="round({0})", flink=_FLINK_ROUND, python=values.round_whole),
        overload(
            DOUBLE,
            PLACES,
            to=DOUBLE,
            sql=_round("round({0})"),
            flink=_round("ROUND({0}, 0)"),
            python="round_places({0}, float(10 ** {1}))",
        ),
    ),
    _step("floor"),
    _step("ceil"),
    function("ln", overload(DOUBLE, to=DOUBLE, sql=_guarded("> 0", "ln"), python=values.logarithm)),
    function("exp", overload(DOUBLE, to=DOUBLE, sql="exp({0})", python=values.exponential)),
    function("sqrt", overload(DOUBLE, to=DOUBLE, sql=_guarded(">= 0", "sqrt"), python=values.square_root)),
    function(
        "power",
        overload(
            DOUBLE,
            DOUBLE,
            to=DOUBLE,
            sql="(CASE WHEN {0} <> 0 OR {1} >= 0 THEN power({0}, {1}) END)",
            python=values.power,
            gives_nan=True,
        ),
    ),
    function(
        "sign",
        overload(BIGINT, to=INT, sql="CAST(sign({0}) AS INT)", python=values.sign),
        overload(DOUBLE, to=INT, sql="CAST(sign({0}) AS INT)", python=values.sign),
    ),
    _extreme("greatest"),
    _extreme("least"),
)
