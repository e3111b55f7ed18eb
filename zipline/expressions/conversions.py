"""CAST in compiled expressions: which conversions exist, and what each does to a Python value.

A conversion raises DataError that names the value; TRY_CAST turns that into null.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from zipline.errors import DataError
from zipline.expressions import instants
from zipline.expressions.values import float32
from zipline.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INTEGERS,
    NULL,
    STRING,
    TIMESTAMP,
    DataType,
    DecimalType,
)

TRUE_WORDS = ("true", "t", "yes", "y", "1")
FALSE_WORDS = ("false", "f", "no", "n", "0")
WHOLE_TEXT = r" *[+-]?[0-9]+ *"
NUMBER_TEXT = r" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})? *"
DECIMAL_TEXT = r" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+) *"
"""The texts that a CAST to a number accepts, in a form that every engine's regular expressions read alike."""


def targets(source: DataType) -> tuple[DataType, ...]:
    """What a value of `source` can be cast to, itself apart. DECIMAL stands for any precision and scale."""
    numbers = (*INTEGERS, FLOAT, DOUBLE)
    if source.is_integer:
        return (*numbers, DecimalType(), STRING, BOOLEAN)
    if source.is_float:
        return numbers
    if isinstance(source, DecimalType):
        return (*numbers, DecimalType())
    return {
        BOOLEAN: (*numbers, STRING),
        STRING: (*numbers, DecimalType(), BOOLEAN, DATE, TIMESTAMP),
        DATE: (TIMESTAMP, STRING),
        TIMESTAMP: (DATE, STRING),
    }.get(source, ())


def castable(source: DataType, target: DataType) -> bool:
    if source in (NULL, target):
        return True
    return any(target == candidate or {type(target), type(candidate)} == {DecimalType} for candidate in targets(source))


def conversion(source: DataType, target: DataType) -> Callable[[Any], Any]:
    """The function from a value of one type, never null, to the other."""
    if target in INTEGERS:
        return _to_integer(source, target)
    if target == STRING:
        return _to_text(source)
    if isinstance(target, DecimalType):
        return _to_decimal(source, target)
    if source == STRING:
        return _FROM_TEXT[target]
    return _PLAIN[target]


def safely(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same conversion with null for failure."""

    def attempt(value: Any) -> Any:
        try:
            return convert(value)
        except DataError:
            return None

    return attempt


def _to_integer(source: DataType, target: DataType) -> Callable[[Any], int]:
    low, high = target.bounds

    def convert(value: Any) -> int:
        try:
            whole = _whole(value) if source == STRING else int(value)
        except (OverflowError, ValueError):
            raise DataError(f"{value!r} is not a {target}") from None
        if low <= whole <= high:
            return whole
        raise DataError(f"{value!r} is beyond the range of {target}")

    return convert


_WHOLE = re.compile(WHOLE_TEXT)
_NUMBER = re.compile(NUMBER_TEXT)
_DECIMAL = re.compile(DECIMAL_TEXT)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise DataError(f"{text!r} is not a DOUBLE")
    return float(text)


def _truth(text: str) -> bool:
    word = text.strip(" ").lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise DataError(f"{text!r} is not a BOOLEAN; {', '.join((*TRUE_WORDS, *FALSE_WORDS))} are")


def _single(value: Any) -> float:
    return float32(float(value))


def _single_from_text(text: str) -> float:
    return float32(_number(text))


_PLAIN: dict[DataType, Callable[[Any], Any]] = {
    FLOAT: _single,
    DOUBLE: float,
    BOOLEAN: bool,
    DATE: instants.date_of,
    TIMESTAMP: instants.midnight,
}
_FROM_TEXT: dict[DataType, Callable[[str], Any]] = {
    BOOLEAN: _truth,
    DATE: instants.date_from_text,
    TIMESTAMP: instants.instant_from_text,
    FLOAT: _single_from_text,
    DOUBLE: _number,
}


def _to_text(source: DataType) -> Callable[[Any], str]:
    if source == BOOLEAN:
        return lambda value: "true" if value else "false"
    if source == DATE:
        return dt.date.isoformat
    return instants.text_from_instant if source == TIMESTAMP else str


_DIGITS = Context(prec=80, rounding=ROUND_HALF_UP)


def _to_decimal(source: DataType, target: DecimalType) -> Callable[[Any], Decimal]:
    step = Decimal(1).scaleb(-target.scale)
    limit = Decimal(10) ** (target.precision - target.scale)

    def convert(value: Any) -> Decimal:
        if source == STRING and not _DECIMAL.fullmatch(value):
            raise DataError(f"{value!r} is not a {target}")
        try:
            rounded = Decimal(value).quantize(step, context=_DIGITS)
        except InvalidOperation:
            raise DataError(f"{value!r} is beyond the range of {target}") from None
        if abs(rounded) < limit:
            return rounded
        raise DataError(f"{value!r} is beyond the range of {target}")

    return convert
