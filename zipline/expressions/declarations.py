"""How a function of the subset is declared: argument types, result type, one printer per dialect, and its Python.

A printer is a template over the printed arguments (`{0}`, `{1}`, ..., `{all}` for the whole list) or a callable that
takes them. Python is a template over variable names or a callable over values. A function is strict unless it says
otherwise: null in, null out, and its Python never sees null. `carries_nan` takes float arguments that may be NaN and
gives NaN for them; everyone else gets NaN as null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from zipline.expressions.dialects import DIALECTS, Dialect
from zipline.types import DataType
from zipline.values import dataclass

Printer: TypeAlias = str | Callable[..., str]
Python: TypeAlias = str | Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Variable(DataType):
    """A type that the arguments decide together: all arguments of one variable are converted to their common type.

    Only types whose `accepts` word fits may stand for it.
    """

    accepts: str = "any"


@dataclass(frozen=True, slots=True)
class Constant:
    """An argument that must be a literal (or, with `bare`, a plain word): `read` checks it or raises ValueError."""

    name: str
    read: Callable[[str], object]
    valid: tuple[str, ...] = ()
    bare: bool = False

    def __str__(self) -> str:
        return self.name


Parameter: TypeAlias = DataType | Constant


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One list of argument types of a function, and how it is computed everywhere."""

    parameters: tuple[Parameter, ...]
    result: DataType
    printers: Mapping[Dialect, Printer]
    python: Python
    variadic: bool = False
    strict: bool = True
    carries_nan: bool = False
    gives_nan: bool = False
    disagree: Callable[..., str | None] | None = None
    """Of the constants: what is wrong with them together, if anything."""

    def parameter(self, place: int) -> Parameter:
        return self.parameters[min(place, len(self.parameters) - 1)]

    def takes(self, count: int) -> bool:
        return count >= len(self.parameters) if self.variadic else count == len(self.parameters)

    def print(self, dialect: Dialect, arguments: list[Any]) -> str:
        printer = self.printers[dialect]
        if isinstance(printer, str):
            return printer.format(*arguments, all=", ".join(map(str, arguments)))
        return printer(*arguments)


@dataclass(frozen=True, slots=True)
class Function:
    """A name of the subset with its overloads, tried in order."""

    name: str
    overloads: tuple[Overload, ...]

    @property
    def signatures(self) -> tuple[str, ...]:
        return tuple(_signature(self.name, overload) for overload in self.overloads)


def _signature(name: str, overload: Overload) -> str:
    arguments = ", ".join(str(parameter) for parameter in overload.parameters)
    return f"{name}({arguments}{', ...' if overload.variadic else ''}) -> {overload.result}"


def function(name: str, *overloads: Overload) -> Function:
    return Function(name, overloads)


def overload(
    *parameters: Parameter,
    to: DataType,
    python: Python,
    sql: Printer | None = None,
    variadic: bool = False,
    strict: bool = True,
    carries_nan: bool = False,
    gives_nan: bool = False,
    disagree: Callable[..., str | None] | None = None,
    **printers: Printer,
) -> Overload:
    """One overload; `sql` prints every dialect that has no printer of its own in `printers`."""
    chosen: dict[Dialect, Printer] = {}
    for dialect in DIALECTS:
        printer = printers.get(dialect, sql)
        assert printer is not None, f"no printer for {dialect}"
        chosen[dialect] = printer
    assert printers.keys() <= set(DIALECTS)
    return Overload(
        parameters, to, MappingProxyType(chosen), python, variadic, strict, carries_nan, gives_nan, disagree
    )
