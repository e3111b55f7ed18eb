"""What one group-by gives online: which keys of a store to ask for, and features made of what was there.

`Served.asks` and `Served.features` are two halves of a fetch, without the store between them, so that any driver can
stand there and the reads of many group-bys can be one round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, unpack
from zipline.algebra.columnar import folding
from zipline.algebra.columnar.blocks import Form
from zipline.algebra.layout import element_of
from zipline.algebra.operations import empty_value
from zipline.algebra.windows import bounds, floor
from zipline.clock import DAY
from zipline.errors import ZiplineError
from zipline.fetch.online_values import from_algebra, from_words
from zipline.fetch.results import Status, Values
from zipline.plan.online import EVER_BEFORE, SERVED, Kept, reduction
from zipline.plan.steps import Feature, GroupByPlan
from zipline.stores.contract import Ask, Generation, Place
from zipline.stores.keys import key_writer
from zipline.stores.tiles import chunks
from zipline.values import dataclass

Ints = NDArray[np.int64]

_OPERATIONS = {
    ("COUNT", False): folding.COUNT,
    ("COUNT", True): folding.COUNT,
    ("SUM", False): folding.SUM_INTEGERS,
    ("SUM", True): folding.SUM_FLOATS,
    ("AVERAGE", False): folding.AVERAGE_INTEGERS,
    ("AVERAGE", True): folding.AVERAGE_FLOATS,
    ("MIN", False): folding.LEAST,
    ("MIN", True): folding.LEAST,
    ("MAX", False): folding.MOST,
    ("MAX", True): folding.MOST,
    ("FIRST", False): folding.FIRST,
    ("FIRST", True): folding.FIRST,
    ("LAST", False): folding.LAST,
    ("LAST", True): folding.LAST,
    ("VARIANCE", False): folding.VARIANCE,
    ("VARIANCE", True): folding.VARIANCE,
    ("SKEW", False): folding.SKEW,
    ("SKEW", True): folding.SKEW,
    ("KURTOSIS", False): folding.KURTOSIS,
    ("KURTOSIS", True): folding.KURTOSIS,
}
"""(operation, whether its values are doubles) -> what the kernel calls it."""
_MAY_BE_UNDEFINED = ("VARIANCE", "SKEW", "KURTOSIS")
"""Null of values that there are; of all others null, or 0, says that there are none."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One half of a fetch: whose keys at which time, from which generation."""

    q: int
    keys: Sequence[bytes | None]
    generation: Generation | None
    places: int
    """How many values the store gives for each key."""


class Served:
    """The online side of a group-by that is served from partials."""

    def __init__(self, plan: GroupByPlan, space: str) -> None:
        self.kept = Kept(plan)
        self.space = space
        self._form = Form(self.kept.tag, bytes.fromhex(plan.fingerprint), self.kept.layout, self.kept.aggregators)
        self._windows = self.kept.windows
        self._numbers = {window: number for number, window in enumerate(self._windows)}
        self.key: Callable[[Sequence[Any]], bytes | None] = key_writer([dtype for _, dtype in plan.keys])

    @cached_property
    def _table(self) -> Ints:
        """The features that the kernel computes, as it takes them."""
        rows = []
        for feature in self.kept.fixed:
            count, state = self.kept.state(feature)
            is_float = element_of(feature.input_type).is_float
            operation = _OPERATIONS[feature.operation, is_float]
            rows.append((operation, self._numbers[feature.window], count.at, state.at, int(is_float)))
        return np.array(rows, np.int64).reshape(-1, 5)

    def asks(self, keys: Sequence[bytes | None], q: int, generation: Generation | None) -> tuple[list[Ask], Asked]:
        """What to ask the store for these keys (None: no key)."""
        some = [key for key in keys if key is not None]
        high = floor(q, self.kept.tile) + self.kept.tile
        asks: list[Ask] = []
        suffixes: list[bytes] = []
        if generation is not None:
            asks.append((Place(self.space, generation.name), some))
            starts = [start for start in self._starts(q) if start is not None]
            suffixes = chunks(generation.end, q, high, starts)
            asks.append((Place(self.space), [key + suffix for key in some for suffix in suffixes]))
        return asks, Asked(q, keys, generation, len(suffixes))

    def features(self, asked: Asked, answers: Sequence[Sequence[Any]] | None) -> dict[str, Values]:
        """The features of every key, in order; all `unavailable` where there is no answer or nothing was uploaded."""
        count = len(asked.keys)
        if asked.generation is None or answers is None:
            return nowhere(self.kept.group_by, count, "unavailable")
        whose, places = np.flatnonzero([key is not None for key in asked.keys]), asked.places
        batch, tiles = answers
        blocks = [[batch[n], *tiles[n * places : (n + 1) * places]] for n in range(len(whose))]
        try:
            opened = self._form.opened(blocks)
            irs = self._form.irs_of(opened.packed)
        except CodecError:
            return nowhere(self.kept.group_by, count, "error")
        low = np.array([EVER_BEFORE if start is None else start for start in self._starts(asked.q)], np.int64)
        rows = len(whose)
        lows = np.broadcast_to(low, (rows, len(low))).copy()
        highs = np.full(rows, floor(asked.q, self.kept.tile) + self.kept.tile)
        out = np.zeros((rows, len(self._table)), np.int64)
        flags = np.zeros((rows, len(self._table)), np.int8)
        events = np.zeros((rows, len(self._windows)), np.int64)
        words = opened.words
        folding.fold(
            words,
            words.view(np.float64),
            opened.offsets,
            lows,
            highs,
            self._table,
            out,
            out.view(np.float64),
            flags,
            events,
        )
        found: dict[str, Values] = {}
        for number, feature in enumerate(self.kept.fixed):
            values = from_words(feature, out[:, number], flags[:, number])
            seen = events[:, self._numbers[feature.window]]
            found[feature.name] = self._values(feature, asked, whose, values, seen, flags[:, number])
        for feature in self.kept.others:
            high = int(highs[0]) if rows else 0
            values, of_values = self._by_algebra(feature, irs, words, opened.offsets, low, high)
            seen = events[:, self._numbers[feature.window]]
            found[feature.name] = self._values(feature, asked, whose, values, seen, of_values)
        return found

    def _starts(self, q: int) -> list[int | None]:
        return [bounds(q, window, "TEMPORAL")[0] for window in self._windows]

    def _is_served(self, window: int | None, q: int, generation: Generation) -> bool:
        """Whether every window of this length is made of whole spans of the upload and of tiles."""
        start = bounds(q, window, "TEMPORAL")[0]
        return q <= generation.end + SERVED or (start is not None and start >= generation.end)

    def _by_algebra(
        self, feature: Feature, irs: list[list[Any]], words: Ints, offsets: Ints, low: Ints, high: int
    ) -> tuple[list[Any], Any]:
        """A feature of IRs: (values, flags as the kernel gives them)."""
        place = self.kept.reductions.index(reduction(feature))
        aggregator = self.kept.aggregators[place]
        start = low[self._numbers[feature.window]]
        values: list[Any] = []
        flags = np.full(len(offsets) - 1, folding.VALUE, np.int8)
        for row, (first, last) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            chosen = np.flatnonzero(folding.select(words[first:last], start, high)) + first
            try:
                merged = aggregator.merge_all(irs[record][place] for record in chosen.tolist())
                value = aggregator.finalize(merged)
            except ZiplineError:
                values.append(None)
                flags[row] = folding.BEYOND
                continue
            values.append(from_algebra(value, feature.type))
            is_nothing = value == empty_value(feature.operation, bucketed=feature.bucket is not None)
            if is_nothing and (feature.operation not in _MAY_BE_UNDEFINED or merged == aggregator.empty()):
                flags[row] = folding.EMPTY
        return values, flags

    def _values(
        self, feature: Feature, asked: Asked, whose: Ints, values: list[Any], events: Ints, flags: Any
    ) -> Values:
        """Values of the keys that there are, laid over the empty values of all."""
        count, generation = len(asked.keys), asked.generation
        assert generation is not None
        if not self._is_served(feature.window, asked.q, generation):
            return Values([None] * count, ["unavailable"] * count, [None] * count)
        empty = empty_of(feature)
        found: list[Any] = [empty] * count
        statuses: list[Status] = ["default"] * count
        is_late = asked.q > generation.end + SERVED
        for place, value, seen, flag in zip(whose.tolist(), values, events.tolist(), flags.tolist(), strict=True):
            if flag == folding.BEYOND:
                found[place], statuses[place] = None, "error"
            elif seen > 0:
                found[place] = empty if flag == folding.EMPTY else value
                statuses[place] = "stale" if is_late else "ok"
        return Values(found, statuses, [asked.q] * count)


class ServedValues:
    """The online side of a group-by that is served as the values that it had at the end of the uploaded day."""

    def __init__(self, plan: GroupByPlan, space: str) -> None:
        self.kept, self.space = Kept(plan), space
        self._fingerprint = bytes.fromhex(plan.fingerprint)
        self._empty = {feature.name: empty_of(feature) for feature in plan.features}
        self._columns = plan.lookup or tuple((feature.name, feature.type) for feature in plan.features)
        self.key: Callable[[Sequence[Any]], bytes | None] = key_writer([dtype for _, dtype in plan.keys])

    def asks(self, keys: Sequence[bytes | None], q: int, generation: Generation | None) -> tuple[list[Ask], Asked]:
        """What to ask the store for these keys (None: no key)."""
        some = [key for key in keys if key is not None]
        asks: list[Ask] = [] if generation is None else [(Place(self.space, generation.name), some)]
        return asks, Asked(q, keys, generation, 0)

    def features(self, asked: Asked, answers: Sequence[Sequence[Any]] | None) -> dict[str, Values]:
        """As `Served.features`. Values are `stale` once the day after the uploaded one has ended."""
        count, generation = len(asked.keys), asked.generation
        if generation is None or answers is None:
            return nowhere(self.kept.group_by, count, "unavailable")
        blobs = iter(answers[0])
        rows: list[list[Any] | None] = []
        try:
            for key in asked.keys:
                blob = None if key is None else next(blobs)
                rows.append(None if blob is None else unpack(self._fingerprint, bytes(blob)))
        except CodecError:
            return nowhere(self.kept.group_by, count, "error")
        current: Status = "stale" if asked.q >= generation.end + DAY else "ok"
        found = {}
        for place, (name, dtype) in enumerate(self._columns):
            empty = self._empty.get(name)
            values = [empty if row is None else from_algebra(row[place], dtype) for row in rows]
            nothing: Status = "stale" if current == "stale" else "default"
            statuses = [nothing if value == empty else current for value in values]
            found[name] = Values(values, statuses, [generation.end] * count)
        return found


def nowhere(plan: GroupByPlan, count: int, status: Status) -> dict[str, Values]:
    """No values, with one status, of all features."""
    columns = plan.lookup or tuple((feature.name, feature.type) for feature in plan.features)
    return {name: Values([None] * count, [status] * count, [None] * count) for name, _ in columns}


def served(plan: GroupByPlan, space: str) -> Served | ServedValues:
    """The online side of a group-by."""
    return Served(plan, space) if Kept(plan).has_tiles else ServedValues(plan, space)


def empty_of(feature: Feature) -> Any:
    """The value of a window in which nothing is."""
    if feature.default is not None:
        return feature.default
    return empty_value(feature.operation, bucketed=feature.bucket is not None)


__all__ = ["Asked", "Served", "ServedValues", "served"]
