"""MIN, MAX, FIRST, LAST and their k: what stands at one end of an order.

FIRST and LAST order by (t, known_at, value), so ties have one answer; the others by value. The IR is None or what was
kept, in ascending order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from zipline.algebra.contract import At, Operation, moment

Kept: TypeAlias = tuple[Any, ...]


class Minimum(Operation):
    """The least value."""

    def empty(self) -> Any:
        return None

    def update(self, ir: Any, value: Any, at: At) -> Any:  # noqa: ARG002
        return self.merge(ir, value)

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return self._choose(a, b)

    def finalize(self, ir: Any) -> Any:
        return ir

    def _choose(self, a: Any, b: Any) -> Any:
        return min(a, b)


class Maximum(Minimum):
    """The greatest value."""

    def _choose(self, a: Any, b: Any) -> Any:
        return max(a, b)


class First(Minimum):
    """The value of the oldest event. The IR is (t, known_at, value)."""

    def update(self, ir: Any, value: Any, at: At) -> Any:
        return self.merge(ir, (*moment(at), value))

    def finalize(self, ir: Any) -> Any:
        return None if ir is None else ir[2]


class Last(First):
    """The value of the newest event."""

    def _choose(self, a: Any, b: Any) -> Any:
        return max(a, b)


class BottomK(Operation):
    """The k least values, ascending; duplicates stay."""

    def __init__(self, k: int) -> None:
        self.k = k

    def empty(self) -> Kept:
        return ()

    def update(self, ir: Kept, value: Any, at: At) -> Kept:
        return self._keep((*ir, self._item(value, at)))

    def merge(self, a: Kept, b: Kept) -> Kept:
        return self._keep(a + b)

    def finalize(self, ir: Kept) -> list[Any] | None:
        return list(ir) or None

    def _item(self, value: Any, at: At) -> Any:  # noqa: ARG002
        return value

    def _keep(self, items: Kept) -> Kept:
        return tuple(sorted(items)[: self.k])


class TopK(BottomK):
    """The k greatest values, descending; duplicates stay."""

    def finalize(self, ir: Kept) -> list[Any] | None:
        return list(reversed(ir)) or None

    def _keep(self, items: Kept) -> Kept:
        return tuple(sorted(items)[-self.k :])


class FirstK(BottomK):
    """The values of the k oldest events, oldest first."""

    def finalize(self, ir: Kept) -> list[Any] | None:
        return [value for _, _, value in ir] or None

    def _item(self, value: Any, at: At) -> Any:
        return *moment(at), value


class LastK(TopK):
    """The values of the k newest events, newest first."""

    def finalize(self, ir: Kept) -> list[Any] | None:
        return [value for _, _, value in reversed(ir)] or None

    def _item(self, value: Any, at: At) -> Any:
        return *moment(at), value
