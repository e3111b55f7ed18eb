"""Comparison, three-valued logic and choice: declarations."""

from __future__ import annotations

from zipline.expressions import values
from zipline.expressions.declarations import Function, Overload, Variable, function, overload
from zipline.types import BOOLEAN, STRING, DataType

T = Variable("T", accepts="comparable")
ORDERED = Variable("T", accepts="ordered")
ANY = Variable("T")


def _comparison(name: str, python: str) -> Function:
    return function(name, overload(T, T, to=BOOLEAN, sql=f"({{0}} {name} {{1}})", python=f"{{0}} {python} {{1}}"))


def _order(name: str) -> Function:
    """Flink orders strings by UTF-16, the hexadecimal digits of their UTF-8 by code point."""
    sql, python = f"({{0}} {name} {{1}})", f"{{0}} {name} {{1}}"
    flink = f"(HEX({{0}}) {name} HEX({{1}}))"
    return function(
        name,
        overload(STRING, STRING, to=BOOLEAN, sql=sql, flink=flink, python=python),
        overload(ORDERED, ORDERED, to=BOOLEAN, sql=sql, python=python),
    )


def _between(dtype: DataType, flink: str) -> Overload:
    sql = "({0} BETWEEN {1} AND {2})"
    return overload(dtype, dtype, dtype, to=BOOLEAN, sql=sql, flink=flink, python=values.between, strict=False)


def _connective(word: str) -> tuple[Overload, Overload]:
    """Two operands inline, more by the function of `values`."""
    decided, other = ("False", "True") if word == "AND" else ("True", "False")
    inline = (
        f"({decided} if {{0}} is {decided} or {{1}} is {decided}"
        f" else None if {{0}} is None or {{1}} is None else {other})"
    )

    def printed(*operands: str) -> str:
        return f"({f' {word} '.join(operands)})"

    many = values.all_of if word == "AND" else values.any_of
    return (
        overload(BOOLEAN, BOOLEAN, to=BOOLEAN, sql=printed, python=inline, strict=False),
        overload(BOOLEAN, BOOLEAN, BOOLEAN, to=BOOLEAN, sql=printed, python=many, strict=False, variadic=True),
    )


def _test(name: str, sql: str, python: str) -> Function:
    return function(name, overload(BOOLEAN, to=BOOLEAN, sql=sql, python=python, strict=False))


def _one_of(value: str, *candidates: str) -> str:
    return f"({value} IN ({', '.join(candidates)}))"


LOGIC = (
    _comparison("=", "=="),
    _comparison("<>", "!="),
    *(_order(name) for name in ("<", "<=", ">", ">=")),
    function(
        "IS DISTINCT FROM",
        overload(
            T,
            T,
            to=BOOLEAN,
            sql="({0} IS DISTINCT FROM {1})",
            spark="(NOT ({0} <=> {1}))",
            python="{0} != {1}",
            strict=False,
        ),
    ),
    function(
        "IS NOT DISTINCT FROM",
        overload(
            T,
            T,
            to=BOOLEAN,
            sql="({0} IS NOT DISTINCT FROM {1})",
            spark="({0} <=> {1})",
            python="{0} == {1}",
            strict=False,
        ),
    ),
    function("IS NULL", overload(ANY, to=BOOLEAN, sql="({0} IS NULL)", python="{0} is None", strict=False)),
    _test("IS TRUE", "({0} IS TRUE)", "{0} is True"),
    _test("IS FALSE", "({0} IS FALSE)", "{0} is False"),
    function(
        "BETWEEN",
        _between(STRING, "(HEX({0}) BETWEEN HEX({1}) AND HEX({2}))"),
        _between(ORDERED, "({0} BETWEEN {1} AND {2})"),
    ),
    function("IN", overload(T, T, to=BOOLEAN, sql=_one_of, python=values.one_of, strict=False, variadic=True)),
    function("AND", *_connective("AND")),
    function("OR", *_connective("OR")),
    function("NOT", overload(BOOLEAN, to=BOOLEAN, sql="(NOT {0})", python="not {0}")),
    function(
        "NULLIF", overload(T, T, to=T, sql="NULLIF({0}, {1})", python="(None if {0} == {1} else {0})", strict=False)
    ),
)
