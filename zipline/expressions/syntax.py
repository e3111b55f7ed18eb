"""Text to syntax tree: the only module that calls sqlglot's parser.

The dialect knows no functions, so every call stays a name with arguments for the table of functions to judge. The
text is parsed inside parentheses, where words that begin statements (`set`, `comment`, `desc`) are plain columns.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import sqlglot
from sqlglot import exp, parser
from sqlglot.errors import SqlglotError

from zipline.errors import ExpressionError, Location

_UNIT_FUNCTIONS = ("date_trunc", "date_diff", "timestampdiff", "timestampadd", "date_add")
_KEPT = ("CAST", "EXTRACT", "SUBSTRING", "TRIM", "TRY_CAST")


class Portable(sqlglot.Dialect):
    """sqlglot's neutral dialect without its functions."""

    class Parser(parser.Parser):
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {name: parser.Parser.FUNCTION_PARSERS[name] for name in _KEPT}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}


def parse_syntax(text: str, *, subject: str | None = None, where: Location | None = None) -> exp.Expr:
    """The one expression in `text`; ExpressionError where there is none, or several."""

    def fail(what: str, hint: str = 'write one SQL expression; quote odd names, as in "order"') -> NoReturn:
        raise ExpressionError(what, subject=subject, where=where, hint=hint)

    if not isinstance(text, str) or not text.strip():
        fail(f"an expression is SQL text, not {text!r}", 'write a column or an expression, such as "price * quantity"')
    try:
        if any(token.token_type == sqlglot.TokenType.SEMICOLON for token in Portable().tokenize(text)):
            fail(f"{text!r} holds several statements", "write one expression, without a semicolon")
        tree = sqlglot.parse_one(f"({text}\n)", dialect=Portable)
    except (SqlglotError, RecursionError) as problem:
        fail(f"{text!r} does not parse: {_reason(problem)}")
    if not isinstance(tree, exp.Paren | exp.Subquery) and not tree.expressions:
        fail(f"{text!r} is not one expression")
    inside: exp.Expr = tree.this if isinstance(tree, exp.Paren) else tree
    return inside


def _reason(problem: Exception) -> str:
    if isinstance(problem, RecursionError):
        return "it is nested too deeply"
    details = getattr(problem, "errors", None)
    if not details:
        return str(problem).splitlines()[0]
    first = details[0]
    line, column = first["line"], first["col"] - (first["line"] == 1)
    return f"{first['description'].rstrip('.')} at line {line}, column {max(1, column)}"


def names_in(tree: exp.Expr) -> frozenset[str]:
    """The columns that a tree names; a unit that stands where a column could is none."""
    return frozenset(str(column.parts[0].name) for column in tree.find_all(exp.Column) if not _is_unit(column))


def _is_unit(column: exp.Column) -> bool:
    call = column.parent
    return isinstance(call, exp.Anonymous) and call.name.lower() in _UNIT_FUNCTIONS and call.expressions[0] is column
