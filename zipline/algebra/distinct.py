"""UNIQUE_COUNT, BOUNDED_UNIQUE_COUNT and HISTOGRAM: exact, by value.

Counts per value are signed, without zeros; what counts less than once is not there.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from zipline.algebra.contract import At, Operation

Counts: TypeAlias = dict[Any, int]


def change(counts: Counts, value: Any, by: int) -> None:
    """Count `value` `by` times more, in place."""
    count = counts.get(value, 0) + by
    if count:
        counts[value] = count
    else:
        counts.pop(value, None)


def missing(counts: Counts) -> int:
    """How many values too few there are: reversals without what they reverse."""
    return sum(-count for count in counts.values() if count < 0)


class Histogram(Operation):
    """How often each value occurs, in the values' own order."""

    invertible = True

    def empty(self) -> Counts:
        return {}

    def update(self, ir: Counts, value: Any, at: At) -> Counts:  # noqa: ARG002
        change(ir, value, 1)
        return ir

    def remove(self, ir: Counts, value: Any, at: At) -> Counts:  # noqa: ARG002
        change(ir, value, -1)
        return ir

    def merge(self, a: Counts, b: Counts) -> Counts:
        for value, count in b.items():
            change(a, value, count)
        return a

    def finalize(self, ir: Counts) -> Any:
        return {value: ir[value] for value in sorted(ir) if ir[value] > 0} or None

    def orphans(self, ir: Counts) -> int:
        return missing(ir)


class UniqueCount(Histogram):
    """How many different values there are."""

    def finalize(self, ir: Counts) -> int:
        return sum(count > 0 for count in ir.values())


class BoundedUniqueCount(Operation):
    """How many different values there are, up to k. The IR is the k least of them, so every order keeps the same."""

    def __init__(self, k: int) -> None:
        self.k = k

    def empty(self) -> tuple[Any, ...]:
        return ()

    def update(self, ir: tuple[Any, ...], value: Any, at: At) -> tuple[Any, ...]:  # noqa: ARG002
        return ir if value in ir else self.merge(ir, (value,))

    def merge(self, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(sorted({*a, *b})[: self.k])

    def finalize(self, ir: tuple[Any, ...]) -> int:
        return len(ir)
