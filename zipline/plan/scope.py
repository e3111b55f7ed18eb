"""A source's expressions over one table's columns, typed; errors name the author's object and the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zipline.api import Query
from zipline.api.base import Definition
from zipline.expressions import Expression, parse, parse_time
from zipline.types import BOOLEAN, NULL, DataType
from zipline.values import dataclass


@dataclass(frozen=True)
class Scope:
    """What texts of `query` mean over `columns` of `table`."""

    subject: Definition
    table: str
    columns: Mapping[str, DataType]
    query: Query

    def typed(self, text: str) -> Expression:
        return parse(named(text, self.columns), self.columns, **self._place)

    def instant(self, text: str | None) -> Expression | None:
        return None if text is None else parse_time(named(text, self.columns), self.columns, **self._place)

    def condition(self, text: str, role: str) -> Expression:
        expression = self.typed(text)
        if expression.type not in (BOOLEAN, NULL):
            raise self.subject.wrong(
                f"{role} {expression.text!r} is {expression.type}, not a condition",
                hint=f"CAST({text} AS BOOLEAN), or compare it",
            )
        return expression

    def select(self, selected: Mapping[str, str]) -> tuple[tuple[str, Expression], ...]:
        return tuple((name, self.typed(text)) for name, text in selected.items())

    def where(self) -> tuple[Expression, ...]:
        return tuple(self.condition(text, "where") for text in self.query.where)

    @property
    def _place(self) -> dict[str, Any]:
        return {
            "subject": f"{self.subject.title}, of table {self.table!r}",
            "where": self.query.location or self.subject.location,
        }


def named(text: str, columns: Iterable[str]) -> str:
    """A text that is a column's name is that column, even where SQL has another use for the word."""
    return quoted(text) if text in columns else text


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
