"""Operations without an inverse over a source with mutations: keep every value, and recompute.

The IR is a signed multiset of (t, known_at, value): inserts minus reversals, whatever the order in which they come.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from zipline.algebra.contract import At, Operation, moment
from zipline.algebra.distinct import change

Rows: TypeAlias = dict[tuple[int, int, Any], int]


class Recomputed(Operation):
    """`operation` over the rows that are left after all reversals."""

    invertible = True

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    def empty(self) -> Rows:
        return {}

    def update(self, ir: Rows, value: Any, at: At) -> Rows:
        change(ir, (*moment(at), value), 1)
        return ir

    def remove(self, ir: Rows, value: Any, at: At) -> Rows:
        change(ir, (*moment(at), value), -1)
        return ir

    def merge(self, a: Rows, b: Rows) -> Rows:
        for row, count in b.items():
            change(a, row, count)
        return a

    def finalize(self, ir: Rows) -> Any:
        total = self.operation.empty()
        for t, known_at, value in sorted(ir):
            for _ in range(ir[t, known_at, value]):
                total = self.operation.update(total, value, (t, known_at))
        return self.operation.finalize(total)
