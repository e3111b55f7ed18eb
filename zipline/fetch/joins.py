"""Fetching a join: the reads of all its parts in one round trip, then derivations, row by row.

A fetch is a generator: it yields what to read and whom to ask, is sent what came of it, and returns the result. What
stands between, a call or an await, is the driver's. The failure of one part's reads makes its own features
`unavailable` and touches no other's. Of group-bys that declare a `cache`, what was read a moment ago is not read again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from zipline.algebra.nested import from_algebra
from zipline.algebra.values import typed
from zipline.api import Join
from zipline.clock import to_datetime, to_text
from zipline.errors import DataError, UsageError, ZiplineError
from zipline.fetch.asked import Answered, Asked, Keys, Row, RowKeys
from zipline.fetch.caching import Cached, FetchCache
from zipline.fetch.external import Answer
from zipline.fetch.online_externals import Key, OnlineExternal, online_externals
from zipline.fetch.partials import PartialParts, Served
from zipline.fetch.results import STATUSES, Block, Result, Shape, Status, Values
from zipline.fetch.stored_values import ServedValues, ValueParts
from zipline.fetch.troubles import TROUBLES
from zipline.plan.online import Kept
from zipline.plan.parts import Derived, PartPlan
from zipline.plan.steps import Column, JoinPlan
from zipline.stores.contract import Ask, Generation, PlaceError, Store, StoreError
from zipline.types import NULL, DataType
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


class _Begun(NamedTuple):
    """What was asked of a part, where its answers stand among all reads, and what a cache has of it."""

    asked: Asked
    place: slice
    cached: Cached | None

    def ended(self, reads: Answers) -> tuple[Asked, Answered]:
        """(what was asked, what was there of it, kept or read)."""
        answer = _complete(reads[self.place])
        if self.cached is None:
            return self.asked, answer
        together, unread = self.cached.together(answer)
        return self.asked._replace(unread=unread), together


class JoinFetch:
    """Fetches one join."""

    def __init__(
        self,
        plan: JoinPlan,
        parts: Sequence[OnlinePart],
        store: Store,
        externals: Sequence[OnlineExternal] = (),
        cache: FetchCache | None = None,
    ) -> None:
        self._plan, self._parts, self._store, self._externals = plan, tuple(parts), store, tuple(externals)
        self._cache = FetchCache() if cache is None else cache
        self.columns: tuple[Column, ...] = (
            *plan.feature_columns,
            *((derived.name, derived.type) for derived in plan.derivations),
        )
        left_keys = [each.part.left_keys for each in self._parts] + [each.plan.left_keys for each in self._externals]
        self.keys = tuple(dict.fromkeys(key for keys in left_keys for key in keys))
        self.given = self._given_columns()
        types = dict(self.given)
        written = [(each.part.left_keys, _key_types(each.part, types)) for each in self._parts]
        distinct = list(dict.fromkeys(written))
        self._own_keys = [Keys(columns, types) for columns, types in distinct]
        self._keys_of = [distinct.index(each) for each in written]
        self._kernels = _kernels(self._parts)
        names = [name for kernel, _ in self._kernels for name in kernel.names]
        features = [dtype for kernel, _ in self._kernels for dtype in kernel.types]
        in_order = [self._parts[number] for _, numbers in self._kernels for number in numbers]
        self._part_of = {name: n for n, each in enumerate(in_order) for name in _called(each.part).values()}
        # Features that only derivations of a part need are computed too, under names that no column has.
        self._shape = Shape(self.columns, names, features)
        self._is_plain = not self._shape.rest
        derived = (each for part in self._parts for each in part.part.needed_derivations)
        used = {name for each in (*plan.derivations, *derived) for name in each.expression.columns}
        used |= {*self.keys, *dict(plan.contextual)}
        self._doors = [(name, dtype, typed(dtype)) for name, dtype in self.given if name in used]

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

    def fetch(
        self, rows: Sequence[Row], q: int, is_now: bool = False, times: Sequence[dt.datetime] | None = None
    ) -> Result:
        """The features of these rows at `q` (microseconds). With `is_now` that is the present by this machine's clock:
        then an upload that has not ended yet is no fault of the caller, but of a clock; and caches are used. `times`
        are what derivations see as the `ts` of each row, by default `q`."""
        if isinstance(rows, Mapping):
            raise UsageError("the keys are one row, not a list of rows", hint="write fetch(join, [{...}])")
        steps = self.steps(rows, q, is_now, times)
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
        if not self._externals:
            return Reply(self._read(question.reads))
        waiting = [each.begin(keys) for each, keys in zip(self._externals, question.externals, strict=True)]
        reads = self._read(question.reads)
        return Reply(reads, [wait() for wait in waiting])

    def _read(self, reads: Sequence[Ask]) -> Answers:
        """Everything in one round trip; where one place cannot be read, each by itself."""
        try:
            return self._store.get(reads)
        except PlaceError:
            return [self._read_alone(read) for read in reads]
        except StoreError as wrong:
            TROUBLES.tell(wrong)
            return [None] * len(reads)

    def _read_alone(self, read: Ask) -> Sequence[Any] | None:
        try:
            # A copy: what a store gives holds until it is asked again.
            return [None if value is None else bytes(value) for value in self._store.get([read])[0]]
        except StoreError as wrong:
            TROUBLES.tell(wrong)
            return None

    def steps(
        self, rows: Sequence[Row], q: int, is_now: bool = False, times: Sequence[dt.datetime] | None = None
    ) -> Generator[Question, Reply, Result]:
        """See the module."""
        begun, reads = self._begun(rows, q, is_now)
        if not self._is_plain:
            rows = [self._typed(number, row) for number, row in enumerate(rows)]
        outside = [each.keys(rows) for each in self._externals]
        reply = yield Question(reads, outside)
        ended = [each.ended(reply.reads) for each in begun]
        found: dict[str, Values] = {}
        blocks: list[Block] = []
        for kernel, numbers in self._kernels:
            asked, answers = zip(*[ended[number] for number in numbers], strict=True) if numbers else ((), ())
            words, rest = kernel.answered(asked, answers, len(rows), q)
            blocks.append(words)
            found |= rest
        block = blocks[0] if len(blocks) == 1 else Block.beside(blocks)
        result = Result(self._shape, block, self._part_of, found, len(rows), self._plan.fingerprint)
        if self._is_plain:
            return result
        for external, external_keys, told in zip(self._externals, outside, reply.externals, strict=True):
            found |= external.values(rows, external_keys, told)
        for each in self._parts:
            self._derive(each.part, result, found, rows)
        asked_at = [to_datetime(q)] * len(rows) if times is None else list(times)
        found["ts"] = Values(asked_at, ["ok"] * len(rows), [None] * len(rows))
        found |= {name: _given(name, rows) for name, _ in self._plan.contextual}
        for name in self._shape.rest:  # what nothing here can answer
            found.setdefault(name, Values([None] * len(rows), ["unavailable"] * len(rows), [None] * len(rows)))
        for derived in self._plan.derivations:
            found[derived.name] = _derived(derived, result, found, rows, {})
        return result

    def _typed(self, number: int, row: Row) -> Row:
        """A row with the values of its columns as those of their types; DataError names one that is another's."""
        found = dict(row)
        for name, dtype, clean in self._doors:
            if name in found:
                try:
                    found[name] = from_algebra(clean(found[name]), dtype)
                except DataError as wrong:
                    raise DataError(wrong.what, subject=f"rows[{number}].{name}") from None
        return found

    def _begun(self, rows: Sequence[Row], q: int, is_now: bool) -> tuple[list[_Begun], list[Ask]]:
        """What is asked of each part, and all that is to be read."""
        keys = [each.of(rows) for each in self._own_keys]
        begun: list[_Begun] = []
        reads: list[Ask] = []
        is_there = True
        for each, own in zip(self._parts, self._keys_of, strict=True):
            generation, is_known, cached = None, is_there, None
            try:
                generation = self._generation(each, q, is_now) if is_there else None
            except StoreError as wrong:
                TROUBLES.tell(wrong)
                is_there, is_known = isinstance(wrong, PlaceError), False
            asked = keys[own]
            wanted = asked.some
            if is_now and each.part.group_by.cache is not None:
                generation = self._remembered(each, generation, q, is_known=is_known)
                cached = self._cached(each, generation, asked, q)
                wanted = wanted if cached is None else cached.missing
            asks = [] if cached is not None and cached.is_whole else each.served.asks(wanted, q, generation)
            begun.append(_Begun(Asked(asked, generation), slice(len(reads), len(reads) + len(asks)), cached))
            reads += asks
        return begun, reads

    def _generation(self, each: OnlinePart, q: int, is_now: bool) -> Generation | None:
        """The newest upload that ended at or before `q`; None before the first."""
        space = each.served.space
        current = self._store.current(space)
        if current is None or current.end <= q:
            return current
        generations = self._store.generations(space)
        kept = [generation for generation in generations if generation.end <= q]
        if not kept and is_now:
            what = f"the upload of {space} ends at {to_text(current.end)}, which has not come by this machine's clock"
            raise PlaceError(what, hint="is the clock right?")
        if not kept:
            raise UsageError(
                f"{each.part.group_by.name} is kept from {to_text(generations[0].end)} on, not at {to_text(q)}",
                hint="ask for a later time, or make a backfill",
            )
        return kept[-1]

    def _remembered(
        self, each: OnlinePart, generation: Generation | None, q: int, *, is_known: bool
    ) -> Generation | None:
        """The generation, for a part with a cache; while the store does not say which is current, that of before."""
        space, bound = each.served.space, each.part.group_by.cache
        assert bound is not None
        if generation is not None:
            self._cache.saw(space, generation)
        if is_known:
            return generation
        before = self._cache.seen(space, bound)
        return before if before is not None and before.end <= q else None

    def _cached(self, each: OnlinePart, generation: Generation | None, keys: RowKeys, q: int) -> Cached | None:
        bound = each.part.group_by.cache
        if generation is None or bound is None:
            return None
        served = each.served
        return Cached(self._cache, bound, served.space, generation, served.suffixes(q, generation), keys)

    def _derive(self, part: PartPlan, result: Result, found: dict[str, Values], rows: Sequence[Row]) -> None:
        """The derivations of a part, over its keys and features."""
        keys = {key: left for (key, _), left in zip(part.group_by.keys, part.left_keys, strict=True)}
        names = _called(part) | _named(part, [derived.name for derived in part.needed_derivations]) | keys
        for derived in part.needed_derivations:
            found[names[derived.name]] = _derived(derived, result, found, rows, names)


def join_fetch(
    plan: JoinPlan, join: Join, store: Store, space_of: Callable[[Kept], str], cache: FetchCache | None = None
) -> JoinFetch:
    """What fetches a join; `space_of` names where a group-by lies. A cache may serve many joins of one store."""
    parts = []
    for part in plan.parts:
        if part.external is not None:  # its group-by stands for it offline alone
            continue
        plan_of = part.group_by
        kept = Kept(plan_of)
        space = space_of(kept)
        served = Served(plan_of, space) if kept.has_tiles else ServedValues(plan_of, space, _called(part))
        parts.append(OnlinePart(part, served))
    return JoinFetch(plan, parts, store, online_externals(plan, join), cache)


def _key_types(part: PartPlan, given: Mapping[str, DataType]) -> tuple[DataType, ...]:
    """Those of the left's columns: keys of one kind are equal by value, whatever the widths of their types."""
    pairs = zip(part.left_keys, part.group_by.keys, strict=True)
    return tuple(dtype if given[left] == NULL else given[left] for left, (_, dtype) in pairs)


def _kernels(parts: Sequence[OnlinePart]) -> list[tuple[PartialParts | ValueParts, list[int]]]:
    """What computes the features that are words, and of which parts."""
    served = [each.served for each in parts]
    of_partials = [n for n, each in enumerate(served) if isinstance(each, Served)]
    of_values = [n for n, each in enumerate(served) if isinstance(each, ServedValues)]
    called = [_called(parts[n].part) for n in of_partials]
    found: list[tuple[PartialParts | ValueParts, list[int]]] = []
    if of_partials or not of_values:
        found.append((PartialParts([each for each in served if isinstance(each, Served)], called), of_partials))
    if of_values:
        found.append((ValueParts([each for each in served if isinstance(each, ServedValues)]), of_values))
    return found


def _complete(answers: Answers) -> Sequence[Sequence[Any]] | None:
    """What was there of a part; None where something of it could not be read."""
    return None if None in answers else cast(Sequence[Sequence[Any]], answers)


def _given(name: str, rows: Sequence[Row]) -> Values:
    """A column that comes with the request; `error` in a row that lacks it."""
    statuses: list[Status] = ["ok" if name in row else "error" for row in rows]
    return Values([row.get(name) for row in rows], statuses, [None] * len(rows))


def _called(part: PartPlan) -> dict[str, str]:
    """Feature -> its column in the join."""
    return _named(part, [feature.name for feature in part.needed] or [name for name, _ in part.group_by.lookup])


def _named(part: PartPlan, names: Iterable[str]) -> dict[str, str]:
    """Name -> what the join calls it: of what only derivations need, a name that no column and no other part has.

    Parts may have the same prefix, as long as they give different columns: of other keys, or of another group-by.
    """
    hidden = "\0".join(["", part.group_by.name, *part.left_keys, part.prefix])
    return {name: (part.prefix if name in part.chosen else hidden) + name for name in names}


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
