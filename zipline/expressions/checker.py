"""Judges what the grammar finds: fits arguments to declared functions, converts them, and words every refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from sqlglot import exp

from zipline.errors import ExpressionError, Location
from zipline.expressions.conversions import conversion
from zipline.expressions.declarations import Constant, Overload, Parameter
from zipline.expressions.functions import CALLABLE, FUNCTIONS
from zipline.expressions.matching import accepted, match
from zipline.expressions.nodes import Call, Cast, Fixed, Literal, Node
from zipline.types import BOOLEAN, NULL, STRING, DataType, common_type

DEEPEST = 150
"""Levels of nesting an expression may have."""

Visit = Callable[["Checker", exp.Expr], Node]


class Checker:
    """Types one expression over the columns of its source."""

    def __init__(
        self,
        text: str,
        columns: Mapping[str, DataType],
        visits: Mapping[type[exp.Expr], Visit],
        *,
        subject: str | None = None,
        where: Location | None = None,
    ) -> None:
        self.text = text
        self.columns = columns
        self.visits = visits
        self.subject = subject
        self.where = where
        self.depth = 0

    def fail(
        self,
        what: str,
        *,
        at: exp.Expr | None = None,
        asked: str | None = None,
        valid: Iterable[str] = (),
        hint: str | None = None,
    ) -> NoReturn:
        """ExpressionError over the whole text, naming the part at fault where that is less than the whole."""
        part = at.sql() if at is not None else self.text
        inside = f"{part!r} in {self.text!r}" if part.strip("() ") != self.text.strip("() ") else repr(self.text)
        raise ExpressionError(
            f"{inside}: {what}", subject=self.subject, where=self.where, asked=asked, valid=valid, hint=hint
        )

    def check(self, tree: exp.Expr) -> Node:
        """The typed node of a piece of syntax."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"nested more than {DEEPEST} levels deep", hint="split it over several columns")
        visit = self.visits.get(type(tree))
        node = visit(self, tree) if visit else self.refuse(tree)
        self.depth -= 1
        return node

    def refuse(self, tree: exp.Expr) -> NoReturn:
        reason = next((words for kind, words in _OUTSIDE.items() if isinstance(tree, kind)), None)
        what = reason or f"{type(tree).__name__} is not part of the subset"
        self.fail(f"{what}; expressions are portable row by row", at=tree, valid=CALLABLE, hint=_OPERATORS)

    def call(self, name: str, arguments: Iterable[Node | exp.Expr], at: exp.Expr) -> Node:
        """A declared function over arguments, which syntax may still be where a literal is asked for."""
        given = list(arguments)
        function = FUNCTIONS[name]
        fitting = [overload for overload in function.overloads if overload.takes(len(given))]
        if not fitting:
            self.fail(f"{name} does not take {len(given)} arguments", at=at, valid=function.signatures)
        read = self.arguments(fitting[0], given, at)
        types = [argument.type if isinstance(argument, Node) else None for argument in read]
        for overload in fitting:
            bound = match(overload, types)
            if bound is not None:
                self.agreeing(overload, read, at)
                return self.applied(name, overload, read, *bound)
        return self.mismatch(name, fitting, read, at)

    def agreeing(self, overload: Overload, read: list[Node | Fixed], at: exp.Expr) -> None:
        constants = [argument.value for argument in read if isinstance(argument, Fixed)]
        if overload.disagree and (problem := overload.disagree(*constants)):
            self.fail(problem, at=at)

    def applied(
        self, name: str, overload: Overload, read: list[Node | Fixed], wanted: list[DataType | None], result: DataType
    ) -> Call:
        """The call with every argument converted to what the overload wants."""
        converted = tuple(
            self.convert(argument, dtype) if isinstance(argument, Node) and dtype is not None else argument
            for argument, dtype in zip(read, wanted, strict=True)
        )
        return Call(result, name, overload, converted)

    def arguments(self, overload: Overload, given: list[Node | exp.Expr], at: exp.Expr) -> list[Node | Fixed]:
        return [self.read(overload.parameter(place), argument, at) for place, argument in enumerate(given)]

    def read(self, parameter: Parameter, argument: Node | exp.Expr, at: exp.Expr) -> Node | Fixed:
        if isinstance(argument, Node):
            return argument
        if isinstance(parameter, Constant):
            return self.fixed(parameter, argument, at)
        return self.check(argument)

    def fixed(self, parameter: Constant, argument: exp.Expr, at: exp.Expr) -> Fixed:
        """The value of an argument that must be written out."""
        bare = parameter.bare and isinstance(argument, (exp.Column, exp.Var))
        if not bare and not isinstance(argument, exp.Literal):
            self.fail(f"the {parameter} must be a literal, not {argument.sql()!r}", at=at, valid=parameter.valid)
        try:
            return Fixed(parameter.read(argument.name))
        except ValueError as problem:
            self.fail(str(problem), at=at, asked=argument.name, valid=parameter.valid)

    def mismatch(self, name: str, overloads: list[Overload], read: list[Node | Fixed], at: exp.Expr) -> NoReturn:
        """Says which argument does not fit, what it is, and what is accepted."""
        for place, argument in enumerate(read):
            if isinstance(argument, Node) and argument.type != NULL:
                kinds = list(dict.fromkeys(accepted(overload.parameter(place)) for overload in overloads))
                if not any(match_one(overload, place, argument.type) for overload in overloads):
                    self.fail(
                        f"argument {place + 1} of {name} is {argument.type}, accepted is {' or '.join(kinds)}",
                        at=at,
                        hint=_cast_hint(argument.type, kinds),
                    )
        types = " and ".join(str(argument.type) for argument in read if isinstance(argument, Node))
        self.fail(
            f"the arguments of {name} are {types}, which have no type in common",
            at=at,
            hint=_cast_hint(STRING, []),
            valid=FUNCTIONS[name].signatures,
        )

    def convert(self, node: Node, target: DataType) -> Node:
        """An implicit conversion, done here for literals."""
        if node.type == target:
            return node
        if isinstance(node, Literal) and node.type != NULL and node.type != STRING:
            return Literal(target, conversion(node.type, target)(node.value))
        if isinstance(node, Literal) and node.value is None:
            return Literal(target, None)
        return Cast(target, node)

    def common(self, nodes: Iterable[Node], at: exp.Expr, what: str) -> DataType:
        """The one type of several alternatives."""
        found: DataType = NULL
        for node in nodes:
            both = common_type(found, node.type)
            if both is None:
                self.fail(
                    f"{what} are {found} and {node.type}, which have no type in common",
                    at=at,
                    hint="CAST one of them",
                )
            found = both
        return found

    def condition(self, tree: exp.Expr) -> Node:
        node = self.check(tree)
        if node.type not in (BOOLEAN, NULL):
            self.fail(
                f"a condition must be BOOLEAN, this is {node.type}", at=tree, hint="compare it, for example with <> 0"
            )
        return self.convert(node, BOOLEAN)


def match_one(overload: Overload, place: int, dtype: DataType) -> bool:
    """Whether an argument alone would fit its place."""
    types: list[DataType | None] = [NULL] * max(len(overload.parameters), place + 1)
    types = [None if isinstance(overload.parameter(i), Constant) else t for i, t in enumerate(types)]
    types[place] = dtype
    return match(overload, types) is not None


def _cast_hint(dtype: DataType, kinds: list[str]) -> str | None:
    if "TIMESTAMP" in kinds and dtype.is_integer:
        return "timestamp_seconds(x), timestamp_millis(x) and timestamp_micros(x) make an instant of an epoch"
    if "TIMESTAMP" in kinds and dtype == STRING:
        return "CAST(x AS TIMESTAMP) reads ISO 8601, to_timestamp(x, '%m/%d/%Y') other formats"
    if "BIGINT" in kinds and dtype.is_float:
        return "CAST(x AS BIGINT) truncates, CAST(round(x) AS BIGINT) rounds"
    return f"convert it with CAST(x AS {kinds[0]})" if kinds else "convert one of them with CAST(x AS type)"


_OPERATORS = (
    "operators: + - * / % DIV || = <> < <= > >= AND OR NOT, IS [NOT] NULL, IS [NOT] TRUE, IS [NOT] DISTINCT FROM, "
    "[NOT] BETWEEN, IN, LIKE, RLIKE, CASE, x::type, a.b, list[1], map['key'], AT TIME ZONE, +/- INTERVAL '5' MINUTE"
)
_OUTSIDE: dict[type[exp.Expr] | tuple[type[exp.Expr], ...], str] = {
    (exp.Query, exp.Exists): "a query inside an expression is outside the subset",
    exp.Window: "a window function is outside the subset",
    exp.Filter: "an aggregate is outside the subset",
    exp.Star: "* is outside the subset",
    (exp.Placeholder, exp.Parameter): "a parameter is outside the subset",
    exp.Alias: "a name after an expression is outside the subset",
    exp.Tuple: "a list of expressions is not one expression",
    exp.ILike: "ILIKE is outside the subset, write lower(x) LIKE 'pattern'",
    exp.Interval: "an INTERVAL stands only after + or - of an instant",
    exp.Distinct: "DISTINCT is outside the subset",
}
