"""What each piece of SQL syntax means: one function per kind of sqlglot node, from syntax to typed node."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

from sqlglot import exp

from zipline.errors import Location
from zipline.expressions.calls import (
    check_call,
    check_cast,
    check_extract,
    check_rlike,
    check_substring,
    check_trim,
    check_zone,
    negated,
    refuse_name,
)
from zipline.expressions.checker import Checker, Visit
from zipline.expressions.functions import CLOCKS, FUNCTIONS
from zipline.expressions.nodes import Call, Case, Column, Field, Fixed, Literal, Node
from zipline.expressions.patterns import read_like
from zipline.expressions.syntax import parse_syntax
from zipline.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    ArrayType,
    DataType,
    MapType,
    StructType,
)

_BINARY: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "DIV",
    exp.Mod: "%",
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
}


def checked(text: str, columns: Mapping[str, DataType], subject: str | None, where: Location | None) -> Node:
    """The typed tree of an expression over columns; ExpressionError says what is wrong with it."""
    tree = parse_syntax(text, subject=subject, where=where)
    return Checker(text, columns, VISITS, subject=subject, where=where).check(tree)


def _column(checker: Checker, tree: exp.Expr) -> Node:
    """A column, or a field of one: `a.b`."""
    parts = [part.name for part in tree.parts]  # type: ignore[attr-defined]
    if any(isinstance(part, exp.Star) for part in tree.parts):  # type: ignore[attr-defined]
        checker.refuse(tree.this)
    name, *fields = parts
    if name not in checker.columns:
        _no_column(checker, name, tree)
    node: Node = Column(checker.columns[name], name)
    for field in fields:
        node = _field(checker, node, field, tree)
    return node


def _no_column(checker: Checker, name: str, tree: exp.Expr) -> NoReturn:
    if name.lower() in CLOCKS:
        refuse_name(checker, name.lower(), tree)
    checker.fail(f"there is no column {name!r}", at=tree, asked=name, valid=checker.columns)


def _field(checker: Checker, node: Node, field: str, tree: exp.Expr) -> Node:
    if not isinstance(node.type, StructType):
        checker.fail(
            f"{field!r} is asked of a {node.type}, only a STRUCT has fields",
            at=tree,
            hint="json_get(text, '$.name') reads JSON, map['key'] a map",
        )
    dtype = node.type.field(field)
    if dtype is None:
        checker.fail(f"there is no field {field!r}", at=tree, asked=field, valid=[name for name, _ in node.type.fields])
    return Field(dtype, node, field)


def _literal(checker: Checker, tree: exp.Expr) -> Node:
    if tree.args["is_string"]:
        return Literal(STRING, tree.name)
    return _number(checker, tree.name, tree)


def _number(checker: Checker, text: str, tree: exp.Expr) -> Node:
    if text.removeprefix("-").isdigit():
        value = int(text)
        if not -(2**63) <= value < 2**63:
            checker.fail("a whole number beyond 64 bits", at=tree, hint=f"write {text}.0 for a DOUBLE")
        return Literal(INT if -(2**31) <= value < 2**31 else BIGINT, value)
    number = float(text)
    if math.isinf(number):
        checker.fail("a number beyond the range of DOUBLE", at=tree)
    return Literal(DOUBLE, number)


def _negation(checker: Checker, tree: exp.Expr) -> Node:
    operand = tree.this
    if isinstance(operand, exp.Literal) and not operand.is_string:
        return _number(checker, f"-{operand.name}", tree)
    return checker.call("negate", [checker.check(operand)], tree)


def _binary(checker: Checker, tree: exp.Expr) -> Node:
    left, right = tree.this, tree.expression
    if isinstance(tree, (exp.Add, exp.Sub)) and isinstance(left, exp.Interval) != isinstance(right, exp.Interval):
        return _moved(checker, tree, left, right)
    operands = [checker.check(left), checker.check(right)]
    if isinstance(tree, exp.Sub) and {operand.type for operand in operands} <= {DATE, TIMESTAMP}:
        checker.fail(
            "instants are not subtracted with -", at=tree, hint="date_diff('second', start, end) counts whole units"
        )
    return checker.call(_BINARY[type(tree)], operands, tree)


def _moved(checker: Checker, tree: exp.Expr, left: exp.Expr, right: exp.Expr) -> Node:
    """An instant plus or minus INTERVAL 'n' unit."""
    minus = isinstance(tree, exp.Sub)
    if minus and isinstance(left, exp.Interval):
        checker.fail("nothing is subtracted from an INTERVAL", at=tree)
    interval, moment = (right, left) if isinstance(right, exp.Interval) else (left, right)
    amount, unit = interval.this, interval.args.get("unit")
    if not isinstance(amount, exp.Literal) or unit is None or not amount.name.removeprefix("-").isdigit():
        checker.fail(
            "an INTERVAL is a whole number and a unit, such as INTERVAL '5' MINUTE",
            at=tree,
            hint="timestampadd('minute', x, time) adds a computed number of units",
        )
    count = -int(amount.name) if minus else int(amount.name)
    return checker.call(
        "timestampadd", [exp.Literal.string(unit.name), Literal(BIGINT, count), checker.check(moment)], tree
    )


def _chain(checker: Checker, tree: exp.Expr) -> Node:
    """AND and OR, as one call however long the chain."""
    name = "AND" if isinstance(tree, exp.And) else "OR"
    return checker.call(name, [checker.check(part) for part in _operands(tree)], tree)


def _operands(tree: exp.Expr) -> list[exp.Expr]:
    """The operands of a chain of one operator, parentheses inside it looked through."""
    found: list[exp.Expr] = []
    pending = [tree]
    while pending:
        part = pending.pop()
        inner = part.unnest()
        if type(inner) is type(tree):
            pending += [inner.expression, inner.this]
        else:
            found.append(part)
    return found


def _joined(checker: Checker, tree: exp.Expr) -> Node:
    return checker.call("||", [checker.check(part) for part in _operands(tree)], tree)


def _not(checker: Checker, tree: exp.Expr) -> Node:
    return checker.call("NOT", [checker.condition(tree.this)], tree)


def _is(checker: Checker, tree: exp.Expr) -> Node:
    right = tree.expression
    if isinstance(right, exp.Null):
        return negated(checker, tree, checker.call("IS NULL", [checker.check(tree.this)], tree))
    if isinstance(right, exp.Boolean):
        name = "IS TRUE" if right.this else "IS FALSE"
        return negated(checker, tree, checker.call(name, [checker.condition(tree.this)], tree))
    return checker.refuse(tree)


def _between(checker: Checker, tree: exp.Expr) -> Node:
    operands = [checker.check(part) for part in (tree.this, tree.args["low"], tree.args["high"])]
    return negated(checker, tree, checker.call("BETWEEN", operands, tree))


def _in(checker: Checker, tree: exp.Expr) -> Node:
    if not tree.expressions:
        checker.fail(
            "IN takes a list of values in parentheses", at=tree, hint="array_contains(list, x) looks in a list"
        )
    operands = [checker.check(part) for part in (tree.this, *tree.expressions)]
    return negated(checker, tree, checker.call("IN", operands, tree))


def _like(checker: Checker, tree: exp.Expr) -> Node:
    return negated(checker, tree, checker.call("LIKE", [checker.check(tree.this), tree.expression], tree))


def _escaped(checker: Checker, tree: exp.Expr) -> Node:
    """x LIKE pattern ESCAPE character: the pattern is printed anew, so the character goes no further."""
    like, escape = tree.this, tree.expression
    if not isinstance(like, exp.Like) or not isinstance(like.expression, exp.Literal):
        checker.refuse(tree)
    try:
        pattern = read_like(like.expression.name, escape.name)
    except ValueError as problem:
        checker.fail(str(problem), at=tree)
    overload = FUNCTIONS["LIKE"].overloads[0]
    text = checker.check(like.this)
    if text.type not in (STRING, NULL):
        checker.mismatch("LIKE", [overload], [text, Fixed(pattern)], tree)
    return negated(checker, like, Call(BOOLEAN, "LIKE", overload, (checker.convert(text, STRING), Fixed(pattern))))


def _case(checker: Checker, tree: exp.Expr) -> Node:
    subject = checker.check(tree.this) if tree.this is not None else None
    conditions: list[Node] = []
    for branch in tree.args["ifs"]:
        if subject is None:
            conditions.append(checker.condition(branch.this))
        else:
            conditions.append(checker.call("=", [subject, checker.check(branch.this)], branch.this))
    results = [checker.check(branch.args["true"]) for branch in tree.args["ifs"]]
    default = tree.args.get("default")
    return _chosen(checker, tree, conditions, results, checker.check(default) if default is not None else None)


def _chosen(
    checker: Checker, tree: exp.Expr, conditions: list[Node], results: list[Node], default: Node | None
) -> Node:
    otherwise = default or Literal(NULL, None)
    dtype = checker.common([*results, otherwise], tree, "the branches")
    converted = [checker.convert(result, dtype) for result in results]
    return Case(dtype, tuple(zip(conditions, converted, strict=True)), checker.convert(otherwise, dtype))


def _if(checker: Checker, tree: exp.Expr) -> Node:
    otherwise = tree.args.get("false")
    if tree.args.get("true") is None:
        checker.fail("IF takes a condition and one or two values", at=tree)
    default = checker.check(otherwise) if otherwise is not None else None
    return _chosen(checker, tree, [checker.condition(tree.this)], [checker.check(tree.args["true"])], default)


def _element(checker: Checker, tree: exp.Expr) -> Node:
    if len(tree.expressions) != 1:
        checker.refuse(tree)
    node = checker.check(tree.this)
    if not isinstance(node.type, (ArrayType, MapType)) and node.type != NULL:
        checker.fail(f"[...] is asked of a {node.type}, only an ARRAY or a MAP has elements", at=tree)
    return checker.call("element_at", [node, checker.check(tree.expressions[0])], tree)


def _dotted(checker: Checker, tree: exp.Expr) -> Node:
    """A field of something that is not a plain column: `a[1].b`."""
    if not isinstance(tree.expression, exp.Identifier):
        checker.refuse(tree)
    return _field(checker, checker.check(tree.this), tree.expression.name, tree)


VISITS: dict[type[exp.Expr], Visit] = {
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Boolean: lambda _, tree: Literal(BOOLEAN, bool(tree.this)),
    exp.Null: lambda _, __: Literal(NULL, None),
    exp.Paren: lambda checker, tree: checker.check(tree.this),
    exp.Neg: _negation,
    exp.Not: _not,
    exp.And: _chain,
    exp.Or: _chain,
    exp.DPipe: _joined,
    exp.Is: _is,
    exp.Between: _between,
    exp.In: _in,
    exp.Like: _like,
    exp.Escape: _escaped,
    exp.RegexpLike: check_rlike,
    exp.Case: _case,
    exp.If: _if,
    exp.Cast: check_cast,
    exp.TryCast: check_cast,
    exp.Extract: check_extract,
    exp.AtTimeZone: check_zone,
    exp.Bracket: _element,
    exp.Substring: check_substring,
    exp.Trim: check_trim,
    exp.Anonymous: check_call,
    exp.Dot: _dotted,
    **dict.fromkeys(_BINARY, _binary),
}
