"""Fetching a join: the reads of all its parts in one round trip, then derivations, row by row.

A fetch is a generator: it yields what to read and whom to ask, is sent what came of it, and returns the result. What
stands between, a call or an await, is the driver's. The failure of one part's reads makes its own features
`unavailable` and touches no other's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

from zipline.algebra.nested import from_algebra
from zipline.api import Join
from zipline.clock import to_datetime, to_text
from zipline.errors import UsageError, ZiplineError
from zipline.fetch.asked import Asked, Keys, Row
from zipline.fetch.external import Answer
from zipline.fetch.online_externals import Key, OnlineExternal, online_externals
from zipline.fetch.partials import PartialParts, Served
from zipline.fetch.results import STATUSES, Block, Result, Shape, Status, Values
from zipline.fetch.stored_values import ServedValues
from zipline.plan.online import Kept
from zipline.plan.parts import Derived, PartPlan
from zipline.plan.steps import Column, JoinPlan
from zipline.stores.contract import Ask, Generation, PlaceError, Store, StoreError
from zipline.values import dataclass

Answers: TypeAlias = Sequence["Sequence[Any] | None"]
"""Of every place what was there; None where it could not be read."""


@dataclass(frozen=True, eq=False)
class Question:
    """What a fetch needs: places and keys of the store, and of every external source the keys of the rows."""

    reads: Sequence[Ask]
    externals: Sequence[Sequence[Key | None]] = ()


@dataclass(frozen=True, eq=False)
class Reply:
    """What was there of each place, and what each source answered."""

    reads: Answers
    externals: Sequence[Mapping[Key, Answer]] = ()


@dataclass(frozen=True, eq=False)
class OnlinePart:
    """A part of a join and the online side of its group-by."""

    part: PartPlan
    served: Served | ServedValues


class JoinFetch:
    """Fetches one join."""

    def __init__(
        self, plan: JoinPlan, parts: Sequence[OnlinePart], store: Store, externals: Sequence[OnlineExternal] = ()
    ) -> None:
        self._plan, self._parts, self._store, self._externals = plan, tuple(parts), store, tuple(externals)
        self.columns: tuple[Column, ...] = (
            *plan.feature_columns,
            *((derived.name, derived.type) for derived in plan.derivations),
        )
        left_keys = [each.part.left_keys for each in self._parts] + [each.plan.left_keys for each in self._externals]
        self.keys = tuple(dict.fromkeys(key for keys in left_keys for key in keys))
        self.given = self._given_columns()
        written = [(each.part.left_keys, tuple(dtype for _, dtype in each.part.group_by.keys)) for each in self._parts]
        distinct = list(dict.fromkeys(written))
        self._own_keys = [Keys(columns, types) for columns, types in distinct]
        self._keys_of = [distinct.index(each) for each in written]
        self._of_kernel = [n for n, each in enumerate(self._parts) if isinstance(each.served, Served)]
        called = [_called(self._parts[n].part) for n in self._of_kernel]
        self._kernel = PartialParts([e.served for e in self._parts if isinstance(e.served, Served)], called)
        self._stored = [(n, e.served) for n, e in enumerate(self._parts) if isinstance(e.served, ServedValues)]
        stored = [served for _, served in self._stored]
        parts_of_words = [*(names.values() for names in called), *(each.names for each in stored)]
        self._part_of = {name: number for number, names in enumerate(parts_of_words) for name in names}
        # Features that only derivations of a part need are computed too, under names that no column has.
        names = [*self._kernel.names, *(name for each in stored for name in each.names)]
        types = [*(f.type for f in self._kernel.features), *(dtype for each in stored for dtype in each.types)]
        self._shape = Shape(self.columns, names, types)
        self._is_plain = not self._shape.rest

    @property
    def plan(self) -> JoinPlan:
        return self._plan

    @property
    def spaces(self) -> dict[str, str]:
        """Group-by -> its space in the store."""
        return {each.part.group_by.name: each.served.space for each in self._parts}

    def _given_columns(self) -> tuple[Column, ...]:
        """What a row of a request may have: the keys, the left's other columns, what comes with requests alone."""
        left = dict(self._plan.left_columns)
        types = left | dict(self._plan.contextual)
        names = dict.fromkeys((*self.keys, *types))
        return tuple((name, types[name]) for name in names if name != "ts")

    def fetch(self, rows: Sequence[Row], q: int) -> Result:
        """The features of these rows at `q` (microseconds)."""
        steps = self.steps(rows, q)
        question = next(steps)
        while True:
            try:
                question = steps.send(self._replied(question))
            except StopIteration as done:
                result: Result = done.value
                return result

    @property
    def asks_others(self) -> bool:
        """Whether a fetch waits for sources outside of the store."""
        return bool(self._externals)

    def _replied(self, question: Question) -> Reply:
        """The external sources are asked while the store is read."""
        waiting = [each.begin(keys) for each, keys in zip(self._externals, question.externals, strict=True)]
        reads = self._read(question.reads)
        return Reply(reads, [wait() for wait in waiting])

    def _read(self, reads: Sequence[Ask]) -> Answers:
        """Everything in one round trip; where one place cannot be read, each by itself."""
        try:
            return self._store.get(reads)
        except PlaceError:
            return [self._read_alone(read) for read in reads]
        except StoreError:
            return [None] * len(reads)

    def _read_alone(self, read: Ask) -> Sequence[Any] | None:
        try:
            # A copy: what a store gives holds until it is asked again.
            return [None if value is None else bytes(value) for value in self._store.get([read])[0]]
        except StoreError:
            return None

    def steps(self, rows: Sequence[Row], q: int) -> Generator[Question, Reply, Result]:
        """See the module."""
        keys = [each.of(rows, self.keys) for each in self._own_keys]
        generations = self._generations(q)
        halves = [Asked(keys[own], each) for own, each in zip(self._keys_of, generations, strict=True)]
        reads: list[Ask] = []
        places: list[slice] = []
        for each, half in zip(self._parts, halves, strict=True):
            asks = each.served.asks(half.keys, q, half.generation)
            places.append(slice(len(reads), len(reads) + len(asks)))
            reads += asks
        outside = [each.keys(rows) for each in self._externals]
        reply = yield Question(reads, outside)
        own = [_complete(reply.reads[place]) for place in places]
        of_kernel = self._of_kernel
        found: dict[str, Values] = {}
        blocks: list[Block] = []
        if of_kernel or not self._stored:
            kernel_halves, kernel_own = [halves[n] for n in of_kernel], [own[n] for n in of_kernel]
            blocks.append(self._kernel.answered(kernel_halves, kernel_own, len(rows), q))
            found |= self._kernel.others(kernel_halves, kernel_own, blocks[0].times, q)
        for number, served in self._stored:
            words, rest = served.answered(halves[number], own[number], q)
            blocks.append(words)
            found |= rest
        block = blocks[0] if len(blocks) == 1 else Block.beside(blocks)
        result = Result(self._shape, block, self._part_of, found, len(rows), self._plan.fingerprint)
        if self._is_plain:
            return result
        for external, external_keys, told in zip(self._externals, outside, reply.externals, strict=True):
            found |= external.values(external_keys, told)
        for each in self._parts:
            self._derive(each.part, result, found, rows)
        found["ts"] = Values([to_datetime(q)] * len(rows), ["ok"] * len(rows), [None] * len(rows))
        found |= {name: _given(name, rows) for name, _ in self._plan.contextual}
        for name in self._shape.rest:  # what nothing here can answer
            found.setdefault(name, Values([None] * len(rows), ["unavailable"] * len(rows), [None] * len(rows)))
        for derived in self._plan.derivations:
            found[derived.name] = _derived(derived, result, found, rows, {})
        return result

    def _generations(self, q: int) -> list[Generation | None]:
        """Of every part its newest upload that ended at or before `q`; None before the first, or of all parts from the
        one on whose store cannot be reached."""
        found: list[Generation | None] = []
        try:
            for each in self._parts:
                current = self._store.current(each.served.space)
                is_kept = current is None or current.end <= q
                found.append(current if is_kept else self._earlier(each, q))
        except StoreError:
            found += [None] * (len(self._parts) - len(found))
        return found

    def _earlier(self, each: OnlinePart, q: int) -> Generation:
        generations = self._store.generations(each.served.space)
        kept = [generation for generation in generations if generation.end <= q]
        if not kept:
            raise UsageError(
                f"{each.part.group_by.name} is kept from {to_text(generations[0].end)} on, not at {to_text(q)}",
                hint="ask for a later time, or make a backfill",
            )
        return kept[-1]

    def _derive(self, part: PartPlan, result: Result, found: dict[str, Values], rows: Sequence[Row]) -> None:
        """The derivations of a part, over its keys and features."""
        called = _called(part)
        keys = {key: left for (key, _), left in zip(part.group_by.keys, part.left_keys, strict=True)}
        for derived in part.needed_derivations:
            names = called | {d.name: part.prefix + d.name for d in part.needed_derivations} | keys
            found[part.prefix + derived.name] = _derived(derived, result, found, rows, names)


def join_fetch(plan: JoinPlan, join: Join, store: Store, space_of: Callable[[str], str]) -> JoinFetch:
    """What fetches a join; `space_of` names the space of a group-by."""
    parts = []
    for part in plan.parts:
        if part.external is not None:  # its group-by stands for it offline alone
            continue
        space, plan_of = space_of(part.group_by.name), part.group_by
        has_tiles = Kept(plan_of).has_tiles
        served = Served(plan_of, space) if has_tiles else ServedValues(plan_of, space, _called(part))
        parts.append(OnlinePart(part, served))
    return JoinFetch(plan, parts, store, online_externals(plan, join))


def _complete(answers: Answers) -> list[Sequence[Any]] | None:
    """What was there of a part; None where something of it could not be read."""
    found = [answer for answer in answers if answer is not None]
    return found if len(found) == len(answers) else None


def _given(name: str, rows: Sequence[Row]) -> Values:
    """A column that comes with the request; `error` in a row that lacks it."""
    statuses: list[Status] = ["ok" if name in row else "error" for row in rows]
    return Values([row.get(name) for row in rows], statuses, [None] * len(rows))


def _called(part: PartPlan) -> dict[str, str]:
    """Feature -> its column in the join; of those that only derivations need, a name that no column has."""
    needed = [feature.name for feature in part.needed] or [name for name, _ in part.group_by.lookup]
    hidden = f"\0{part.prefix}"
    return {name: (part.prefix if name in part.chosen else hidden) + name for name in needed}


def _derived(
    derived: Derived, result: Result, found: Mapping[str, Values], rows: Sequence[Row], names: Mapping[str, str]
) -> Values:
    """A derivation, row by row, with the worst status of what it is computed of; `names` say where its columns are."""
    compute = derived.expression.python()
    sources: dict[str, Values] = {}
    given: dict[str, str] = {}
    for name in sorted(derived.expression.columns):
        called = names.get(name, name)
        known = result.find(called) or found.get(called)
        if known is None:
            given[name] = called
        else:
            sources[name] = known
    values: list[Any] = []
    statuses: list[Status] = []
    times: list[int | None] = []
    for number, row in enumerate(rows):
        status: Status = max((each.statuses[number] for each in sources.values()), key=STATUSES.index, default="ok")
        times.append(min((at for each in sources.values() if (at := each.times[number]) is not None), default=None))
        value = None
        if any(called not in row for called in given.values()):
            status = "error"
        elif status not in ("unavailable", "error"):
            own = {name: each.values[number] for name, each in sources.items()}
            own |= {name: row[called] for name, called in given.items()}
            try:
                value = from_algebra(compute(own), derived.type)
            except ZiplineError:
                status = "error"
        values.append(value)
        statuses.append(status)
    return Values(values, statuses, times)
