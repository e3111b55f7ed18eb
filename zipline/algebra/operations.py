"""The twenty operations: what each accepts, gives, and is computed by; and the factory of aggregators.

Light to import: the sketch library is loaded when an approximate operation is first built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from zipline.algebra.columns import Bucketed, Elements, Scalars
from zipline.algebra.contract import Aggregator, Operation
from zipline.algebra.distinct import BoundedUniqueCount, Histogram, UniqueCount
from zipline.algebra.extremes import BottomK, First, FirstK, Last, LastK, Maximum, Minimum, TopK
from zipline.algebra.signed import Recomputed
from zipline.algebra.spread import Kurtosis, Skew, Variance
from zipline.algebra.totals import Count, FloatAverage, FloatSum, IntegerAverage, IntegerSum
from zipline.algebra.values import door
from zipline.errors import DefinitionError
from zipline.types import BIGINT, BOOLEAN, DOUBLE, NULL, ArrayType, DataType, array, map_of
from zipline.values import dataclass

BOUNDED_DEFAULT_K = 8


@dataclass(frozen=True)
class Arguments:
    """What an aggregation adds to its operation's name."""

    element: DataType
    k: int = 0
    percentiles: tuple[float, ...] = ()


Build: TypeAlias = Callable[[Arguments], Operation]
Result: TypeAlias = Callable[[DataType], DataType]


def _anything(dtype: DataType) -> bool:  # noqa: ARG001
    return True


def _numeric(dtype: DataType) -> bool:
    return dtype.is_numeric or dtype == NULL


def _ordered(dtype: DataType) -> bool:
    return dtype.is_ordered or dtype == NULL


def _bigint(element: DataType) -> DataType:  # noqa: ARG001
    return BIGINT


def _double(element: DataType) -> DataType:  # noqa: ARG001
    return DOUBLE


def _same(element: DataType) -> DataType:
    return element


def _total(element: DataType) -> DataType:
    return BIGINT if element.is_integer else DOUBLE


def _doubles(element: DataType) -> DataType:  # noqa: ARG001
    return array(DOUBLE)


def _counts(element: DataType) -> DataType:
    return map_of(element, BIGINT)


def _approx_unique_count(given: Arguments) -> Operation:  # noqa: ARG001
    from zipline.algebra.sketches import ApproxUniqueCount

    return ApproxUniqueCount()


def _approx_percentile(given: Arguments) -> Operation:
    from zipline.algebra.sketches import ApproxPercentile

    return ApproxPercentile(given.percentiles)


def _approx_histogram_k(given: Arguments) -> Operation:
    from zipline.algebra.sketches import ApproxHistogramK

    return ApproxHistogramK(given.k, given.element)


@dataclass(frozen=True)
class Declaration:
    """One operation: the element types it accepts, the type it gives, and its arguments."""

    accepts: Callable[[DataType], bool]
    result: Result
    build: Build
    needs_k: bool = False
    default_k: int | None = None
    needs_percentiles: bool = False
    empty: int | None = None
    approximate: bool = False


DECLARATIONS: dict[str, Declaration] = {
    "COUNT": Declaration(_anything, _bigint, lambda _: Count(), empty=0),
    "SUM": Declaration(_numeric, _total, lambda given: IntegerSum() if given.element.is_integer else FloatSum()),
    "AVERAGE": Declaration(
        _numeric, _double, lambda given: IntegerAverage() if given.element.is_integer else FloatAverage()
    ),
    "VARIANCE": Declaration(_numeric, _double, lambda _: Variance()),
    "SKEW": Declaration(_numeric, _double, lambda _: Skew()),
    "KURTOSIS": Declaration(_numeric, _double, lambda _: Kurtosis()),
    "MIN": Declaration(_ordered, _same, lambda _: Minimum()),
    "MAX": Declaration(_ordered, _same, lambda _: Maximum()),
    "FIRST": Declaration(_ordered, _same, lambda _: First()),
    "LAST": Declaration(_ordered, _same, lambda _: Last()),
    "FIRST_K": Declaration(_ordered, array, lambda given: FirstK(given.k), needs_k=True),
    "LAST_K": Declaration(_ordered, array, lambda given: LastK(given.k), needs_k=True),
    "TOP_K": Declaration(_ordered, array, lambda given: TopK(given.k), needs_k=True),
    "BOTTOM_K": Declaration(_ordered, array, lambda given: BottomK(given.k), needs_k=True),
    "UNIQUE_COUNT": Declaration(_ordered, _bigint, lambda _: UniqueCount(), empty=0),
    "BOUNDED_UNIQUE_COUNT": Declaration(
        _ordered,
        _bigint,
        lambda given: BoundedUniqueCount(given.k),
        needs_k=True,
        default_k=BOUNDED_DEFAULT_K,
        empty=0,
    ),
    "APPROX_UNIQUE_COUNT": Declaration(_ordered, _bigint, _approx_unique_count, empty=0, approximate=True),
    "APPROX_PERCENTILE": Declaration(_numeric, _doubles, _approx_percentile, needs_percentiles=True, approximate=True),
    "HISTOGRAM": Declaration(_ordered, _counts, lambda _: Histogram()),
    "APPROX_HISTOGRAM_K": Declaration(_ordered, _counts, _approx_histogram_k, needs_k=True, approximate=True),
}


def declaration(operation: str) -> Declaration:
    """The declaration of an operation by its public name."""
    found = DECLARATIONS.get(operation)
    if found is None:
        raise DefinitionError(f"{operation!r} is not an operation", asked=operation, valid=DECLARATIONS)
    return found


def result_type(operation: str, element: DataType) -> DataType:
    """What `operation` gives over values of this type, of a list input its elements; without buckets."""
    declared = declaration(operation)
    if not declared.accepts(element):
        raise DefinitionError(f"{operation} does not take {element}", hint=_remedy(operation, declared, element))
    return declared.result(element)


def _remedy(operation: str, declared: Declaration, element: DataType) -> str:
    if declared.accepts is _numeric:
        return "CAST(x AS INT)" if element == BOOLEAN else f"{operation} takes numbers: CAST(x AS DOUBLE), or use COUNT"
    return f"{operation} takes scalars, or lists of scalars: select one field or element"


def map_type(bucket: DataType, result: DataType) -> DataType:
    """What a bucketed aggregation gives."""
    return map_of(bucket, result)


def empty_value(operation: str, *, bucketed: bool = False) -> int | None:
    """What an operation gives where there are no values: 0 of what counts, else null; null of any map of buckets."""
    return None if bucketed else declaration(operation).empty


def aggregator(
    operation: str,
    input: DataType,
    *,
    k: int | None = None,
    percentiles: tuple[float, ...] | None = None,
    bucket: DataType | None = None,
    signed: bool = False,
) -> Aggregator:
    """The aggregator of `operation` over a column of type `input`.

    With `bucket`, a value is the pair (bucket, value) and the feature a map. With `signed`, `remove` works for every
    exact operation: the source has mutations.
    """
    element = input.element if isinstance(input, ArrayType) else input
    result = result_type(operation, element)
    built = _operation(operation, Arguments(element, *_checked(operation, k, percentiles)), signed)
    columns = Elements if isinstance(input, ArrayType) else Scalars
    inner = columns(built, door(element), result)
    return inner if bucket is None else Bucketed(inner, door(_checked_bucket(bucket)), map_of(bucket, result))


def _operation(operation: str, given: Arguments, signed: bool) -> Operation:
    declared = declaration(operation)
    if signed and declared.approximate:
        raise DefinitionError(
            f"{operation} cannot take back values, and its source has mutations", hint="use an exact operation"
        )
    built = declared.build(given)
    return Recomputed(built) if signed and not built.invertible else built


def _checked(operation: str, k: int | None, percentiles: tuple[float, ...] | None) -> tuple[int, tuple[float, ...]]:
    declared = declaration(operation)
    if k is None:
        k = declared.default_k
    if declared.needs_k and (k is None or isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise DefinitionError(f"{operation} needs k, a whole number of at least 1, not {k!r}")
    if k is not None and not declared.needs_k:
        raise DefinitionError(f"{operation} takes no k")
    if declared.needs_percentiles and not (percentiles and all(0 <= p <= 1 for p in percentiles)):
        raise DefinitionError(f"{operation} needs percentiles between 0 and 1, not {percentiles!r}")
    if percentiles and not declared.needs_percentiles:
        raise DefinitionError(f"{operation} takes no percentiles")
    return k or 0, tuple(percentiles or ())


def _checked_bucket(bucket: DataType) -> DataType:
    if not _ordered(bucket):
        raise DefinitionError(f"a bucket is a scalar, not {bucket}")
    return bucket
