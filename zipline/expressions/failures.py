"""Where an expression cannot be computed, as Flink SQL: a form that gives null there, and a condition that says so.

What is printed for Flink fails by a CAST alone (`casts`, `numbers`, `flink_time`), so the form that never fails has
TRY_CAST in place of each. A failure counts where Python finds one: in every operand of a call, in the branches that are
taken, in the alternatives that are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zipline.expressions.nodes import Call, Case, Cast, Coalesce, Field, Node
from zipline.expressions.numbers import DIV
from zipline.expressions.printer import print_expression
from zipline.types import BIGINT, BOOLEAN, DATE, INTEGERS, TIMESTAMP, DataType

_TOKENS = re.compile(r"'(?:[^']|'')*'|`(?:[^`]|``)*`|\bCAST\(")
_OVERFLOWING = frozenset(("+", "-", "*", "DIV", "negate", "abs"))


def attempted(node: Node) -> str:
    """The expression for Flink, with null where it cannot be computed."""
    sql = print_expression(node, "flink")
    return sql if failing(node) is None else _TOKENS.sub(_tried, sql)


def failing(node: Node) -> str | None:
    """A condition, never null, that is true of the rows of which the expression cannot be computed; None where there
    are none."""
    if isinstance(node, Case):
        return _of_case(node)
    if isinstance(node, Coalesce):
        return _of_coalesce(node)
    return _any([*map(failing, node.children), _own(node)])


def _tried(found: re.Match[str]) -> str:
    return "TRY_CAST(" if found[0] == "CAST(" else found[0]


def _any(conditions: Iterable[str | None]) -> str | None:
    given = list(dict.fromkeys(each for each in conditions if each is not None))
    return f"({' OR '.join(given)})" if len(given) > 1 else given[0] if given else None


def _own(node: Node) -> str | None:
    """Where it fails although all its operands are known."""
    if isinstance(node, Cast):
        can_fail = not node.safe and not is_lossless(node.operand.type, node.type)
    else:
        can_fail = isinstance(node, Call) and _can_fail(node)
    if not can_fail or isinstance(node, Field):
        return None
    known = [f"{_tried_whole(each)} IS NOT NULL" for each in node.children]
    if isinstance(node, Call) and node.overload is DIV:
        known.append(f"{_tried_whole(node.children[1])} <> 0")
    return f"({' AND '.join([*known, f'{_tried_whole(node)} IS NULL'])})"


def _tried_whole(node: Node) -> str:
    return f"({_TOKENS.sub(_tried, print_expression(node, 'flink'))})"


def _can_fail(call: Call) -> bool:
    made = call.overload.result
    return made == TIMESTAMP or (made == BIGINT and call.name in _OVERFLOWING)


def is_lossless(source: DataType, target: DataType) -> bool:
    """Whether a CAST takes every value."""
    if source == target or (source, target) == (DATE, TIMESTAMP) or str(target) == "STRING":
        return True
    if source.is_integer:
        return target.is_float or target == BOOLEAN or (target.is_integer and _rank(source) <= _rank(target))
    return source.is_float and str(target) == "DOUBLE"


def _rank(dtype: DataType) -> int:
    return INTEGERS.index(dtype)


def _of_case(node: Case) -> str | None:
    """Conditions in order, until one holds: then its value alone."""
    parts = [(failing(condition), condition, failing(value)) for condition, value in node.branches]
    otherwise = failing(node.otherwise)
    if otherwise is None and all(each is None and value is None for each, _, value in parts):
        return None
    turns = []
    for wrong, condition, value in parts:
        turns += [f"WHEN {wrong} THEN TRUE"] if wrong else []
        turns.append(f"WHEN {_tried_whole(condition)} THEN {value or 'FALSE'}")
    return f"(CASE {' '.join(turns)} ELSE {otherwise or 'FALSE'} END)"


def _of_coalesce(node: Coalesce) -> str | None:
    """Operands in order, until one is known."""
    parts = [(failing(operand), operand) for operand in node.operands]
    if all(wrong is None for wrong, _ in parts):
        return None
    turns = []
    for wrong, operand in parts:
        turns += [f"WHEN {wrong} THEN TRUE"] if wrong else []
        turns.append(f"WHEN {_tried_whole(operand)} IS NOT NULL THEN FALSE")
    return f"(CASE {' '.join(turns)} ELSE FALSE END)"
