"""Aggregations -> features: one typed column for each window and bucket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from zipline.algebra import operations
from zipline.api import Aggregation, GroupBy, Window
from zipline.arrow import from_arrow, to_arrow
from zipline.clock import DAY
from zipline.errors import ZiplineError
from zipline.plan.steps import Feature
from zipline.types import BOOLEAN, NULL, STRING, ArrayType, DataType, MapType, map_of

LONGEST = 4_000_000 * DAY
"""Longer than the calendar: a window of more sees the same, and a label of more is never complete."""

MOST = 2**62
"""More values than there are: a larger k keeps the same."""


def features_of(group_by: GroupBy, aggregation: Aggregation, types: Mapping[str, DataType]) -> Iterable[Feature]:
    name = aggregation.operation.name
    input_type = types[aggregation.input]
    element = input_type.element if isinstance(input_type, ArrayType) else input_type
    try:
        result = operations.result_type(name, element)
    except ZiplineError as wrong:
        raise group_by.wrong(f"{aggregation.title}: {wrong.what}", hint=wrong.hint) from None
    for output in aggregation.outputs:
        bucket_type = types[output.bucket] if output.bucket else None
        if bucket_type is not None and not bucket_type.is_ordered and bucket_type != NULL:
            raise group_by.wrong(f"{output.name}: bucket {output.bucket!r} is {bucket_type}; buckets are scalars")
        column_type = _named_keys(operations.map_type(bucket_type, result) if bucket_type is not None else result)
        if column_type == NULL and aggregation.default is not None:
            column_type = from_arrow(pa.array([aggregation.default]).type, output.name)
        _check_default(group_by, aggregation, output.name, column_type)
        yield Feature(
            name=output.name,
            operation=name,
            input=aggregation.input,
            window=min(output.window.micros, LONGEST) if isinstance(output.window, Window) else None,
            bucket=output.bucket,
            k=None if aggregation.k is None else min(aggregation.k, MOST),
            percentiles=tuple(aggregation.percentiles) if aggregation.percentiles else None,
            default=aggregation.default,
            input_type=input_type,
            bucket_type=bucket_type,
            type=column_type,
        )


def _named_keys(dtype: DataType) -> DataType:
    """The type, a map's keys as text where nothing is known of them: a map has no null keys."""
    if not isinstance(dtype, MapType):
        return dtype
    return map_of(STRING if dtype.key == NULL else dtype.key, _named_keys(dtype.value))


def _check_default(group_by: GroupBy, aggregation: Aggregation, column: str, dtype: DataType) -> None:
    if aggregation.default is None:
        return
    try:
        if _is_another(aggregation.default, dtype):
            raise OverflowError
        default_array(aggregation.default, dtype)
    except (pa.ArrowException, OverflowError):
        raise group_by.wrong(f"the default {aggregation.default!r} of {column} is no {dtype}") from None


def _is_another(value: Any, dtype: DataType) -> bool:
    """Whether it is no value of the type, though Arrow makes one of it without a word: NaN, which is no value at all, a
    truth as a number, a number that is none as an integer."""
    if isinstance(dtype, ArrayType) and isinstance(value, Sequence):
        return any(_is_another(each, dtype.element) for each in value)
    if isinstance(dtype, MapType) and isinstance(value, Mapping):
        return any(_is_another(each, dtype.value) for each in value.values())
    if isinstance(value, bool):
        return dtype != BOOLEAN
    if isinstance(value, float | Decimal) and value != value:
        return True
    return dtype.is_integer and isinstance(value, float | Decimal) and value != value // 1


def default_array(value: Any, dtype: DataType) -> pa.Array:
    """A default as an array of one value of the feature's type; a map may be given as a dict."""
    if isinstance(dtype, MapType) and isinstance(value, Mapping):
        value = list(value.items())
    return pa.array([value], to_arrow(dtype))
