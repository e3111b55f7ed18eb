"""The expression as a value: parsed and typed once, printed and compiled on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

from zipline.errors import ExpressionError, Location
from zipline.expressions.compiler import compile_expression
from zipline.expressions.dialects import Dialect
from zipline.expressions.known import typed
from zipline.expressions.nodes import Cast, Column, Node, walk
from zipline.expressions.printer import print_expression
from zipline.types import DATE, NULL, STRING, TIMESTAMP, DataType
from zipline.values import dataclass


@dataclass(frozen=True)
class Expression:
    """One expression over the columns of its source."""

    text: str
    """As the author wrote it."""
    type: DataType
    """Of the result, known before any engine runs."""
    columns: frozenset[str]
    """The source columns it reads."""
    node: Node = field(repr=False, compare=False)
    subject: str | None = field(default=None, repr=False, compare=False)
    where: Location | None = field(default=None, repr=False, compare=False)

    def sql(self, dialect: Dialect) -> str:
        """The expression in a dialect, for a session with the settings `SESSIONS[dialect]`."""
        return print_expression(self.node, dialect)

    def python(self) -> Callable[[Mapping[str, Any]], Any]:
        """The expression as a function of a row, compiled once.

        Instants come out as microseconds UTC, dates as `datetime.date`, null as None. Columns may hold what Arrow's
        `to_pylist` gives: zoned or naive datetimes for instants, lists of pairs for maps. DataError where the value
        cannot be computed or the row lacks a column.
        """
        return self._compiled

    @cached_property
    def _compiled(self) -> Callable[[Mapping[str, Any]], Any]:
        return compile_expression(self.node, self.text, subject=self.subject, where=self.where)

    def __reduce__(self) -> tuple[Any, ...]:
        types = {node.name: node.type for node in walk(self.node) if isinstance(node, Column)}
        return _rebuilt, (self.text, types, self.type, self.subject, self.where)


def _rebuilt(
    text: str, types: dict[str, DataType], dtype: DataType, subject: str | None, where: Location | None
) -> Expression:
    """What pickle calls: a compiled function does not travel, its text does."""
    expression = parse(text, types, subject=subject, where=where)
    return expression if expression.type == dtype else parse_time(text, types, subject=subject, where=where)


def parse(
    text: str, columns: Mapping[str, DataType], *, subject: str | None = None, where: Location | None = None
) -> Expression:
    """The expression in `text` over columns of known types; ExpressionError says what is wrong with it and where.

    >>> parse("price * quantity", {"price": DOUBLE, "quantity": BIGINT}).type
    DataType(name='DOUBLE')
    """
    return _expression(text, typed(text, columns, subject=subject, where=where), subject, where)


def parse_time(
    text: str, columns: Mapping[str, DataType], *, subject: str | None = None, where: Location | None = None
) -> Expression:
    """The expression of a clock, whose result is an instant: a date becomes its midnight, text must be ISO 8601."""
    node = typed(text, columns, subject=subject, where=where)
    if node.type not in (TIMESTAMP, DATE, STRING, NULL):
        raise ExpressionError(
            f"{text!r} is {node.type}, a time must be TIMESTAMP, DATE or ISO 8601 text",
            subject=subject,
            where=where,
            hint=_epoch_hint(text) if node.type.is_numeric else None,
        )
    return _expression(text, node if node.type == TIMESTAMP else Cast(TIMESTAMP, node), subject, where)


def _epoch_hint(text: str) -> str:
    return (
        f"if it counts from 1970, write timestamp_seconds({text}), timestamp_millis({text}) or timestamp_micros({text})"
    )


def _expression(text: str, node: Node, subject: str | None, where: Location | None) -> Expression:
    columns = frozenset(part.name for part in walk(node) if isinstance(part, Column))
    return Expression(text, node.type, columns, node, subject, where)


def referenced_columns(text: str) -> frozenset[str]:
    """The columns that `text` names, without knowing their types. Words that only functions understand are left out."""
    from zipline.expressions.syntax import names_in, parse_syntax

    return names_in(parse_syntax(text))
