"""Fetching a join: the reads of all its parts in one round trip, then derivations, row by row.

A fetch is a generator: it yields what to read, is sent what was there, and returns the result. What stands between, a
call or an await, is the driver's. The failure of one part's reads makes its own features `unavailable` and touches no
other's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

from zipline.clock import to_text
from zipline.errors import UsageError, ZiplineError
from zipline.fetch.online_values import from_algebra
from zipline.fetch.results import WORST, Result, Status, Values
from zipline.fetch.served import Asked, Served, ServedValues, served
from zipline.plan.parts import Derived, PartPlan
from zipline.plan.steps import Column, JoinPlan
from zipline.stores.contract import Ask, Generation, Store, StoreError
from zipline.values import dataclass

Row: TypeAlias = Mapping[str, Any]
Reads: TypeAlias = Sequence[Ask]
Answers: TypeAlias = Sequence[Sequence[Any]] | StoreError


@dataclass(frozen=True, eq=False)
class OnlinePart:
    """A part of a join and the online side of its group-by."""

    part: PartPlan
    served: Served | ServedValues


class JoinFetch:
    """Fetches one join."""

    def __init__(self, plan: JoinPlan, parts: Sequence[OnlinePart], store: Store) -> None:
        self._plan, self._parts, self._store = plan, tuple(parts), store
        self.columns: tuple[Column, ...] = (
            *plan.feature_columns,
            *((derived.name, derived.type) for derived in plan.derivations),
        )
        self.keys = tuple(dict.fromkeys(key for each in self._parts for key in each.part.left_keys))

    def fetch(self, rows: Sequence[Row], q: int) -> Result:
        """The features of these rows at `q` (microseconds)."""
        steps = self.steps(rows, q)
        reads = next(steps)
        while True:
            try:
                answers: Answers = self._store.get(reads)
            except StoreError as wrong:
                answers = wrong
            try:
                reads = steps.send(answers)
            except StopIteration as done:
                result: Result = done.value
                return result

    def steps(self, rows: Sequence[Row], q: int) -> Generator[Reads, Answers, Result]:
        """See the module."""
        self._check(rows)
        asked: list[tuple[OnlinePart, Asked, slice]] = []
        reads: list[Ask] = []
        for each in self._parts:
            asks, half = each.served.asks(self._keys(each, rows), q, self._generation(each.served, q))
            asked.append((each, half, slice(len(reads), len(reads) + len(asks))))
            reads += asks
        answers = yield reads
        found: dict[str, Values] = {}
        for each, half, own in asked:
            features = each.served.features(half, None if isinstance(answers, StoreError) else answers[own])
            found |= self._of_part(each.part, features, rows)
        for derived in self._plan.derivations:
            found[derived.name] = _derived(derived, found, rows)
        return Result(self.columns, found, len(rows), self._plan.fingerprint)

    def _generation(self, served: Served | ServedValues, q: int) -> Generation | None:
        """The newest upload that ended at or before `q`; None before the first."""
        current = self._store.current(served.space)
        if current is None or current.end <= q:
            return current
        kept = [each for each in self._store.generations(served.space) if each.end <= q]
        if not kept:
            raise UsageError(
                f"{served.kept.group_by.name} is kept from {to_text(current.end)} on, not at {to_text(q)}",
                hint="ask for a later time, or make a backfill",
            )
        return kept[-1]

    def _check(self, rows: Sequence[Row]) -> None:
        for number, row in enumerate(rows):
            for key in self.keys:
                if key not in row:
                    raise UsageError(f"rows[{number}] has no {key!r}", asked=key, valid=self.keys)

    def _keys(self, each: OnlinePart, rows: Sequence[Row]) -> list[bytes | None]:
        """The keys as bytes; DataError names the row whose value is not of the key's type."""
        names, write = each.part.left_keys, each.served.key
        return [write([row[name] for name in names]) for row in rows]

    def _of_part(self, part: PartPlan, features: dict[str, Values], rows: Sequence[Row]) -> dict[str, Values]:
        """The part's columns under their names in the join."""
        if part.needed_derivations:
            names = [(key, left) for (key, _), left in zip(part.group_by.keys, part.left_keys, strict=True)]
            own = [{key: row[left] for key, left in names} for row in rows]
            features = dict(features)
            for derived in part.needed_derivations:
                features[derived.name] = _derived(derived, features, own)
        return {part.prefix + name: features[name] for name in part.chosen}


def join_fetch(plan: JoinPlan, store: Store, space_of: Callable[[str], str]) -> JoinFetch:
    """What fetches a join; `space_of` names the space of a group-by."""
    parts = [OnlinePart(part, served(part.group_by, space_of(part.group_by.name))) for part in plan.parts]
    return JoinFetch(plan, parts, store)


def _derived(derived: Derived, found: Mapping[str, Values], rows: Sequence[Row]) -> Values:
    """A derivation, row by row; its status is the worst of what it is computed of."""
    compute = derived.expression.python()
    names = sorted(derived.expression.columns)
    sources = [name for name in names if name in found]
    given = [name for name in names if name not in found]
    values: list[Any] = []
    statuses: list[Status] = []
    times: list[int | None] = []
    for number, row in enumerate(rows):
        status: Status = max((found[name].statuses[number] for name in sources), key=WORST.index, default="ok")
        known = [at for name in sources if (at := found[name].times[number]) is not None]
        times.append(min(known, default=None))
        value = None
        if any(name not in row for name in given):
            status = "error"
        elif status not in ("unavailable", "error"):
            own = {name: found[name].values[number] for name in sources} | {name: row[name] for name in given}
            try:
                value = from_algebra(compute(own), derived.type)
            except ZiplineError:
                status = "error"
        values.append(value)
        statuses.append(status)
    return Values(values, statuses, times)
