"""What an answer may say: which generations were there while it was made, and what had been spent by then.

A question is seen when it begins and when its answer is there. Between these the answer may be of any generation that
was being uploaded, and of none older than one that had been published before or that an earlier answer came of; all
rows of one answer are of the same. Of what was spent it has at least all that was accepted `LATEST` seconds before it
began, and at most all that had been sent when it ended.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.performance.soak.world import BEFORE, BUYERS, SPENT, SWITCHED, generation_of

LATEST = 5.0
"""Seconds within which an accepted event is in the answers."""


@dataclass(frozen=True)
class Asked:
    """What was true when a question began."""

    keys: Sequence[int]
    oldest: Mapping[str, int]
    least: Mapping[int, int]


class Judge:
    """See the module. `begun` and `published` say of every switched group-by its newest upload that has begun and that
    is there."""

    def __init__(self, begun: Any, published: Any) -> None:
        self._begun, self._published = begun, published
        self._seen = dict.fromkeys(SWITCHED, 0)
        self._sent, self._settled = Counter[int](), Counter[int]()
        self._accepted: deque[tuple[float, int, int]] = deque()
        self.wrong: Counter[str] = Counter()
        self.examples: list[str] = []

    def send(self, key: int, amount: int) -> None:
        """An event goes out."""
        self._sent[key] += amount

    def accept(self, key: int, amount: int, at: float) -> None:
        """It was answered with 200."""
        self._accepted.append((at, key, amount))

    def asks(self, keys: Sequence[int], at: float) -> Asked:
        """A question begins."""
        while self._accepted and self._accepted[0][0] < at - LATEST:
            _, key, amount = self._accepted.popleft()
            self._settled[key] += amount
        oldest = {name: max(self._published[n], self._seen[name]) for n, name in enumerate(SWITCHED)}
        return Asked(keys, oldest, {key: self._settled[key] for key in keys if key < BUYERS})

    def answers(self, asked: Asked, rows: Sequence[Mapping[str, Any]]) -> None:
        """Its answer is there."""
        if len(rows) != len(asked.keys):
            self._mark("rows", f"{len(rows)} rows for {len(asked.keys)}")
            return
        for number, name in enumerate(SWITCHED):
            self._look_at_generation(asked, rows, name, self._begun[number])
        for key, row in zip(asked.keys, rows, strict=True):
            self._look_at_spent(asked, key, row["values"][SPENT])
            for name, status in row["status"].items():
                if name != SPENT or status != "default":
                    self._mark("status", f"{key}: {name} is {status}")

    def fails(self, what: str) -> None:
        """There is no answer."""
        self._mark("errors", what)

    def final(self) -> dict[int, int]:
        """What every buyer has spent in the end."""
        return {key: BEFORE + self._sent[key] for key in range(BUYERS)}

    def _look_at_generation(self, asked: Asked, rows: Sequence[Mapping[str, Any]], name: str, newest: int) -> None:
        found = {generation_of(name, key, row["values"]) for key, row in zip(asked.keys, rows, strict=True)}
        if None in found:
            self._mark("values", f"{name} of {asked.keys}: {rows}")
        elif len(found) != 1:
            self._mark("mixtures", f"{name} of {asked.keys}: generations {found}")
        else:
            (generation,) = found
            assert generation is not None
            if not asked.oldest[name] <= generation <= newest:
                self._mark("generations", f"{name}: {generation}, not {asked.oldest[name]} to {newest}")
            self._seen[name] = max(self._seen[name], generation)

    def _look_at_spent(self, asked: Asked, key: int, value: Any) -> None:
        if key >= BUYERS:
            if value is not None:
                self._mark("values", f"{key} has spent {value}, and never bought")
        elif value is None or not asked.least[key] <= value - BEFORE <= self._sent[key]:
            least, most = BEFORE + asked.least[key], BEFORE + self._sent[key]
            self._mark("events", f"{key} has spent {value}, not {least} to {most}")

    def _mark(self, kind: str, example: str) -> None:
        self.wrong[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{kind}: {example[:500]}")
