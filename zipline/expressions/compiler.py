"""Typed tree to one Python function: straight-line source, compiled once, every value computed at most once.

A value is a variable; a strict call becomes `None if a is None else ...`. Operands that may not be needed (branches,
later alternatives of COALESCE) are computed inside blocks, or in functions of their own where blocks get deep.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from zipline.errors import DataError, Location
from zipline.expressions import instants, values
from zipline.expressions.conversions import conversion, safely
from zipline.expressions.nodes import Call, Case, Cast, Coalesce, Column, Field, Fixed, Literal, Node
from zipline.types import INTEGERS, DataType

Row = Mapping[str, Any]

_DEEPEST_BLOCK = 8


def compile_expression(
    node: Node, text: str, *, subject: str | None = None, where: Location | None = None
) -> Callable[[Row], Any]:
    """The expression as a function of one row. It raises DataError where a value cannot be computed."""
    program = _Program()
    body = program.function(node, "evaluate")
    namespace = program.namespace
    exec(compile("\n".join([*program.functions, *body]), f"<expression {text!r}>", "exec"), namespace)
    evaluate: Callable[[Row], Any] = namespace["evaluate"]
    return _reporting(evaluate, text, subject, where)


def _reporting(
    evaluate: Callable[[Row], Any], text: str, subject: str | None, where: Location | None
) -> Callable[[Row], Any]:
    def expression(row: Row) -> Any:
        try:
            return evaluate(row)
        except DataError as problem:
            raise DataError(f"{problem.what}, in {text!r}", subject=subject, where=where) from None
        except KeyError as missing:
            raise DataError(
                f"the row has no column {missing.args[0]!r}, which {text!r} reads",
                subject=subject,
                where=where,
                asked=str(missing.args[0]),
                valid=map(str, row),
            ) from None

    return expression


class _Program:
    """The functions of one expression, and the names they use."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.namespace: dict[str, Any] = {
            "int64": values.int64,
            "round_places": values.round_places,
            "from_epoch": instants.from_epoch,
            "Decimal": Decimal,
            "date": dt.date,
        }
        self.names = 0

    def name(self, letter: str) -> str:
        self.names += 1
        return f"{letter}{self.names}"

    def constant(self, value: object) -> str:
        name = self.name("k")
        self.namespace[name] = value
        return name

    def function(self, node: Node, name: str) -> list[str]:
        block = _Block(self, 1)
        result = block.clean(node)
        return [f"def {name}(row):", *block.lines, f"    return {result}"]


class _Block:
    """Statements at one depth. What outer blocks have computed can be used, what this one computes stays in it."""

    def __init__(self, program: _Program, depth: int, known: Mapping[Node, str] | None = None) -> None:
        self.program = program
        self.depth = depth
        self.known = dict(known or {})
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def assign(self, expression: str) -> str:
        name = self.program.name("v")
        self.write(f"{name} = {expression}")
        return name

    def clean(self, node: Node) -> str:
        """The node's value with NaN as null."""
        name = self.raw(node)
        if node.may_be_nan:
            self.write(f"if {name} != {name}: {name} = None")
        return name

    def raw(self, node: Node) -> str:
        """The variable, or constant, that holds the node's value."""
        if node not in self.known:
            self.known[node] = self.compute(node)
        return self.known[node]

    def compute(self, node: Node) -> str:
        if isinstance(node, Literal):
            return self.literal(node)
        if isinstance(node, Column):
            return self.load(f"row[{node.name!r}]", node.type)
        if isinstance(node, Call):
            return self.call(node)
        if isinstance(node, Cast):
            return self.cast(node)
        if isinstance(node, Field):
            operand = self.clean(node.operand)
            return self.load(f"None if {operand} is None else {operand}.get({node.name!r})", node.type)
        assert isinstance(node, (Case, Coalesce))
        if self.depth >= _DEEPEST_BLOCK or (isinstance(node, Case) and len(node.branches) > 1):
            return self.apart(node)
        return self.case(node) if isinstance(node, Case) else self.coalesce(node)

    def literal(self, node: Literal) -> str:
        if node.value is None or isinstance(node.value, bool):
            return repr(node.value)
        return self.program.constant(node.value)

    def load(self, source: str, dtype: DataType) -> str:
        """A value from outside, made one of its type."""
        name = self.assign(source)
        known = values.coercion(dtype)
        if known is not None:
            kind, convert = known
            made = f"{self.program.constant(convert)}({name})"
            self.write(f"if {name}.__class__ is not {kind} and {name} is not None: {name} = {made}")
        return name

    def call(self, node: Call) -> str:
        names = [self.argument(node, argument) for argument in node.arguments]
        python = node.overload.python
        if isinstance(python, str):
            expression = python.format(*names, all=", ".join(names))
        else:
            expression = f"{self.program.constant(python)}({', '.join(names)})"
        if node.overload.strict:
            nodes = zip(names, node.arguments, strict=True)
            nullable = dict.fromkeys(name for name, argument in nodes if _nullable(argument))
            expression = _strictly(expression, list(nullable))
        if node.name == "element_at":
            return self.load(expression, node.type)
        return self.assign(expression)

    def argument(self, call: Call, argument: Node | Fixed) -> str:
        if isinstance(argument, Fixed):
            return self.program.constant(argument.value)
        return self.raw(argument) if call.overload.carries_nan else self.clean(argument)

    def cast(self, node: Cast) -> str:
        operand = self.raw(node.operand) if node.may_be_nan else self.clean(node.operand)
        source, target = node.operand.type, node.type
        if source == target or source.name == "NULL" or (source.is_integer and _widens(source, target)):
            return operand
        convert = conversion(source, target)
        function = self.program.constant(safely(convert) if node.safe else convert)
        return self.assign(_strictly(f"{function}({operand})", [operand]))

    def inner(self) -> _Block:
        return _Block(self.program, self.depth + 1, self.known)

    def nested(self, node: Node, target: str) -> None:
        """The node computed one block deeper, into `target`."""
        block = self.inner()
        result = block.clean(node)
        self.lines += block.lines
        self.write(f"    {target} = {result}")

    def case(self, node: Case) -> str:
        """One condition: both outcomes in blocks."""
        ((condition, value),) = node.branches
        truth = self.clean(condition)
        result = self.program.name("v")
        self.write(f"if {truth}:")
        self.nested(value, result)
        self.write("else:")
        self.nested(node.otherwise, result)
        return result

    def coalesce(self, node: Coalesce) -> str:
        first, *rest = node.operands
        result = self.assign(self.clean(first))
        for operand in rest:
            self.write(f"if {result} is None:")
            self.nested(operand, result)
        return result

    def apart(self, node: Case | Coalesce) -> str:
        """A call of a function that computes the node and nothing else."""
        name = self.program.name("f")
        block = _Block(self.program, 1)
        result = block.branches(node) if isinstance(node, Case) else block.coalesce(node)
        self.program.functions += [f"def {name}(row):", *block.lines, f"    return {result}"]
        return self.assign(f"{name}(row)")

    def branches(self, node: Case) -> str:
        """The branches of a function of its own: each returns, so however many there are, none is nested."""
        for condition, value in node.branches:
            truth = self.clean(condition)
            self.write(f"if {truth}:")
            block = self.inner()
            result = block.clean(value)
            self.lines += [*block.lines, f"        return {result}"]
        return self.clean(node.otherwise)


def _strictly(expression: str, names: list[str]) -> str:
    if not names:
        return expression
    return f"None if {' or '.join(f'{name} is None' for name in names)} else {expression}"


def _nullable(argument: Node | Fixed) -> bool:
    return isinstance(argument, Node) and not (isinstance(argument, Literal) and argument.value is not None)


def _widens(source: DataType, target: DataType) -> bool:
    return target in INTEGERS and INTEGERS.index(source) <= INTEGERS.index(target)
