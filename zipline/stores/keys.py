"""Keys as bytes: equal if and only if the keys are, by type and value.

Each part is a tag for its kind and its value, self-delimiting, so parts cannot run into each other. Integers of all
widths are one kind, so are floats; -0.0 is 0.0. A key with a null (or NaN) part has no bytes: it is nobody's key. What
is longer than a store takes is cut and ends in a SHA-256 of the whole.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from zipline.algebra.values import door, shortest
from zipline.errors import DataError
from zipline.stores.contract import LONGEST_KEY
from zipline.types import BINARY, BOOLEAN, DATE, STRING, TIMESTAMP, DataType, DecimalType

Write = Callable[[Any], bytes]
INTEGER, FLOAT, TEXT, BYTES, FALSE, TRUE, DAY, INSTANT, DECIMAL = range(1, 10)
"""The tags of parts."""
CUT = 0xFF
"""What a key begins with that is cut."""
LONGEST = LONGEST_KEY - 48
"""Bytes of a key that is not cut: chunks of tiles put some behind it."""
_DIGITS = 80
"""More than any decimal has on either side of its point."""
TURN = 1 << 63
"""What is added to an integer, so that none is negative."""
_WORD, _DOUBLE, _SIZE = struct.Struct(">BQ"), struct.Struct(">Bd"), struct.Struct(">BI")


KeyWriter = Callable[[Sequence[Any]], "bytes | None"]
"""Of the parts of a key its bytes."""


def key_writer(types: Sequence[DataType]) -> KeyWriter:
    """The function that writes keys of these types; None for a key that has a null part.

    It takes values as Arrow's `to_pylist` gives them, and raises DataError for one that is not of its type. A decimal
    that its type cannot hold is nobody's, and is written as it is.
    """
    parts = [(_number if isinstance(dtype, DecimalType) else door(dtype), _writer(dtype)) for dtype in types]
    if len(parts) == 1:
        clean, write = parts[0]

        def written_alone(key: Sequence[Any]) -> bytes | None:
            value = clean(key[0])
            return None if value is None else fitted(write(value))

        return written_alone

    def written(key: Sequence[Any]) -> bytes | None:
        found = b""
        for (clean, write), value in zip(parts, key, strict=True):
            cleaned = clean(value)
            if cleaned is None:
                return None
            found += write(cleaned)
        return fitted(found) if found else b"\0"

    return written


def fitted(key: bytes) -> bytes:
    """The key, cut where it is too long."""
    if len(key) <= LONGEST:
        return key
    return bytes([CUT]) + key[: LONGEST_KEY - 96] + hashlib.sha256(key).digest()


def _writer(dtype: DataType) -> Write:
    if dtype.is_integer:
        return lambda value: _WORD.pack(INTEGER, value + TURN)
    if dtype.is_float:
        return lambda value: _DOUBLE.pack(FLOAT, value)
    if isinstance(dtype, DecimalType):
        return _decimal
    return _WRITERS[dtype]


def _number(value: Any) -> Decimal | None:
    """A decimal as it is given, unrounded."""
    if value is None:
        return None
    if not isinstance(value, bool):
        with suppress(TypeError, ValueError, ArithmeticError):
            number = Decimal(repr(float(value)) if isinstance(value, float) else value)
            if number.is_finite():
                return number if -_DIGITS < number.adjusted() < _DIGITS else None  # beyond that nothing is kept
            if number.is_qnan():
                return None
    raise DataError(f"{value!r} is not a decimal")


def _boolean(value: bool) -> bytes:
    return bytes([TRUE if value else FALSE])


def _text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return _SIZE.pack(TEXT, len(content)) + content


def _binary(value: bytes) -> bytes:
    return _SIZE.pack(BYTES, len(value)) + value


def _date(value: dt.date) -> bytes:
    return _WORD.pack(DAY, value.toordinal())


def _instant(value: int) -> bytes:
    return _WORD.pack(INSTANT, value + TURN)


def _decimal(value: Decimal) -> bytes:
    content = shortest(value).encode()
    return _SIZE.pack(DECIMAL, len(content)) + content


_WRITERS: dict[DataType, Write] = {
    BOOLEAN: _boolean,
    STRING: _text,
    BINARY: _binary,
    DATE: _date,
    TIMESTAMP: _instant,
}
