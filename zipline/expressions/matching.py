"""Which overload takes which arguments, and what each argument is converted to."""

from __future__ import annotations

from zipline.expressions.declarations import Constant, Overload, Parameter, Variable
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    NULL,
    TIMESTAMP,
    ArrayType,
    DataType,
    MapType,
    array,
    common_type,
    map_of,
)

Bound = dict[str, DataType]
"""Variable name -> the common type of what was met for it."""


def match(overload: Overload, types: list[DataType | None]) -> tuple[list[DataType | None], DataType] | None:
    """What each argument becomes, and the result type; None where an argument does not fit.

    None stands for an argument that is no node but a literal already read.
    """
    bound: Bound = {}
    for place, dtype in enumerate(types):
        parameter = overload.parameter(place)
        if isinstance(parameter, Constant) != (dtype is None):
            return None
        if isinstance(parameter, DataType) and dtype is not None and not _fits(parameter, dtype, bound):
            return None
    parameters = map(overload.parameter, range(len(types)))
    wanted = [_solved(parameter, bound) if isinstance(parameter, DataType) else None for parameter in parameters]
    if not all(_kept(given, dtype) for given, dtype in zip(types, wanted, strict=True)):
        return None
    return wanted, _solved(overload.result, bound)


def accepted(parameter: Parameter) -> str:
    """A parameter in words."""
    if not isinstance(parameter, Variable):
        return str(parameter)
    return {"any": "any type", "comparable": "a scalar type", "ordered": "a number, STRING, DATE or TIMESTAMP"}[
        parameter.accepts
    ]


def _fits(parameter: DataType, dtype: DataType, bound: Bound) -> bool:
    if isinstance(parameter, Variable):
        return _binds(parameter, dtype, bound)
    if isinstance(parameter, ArrayType) and isinstance(dtype, ArrayType):
        return _fits(parameter.element, dtype.element, bound)
    if isinstance(parameter, MapType) and isinstance(dtype, MapType):
        return _fits(parameter.key, dtype.key, bound) and _fits(parameter.value, dtype.value, bound)
    return converts(dtype, parameter) or (dtype == NULL and isinstance(parameter, (ArrayType, MapType)))


def converts(dtype: DataType, target: DataType) -> bool:
    """Whether a value of one type stands for another without being asked to."""
    if dtype in (target, NULL):
        return True
    if target == BIGINT:
        return dtype.is_integer
    if target == DOUBLE:
        return dtype.is_numeric
    return (dtype, target) == (DATE, TIMESTAMP)


def _binds(variable: Variable, dtype: DataType, bound: Bound) -> bool:
    if dtype != NULL and not _stands(variable.accepts, dtype):
        return False
    both = common_type(bound.get(variable.name, NULL), dtype)
    if both is None:
        return False
    bound[variable.name] = both
    return True


def _stands(accepts: str, dtype: DataType) -> bool:
    if accepts == "any":
        return True
    return dtype.is_ordered and dtype != BINARY and not (accepts == "ordered" and dtype == BOOLEAN)


def _solved(parameter: DataType, bound: Bound) -> DataType:
    """The type with its variables replaced by what they are bound to."""
    if isinstance(parameter, Variable):
        return bound.get(parameter.name, NULL)
    if isinstance(parameter, ArrayType):
        return array(_solved(parameter.element, bound))
    if isinstance(parameter, MapType):
        return map_of(_solved(parameter.key, bound), _solved(parameter.value, bound))
    return parameter


def _kept(given: DataType | None, wanted: DataType | None) -> bool:
    """Lists and maps are taken as they are, never converted element by element."""
    return given in (NULL, wanted) or not isinstance(wanted, (ArrayType, MapType))
