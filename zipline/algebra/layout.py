"""How partials are laid out for the online store: fixed words for what a kernel merges, IRs for the rest.

A *record* is the partial of one span of time: its start, its width, how many events it holds (a reversal is -1), then
the words of every *state*. A word is eight bytes, an integer or the bits of a double. States are shared: COUNT, SUM and
AVERAGE of one column are one `count` and one `total`. What has no fixed size (texts, lists, maps, sketches, buckets) is
an IR of the algebra, written by its codec behind the records.

A *block* is what stands under one key: any number of records, the same for an upload (spans of all lengths, cut where a
window may begin) and for tiles. Blocks begin with the tag of their schema and a checksum, so that one of another
definition, or a damaged one, is never read. Merging blocks is laying their records together.

    block   := tag, checksum, number of records, bytes of IRs | records | IRs
    record  := start, width, events | words of each state

All are little-endian words; IRs are one packed blob (`zipline.algebra.codec`), record by record, filled up to whole
words.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Literal, TypeAlias

from zipline.errors import DefinitionError
from zipline.types import BOOLEAN, DATE, TIMESTAMP, ArrayType, DataType
from zipline.values import dataclass

Kind: TypeAlias = Literal["count", "integers", "floats", "least", "most", "first", "last", "moments"]

START, WIDTH, EVENTS, FIRST_STATE = range(4)
"""The words that every record begins with."""
TAG, CHECKSUM, RECORDS, IR_BYTES, HEADER = range(5)
"""The words that every block begins with."""
WORD = 8
ROWS = ""
"""Of the `count` of all rows, those that are taken back too, the column that is none: records have it where `events`
may fall."""
EVER_BEFORE = -(1 << 62)
"""Before all time: where the span begins that holds whatever is older than every window."""

WORDS: dict[Kind, int] = {
    "count": 1,
    "integers": 2,
    "floats": 4,
    "least": 1,
    "most": 1,
    "first": 3,
    "last": 3,
    "moments": 8,
}
"""Of each kind: `count` n; `integers` the sums of low 32 bits and of what is above; `floats` a pair of doubles that is
their sum, how many are +inf and -inf; `least`, `most` the value; `first`, `last` t, known_at, value; `moments` the
state of `zipline.algebra.moments` in its order, and how many are infinite."""


SIGNED: frozenset[Kind] = frozenset({"count", "integers"})
"""Kinds that take values back: the words of a reversal are those of its row, negative, and all sums are exact. `floats`
is none of them, for a pair of doubles beside a huge value that is taken back later has lost what it was beside of."""


@dataclass(frozen=True)
class State:
    """The words of one kind over one column, from `at` on; `count` is where the number of its values stands."""

    kind: Kind
    input: str
    type: DataType
    at: int
    count: int

    @property
    def is_float(self) -> bool:
        """Whether a value's word is a double."""
        return self.type.is_float


def element_of(dtype: DataType) -> DataType:
    """Of a list its elements' type, which is what operations see."""
    return dtype.element if isinstance(dtype, ArrayType) else dtype


def has_word(dtype: DataType) -> bool:
    """Whether a value of the type is one word."""
    return dtype.is_integer or dtype.is_float or dtype in (BOOLEAN, DATE, TIMESTAMP)


def kinds_of(operation: str, dtype: DataType) -> tuple[Kind, ...] | None:
    """The states, beside the count of values, of an operation over such values; None where it takes an IR."""
    fits = has_word(dtype)
    if operation == "COUNT":
        return ()
    if operation in ("SUM", "AVERAGE") and (dtype.is_integer or dtype.is_float):
        return ("integers",) if dtype.is_integer else ("floats",)
    if operation in ("MIN", "MAX") and fits:
        return ("least",) if operation == "MIN" else ("most",)
    if operation in ("FIRST", "LAST") and fits:
        return ("first",) if operation == "FIRST" else ("last",)
    if operation in ("VARIANCE", "SKEW", "KURTOSIS") and (dtype.is_integer or dtype.is_float):
        return ("moments",)
    return None


@dataclass(frozen=True)
class Layout:
    """The states of a record, in order."""

    states: tuple[State, ...]

    @classmethod
    def of(cls, wanted: Iterable[tuple[Kind, str, DataType]]) -> Layout:
        """Of these (kind, column, its elements' type), each once, the count of every column among them first."""
        ordered = dict.fromkeys(wanted)
        counts = dict.fromkeys((column, dtype) for _, column, dtype in ordered)
        at, states, count_at = FIRST_STATE, [], {}
        for column, dtype in counts:
            count_at[column] = at
            states.append(State("count", column, dtype, at, at))
            at += WORDS["count"]
        for kind, column, dtype in ordered:
            if kind != "count":
                states.append(State(kind, column, dtype, at, count_at[column]))
                at += WORDS[kind]
        return cls(tuple(states))

    @cached_property
    def words(self) -> int:
        """Of one record."""
        return FIRST_STATE + sum(WORDS[state.kind] for state in self.states)

    def state(self, kind: Kind, column: str) -> State:
        """The one of this kind over the column."""
        for state in self.states:
            if state.kind == kind and state.input == column:
                return state
        raise DefinitionError(f"no {kind} of {column!r} is kept", valid=[f"{s.kind} {s.input}" for s in self.states])
