"""The aggregators: an operation over a column of values, over a column of lists, and split by a bucket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zipline.algebra.contract import Aggregator, At, Operation
from zipline.algebra.values import Door
from zipline.errors import DataError
from zipline.types import DataType
from zipline.values import dataclass


@dataclass(frozen=True)
class Scalars(Aggregator):
    """An operation over a column, nulls skipped."""

    operation: Operation
    clean: Door
    result_type: DataType

    @property
    def invertible(self) -> bool:  # type: ignore[override]
        return self.operation.invertible

    def empty(self) -> Any:
        return self.operation.empty()

    def update(self, ir: Any, value: Any, at: At) -> Any:
        value = self.clean(value)
        return ir if value is None else self.operation.update(ir, value, at)

    def remove(self, ir: Any, value: Any, at: At) -> Any:
        value = self.clean(value)
        return ir if value is None else self.operation.remove(ir, value, at)

    def merge(self, a: Any, b: Any) -> Any:
        return self.operation.merge(a, b)

    def finalize(self, ir: Any) -> Any:
        return self.operation.finalize(ir)

    def orphans(self, ir: Any) -> int:
        return self.operation.orphans(ir)

    def stored(self, ir: Any) -> Any:
        return self.operation.stored(ir)


class Elements(Scalars):
    """An operation over a column of lists: each element counts, at the event's time."""

    def update(self, ir: Any, value: Any, at: At) -> Any:
        for element in _elements(value):
            ir = super().update(ir, element, at)
        return ir

    def remove(self, ir: Any, value: Any, at: At) -> Any:
        for element in _elements(value):
            ir = super().remove(ir, element, at)
        return ir


def _elements(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise DataError(f"{value!r} is not a list")
    return value


@dataclass(frozen=True)
class Bucketed(Aggregator):
    """One IR per bucket; a value is the pair (bucket, value), and a null bucket skips it.

    The feature maps buckets, in their own order, to what `inner` gives; without any it is null.
    """

    inner: Aggregator
    clean: Door
    result_type: DataType

    @property
    def invertible(self) -> bool:  # type: ignore[override]
        return self.inner.invertible

    def empty(self) -> dict[Any, Any]:
        return {}

    def update(self, ir: dict[Any, Any], value: Any, at: At) -> dict[Any, Any]:
        bucket, value = self.clean(value[0]), value[1]
        return ir if bucket is None else self._put(ir, bucket, self.inner.update(self._at(ir, bucket), value, at))

    def remove(self, ir: dict[Any, Any], value: Any, at: At) -> dict[Any, Any]:
        bucket, value = self.clean(value[0]), value[1]
        return ir if bucket is None else self._put(ir, bucket, self.inner.remove(self._at(ir, bucket), value, at))

    def merge(self, a: dict[Any, Any], b: dict[Any, Any]) -> dict[Any, Any]:
        for bucket, ir in b.items():
            self._put(a, bucket, self.inner.merge(self._at(a, bucket), ir))
        return a

    def finalize(self, ir: dict[Any, Any]) -> dict[Any, Any] | None:
        return {bucket: self.inner.finalize(ir[bucket]) for bucket in sorted(ir)} or None

    def orphans(self, ir: dict[Any, Any]) -> int:
        return sum(self.inner.orphans(inner) for inner in ir.values())

    def stored(self, ir: dict[Any, Any]) -> dict[Any, Any]:
        return {bucket: self.inner.stored(inner) for bucket, inner in ir.items()}

    def _at(self, ir: dict[Any, Any], bucket: Any) -> Any:
        return ir[bucket] if bucket in ir else self.inner.empty()

    def _put(self, ir: dict[Any, Any], bucket: Any, inner: Any) -> dict[Any, Any]:
        if (self.invertible or bucket not in ir) and inner == self.inner.empty():
            ir.pop(bucket, None)
        else:
            ir[bucket] = inner
        return ir
