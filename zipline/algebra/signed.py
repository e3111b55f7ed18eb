"""Operations without an inverse over a source with mutations: keep every value, and recompute.

The IR is a signed multiset of (t, known_at, value): inserts minus reversals, whatever the order in which they come. A
reversal of a row that is not there lies in it as a negative count, without effect on others, until such a row comes.

One key may hold LARGEST rows; beyond that its feature is an error. The size is looked at when the feature is computed,
so that every split of the rows gives one answer, and a key that shrinks again has its feature again. What is stored is
bounded too: of a record with more rows than that nothing but their number is kept, and its key shrinks with the next
upload only.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from zipline.algebra.contract import At, Operation, moment
from zipline.algebra.distinct import change, missing
from zipline.errors import DataError

Rows: TypeAlias = dict[tuple[Any, ...], int]
"""(t, known_at, value) -> how often"""

_UNTOLD = ()
"""Stands for rows of which nothing but their number is kept."""

LARGEST = 100_000
"""The declared size of a signed multiset: rows of one key, inserts and unmatched reversals together."""


class TooManyRows(DataError):
    """A key with more rows than an operation without an inverse keeps; the caller adds the feature and the key."""

    def __init__(self, rows: int, *, subject: str | None = None) -> None:
        self.rows = rows
        super().__init__(
            f"{rows:,} rows of one key, over a source with mutations; at most {LARGEST:,} are kept",
            subject=subject,
            hint="take an operation with an inverse (COUNT, SUM, AVERAGE, UNIQUE_COUNT, HISTOGRAM), or finer keys",
        )


def size(ir: Rows) -> int:
    """How many rows a signed multiset holds, missing ones included."""
    return sum(abs(count) for count in ir.values())


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

    def orphans(self, ir: Rows) -> int:
        return missing(ir)

    def stored(self, ir: Rows) -> Rows:
        rows = size(ir)
        return ir if rows <= LARGEST else {_UNTOLD: rows}

    def finalize(self, ir: Rows) -> Any:
        rows = size(ir)
        if rows > LARGEST:
            raise TooManyRows(rows)
        total = self.operation.empty()
        for t, known_at, value in sorted(ir):
            for _ in range(ir[t, known_at, value]):
                total = self.operation.update(total, value, (t, known_at))
        return self.operation.finalize(total)
