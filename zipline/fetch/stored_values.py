"""The group-bys of a join that are served as the values that they had at the end of the uploaded day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zipline.algebra.columnar import value_reading
from zipline.algebra.nested import from_algebra
from zipline.clock import DAY
from zipline.fetch.asked import Answered, Asked
from zipline.fetch.online_values import to_word
from zipline.fetch.partials import empty_of
from zipline.fetch.results import Found, Status, Values
from zipline.fetch.words import computed
from zipline.plan.online import Kept
from zipline.plan.steps import Column, GroupByPlan
from zipline.stores.contract import Ask, Generation, Place
from zipline.types import DataType


class ServedValues:
    """One group-by. `called` is what the join calls the features that it takes."""

    def __init__(self, plan: GroupByPlan, space: str, called: Mapping[str, str]) -> None:
        self.space = space
        self.form, self._fingerprint = Kept(plan).values, plan.fingerprint
        empty = {feature.name: empty_of(feature) for feature in plan.features}
        # Events of the day that goes on are missing at once; what is as of whole days is right until the day has ended.
        self._is_of_days = plan.accuracy == "SNAPSHOT" or plan.is_entity
        self.fixed = _taken(self.form.fixed, called, empty)
        self.rest = _taken(self.form.rest, called, empty)

    def suffixes(self, _q: int, _generation: Generation) -> list[bytes]:
        """There are no chunks."""
        return []

    def asks(self, keys: Sequence[bytes], _q: int, generation: Generation | None) -> list[Ask]:
        """What to ask the store for these keys."""
        return [] if generation is None else [(Place(self.space, generation.name), keys)]

    def is_foreign(self, generation: Generation | None) -> bool:
        """Whether the upload is another definition's: a key that is not in it may be one that this definition has."""
        return generation is not None and generation.fingerprint != self._fingerprint

    def is_stale(self, generation: Generation, q: int) -> bool:
        """Once the day after the uploaded one has ended; the latest row of events from the upload's end on."""
        return q >= generation.end + DAY if self._is_of_days else q > generation.end


class ValueParts:
    """All of them in one kernel: the features of every row, `unavailable` where there is no answer or nothing was
    uploaded, `error` where what is stored is no block of this definition."""

    def __init__(self, served: Sequence[ServedValues]) -> None:
        self._served = tuple(served)
        self.names = [name for each in served for _, name, _, _ in each.fixed]
        self.types = [dtype for each in served for _, _, _, dtype in each.fixed]
        self.others = [name for each in served for _, name, _, _ in each.rest]
        ends = np.cumsum([0, *(len(each.fixed) for each in served)]).tolist()
        parts = [
            (each.form.tag, each.form.first, each.form.end, first, last)
            for each, first, last in zip(served, ends, ends[1:], strict=False)
        ]
        columns = [
            (place, empty is not None, 0 if empty is None else to_word(empty, dtype), dtype.is_float)
            for each in served
            for place, _, empty, dtype in each.fixed
        ]
        self._parts = np.array(parts, np.int64).reshape(-1, 5)
        self._columns = np.array(columns, np.int64).reshape(-1, 4)

    def answered(self, asked: Sequence[Asked], answers: Sequence[Answered], count: int, q: int) -> Found:
        """The features of fixed size of `count` rows, and all others."""
        facts: list[int] = []
        at: list[int] = []
        times: list[int | None] = []
        values: list[Any] = []
        for served, half, answer in zip(self._served, asked, answers, strict=True):
            generation, is_foreign = half.generation, served.is_foreign(half.generation)
            at += half.keys.at
            if generation is None or answer is None:
                times.append(None)
                facts += (False, is_foreign, False, 0)
                continue
            times.append(generation.end)
            values += answer[0]
            facts += (True, is_foreign, served.is_stale(generation, q), len(answer[0]))
        tables = np.array(facts, np.int64).reshape(-1, 4), self._parts, self._columns
        places = np.array(at, np.int64).reshape(len(self._served), count)
        block = computed(value_reading.answer, values, (places, *tables), (count, len(self._columns)), times)
        rest: dict[str, Values] = {}
        for number, (half, answer) in enumerate(zip(asked, answers, strict=True)):
            columns = slice(*self._parts[number, value_reading.FIRST_COLUMN :].tolist())
            if self._served[number].rest:
                wrong, found = _rest(self._served[number], half, answer, q)
                block = block.withheld(wrong, columns, "error") if wrong else block
                rest |= {name: values.withheld(half.withheld()) for name, values in found.items()}
            for some, status in half.withheld():
                block = block.withheld(some, columns, status)
        return block, rest


def _rest(served: ServedValues, half: Asked, answer: Answered, q: int) -> tuple[list[int], dict[str, Values]]:
    """(rows whose rest cannot be read, which are `error` in all of the part's features; the part's other features)."""
    generation, count = half.generation, len(half.keys.at)
    if generation is None or answer is None:
        status: Status = "error" if served.is_foreign(generation) else "unavailable"
        nothing = Values([None] * count, [status] * count, [None] * count)
        return [], {name: nothing for _, name, _, _ in served.rest}
    there = [place for place, blob in enumerate(answer[0]) if blob is not None]
    opened = served.form.opened([answer[0][place] for place in there])
    numbers = np.full(len(answer[0]) + 1, -1, np.int64)  # the last is that of rows without a key
    numbers[there] = np.arange(len(there))
    at = numbers[half.keys.at]
    wrong_rows = np.full(count, served.is_foreign(generation))
    wrong_rows[at >= 0] |= ~opened.is_whole[at[at >= 0]]
    is_stale = served.is_stale(generation, q)
    found: dict[str, Values] = {}
    for place, name, empty, dtype in served.rest:
        statuses: list[Status] = []
        values: list[Any] = []
        for n, is_wrong in zip(at.tolist(), wrong_rows.tolist(), strict=True):
            value = None if is_wrong else empty if n < 0 else from_algebra(opened.rest[n][place], dtype)
            values.append(value)
            statuses.append("error" if is_wrong else "stale" if is_stale else "default" if value == empty else "ok")
        found[name] = Values(values, statuses, [generation.end] * count)
    return np.flatnonzero(wrong_rows).tolist(), found


def _taken(
    columns: Sequence[Column], called: Mapping[str, str], empty: Mapping[str, Any]
) -> list[tuple[int, str, Any, DataType]]:
    """Of every column that is taken its place, what the join calls it, its value in an empty window, and its type."""
    numbered = enumerate(columns)
    return [(place, called[name], empty.get(name), dtype) for place, (name, dtype) in numbered if name in called]
