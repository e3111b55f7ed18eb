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
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, TypeAlias

import numpy as np

from zipline.clock import to_datetime, to_micros
from zipline.errors import DataError, ZiplineError
from zipline.types import BINARY, BOOLEAN, DATE, FLOAT, NULL, STRING, TIMESTAMP, DataType, DecimalType

Door: TypeAlias = Callable[[Any], Any]
"""From a column's value to the clean value, None for null."""

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
            raise DataError(f"{value!r} is not a value of type {dtype}") from None

    return clean


def shortest(value: Decimal) -> str:
    """The text of a decimal without needless zeros, the same for equal ones of every scale."""
    return str(value.normalize(_WIDE))


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
