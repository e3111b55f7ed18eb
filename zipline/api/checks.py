"""Check: what must hold of an output before it is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zipline.api import fields
from zipline.api.base import Definition, FrozenMap, checked, definition

KINDS = ("not_null", "between", "in_set", "matches", "unique", "row_count_change", "freshness", "drift", "sql")


@definition
class Check(Definition):
    """One expectation. Make it with a named constructor, such as `Check.not_null("amount_sum_1d")`.

    A failed check of severity "critical" keeps the old partition; "warning" is only reported.
    """

    kind: str = checked(fields.one_of(*KINDS))
    columns: Sequence[str] = checked(fields.several(fields.text), ())
    arguments: Mapping[str, Any] = checked(fields.mapping(lambda value: value), FrozenMap())
    severity: str = checked(fields.one_of("critical", "warning"), "critical")

    @classmethod
    def not_null(cls, column: str, max_rate: float = 0, *, severity: str = "critical") -> Check:
        """At most `max_rate` (0 to 1) of the rows are null."""
        return cls("not_null", [column], {"max_rate": max_rate}, severity)

    @classmethod
    def between(cls, column: str, low: float, high: float, *, severity: str = "critical") -> Check:
        """Every value that is not null lies in low..high, both inclusive."""
        return cls("between", [column], {"low": low, "high": high}, severity)

    @classmethod
    def in_set(cls, column: str, values: Sequence[Any], *, severity: str = "critical") -> Check:
        """Every value that is not null is one of `values`."""
        return cls("in_set", [column], {"values": tuple(values)}, severity)

    @classmethod
    def matches(cls, column: str, regex: str, *, severity: str = "critical") -> Check:
        """Every value that is not null matches `regex` as a whole."""
        return cls("matches", [column], {"regex": regex}, severity)

    @classmethod
    def unique(cls, columns: Sequence[str] | str, *, severity: str = "critical") -> Check:
        """No two rows agree in all of `columns`."""
        return cls("unique", [columns] if isinstance(columns, str) else columns, {}, severity)

    @classmethod
    def row_count_change(cls, max_ratio: float, *, severity: str = "critical") -> Check:
        """Rows of this partition and of the one before differ by a factor of at most `max_ratio`."""
        return cls("row_count_change", [], {"max_ratio": max_ratio}, severity)

    @classmethod
    def freshness(cls, within: str, *, severity: str = "critical") -> Check:
        """The newest query time is at most `within` before the end of what was asked for."""
        return cls("freshness", [], {"within": within}, severity)

    @classmethod
    def drift(cls, column: str, psi: float = 0.25, *, severity: str = "critical") -> Check:
        """The population stability index against the baseline is at most `psi`."""
        return cls("drift", [column], {"psi": psi}, severity)

    @classmethod
    def sql(cls, condition: str, *, severity: str = "critical") -> Check:
        """`condition`, in the portable subset, holds for every row."""
        return cls("sql", [], {"condition": condition}, severity)

    def _validate(self) -> None:
        check = _ARGUMENTS.get(self.kind)
        for name, value in self.arguments.items():
            if check and name in check:
                try:
                    check[name](value)
                except Exception as wrong:
                    raise self.wrong(f"Check.{self.kind}({name}=): {wrong}") from None

    @property
    def title(self) -> str:
        return f"Check.{self.kind}({', '.join(self.columns)})"


_ARGUMENTS: dict[str, dict[str, fields.Check]] = {
    "not_null": {"max_rate": fields.amount},
    "row_count_change": {"max_ratio": fields.amount},
    "freshness": {"within": fields.duration},
    "drift": {"psi": fields.amount},
    "sql": {"condition": fields.text},
    "matches": {"regex": fields.text},
}
