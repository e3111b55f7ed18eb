"""What calls and conversions mean: named functions, CAST, and the standard's functions with words between arguments."""

from __future__ import annotations

from typing import NoReturn

from sqlglot import exp

from zipline.errors import DataError, ExpressionError
from zipline.expressions import times
from zipline.expressions.checker import Checker
from zipline.expressions.conversions import castable, conversion, targets
from zipline.expressions.functions import AGGREGATES, ALIASES, CALLABLE, CLOCKS, RANKINGS, SPECIAL
from zipline.expressions.nodes import Call, Cast, Coalesce, Literal, Node
from zipline.types import DATE, NULL, STRING, TIMESTAMP, DataType, parse_type

_PARTS = ("year", "quarter", "month", "week", "day", "dayofweek", "dayofyear", "hour", "minute", "second")
_EXTRACTED = {"dow": "dayofweek", "doy": "dayofyear", "epoch": "unix_seconds", **{part: part for part in _PARTS}}


def negated(checker: Checker, tree: exp.Expr, node: Node) -> Node:
    return checker.call("NOT", [node], tree) if tree.args.get("negate") else node


def check_cast(checker: Checker, tree: exp.Expr) -> Node:
    node = checker.check(tree.this)
    if any(tree.args.get(word) for word in ("format", "action", "default")):
        checker.refuse(tree)
    target = _target(checker, tree)
    if not castable(node.type, target):
        checker.fail(
            f"a {node.type} cannot be cast to {target}",
            at=tree,
            valid=sorted({str(dtype) if dtype.name != "DECIMAL" else "DECIMAL(p, s)" for dtype in targets(node.type)}),
            hint=_conversion_hint(node.type, target),
        )
    if (
        isinstance(node, Literal)
        and node.type == STRING
        and target in (DATE, TIMESTAMP)
        and not isinstance(tree, exp.TryCast)
    ):
        try:
            return Literal(target, conversion(STRING, target)(node.value))
        except DataError as problem:
            checker.fail(problem.what, at=tree)
    if node.type == target:
        return node
    return Cast(target, node, safe=isinstance(tree, exp.TryCast))


def _target(checker: Checker, tree: exp.Expr) -> DataType:
    written = tree.args["to"].sql().replace("TIMESTAMPTZ", "TIMESTAMP")
    try:
        target = parse_type(written)
    except ExpressionError as problem:
        checker.fail(problem.what, at=tree, asked=written, valid=problem.valid)
    if target == NULL:
        checker.fail("nothing is cast to NULL", at=tree)
    return target


def _conversion_hint(source: DataType, target: DataType) -> str | None:
    if target == TIMESTAMP and source.is_numeric:
        return "timestamp_seconds(x), timestamp_millis(x) and timestamp_micros(x) make an instant of an epoch"
    if source == TIMESTAMP and target.is_numeric:
        return "unix_seconds(x), unix_millis(x) and unix_micros(x) give the epoch"
    if source.is_float and target == STRING:
        return "engines write doubles differently; CAST to BIGINT first"
    if source.is_float:
        return "engines round doubles differently; CAST to BIGINT truncates"
    return None


def check_extract(checker: Checker, tree: exp.Expr) -> Node:
    unit = tree.name.lower()
    name = _EXTRACTED.get(unit)
    if name is None:
        checker.fail(f"{unit!r} is not a part of an instant", at=tree, asked=unit, valid=_EXTRACTED)
    return checker.call(name, [checker.check(tree.expression)], tree)


def check_zone(checker: Checker, tree: exp.Expr) -> Node:
    """Local time in a zone, as text without offset or as an instant that holds it, to the instant."""
    local = checker.check(tree.this)
    if local.type == STRING:
        local = Cast(TIMESTAMP, local)
    return checker.call("to_utc_timestamp", [local, checker.check(tree.args["zone"])], tree)


def check_substring(checker: Checker, tree: exp.Expr) -> Node:
    places = [part for part in (tree.args.get("start"), tree.args.get("length")) if part is not None]
    return checker.call("substring", [tree.this, *places], tree)


def check_trim(checker: Checker, tree: exp.Expr) -> Node:
    position = (tree.args.get("position") or "BOTH").upper()
    characters = tree.expression
    if characters is not None and not (isinstance(characters, exp.Literal) and characters.name == " "):
        checker.fail("trim removes spaces only", at=tree, hint="replace(text, 'x', '') removes other characters")
    return checker.call({"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}[position], [tree.this], tree)


def check_rlike(checker: Checker, tree: exp.Expr) -> Node:
    return negated(checker, tree, checker.call("rlike", [tree.this, tree.expression], tree))


def check_call(checker: Checker, tree: exp.Expr) -> Node:
    """A call by name."""
    name = tree.name.lower()
    name = ALIASES.get(name, name)
    if name == "coalesce":
        return _coalesce(checker, tree)
    if name == "to_timestamp":
        return _to_timestamp(checker, tree)
    if name == "nullif":
        return checker.call("NULLIF", tree.expressions, tree)
    if name not in CALLABLE or name in SPECIAL:
        refuse_name(checker, name, tree)
    return checker.call(name, tree.expressions, tree)


def _coalesce(checker: Checker, tree: exp.Expr) -> Node:
    if not tree.expressions:
        checker.fail("coalesce takes at least one argument", at=tree)
    nodes = [checker.check(part) for part in tree.expressions]
    dtype = checker.common(nodes, tree, "the arguments of coalesce")
    operands = tuple(checker.convert(node, dtype) for node in nodes)
    return Coalesce(dtype, operands) if len(operands) > 1 else operands[0]


def _to_timestamp(checker: Checker, tree: exp.Expr) -> Node:
    if len(tree.expressions) not in (1, 2):
        checker.fail("to_timestamp takes a text and possibly a format", at=tree, valid=[SPECIAL["to_timestamp"]])
    text = checker.check(tree.expressions[0])
    if text.type not in (STRING, NULL):
        kind = f"argument 1 of to_timestamp is {text.type}, accepted is STRING"
        checker.fail(kind, at=tree, hint=_conversion_hint(text.type, TIMESTAMP))
    text = checker.convert(text, STRING)
    if len(tree.expressions) == 2:
        layout = checker.fixed(times.FORMAT, tree.expressions[1], tree)
        text = Call(STRING, "to_timestamp", times.REWRITE, (text, layout))
    return Cast(TIMESTAMP, text)


def refuse_name(checker: Checker, name: str, tree: exp.Expr) -> NoReturn:
    if name in AGGREGATES:
        checker.fail(
            f"{name} aggregates over rows, an expression sees one row",
            at=tree,
            hint="aggregate with Aggregation(input, Operation...) of a GroupBy",
        )
    if name in RANKINGS:
        checker.fail(f"{name} is a window function, an expression sees one row", at=tree)
    if name in CLOCKS:
        checker.fail(
            f"{name} is not determined by the row, so no backfill could repeat it",
            at=tree,
            hint="use a time column of the source",
        )
    checker.fail(f"there is no function {name!r} in the subset", at=tree, asked=name, valid=CALLABLE)
