"""Numbers, logic and containers of compiled expressions: the Python side of the rules of the package.

Every function takes and gives plain Python values, None being null. What has no value raises DataError.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from zipline import clock
from zipline.errors import DataError, UsageError
from zipline.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INTEGERS,
    STRING,
    TIMESTAMP,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
    every_type,
)

LEAST, MOST = -(2**63), 2**63 - 1


def int64(total: int) -> int:
    """The total itself, if 64 bits hold it."""
    if LEAST <= total <= MOST:
        return total
    raise DataError(f"integer overflow: {total} is beyond 64 bits")


def divide_whole(dividend: int, divisor: int) -> int | None:
    """Integer division towards zero; by zero is null."""
    if divisor == 0:
        return None
    whole = abs(dividend) // abs(divisor)
    return int64(whole if (dividend < 0) == (divisor < 0) else -whole)


def modulo(dividend: int, divisor: int) -> int | None:
    """Remainder with the sign of the dividend; by zero is null."""
    if divisor == 0:
        return None
    rest = abs(dividend) % abs(divisor)
    return -rest if dividend < 0 else rest


_EXACT = 2.0**52
"""From here on every double is whole."""


def round_whole(value: float) -> float:
    """Half away from zero."""
    if not abs(value) < _EXACT:
        return value
    whole = math.trunc(value)
    return float(whole + (1 if value > 0 else -1) if abs(value - whole) >= 0.5 else whole)


def round_places(value: float, factor: float) -> float:
    """Half away from zero of value times factor, in double arithmetic."""
    return round_whole(value * factor) / factor if abs(value) < _EXACT else value


def floor(value: float) -> float:
    return float(math.floor(value)) if abs(value) < _EXACT else value


def ceil(value: float) -> float:
    return float(math.ceil(value)) if abs(value) < _EXACT else value


def square_root(value: float) -> float | None:
    return math.sqrt(value) if value >= 0 else None


def logarithm(value: float) -> float | None:
    return math.log(value) if value > 0 else None


def exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def power(base: float, exponent: float) -> float | None:
    """NaN results are null, as is zero to a negative power: it divides by zero."""
    if base == 0 and exponent < 0:
        return None
    try:
        return math.pow(base, exponent)
    except ValueError:
        return None
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def greatest(*values: Any) -> Any:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def least(*values: Any) -> Any:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def all_of(*conditions: bool | None) -> bool | None:
    """AND of three-valued logic."""
    if False in conditions:
        return False
    return None if None in conditions else True


def any_of(*conditions: bool | None) -> bool | None:
    """OR of three-valued logic."""
    if True in conditions:
        return True
    return None if None in conditions else False


def between(value: Any, low: Any, high: Any) -> bool | None:
    above = None if value is None or low is None else value >= low
    below = None if value is None or high is None else value <= high
    return all_of(above, below)


def one_of(value: Any, *candidates: Any) -> bool | None:
    if value is None:
        return None
    if any(candidate is not None and candidate == value for candidate in candidates):
        return True
    return None if None in candidates else False


def element(values: Sequence[Any], place: int) -> Any:
    """The element at a place from 1; beyond the list is null."""
    return values[place - 1] if 1 <= place <= len(values) else None


def entry(mapping: Mapping[Any, Any] | Sequence[tuple[Any, Any]], key: Any) -> Any:
    """The value of a key of a map, which Arrow gives as a list of pairs; null where it has none."""
    if isinstance(mapping, Mapping):
        return mapping.get(key)
    return next((value for candidate, value in mapping if candidate == key), None)


def contains(values: Sequence[Any], value: Any) -> bool:
    return any(candidate is not None and candidate == value for candidate in values)


def float32(value: float) -> float:
    """The nearest single precision value; beyond its range is an error."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        raise DataError(f"{value!r} is beyond the range of FLOAT") from None


def coercion(dtype: DataType) -> tuple[str, Callable[[Any], Any]] | None:
    """How a value met in a row becomes one of `dtype`: its class when nothing is to do, and the conversion.

    None where any value passes as it is.
    """
    if isinstance(dtype, DecimalType):
        return "Decimal", _decimal
    if dtype != TIMESTAMP and TIMESTAMP in every_type(dtype):
        return "None", partial(_with_instants, dtype=dtype)
    if isinstance(dtype, ArrayType):
        return "list", _array
    if isinstance(dtype, (MapType, StructType)):
        return None
    return _COERCIONS.get(dtype)


def _with_instants(value: Any, dtype: DataType) -> Any:
    """Instants within values as scalars of their type are: in microseconds, whether they were already or not."""
    if value is None:
        return None
    if dtype == TIMESTAMP:
        return _instant(value)
    if isinstance(dtype, ArrayType):
        return [_with_instants(each, dtype.element) for each in _array(value)]
    if isinstance(dtype, MapType):
        pairs = value.items() if isinstance(value, Mapping) else value
        return {_with_instants(key, dtype.key): _with_instants(each, dtype.value) for key, each in pairs}
    if isinstance(dtype, StructType):
        return {name: _with_instants(value.get(name), field) for name, field in dtype.fields}
    return value


def _refused(value: object, dtype: str) -> DataError:
    return DataError(f"{value!r} is not a {dtype}")


def _integer(value: Any) -> int:
    if isinstance(value, float) and value != value:
        raise _refused(value, "whole number")
    if isinstance(value, (float, Decimal)) and value == value.__trunc__():
        return int64(int(value))
    try:
        return int64(operator.index(value))
    except TypeError:
        raise _refused(value, "whole number") from None


def _double(value: Any) -> float:
    if isinstance(value, (str, bytes, bool)):
        raise _refused(value, "number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _refused(value, "number") from None


def _boolean(value: Any) -> bool:
    if type(value).__name__ in ("bool", "bool_") or value in (0, 1):
        return bool(value)
    raise _refused(value, "BOOLEAN")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise _refused(value, "STRING")


def _bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise _refused(value, "BINARY")


def _decimal(value: Any) -> Decimal:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    raise _refused(value, "DECIMAL")


def _date(value: Any) -> dt.date:
    if isinstance(value, int) and not isinstance(value, bool):
        return clock.to_datetime(value * clock.DAY).date()
    return clock.to_datetime(_instant(value)).date()


def _instant(value: Any) -> int:
    try:
        return clock.to_micros(value)
    except UsageError:
        raise _refused(value, "TIMESTAMP") from None


def _array(value: Any) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)):
        raise _refused(value, "ARRAY")
    try:
        return list(value)
    except TypeError:
        raise _refused(value, "ARRAY") from None


_COERCIONS: dict[DataType, tuple[str, Callable[[Any], Any]]] = {
    BOOLEAN: ("bool", _boolean),
    **dict.fromkeys(INTEGERS, ("int", _integer)),
    FLOAT: ("float", _double),
    DOUBLE: ("float", _double),
    STRING: ("str", _text),
    BINARY: ("bytes", _bytes),
    DATE: ("date", _date),
    TIMESTAMP: ("int", _instant),
}
