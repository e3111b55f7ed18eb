"""The column types that definitions, expressions and engines agree on.

A type is a frozen value that prints as portable SQL (`ARRAY<DOUBLE>`) and parses back: `parse_type(str(t)) == t`.
Engines map these to their own types; `zipline.arrow` maps them to Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator

from zipline.errors import ExpressionError
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class DataType:
    """A scalar type, or the base of a nested one."""

    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def is_integer(self) -> bool:
        return self in INTEGERS

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value of an integer type."""
        half = 1 << ((8 << INTEGERS.index(self)) - 1)
        return -half, half - 1

    @property
    def is_float(self) -> bool:
        return self in (FLOAT, DOUBLE)

    @property
    def is_numeric(self) -> bool:
        return self.is_integer or self.is_float or isinstance(self, DecimalType)

    @property
    def is_ordered(self) -> bool:
        """True where values of the type have an order of their own: every scalar."""
        return not isinstance(self, (ArrayType, MapType, StructType)) and self != NULL


BOOLEAN = DataType("BOOLEAN")
TINYINT = DataType("TINYINT")
SMALLINT = DataType("SMALLINT")
INT = DataType("INT")
BIGINT = DataType("BIGINT")
FLOAT = DataType("FLOAT")
DOUBLE = DataType("DOUBLE")
STRING = DataType("STRING")
BINARY = DataType("BINARY")
DATE = DataType("DATE")
TIMESTAMP = DataType("TIMESTAMP")
"""An instant: microseconds UTC."""
NULL = DataType("NULL")
"""The type of a column in which nothing but null is known."""

INTEGERS = (TINYINT, SMALLINT, INT, BIGINT)


@dataclass(frozen=True, slots=True)
class DecimalType(DataType):
    """Exact decimal of `precision` digits, `scale` of them after the point."""

    name: str = "DECIMAL"
    precision: int = 38
    scale: int = 0

    def __str__(self) -> str:
        return f"DECIMAL({self.precision}, {self.scale})"


@dataclass(frozen=True, slots=True)
class ArrayType(DataType):
    name: str = "ARRAY"
    element: DataType = NULL

    def __str__(self) -> str:
        return f"ARRAY<{self.element}>"


@dataclass(frozen=True, slots=True)
class MapType(DataType):
    name: str = "MAP"
    key: DataType = NULL
    value: DataType = NULL

    def __str__(self) -> str:
        return f"MAP<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True)
class StructType(DataType):
    name: str = "STRUCT"
    fields: tuple[tuple[str, DataType], ...] = ()

    def __str__(self) -> str:
        return f"STRUCT<{', '.join(f'{name}: {dtype}' for name, dtype in self.fields)}>"

    def field(self, name: str) -> DataType | None:
        return dict(self.fields).get(name)


def array(element: DataType) -> ArrayType:
    return ArrayType(element=element)


def map_of(key: DataType, value: DataType) -> MapType:
    return MapType(key=key, value=value)


def struct(**fields: DataType) -> StructType:
    return StructType(fields=tuple(fields.items()))


_SCALARS = {t.name: t for t in (BOOLEAN, *INTEGERS, FLOAT, DOUBLE, STRING, BINARY, DATE, TIMESTAMP, NULL)}
_SYNONYMS = {
    "BOOL": BOOLEAN,
    "BYTE": TINYINT,
    "SHORT": SMALLINT,
    "INTEGER": INT,
    "LONG": BIGINT,
    "REAL": FLOAT,
    "DOUBLE PRECISION": DOUBLE,
    "TEXT": STRING,
    "VARCHAR": STRING,
    "BYTES": BINARY,
}
TYPE_NAMES = (*_SCALARS, "DECIMAL(p, s)", "ARRAY<T>", "MAP<K, V>", "STRUCT<name: T, ...>")


def every_type(dtype: DataType) -> Iterator[DataType]:
    """A type and all those of its parts."""
    yield dtype
    if isinstance(dtype, ArrayType):
        yield from every_type(dtype.element)
    elif isinstance(dtype, MapType):
        yield from every_type(dtype.key)
        yield from every_type(dtype.value)
    elif isinstance(dtype, StructType):
        for _, field in dtype.fields:
            yield from every_type(field)


def parse_type(text: str) -> DataType:
    """The type that `text` names, case-insensitively; ExpressionError lists the valid names."""
    dtype, rest = _parse(text.strip(), text)
    if rest:
        raise _unknown(text)
    return dtype


def _parse(text: str, whole: str) -> tuple[DataType, str]:
    end = next((i for i, c in enumerate(text) if c in "<>(),:"), len(text))
    word, rest = text[:end].strip().upper(), text[end:]
    if word == "DECIMAL":
        return _parse_decimal(rest, whole)
    if word == "ARRAY" and rest.startswith("<"):
        element, rest = _parse(rest[1:].lstrip(), whole)
        return array(element), _expect(rest, ">", whole)
    if word == "MAP" and rest.startswith("<"):
        key, rest = _parse(rest[1:].lstrip(), whole)
        value, rest = _parse(_expect(rest, ",", whole), whole)
        return map_of(key, value), _expect(rest, ">", whole)
    if word == "STRUCT" and rest.startswith("<"):
        return _parse_struct(rest[1:], whole)
    scalar = _SCALARS.get(word) or _SYNONYMS.get(word)
    if scalar is None:
        raise _unknown(whole)
    return scalar, rest.lstrip()


def _parse_decimal(rest: str, whole: str) -> tuple[DataType, str]:
    if not rest.startswith("("):
        return DecimalType(precision=38, scale=0), rest.lstrip()
    inside, closed, after = rest[1:].partition(")")
    numbers = [part.strip() for part in inside.split(",")]
    if not closed or len(numbers) > 2 or not all(part.isdigit() for part in numbers):
        raise _unknown(whole)
    precision, scale = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0
    return DecimalType(precision=precision, scale=scale), after.lstrip()


def _parse_struct(rest: str, whole: str) -> tuple[DataType, str]:
    fields: list[tuple[str, DataType]] = []
    while True:
        name, colon, rest = rest.partition(":")
        if not colon:
            raise _unknown(whole)
        dtype, rest = _parse(rest.lstrip(), whole)
        fields.append((name.strip(), dtype))
        if rest.startswith(">"):
            return StructType(fields=tuple(fields)), rest[1:].lstrip()
        rest = _expect(rest, ",", whole)


def _expect(rest: str, mark: str, whole: str) -> str:
    if not rest.startswith(mark):
        raise _unknown(whole)
    return rest[1:].lstrip()


def _unknown(text: str) -> ExpressionError:
    return ExpressionError(f"{text!r} is not a type", asked=text, valid=TYPE_NAMES)


def common_type(left: DataType, right: DataType) -> DataType | None:
    """The type both convert to without loss of kind, or None: BIGINT for INT and BIGINT, DOUBLE for INT and DOUBLE."""
    if left == right or right == NULL:
        return left
    if left == NULL:
        return right
    if left.is_integer and right.is_integer:
        return INTEGERS[max(INTEGERS.index(left), INTEGERS.index(right))]
    if left.is_numeric and right.is_numeric:
        return _common_decimal(left, right) or DOUBLE
    if {left, right} == {DATE, TIMESTAMP}:
        return TIMESTAMP
    if isinstance(left, ArrayType) and isinstance(right, ArrayType):
        element = common_type(left.element, right.element)
        return array(element) if element else None
    return None


def _common_decimal(left: DataType, right: DataType) -> DataType | None:
    pair = [_as_decimal(dtype) for dtype in (left, right)]
    if pair[0] is None or pair[1] is None:
        return None
    scale = max(pair[0].scale, pair[1].scale)
    whole = max(pair[0].precision - pair[0].scale, pair[1].precision - pair[1].scale)
    return DecimalType(precision=min(38, whole + scale), scale=scale)


def _as_decimal(dtype: DataType) -> DecimalType | None:
    if isinstance(dtype, DecimalType):
        return dtype
    digits = {TINYINT: 3, SMALLINT: 5, INT: 10, BIGINT: 19}.get(dtype)
    return DecimalType(precision=digits, scale=0) if digits else None


def kind(dtype: DataType) -> str:
    """What keys are compared by: integers of all widths are one kind, floats another, text another."""
    if dtype.is_integer:
        return "integer"
    if dtype.is_float:
        return "float"
    return "decimal" if isinstance(dtype, DecimalType) else dtype.name.lower()
