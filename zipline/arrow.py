"""The one mapping between the platform's types and Arrow's."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from zipline.errors import TableError
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    NULL,
    SMALLINT,
    STRING,
    TIMESTAMP,
    TINYINT,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
    array,
    map_of,
)

MOST_DIGITS = 38
"""Digits of a decimal."""
TIMESTAMP_ARROW = pa.timestamp("us", tz="UTC")

_TO_ARROW: dict[DataType, pa.DataType] = {
    BOOLEAN: pa.bool_(),
    TINYINT: pa.int8(),
    SMALLINT: pa.int16(),
    INT: pa.int32(),
    BIGINT: pa.int64(),
    FLOAT: pa.float32(),
    DOUBLE: pa.float64(),
    STRING: pa.string(),
    BINARY: pa.binary(),
    DATE: pa.date32(),
    TIMESTAMP: TIMESTAMP_ARROW,
    NULL: pa.null(),
}
_FROM_ARROW: dict[pa.DataType, DataType] = {arrow: dtype for dtype, arrow in _TO_ARROW.items()} | {
    pa.uint8(): SMALLINT,
    pa.uint16(): INT,
    pa.uint32(): BIGINT,
    pa.uint64(): DecimalType(precision=20, scale=0),
    pa.float16(): FLOAT,
    pa.large_string(): STRING,
    pa.large_binary(): BINARY,
    pa.date64(): DATE,
}


def to_arrow(dtype: DataType) -> pa.DataType:
    """The Arrow type that stores `dtype`."""
    if isinstance(dtype, ArrayType):
        return pa.list_(to_arrow(dtype.element))
    if isinstance(dtype, MapType):
        return pa.map_(to_arrow(dtype.key), to_arrow(dtype.value))
    if isinstance(dtype, StructType):
        return pa.struct([(name, to_arrow(field)) for name, field in dtype.fields])
    if isinstance(dtype, DecimalType):
        return pa.decimal128(dtype.precision, dtype.scale)
    return _TO_ARROW[dtype]


def from_arrow(arrow: pa.DataType, column: str = "") -> DataType:
    """The platform's type of an Arrow type; TableError names the column where there is none."""
    if pa.types.is_dictionary(arrow):
        return from_arrow(arrow.value_type, column)
    if pa.types.is_timestamp(arrow):
        return TIMESTAMP
    if pa.types.is_decimal(arrow) and arrow.precision <= MOST_DIGITS and 0 <= arrow.scale <= arrow.precision:
        return DecimalType(precision=arrow.precision, scale=arrow.scale)
    if pa.types.is_map(arrow):
        return map_of(from_arrow(arrow.key_type, column), from_arrow(arrow.item_type, column))
    if pa.types.is_struct(arrow):
        return StructType(fields=tuple((field.name, from_arrow(field.type, column)) for field in arrow))
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow):
        return array(from_arrow(arrow.value_type, column))
    dtype = _FROM_ARROW.get(arrow)
    if dtype is None:
        raise TableError(
            f"column {column!r} has the Arrow type {arrow}, which the platform does not read",
            valid=[*(str(known) for known in _FROM_ARROW), f"decimals of up to {MOST_DIGITS} digits"],
        )
    return dtype


def every_arrow_type(stored: pa.DataType) -> Iterator[pa.DataType]:
    """An Arrow type and all those of its parts."""
    yield stored
    if pa.types.is_dictionary(stored):
        yield from every_arrow_type(stored.value_type)
    for place in range(stored.num_fields):
        yield from every_arrow_type(stored.field(place).type)


def schema_of(schema: pa.Schema) -> dict[str, DataType]:
    """Column name -> type, in the schema's order."""
    return {field.name: from_arrow(field.type, field.name) for field in schema}
