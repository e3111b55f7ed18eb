"""What an operation is, and what the platform calls.

An `Operation` computes on clean values: never null, of one type, comparable. It says how an intermediate result (IR)
begins, takes in a value, merges and becomes a feature. An `Aggregator` is an operation at the door of a column: it
skips nulls, normalises values, takes lists apart, and is what engines, tiles and stores call.

`update`, `remove` and `merge` may alter their first argument and must be used by their result; they never alter the
others. IRs hold nothing but what `zipline.algebra.codec` writes: plain Python values, tuples, dicts and sketches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

from zipline.errors import UnsupportedError
from zipline.types import DataType

At: TypeAlias = tuple[int, "int | None"]
"""When an event happened and when it became known, in microseconds; None where no second clock is declared."""


def moment(at: At) -> tuple[int, int]:
    """What orders events: their time, then when they were known, by default at once."""
    t, known_at = at
    return t, t if known_at is None else known_at


class Operation(ABC):
    """How clean values combine. `merge` is associative and commutative, so any split of the events gives one result."""

    invertible: ClassVar[bool] = False
    """Whether `remove` undoes `update`, in any order, even before it."""

    @abstractmethod
    def empty(self) -> Any:
        """The IR of no values."""

    @abstractmethod
    def update(self, ir: Any, value: Any, at: At) -> Any:
        """The IR with one more value."""

    @abstractmethod
    def merge(self, a: Any, b: Any) -> Any:
        """The IR of the values of both."""

    @abstractmethod
    def finalize(self, ir: Any) -> Any:
        """The feature."""

    def remove(self, ir: Any, value: Any, at: At) -> Any:  # noqa: ARG002
        """The IR with one value less."""
        raise UnsupportedError(
            f"{type(self).__name__} has no inverse", hint="build it with aggregator(..., signed=True)"
        )

    def orphans(self, ir: Any) -> int:  # noqa: ARG002
        """How many reversals of values that are not there the IR shows; they lie in wait for as many equal values."""
        return 0

    def stored(self, ir: Any) -> Any:
        """What a store keeps of the IR: less than all of one that is beyond its declared size."""
        return ir


class Aggregator(ABC):
    """An operation over one column, as definitions declare it."""

    result_type: DataType
    invertible: bool

    @abstractmethod
    def empty(self) -> Any:
        """The IR of no events."""

    @abstractmethod
    def update(self, ir: Any, value: Any, at: At) -> Any:
        """The IR with one more event; a null value changes nothing."""

    @abstractmethod
    def merge(self, a: Any, b: Any) -> Any:
        """The IR of the events of both."""

    @abstractmethod
    def finalize(self, ir: Any) -> Any:
        """The feature; of no values the operation's empty value."""

    @abstractmethod
    def remove(self, ir: Any, value: Any, at: At) -> Any:
        """The IR with one event less: the reversal of an equal `update`. UnsupportedError unless `invertible`."""

    @abstractmethod
    def orphans(self, ir: Any) -> int:
        """How many reversals of events that are not there the IR shows, at least: totals see only their balance."""

    @abstractmethod
    def stored(self, ir: Any) -> Any:
        """What a store keeps of the IR, which merges and finalizes as the IR does, or is too large ever after."""

    def prepare(self, value: Any, at: At) -> Any:
        """The IR of one event."""
        return self.update(self.empty(), value, at)

    def merge_all(self, irs: Iterable[Any]) -> Any:
        """The IR of all of `irs`, none of which is altered."""
        total = self.empty()
        for ir in irs:
            total = self.merge(total, ir)
        return total
