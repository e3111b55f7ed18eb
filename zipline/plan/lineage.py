"""Where each column comes from and where it goes: a frozen graph of columns, asked up and down.

A column is named `table.column`, `group_by.feature` or `join.column`; a model is a column of its own. A `Use` says that
one column is made with another and in which role: as value, key, clock, condition, bucket, label, ... What decides
which rows a join has (the left's time and conditions) is used by its `ts`, which every feature asks by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from zipline.errors import DefinitionError, near
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or definition; `of` names that, `kind` says what it is. `type` is None where unknown."""

    name: str
    of: str
    kind: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """`target` is made with `source`; `through` is the expression or operation."""

    source: str
    target: str
    role: str
    through: str = ""


@dataclass(frozen=True)
class Lineage:
    """The graph: columns by name, and every use once, in the order of definitions."""

    columns: Mapping[str, Column]
    uses: tuple[Use, ...]

    @cached_property
    def made_with(self) -> Mapping[str, tuple[Use, ...]]:
        """Column -> what it is directly made with."""
        return _grouped((use.target, use) for use in self.uses)

    @cached_property
    def used_by(self) -> Mapping[str, tuple[Use, ...]]:
        """Column -> what is directly made with it."""
        return _grouped((use.source, use) for use in self.uses)

    def upstream(self, column: str) -> tuple[str, ...]:
        """Everything that the column is made with, however far up; sorted."""
        return _reached(self.find(column).name, lambda name: (use.source for use in self.made_with.get(name, ())))

    def downstream(self, column: str) -> tuple[str, ...]:
        """Everything that is made with the column, however far down; sorted."""
        return _reached(self.find(column).name, lambda name: (use.target for use in self.used_by.get(name, ())))

    def find(self, name: str) -> Column:
        """The column of that name; DefinitionError says which was meant."""
        if name in self.columns:
            return self.columns[name]
        raise _unknown(name, self.columns)


def _grouped(pairs: Iterable[tuple[str, Use]]) -> dict[str, tuple[Use, ...]]:
    grouped: dict[str, list[Use]] = {}
    for name, use in pairs:
        grouped.setdefault(name, []).append(use)
    return {name: tuple(uses) for name, uses in grouped.items()}


def _reached(start: str, neighbours: Callable[[str], Iterable[str]]) -> tuple[str, ...]:
    pending, seen = [start], {start}
    while pending:
        for other in neighbours(pending.pop()):
            if other not in seen:
                seen.add(other)
                pending.append(other)
    return tuple(sorted(seen - {start}))


def _unknown(name: str, columns: Mapping[str, Column]) -> DefinitionError:
    owners = dict.fromkeys(column.of for column in columns.values())
    owner, _, last = name.rpartition(".")
    if owner in owners:
        valid = [column.name.removeprefix(f"{owner}.") for column in columns.values() if column.of == owner]
        return DefinitionError(f"{owner} has no column {last!r}", asked=last, valid=valid)
    if name in owners:
        valid = [column.name for column in columns.values() if column.of == name]
        return DefinitionError(f"{name!r} is no column; it has these", valid=valid)
    error = DefinitionError(
        f"there is no column {name!r}",
        valid=owners,
        hint="a column is TABLE.COLUMN, GROUP_BY.FEATURE or JOIN.COLUMN; a model is a column of its own",
    )
    error.suggestion = _meant(name, columns)
    return error


def _meant(name: str, columns: Mapping[str, Column]) -> str | None:
    """By the last part if only one column ends so, else by likeness."""
    last = name.rpartition(".")[2]
    ends = [full for full in columns if full.endswith(f".{last}")]
    return ends[0] if len(ends) == 1 else near(name, ends or columns)
