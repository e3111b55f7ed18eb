"""Values at the door: null, NaN and -0.0 are settled here, once, so that everything behind compares plainly.

Behind the door an integer is an int, a float a float that is neither NaN nor -0.0, a decimal a Decimal of its type's
scale, text a str, an instant an int of microseconds UTC, a date a `datetime.date`. Their own order is Python's:
numbers by value, text by code point, false before true. A value that is not of its type is a DataError.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
import struct
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import Any, TypeAlias

import numpy as np

from zipline.clock import to_datetime, to_micros
from zipline.errors import DataError, ZiplineError
from zipline.types import (
    BINARY,
    BOOLEAN,
    DATE,
    FLOAT,
    NULL,
    STRING,
    TIMESTAMP,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
)

Door: TypeAlias = Callable[[Any], Any]
"""From a column's value to the clean value, None for null."""

_LONGEST_SHOWN = 200
_WIDE = Context(prec=80)
_SINGLE = struct.Struct("<f")


def door(dtype: DataType) -> Door:
    """The function that cleans values of a column of this type."""
    convert = _converter(dtype)

    def clean(value: Any) -> Any:
        if value is None:
            return None
        try:
            return convert(value)
        except (TypeError, ValueError, ArithmeticError, ZiplineError):
            raise DataError(f"{shown(value)} is not a value of type {dtype}") from None

    return clean


def typed(dtype: DataType) -> Door:
    """The same for values as callers give them, with everything within: lists, maps (or their pairs) and mappings of a
    struct's fields become what `to_algebra` makes of them; a field that is not there is null, another is refused.
    Decimals have no more digits than their type."""
    inner = _typed_within(dtype)

    def checked(value: Any) -> Any:
        if value is None:
            return None
        try:
            return inner(value)
        except (TypeError, ValueError, AttributeError, ArithmeticError, ZiplineError):
            raise DataError(f"{shown(value)} is not a value of type {dtype}") from None

    return checked


def _typed_within(dtype: DataType) -> Door:
    if isinstance(dtype, ArrayType):
        return _list_of(typed(dtype.element))
    if isinstance(dtype, MapType):
        return _map_of(typed(dtype.key), typed(dtype.value))
    if isinstance(dtype, StructType):
        return _struct_of({name: typed(field) for name, field in dtype.fields})
    clean = door(dtype)
    if isinstance(dtype, DecimalType):
        most = 10 ** (dtype.precision - dtype.scale)
        return lambda value: _bounded(clean(value), most)
    return clean


def shown(value: Any) -> str:
    """A value in a message: what it says of itself, if it can and is short."""
    try:
        text = repr(value)
    except Exception:
        return f"a value of {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _bounded(value: Decimal | None, most: int) -> Decimal | None:
    if value is not None and abs(value) >= most:
        raise ValueError
    return value


def _list_of(element: Door) -> Door:
    def convert(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str | bytes | Mapping):
            raise TypeError
        return tuple(element(each) for each in value)

    return convert


def _map_of(key: Door, value: Door) -> Door:
    def convert(found: Any) -> dict[Any, Any]:
        pairs = found.items() if isinstance(found, Mapping) else found
        made = {key(own): value(each) for own, each in pairs}
        if None in made:
            raise ValueError
        return made

    return convert


def _struct_of(fields: Mapping[str, Door]) -> Door:
    def convert(found: Any) -> dict[str, Any]:
        if not fields.keys() >= found.keys():
            raise ValueError
        return {name: clean(found.get(name)) for name, clean in fields.items()}

    return convert


def shortest(value: Decimal) -> str:
    """The text of a decimal without needless zeros, the same for equal ones of every scale."""
    return str(value.normalize(_WIDE)) if value else "0"


def _converter(dtype: DataType) -> Door:
    if dtype.is_integer:
        return _integer(*dtype.bounds)
    if dtype.is_float:
        return _single if dtype == FLOAT else _float
    if isinstance(dtype, DecimalType):
        return _decimal(dtype.scale)
    return {BOOLEAN: _boolean, STRING: _text, BINARY: _binary, DATE: _date, TIMESTAMP: _instant, NULL: _null}.get(
        dtype, _unchanged
    )


def _integer(least: int, most: int) -> Door:
    def convert(value: Any) -> int:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = int(operator.index(value))
        if not least <= number <= most:
            raise ValueError
        return number

    return convert


def _float(value: Any) -> float | None:
    if isinstance(value, str | bytes | bool | np.bool_):
        raise TypeError
    number = float(value)
    if isinstance(value, int) and number != value:  # another number
        raise ValueError
    return None if math.isnan(number) else number + 0.0


def _single(value: Any) -> float | None:
    number = _float(value)
    return None if number is None else float(_SINGLE.unpack(_SINGLE.pack(number))[0])


def _decimal(scale: int) -> Door:
    unit = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal | None:
        if isinstance(value, bool):
            raise TypeError
        number = Decimal(repr(float(value)) if isinstance(value, float) else value)
        if number.is_nan():
            return None
        found = number.quantize(unit, context=_WIDE)
        if found != number:  # another number
            raise ValueError
        return _WIDE.add(found, Decimal(0))

    return convert


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii():
        value.encode()  # half a pair of surrogates is no text
    return str(value)


def _binary(value: Any) -> bytes:
    if isinstance(value, int | str):
        raise TypeError
    return bytes(value)


def _date(value: Any) -> dt.date:
    if isinstance(value, int):
        raise TypeError
    return to_datetime(to_micros(value)).date()


def _instant(value: Any) -> int:
    return to_micros(value)


def _null(value: Any) -> None:
    if isinstance(value, float) and math.isnan(value):
        return
    raise TypeError


def _unchanged(value: Any) -> Any:
    return value
