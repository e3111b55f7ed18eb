"""The group-bys of a join that are served from partials: what to read of them, and all their features in one kernel.

Two halves of a fetch, without the store between them: `asks` and `answered`. What is fixed for all fetches is laid out
in tables once. Features that take an IR of the algebra are computed from the same blocks, key by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError
from zipline.algebra.columnar import folding
from zipline.algebra.columnar.blocks import Form, Irs, Opened
from zipline.algebra.layout import EVENTS, EVER_BEFORE, element_of
from zipline.algebra.nested import from_algebra, to_algebra
from zipline.algebra.operations import empty_value
from zipline.algebra.windows import bounds, floor
from zipline.clock import MINUTE
from zipline.errors import ZiplineError
from zipline.fetch.asked import Answered, Asked
from zipline.fetch.online_values import to_word
from zipline.fetch.results import Found, Status, Values
from zipline.fetch.words import BROKEN, computed
from zipline.plan.features import default_array
from zipline.plan.online import SERVED, Kept
from zipline.plan.steps import Feature, GroupByPlan
from zipline.stores.contract import Ask, Generation, Place
from zipline.stores.tiles import PROGRESS, Progress, chunks
from zipline.types import DataType

Ints = NDArray[np.int64]

_OPERATIONS = {
    "COUNT": (folding.COUNT, folding.COUNT),
    "SUM": (folding.SUM_INTEGERS, folding.SUM_FLOATS),
    "AVERAGE": (folding.AVERAGE_INTEGERS, folding.AVERAGE_FLOATS),
    "MIN": (folding.LEAST, folding.LEAST),
    "MAX": (folding.MOST, folding.MOST),
    "FIRST": (folding.FIRST, folding.FIRST),
    "LAST": (folding.LAST, folding.LAST),
    "VARIANCE": (folding.VARIANCE, folding.VARIANCE),
    "SKEW": (folding.SKEW, folding.SKEW),
    "KURTOSIS": (folding.KURTOSIS, folding.KURTOSIS),
}
"""Operation -> what the kernel calls it over integers, and over doubles."""
STALLED = MINUTE
"""A stream whose progress is older than this has stalled, where no `freshness` is declared."""
_MAY_BE_UNDEFINED = ("SUM", "AVERAGE", "VARIANCE", "SKEW", "KURTOSIS")
"""Null of values that there are; of all others the empty value says that there are none."""


class Served:
    """One group-by that is served from partials."""

    def __init__(self, plan: GroupByPlan, space: str) -> None:
        self.kept, self.space = Kept(plan), space
        self.form = self.kept.form
        self._tiles = Place(space)
        self._moment: tuple[int, Generation | None, Place, list[bytes]] = -1, None, self._tiles, []

    def lag(self, complete: int, generation: Generation) -> int:
        """How far behind the input may be that is complete until then: what is declared, else little of a stream."""
        if self.kept.group_by.freshness is not None:
            return self.kept.group_by.freshness
        return STALLED if complete > generation.end else 0

    def asks(self, keys: Sequence[bytes], q: int, generation: Generation | None) -> list[Ask]:
        """What to ask the store for these keys: of every key its upload, then its chunks of tiles."""
        if generation is None:
            return []
        uploaded, suffixes = self._at(q, generation)
        tiles = [PROGRESS, *[key + suffix for key in keys for suffix in suffixes]]
        return [(uploaded, keys), (self._tiles, tiles)]

    def suffixes(self, q: int, generation: Generation) -> list[bytes]:
        """What stands behind the keys of the chunks that a query needs."""
        return self._at(q, generation)[1]

    def _at(self, q: int, generation: Generation) -> tuple[Place, list[bytes]]:
        """The upload's place, and the suffixes: the same for all of a minute, as windows are whole minutes."""
        minute, known, uploaded, suffixes = self._moment
        if known is not generation or minute != q // MINUTE:
            uploaded, suffixes = Place(self.space, generation.name), self._suffixes(q, generation)
            self._moment = q // MINUTE, generation, uploaded, suffixes  # in one step: other threads have other times
        return uploaded, suffixes

    def _suffixes(self, q: int, generation: Generation) -> list[bytes]:
        high = floor(q, self.kept.tile) + self.kept.tile
        starts = [start for window in self.kept.windows if (start := start_of(window, q)) != EVER_BEFORE]
        return chunks(generation.end, q, high, starts, ahead=self.kept.is_signed)

    def is_foreign(self, generation: Generation | None) -> bool:
        """Whether the upload is another definition's: a key that is not in it may be one that this definition has."""
        return generation is not None and generation.fingerprint != self.kept.fingerprint

    def blocks(self, half: Asked, answer: Answered) -> list[list[Any]]:
        """Of every row the blocks of its key; what is broken where the upload is another definition's."""
        if self.is_foreign(half.generation):
            return [[BROKEN] for _ in half.keys.at]
        if answer is None or half.generation is None:
            return [[] for _ in half.keys.at]
        batch, (_, *tiles) = answer
        width = len(tiles) // max(1, len(batch))
        of = [
            [block for block in (uploaded, *tiles[number * width : (number + 1) * width]) if block is not None]
            for number, uploaded in enumerate(batch)
        ]
        return [of[place] if place >= 0 else [] for place in half.keys.at]


class Reduced(NamedTuple):
    """What the algebra makes of a window of a key: its value, whether its IR is that of nothing, how many events it has
    seen; or that it could not be computed."""

    value: Any
    is_empty: bool
    seen: int
    is_wrong: bool


class PartialParts:
    """See the module. `served` are the parts' group-bys, `names` what each part calls the features it takes."""

    def __init__(self, served: Sequence[Served], names: Sequence[dict[str, str]]) -> None:
        self.served = tuple(served)
        self.names: list[str] = []
        self.types: list[DataType] = []
        self._columns: list[slice] = []
        self._others: list[tuple[int, Feature, str]] = []
        self._empty: dict[str, Any] = {}
        parts: list[tuple[int, ...]] = []
        windows: list[tuple[int, ...]] = []
        rows: list[tuple[int, ...]] = []
        for number, (each, called) in enumerate(zip(served, names, strict=True)):
            kept = each.kept
            first_window, first_row = len(windows), len(rows)
            for window in kept.windows:
                first = len(rows)
                for feature in kept.fixed:
                    if feature.window == window and feature.name in called:
                        rows.append(_row(kept, feature))
                        self.types.append(feature.type)
                        self.names.append(called[feature.name])
                windows.append((EVER_BEFORE, first, len(rows)))
            self._others += [(number, f, called[f.name]) for f in kept.others if f.name in called]
            self._empty |= {called[f.name]: empty_of(f) for f in kept.others if f.name in called}
            parts.append((kept.tag, kept.layout.words, kept.tile, SERVED, kept.alone, first_window, len(windows)))
            self._columns.append(slice(first_row, len(rows)))
        self._parts = np.array(parts, np.int64).reshape(-1, 7)
        self._windows: tuple[int | None, Ints] = None, np.array(windows, np.int64).reshape(-1, 3)
        self._rows = np.array(rows, np.int64).reshape(-1, 7)

    def answered(self, asked: Sequence[Asked], answers: Sequence[Answered], count: int, q: int) -> Found:
        """The features of all parts, of `count` rows."""
        facts: list[int] = []
        at: list[int] = []
        times: list[int | None] = []
        values: list[Any] = []
        for served, half, answer in zip(self.served, asked, answers, strict=True):
            generation, is_foreign = half.generation, served.is_foreign(half.generation)
            complete = _complete_until(generation, answer, q)
            times.append(complete)
            at += half.keys.at
            if generation is None or answer is None or complete is None:
                facts += (EVER_BEFORE, EVER_BEFORE, is_foreign, 0, 0)
                continue
            uploaded, tiles = answer
            values += uploaded
            values += tiles[1:]
            fresh_until = complete + served.lag(complete, generation)
            keys = len(uploaded)
            facts += (generation.end, fresh_until, is_foreign, keys, (len(tiles) - 1) // max(1, keys))
        tables = np.array(facts, np.int64).reshape(-1, 5), self._parts, self._windows_at(q), self._rows
        places = np.array(at, np.int64).reshape(len(self.served), count)
        block = computed(folding.answer, values, (places, *tables, q), (count, len(self._rows)), times)
        for half, columns in zip(asked, self._columns, strict=True):
            for some, status in half.withheld():
                block = block.withheld(some, columns, status)
        return block, self._computed_by_algebra(asked, answers, times, q) if self._others else {}

    def _windows_at(self, q: int) -> Ints:
        """The table of windows: the same for all of a minute."""
        known, windows = self._windows
        if known != q // MINUTE:
            windows = windows.copy()
            windows[:, folding.BEGIN] = [start_of(window, q) for each in self.served for window in each.kept.windows]
            self._windows = q // MINUTE, windows
        return windows

    def _computed_by_algebra(
        self, asked: Sequence[Asked], answers: Sequence[Answered], times: Sequence[int | None], q: int
    ) -> dict[str, Values]:
        """The features that take IRs; `times` are those of the parts."""
        found: dict[str, Values] = {}
        opened: dict[int, tuple[Opened, Irs, list[int]]] = {}
        reduced: dict[tuple[int, int, int], list[Reduced]] = {}
        for number, feature, name in self._others:
            served, half = self.served[number], asked[number]
            count = len(half.keys.at)
            time = times[number]
            low = start_of(feature.window, q)
            end = EVER_BEFORE if half.generation is None else half.generation.end
            is_served = folding.is_served(low, end, SERVED, served.kept.alone, q)
            if time is None or half.generation is None or not is_served:
                nothing = Values([None] * count, ["unavailable"] * count, [None] * count)
                found[name] = nothing.withheld(half.withheld())
                continue
            if number not in opened:
                opened[number] = _opened(served.form, served.blocks(half, answers[number]))
            place = served.kept.reductions.index(served.kept.reduction(feature))
            if (number, place, low) not in reduced:
                reduced[number, place, low] = _reduced(served.kept, place, low, *opened[number], q)
            is_stale = q > time + served.lag(time, half.generation)
            of_rows, empty = reduced[number, place, low], self._empty[name]
            values = _by_algebra(served.kept, feature, empty, of_rows, time, is_stale=is_stale)
            found[name] = values.withheld(half.withheld())
        return found


def _complete_until(generation: Generation | None, answer: Answered, q: int) -> int | None:
    """Until when the input of a part is complete: as far as its stream has come, at least its upload's end. Where
    events since then were gone before the stream could read them, it is that end."""
    if generation is None or answer is None:
        return None
    found = answer[1][0]
    if found is None:
        return generation.end
    until, since = Progress.of(found)
    return generation.end if since > generation.end else max(generation.end, min(q, until))


def _row(kept: Kept, feature: Feature) -> tuple[int, ...]:
    """A feature as the kernel takes it."""
    count, state = kept.state(feature)
    is_float = element_of(feature.input_type).is_float
    empty = empty_of(feature)
    default = 0 if empty is None else to_word(empty, feature.type)
    operation = _OPERATIONS[feature.operation][is_float]
    return operation, count.at, state.at, is_float, empty is not None, default, feature.type.is_float


def start_of(window: int | None, q: int) -> int:
    """Where a window begins."""
    start = bounds(q, window, "TEMPORAL")[0]
    return EVER_BEFORE if start is None else start


def _opened(form: Form, blocks: Sequence[Sequence[Any]]) -> tuple[Opened, Irs, list[int]]:
    """(the records of all keys, their IRs, the rows of which a block is none of this form: those have no records)."""
    try:
        records = form.opened(blocks)
        return records, form.irs_of(records.packed), []
    except CodecError:
        if len(blocks) == 1:
            return form.opened([[]]), [], [0]
    wrong = [row for row, of_key in enumerate(blocks) if _opened(form, [of_key])[2]]
    records = form.opened([[] if row in wrong else of_key for row, of_key in enumerate(blocks)])
    return records, form.irs_of(records.packed), wrong


def _reduced(kept: Kept, place: int, low: int, opened: Opened, irs: Irs, wrong: Sequence[int], q: int) -> list[Reduced]:
    """Of every row the IR of this place in a window that begins at `low`, reduced."""
    aggregator, high = kept.aggregators[place], floor(q, kept.tile) + kept.tile
    nothing = aggregator.empty()
    found: list[Reduced] = []
    for row, (first, last) in enumerate(pairwise(opened.offsets.tolist())):
        words = opened.words[first:last]
        chosen = np.flatnonzero(folding.select(words, low, high))
        try:
            merged = aggregator.merge_all(irs[first + record][place] for record in chosen.tolist())
            value, is_wrong = aggregator.finalize(merged), row in wrong
        except ZiplineError:
            merged, value, is_wrong = nothing, None, True
        found.append(Reduced(value, merged == nothing, int(words[chosen, EVENTS].sum()), is_wrong))
    return found


def _by_algebra(
    kept: Kept, feature: Feature, empty: Any, reduced: Sequence[Reduced], time: int, *, is_stale: bool
) -> Values:
    values: list[Any] = []
    statuses: list[Status] = []
    for each in reduced:
        if each.is_wrong:
            values.append(None)
            statuses.append("error")
            continue
        is_nothing = each.value == empty_value(feature.operation, bucketed=feature.bucket is not None)
        if is_nothing and (feature.operation not in _MAY_BE_UNDEFINED or each.is_empty):
            values.append(empty)
        else:
            values.append(from_algebra(kept.value(feature, each.value), feature.type))
        statuses.append("stale" if is_stale else "ok" if each.seen > 0 else "default")
    return Values(values, statuses, [time] * len(values))


def empty_of(feature: Feature) -> Any:
    """The value of a window in which nothing is; a default is a value of the feature's type, as it is offline."""
    if feature.default is not None:
        (default,) = default_array(feature.default, feature.type).to_pylist()
        return from_algebra(to_algebra(default, feature.type), feature.type)
    return empty_value(feature.operation, bucketed=feature.bucket is not None)
