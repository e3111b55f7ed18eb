"""The typed tree of an expression: what the checker makes, the printer prints and the compiler compiles.

Every conversion is a `Cast` of its own and every operator is a `Call` of a declared function, so printer and
compiler decide nothing about types.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

from zipline.expressions.declarations import Overload
from zipline.types import DOUBLE, DataType
from zipline.values import dataclass

Scalar = bool | int | float | str | Decimal | dt.date | None


@dataclass(frozen=True, slots=True)
class Node:
    type: DataType

    @property
    def children(self) -> tuple[Node, ...]:
        return ()

    @property
    def may_be_nan(self) -> bool:
        """True where a float result can be NaN, which its consumer then reads as null."""
        return False


@dataclass(frozen=True, slots=True)
class Column(Node):
    name: str

    @property
    def may_be_nan(self) -> bool:
        return self.type.is_float


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant. Instants are microseconds UTC."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function applied: the arguments are of exactly the types its overload declares."""

    name: str
    overload: Overload
    arguments: tuple[Node | Fixed, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        return tuple(argument for argument in self.arguments if isinstance(argument, Node))

    @property
    def may_be_nan(self) -> bool:
        return self.overload.gives_nan and self.type.is_float


@dataclass(frozen=True, slots=True)
class Fixed:
    """An argument that had to be a literal, already read: a unit, a pattern, a format, a path."""

    value: object


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """A conversion; `safe` ones give null where the others fail."""

    operand: Node
    safe: bool = False

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.operand,)

    @property
    def may_be_nan(self) -> bool:
        return self.type == DOUBLE and self.operand.may_be_nan


@dataclass(frozen=True, slots=True)
class Case(Node):
    """The value of the first branch whose condition is true, else `otherwise`. Later branches are not evaluated."""

    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node

    @property
    def children(self) -> tuple[Node, ...]:
        return (*(part for branch in self.branches for part in branch), self.otherwise)


@dataclass(frozen=True, slots=True)
class Coalesce(Node):
    """The first operand that is not null. Later operands are not evaluated."""

    operands: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        return self.operands


@dataclass(frozen=True, slots=True)
class Field(Node):
    """A field of a struct."""

    operand: Node
    name: str

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.operand,)

    @property
    def may_be_nan(self) -> bool:
        return self.type.is_float


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    for child in node.children:
        yield from walk(child)
