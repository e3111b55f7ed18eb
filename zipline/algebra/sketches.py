"""The approximate operations, on sketches of the `datasketches` package, whose bytes Spark's own functions read.

APPROX_UNIQUE_COUNT is a HyperLogLog sketch of 2**13 registers (standard error 1.2 %). APPROX_PERCENTILE keeps up to
`EXACT_VALUES` values as they are (nearest rank), more in a KLL sketch (rank error under 1 %). APPROX_HISTOGRAM_K keeps
exact counts of up to `FrequentItems.capacity` different values, more in a frequent-items sketch.

HyperLogLog states are put in order before they are written or read off, so that they do not depend on the order of the
values. The bytes of the other two sketches hold the order in which they were built.
"""

from __future__ import annotations

import datetime as dt
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, TypeAlias

import datasketches
import numpy as np

from zipline.algebra.contract import At, Operation
from zipline.algebra.distinct import Counts, change
from zipline.algebra.values import shortest
from zipline.types import BINARY, DATE, DataType, DecimalType

LG_REGISTERS = 13
EXACT_VALUES = 400
"""Also the accuracy parameter of the KLL sketch that holds more of them."""


class Sketch(ABC):
    """A sketch as an IR: comparable by its bytes."""

    tag: ClassVar[int]

    @abstractmethod
    def payload(self) -> bytes:
        """The sketch in the library's own format."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Sketch) and self.payload() == other.payload()

    __hash__ = None  # type: ignore[assignment]


class Distinct(Sketch):
    """A HyperLogLog sketch."""

    tag = 1

    def __init__(self, sketch: Any = None) -> None:
        self.sketch = sketch or datasketches.hll_sketch(LG_REGISTERS, datasketches.HLL_6)

    @classmethod
    def read(cls, payload: bytes) -> Distinct:
        return cls(datasketches.hll_sketch.deserialize(payload))

    def add(self, value: Any) -> None:
        self.sketch.update(_hashed(value))

    def merged(self, other: Distinct) -> Distinct:
        union = datasketches.hll_union(LG_REGISTERS)
        union.update(self.sketch)
        union.update(other.sketch)
        return Distinct(union.get_result(datasketches.HLL_6))

    def estimate(self) -> int:
        estimate: int = round(self.merged(self).sketch.get_estimate())
        return estimate

    def payload(self) -> bytes:
        """A union, even with itself, forgets the order of the values; what is still a list of them is sorted."""
        image: bytes = self.merged(self).sketch.serialize_compact()
        header = 4 * (image[0] & 0x3F)
        if header > 12 or self.sketch.is_empty():
            return image
        return image[:header] + np.sort(np.frombuffer(image[header:], "<u4")).tobytes()


_EMPTY_TEXT = -1
"""Hashed in place of empty text, which the library ignores: its eight bytes are those of no UTF-8 text."""


def _hashed(value: Any) -> int | float | str:
    """The value as the library hashes it; other types by an injective image."""
    if value in ("", b""):
        return _EMPTY_TEXT
    if isinstance(value, bool | dt.date | bytes | Decimal):
        return _IMAGES[type(value)](value)
    return value  # type: ignore[no-any-return]


_IMAGES: dict[type, Callable[[Any], int | str]] = {
    bool: int,
    dt.date: lambda value: (value - dt.date(1970, 1, 1)).days,
    bytes: lambda value: value.decode("latin-1"),
    Decimal: shortest,
}


class ApproxUniqueCount(Operation):
    """About how many different values there are."""

    def empty(self) -> Distinct:
        return Distinct()

    def update(self, ir: Distinct, value: Any, at: At) -> Distinct:  # noqa: ARG002
        ir.add(value)
        return ir

    def merge(self, a: Distinct, b: Distinct) -> Distinct:
        return a.merged(b)

    def finalize(self, ir: Distinct) -> int:
        return ir.estimate()


class Quantiles(Sketch):
    """A KLL sketch of doubles."""

    tag = 2

    def __init__(self, sketch: Any = None) -> None:
        self.sketch = sketch or datasketches.kll_doubles_sketch(EXACT_VALUES)

    @classmethod
    def read(cls, payload: bytes) -> Quantiles:
        return cls(datasketches.kll_doubles_sketch.deserialize(payload))

    def add(self, values: Quantiles | Iterable[float]) -> Quantiles:
        if isinstance(values, Quantiles):
            self.sketch.merge(values.sketch)
        else:
            for value in values:
                self.sketch.update(value)
        return self

    def payload(self) -> bytes:
        image: bytes = self.sketch.serialize()
        return image


Ranked: TypeAlias = tuple[float, ...] | Quantiles
"""The values in order while they are few, else their sketch."""


class ApproxPercentile(Operation):
    """The values at each of `percentiles` of the ranks, in the order in which they are asked."""

    def __init__(self, percentiles: tuple[float, ...]) -> None:
        self.percentiles = tuple(Fraction(repr(float(p))) for p in percentiles)

    def empty(self) -> Ranked:
        return ()

    def update(self, ir: Ranked, value: Any, at: At) -> Ranked:  # noqa: ARG002
        return self.merge(ir, (float(value),))

    def merge(self, a: Ranked, b: Ranked) -> Ranked:
        if isinstance(a, Quantiles):
            return a.add(b)
        if isinstance(b, Quantiles) or len(a) + len(b) > EXACT_VALUES:
            return Quantiles().add(b).add(a)
        return tuple(sorted(a + b))

    def finalize(self, ir: Ranked) -> list[float] | None:
        if isinstance(ir, Quantiles):
            return [ir.sketch.get_quantile(float(p), True) for p in self.percentiles]
        return [ir[max(math.ceil(p * len(ir)), 1) - 1] for p in self.percentiles] if ir else None


class Utf8(datasketches.PyObjectSerDe):  # type: ignore[misc]
    """Text as its size in 4 bytes, little-endian, and UTF-8; the library's own fails beyond ASCII."""

    def get_size(self, item: str) -> int:
        return len(self.to_bytes(item))

    def to_bytes(self, item: str) -> bytes:
        content = item.encode("utf-8", "surrogatepass")
        return len(content).to_bytes(4, "little") + content

    def from_bytes(self, data: bytes, offset: int) -> tuple[str, int]:
        size = int.from_bytes(data[offset : offset + 4], "little")
        return data[offset + 4 : offset + 4 + size].decode("utf-8", "surrogatepass"), 4 + size


class Frequent(Sketch):
    """A frequent-items sketch of integers, doubles or text."""

    tag = 3
    serdes: ClassVar[dict[type, tuple[int, Any]]] = {
        int: (0, datasketches.PyLongsSerDe()),
        float: (1, datasketches.PyDoublesSerDe()),
        str: (2, Utf8()),
    }

    def __init__(self, kind: type, sketch: Any) -> None:
        self.kind = kind
        self.sketch = sketch

    @classmethod
    def read(cls, payload: bytes) -> Frequent:
        kind, serde = next((kind, serde) for kind, (code, serde) in cls.serdes.items() if code == payload[0])
        return cls(kind, datasketches.frequent_items_sketch.deserialize(payload[1:], serde))

    def payload(self) -> bytes:
        code, serde = self.serdes[self.kind]
        image: bytes = self.sketch.serialize(serde)
        return bytes([code]) + image


Counted: TypeAlias = Counts | Frequent
"""The counts while the values are few, else their sketch."""


class ApproxHistogramK(Operation):
    """The k most frequent values and about how often they occur; ties by value, the map in the values' own order."""

    def __init__(self, k: int, dtype: DataType) -> None:
        self.k = k
        self.lg_size = max(10, (16 * k - 1).bit_length())
        self.capacity = 3 * (1 << self.lg_size) // 4
        self._to_item, self._from_item = _items_of(dtype)

    def empty(self) -> Counted:
        return {}

    def update(self, ir: Counted, value: Any, at: At) -> Counted:  # noqa: ARG002
        if isinstance(ir, Frequent):
            ir.sketch.update(self._to_item(value), 1)
            return ir
        change(ir, value, 1)
        return self._bounded(ir)

    def merge(self, a: Counted, b: Counted) -> Counted:
        if isinstance(a, dict) and isinstance(b, dict):
            for value, count in b.items():
                change(a, value, count)
            return self._bounded(a)
        if isinstance(a, Frequent):
            a.sketch.merge(self._sketched(b, a.kind).sketch)
            return a
        assert isinstance(b, Frequent)
        return self.merge(self._sketched(a, b.kind), b)

    def finalize(self, ir: Counted) -> dict[Any, int] | None:
        counts = ir if isinstance(ir, dict) else self._estimates(ir)
        most = sorted(counts, key=lambda value: (-counts[value], value))[: self.k] if len(counts) > self.k else counts
        return {value: counts[value] for value in sorted(most)} or None

    def _bounded(self, counts: Counts) -> Counted:
        if len(counts) <= self.capacity:
            return counts
        return self._sketched(counts, type(self._to_item(next(iter(counts)))))

    def _sketched(self, ir: Counted, kind: type) -> Frequent:
        if isinstance(ir, Frequent):
            return ir
        sketch = datasketches.frequent_items_sketch(self.lg_size)
        for value in sorted(ir):
            sketch.update(self._to_item(value), ir[value])
        return Frequent(kind, sketch)

    def _estimates(self, ir: Frequent) -> Counts:
        found = ir.sketch.get_frequent_items(datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        return {self._from_item(item): estimate for item, estimate, _, _ in found}


def _items_of(dtype: DataType) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """From a clean value to what the sketch stores, and back."""
    if dtype == DATE:
        return dt.date.toordinal, dt.date.fromordinal
    if dtype == BINARY:
        return lambda value: value.decode("latin-1"), lambda item: item.encode("latin-1")
    if isinstance(dtype, DecimalType):
        return str, Decimal
    return _same, _same


def _same(value: Any) -> Any:
    return value


KINDS: dict[int, Callable[[bytes], Sketch]] = {kind.tag: kind.read for kind in (Distinct, Quantiles, Frequent)}
