"""The group-bys of a join that are served from partials: what to read of them, and all their features in one kernel.

Two halves of a fetch, without the store between them: `asks` and `answered`. What is fixed for all fetches is laid out
in tables once. Features that take an IR of the algebra are computed from the same blocks, key by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError
from zipline.algebra.columnar import folding
from zipline.algebra.columnar.blocks import Form, Irs, Opened
from zipline.algebra.layout import EVENTS, EVER_BEFORE, WORD, element_of
from zipline.algebra.nested import from_algebra
from zipline.algebra.operations import empty_value
from zipline.algebra.windows import bounds, floor
from zipline.clock import MINUTE
from zipline.errors import ZiplineError
from zipline.fetch.online_values import to_word
from zipline.fetch.results import STATUSES, Block, Status, Values
from zipline.plan.online import SERVED, Kept, reduction
from zipline.plan.steps import Feature, GroupByPlan
from zipline.stores.contract import Ask, Generation, Place
from zipline.stores.keys import KeyWriter, key_writer
from zipline.stores.tiles import PROGRESS, chunks
from zipline.values import dataclass

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
_MAY_BE_UNDEFINED = ("VARIANCE", "SKEW", "KURTOSIS")
"""Null of values that there are; of all others the empty value says that there are none."""


class Served:
    """One group-by that is served from partials."""

    def __init__(self, plan: GroupByPlan, space: str) -> None:
        self.kept, self.space = Kept(plan), space
        self.form = self.kept.form
        self.key: KeyWriter = key_writer([dtype for _, dtype in plan.keys])
        self._suffixes: tuple[tuple[int, int], list[bytes]] = (-1, -1), []

    def lag(self, complete: int, generation: Generation) -> int:
        """How far behind the input may be that is complete until then: what is declared, else little of a stream."""
        if self.kept.group_by.freshness is not None:
            return self.kept.group_by.freshness
        return STALLED if complete > generation.end else 0

    def suffixes(self, q: int, generation: Generation) -> list[bytes]:
        """What stands behind the keys of the chunks that a query needs: the same for all of a minute, as windows are
        whole minutes."""
        asked = q // MINUTE, generation.end
        known, suffixes = self._suffixes
        if known != asked:
            high = floor(q, self.kept.tile) + self.kept.tile
            starts = [start for window in self.kept.windows if (start := start_of(window, q)) != EVER_BEFORE]
            suffixes = chunks(generation.end, q, high, starts)
            self._suffixes = asked, suffixes  # in one step: other threads fetch at other times
        return suffixes

    def blocks(self, half: Asked, answer: Sequence[Sequence[Any]] | None) -> list[list[Any]]:
        """Of every row the blocks of its key; what is broken where the upload is another definition's, in which a key
        that is not there may be one that this definition has."""
        if half.generation is not None and half.generation.fingerprint != self.kept.group_by.fingerprint:
            return [[_BROKEN] for _ in half.keys]
        return _of_keys(half, answer)

    def asks(self, keys: Sequence[bytes | None], q: int, generation: Generation | None) -> list[Ask]:
        """What to ask the store for these keys (None: no key): of every key its upload, then its chunks of tiles."""
        if generation is None:
            return []
        some = list(dict.fromkeys(key for key in keys if key is not None))
        suffixes = self.suffixes(q, generation)
        tiles = [key + suffix for key in some for suffix in suffixes]
        return [(Place(self.space, generation.name), some), (Place(self.space), [PROGRESS, *tiles])]


@dataclass(frozen=True, eq=False)
class Asked:
    """One half of a fetch of a part: whose keys, from which upload, and the rows whose keys could not be read while
    others could."""

    keys: Sequence[bytes | None]
    generation: Generation | None
    unread: Sequence[int] = ()


class PartialParts:
    """See the module. `served` are the parts' group-bys, `names` what each part calls the features it takes."""

    def __init__(self, served: Sequence[Served], names: Sequence[dict[str, str]]) -> None:
        self.served = tuple(served)
        self.names: list[str] = []
        self.features: list[Feature] = []
        self._others: list[tuple[int, Feature, str]] = []
        parts: list[tuple[int, ...]] = []
        windows: list[tuple[int, ...]] = []
        rows: list[tuple[int, ...]] = []
        self._columns: list[slice] = []
        for number, (each, called) in enumerate(zip(served, names, strict=True)):
            kept = each.kept
            first_window, first_row = len(windows), len(rows)
            for window in kept.windows:
                first = len(rows)
                for feature in kept.fixed:
                    if feature.window == window and feature.name in called:
                        rows.append(_row(kept, feature))
                        self.features.append(feature)
                        self.names.append(called[feature.name])
                windows.append((EVER_BEFORE, first, len(rows)))
            self._others += [(number, f, called[f.name]) for f in kept.others if f.name in called]
            fixed = kept.tag, kept.layout.words, kept.tile, EVER_BEFORE, SERVED, EVER_BEFORE
            parts.append((*fixed, first_window, len(windows)))
            self._columns.append(slice(first_row, len(rows)))
        self._parts = np.array(parts, np.int64).reshape(-1, 8)
        self._windows: tuple[int, Ints] = -1, np.array(windows, np.int64).reshape(-1, 3)
        self._rows = np.array(rows, np.int64).reshape(-1, 6)

    def answered(
        self, asked: Sequence[Asked], answers: Sequence[Sequence[Sequence[Any]] | None], count: int, q: int
    ) -> Block:
        """The features of all parts, of `count` rows. No answer is a store that could not be read."""
        found: list[Any] = []
        ends = [0]
        at = 0
        parts = self._parts.copy()
        times: list[int | None] = []
        blocks: list[list[list[Any]]] = []
        for number, (half, answer) in enumerate(zip(asked, answers, strict=True)):
            own = self.served[number].blocks(half, answer)
            blocks.append(own)
            complete = _complete_until(half, answer, q)
            times.append(complete)
            if half.generation is not None and complete is not None:
                parts[number, folding.UPLOADED] = half.generation.end
                parts[number, folding.FRESH_UNTIL] = complete + self.served[number].lag(complete, half.generation)
            for values in own:
                for value in values:
                    found.append(value if value and len(value) % WORD == 0 else _BROKEN)
                    at += len(found[-1]) // WORD
                ends.append(at)
        width = len(self._rows)
        out, present = np.zeros((count, width), np.int64), np.zeros((count, width), np.bool_)
        status = np.zeros((count, width), np.uint8)
        words = np.frombuffer(b"".join(found), np.int64) if at else _NO_WORDS
        folding.answer(
            words,
            words.view(np.float64),
            np.array(ends, np.int64),
            parts,
            self._windows_at(q),
            self._rows,
            q,
            out,
            out.view(np.float64),
            present,
            status,
        )
        for half, columns in zip(asked, self._columns, strict=True):
            if half.unread:
                present[half.unread, columns], status[half.unread, columns] = False, STATUSES.index("unavailable")
        return Block(out, present, status, times, blocks)

    def _windows_at(self, q: int) -> Ints:
        """The table of windows: the same for all of a minute."""
        known, windows = self._windows
        if known != q // MINUTE:
            windows = windows.copy()
            windows[:, folding.BEGIN] = [start_of(window, q) for each in self.served for window in each.kept.windows]
            self._windows = q // MINUTE, windows
        return windows

    def others(self, block: Block, asked: Sequence[Asked], q: int) -> dict[str, Values]:
        """The features that take IRs."""
        found: dict[str, Values] = {}
        opened: dict[int, tuple[Opened, Irs, list[int]]] = {}
        for number, feature, name in self._others:
            served, half = self.served[number], asked[number]
            count = len(half.keys)
            time = block.times[number]
            low = start_of(feature.window, q)
            end = EVER_BEFORE if half.generation is None else half.generation.end
            if time is None or half.generation is None or not folding.is_served(low, end, SERVED, q):
                found[name] = Values([None] * count, ["unavailable"] * count, [None] * count)
                continue
            if number not in opened:
                opened[number] = _opened(served.form, block.blocks[number])
            records, irs, wrong = opened[number]
            is_stale = q > time + served.lag(time, half.generation)
            values = _by_algebra(served.kept, feature, records, irs, q, time, wrong, is_stale=is_stale)
            found[name] = values.without(half.unread)
        return found


_NO_WORDS = np.zeros(0, np.int64)
_NO_WORDS.flags.writeable = False
_BROKEN = bytes(WORD)
"""What no kernel takes for a block."""


def _complete_until(half: Asked, answer: Sequence[Sequence[Any]] | None, q: int) -> int | None:
    """Until when the input of a part is complete: as far as its stream has come, at least its upload's end."""
    if half.generation is None or answer is None:
        return None
    progress = answer[1][0]
    end = half.generation.end
    return end if progress is None else max(end, min(q, int.from_bytes(progress, "little")))


def _row(kept: Kept, feature: Feature) -> tuple[int, ...]:
    """A feature as the kernel takes it."""
    count, state = kept.state(feature)
    is_float = element_of(feature.input_type).is_float
    empty = empty_of(feature)
    default = 0 if empty is None else to_word(empty, feature.type)
    operation = _OPERATIONS[feature.operation][is_float]
    return operation, count.at, state.at, int(is_float), int(empty is not None), default


def _of_keys(half: Asked, answer: Sequence[Sequence[Any]] | None) -> list[list[Any]]:
    """Of every row the blocks of its key."""
    if answer is None or half.generation is None:
        return [[] for _ in half.keys]
    batch, tiles = answer
    if len(half.keys) == 1:
        return [[block for block in (*batch, *tiles[1:]) if block is not None]]
    places = (len(tiles) - 1) // max(1, len(batch))
    of: dict[bytes, list[Any]] = {}
    some = dict.fromkeys(key for key in half.keys if key is not None)
    for number, key in enumerate(some):
        own = [batch[number], *tiles[1 + number * places : 1 + (number + 1) * places]]
        of[key] = [block for block in own if block is not None]
    return [[] if key is None else of[key] for key in half.keys]


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


def _by_algebra(
    kept: Kept, feature: Feature, opened: Opened, irs: Irs, q: int, time: int, wrong: Sequence[int], *, is_stale: bool
) -> Values:
    place = kept.reductions.index(reduction(feature))
    aggregator = kept.aggregators[place]
    low, high = start_of(feature.window, q), floor(q, kept.tile) + kept.tile
    values: list[Any] = []
    statuses: list[Status] = []
    for row, (first, last) in enumerate(pairwise(opened.offsets.tolist())):
        if row in wrong:
            values.append(None)
            statuses.append("error")
            continue
        words = opened.words[first:last]
        chosen = np.flatnonzero(folding.select(words, low, high))
        seen = int(words[chosen, EVENTS].sum())
        try:
            merged = aggregator.merge_all(irs[first + record][place] for record in chosen.tolist())
            value = aggregator.finalize(merged)
        except ZiplineError:
            values.append(None)
            statuses.append("error")
            continue
        is_nothing = value == empty_value(feature.operation, bucketed=feature.bucket is not None)
        if is_nothing and (feature.operation not in _MAY_BE_UNDEFINED or merged == aggregator.empty()):
            values.append(empty_of(feature))
        else:
            values.append(from_algebra(value, feature.type))
        statuses.append("stale" if is_stale else "ok" if seen > 0 else "default")
    return Values(values, statuses, [time] * len(values))


def empty_of(feature: Feature) -> Any:
    """The value of a window in which nothing is."""
    if feature.default is not None:
        return feature.default
    return empty_value(feature.operation, bucketed=feature.bucket is not None)
