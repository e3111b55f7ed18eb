"""A group-by that is served as the values that it had at the end of the uploaded day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zipline.algebra.nested import from_algebra
from zipline.clock import DAY
from zipline.fetch.asked import Asked, RowKeys
from zipline.fetch.online_values import to_word
from zipline.fetch.partials import empty_of
from zipline.fetch.results import STATUSES, Block, Status, Values
from zipline.plan.online import Kept
from zipline.plan.steps import GroupByPlan
from zipline.stores.contract import Ask, Generation, Place

_UNAVAILABLE = STATUSES.index("unavailable")


class ServedValues:
    """See the module. `called` is what the join calls the features that it takes."""

    def __init__(self, plan: GroupByPlan, space: str, called: Mapping[str, str]) -> None:
        self.space = space
        self._form, self._fingerprint = Kept(plan).values, plan.fingerprint
        self._empty = {feature.name: empty_of(feature) for feature in plan.features}
        # Events of the day that goes on are missing at once; what is as of whole days is right until the day has ended.
        self._is_of_days = plan.accuracy == "SNAPSHOT" or plan.is_entity
        fixed = [(place, *column) for place, column in enumerate(self._form.fixed) if column[0] in called]
        self.names = [called[name] for _, name, _ in fixed]
        self.types = [dtype for _, _, dtype in fixed]
        empty = [(place, self._empty.get(name), dtype) for place, name, dtype in fixed]
        told = [(place, v is not None, 0 if v is None else to_word(v, dtype)) for place, v, dtype in empty]
        self._columns = np.array(told, np.int64).reshape(-1, 3)
        rest = [(place, *column) for place, column in enumerate(self._form.rest) if column[0] in called]
        self._rest = [(place, called[name], self._empty.get(name), dtype) for place, name, dtype in rest]

    def asks(self, keys: RowKeys, _q: int, generation: Generation | None) -> list[Ask]:
        """What to ask the store for these keys."""
        return [] if generation is None else [(Place(self.space, generation.name), keys.some)]

    def answered(
        self, asked: Asked, answers: Sequence[Sequence[Any]] | None, q: int
    ) -> tuple[Block, dict[str, Values]]:
        """The features of every key: those of fixed size, and all others.

        `unavailable` where there is no answer or nothing was uploaded, `error` where what is stored is no block of this
        definition; `stale` once the day after the uploaded one has ended, the latest row of events from the upload's
        end on.
        """
        count, generation = len(asked.keys.at), asked.generation
        if generation is None or answers is None:
            return self._unavailable(count)
        there = [place for place, blob in enumerate(answers[0]) if blob is not None]
        number = dict(zip(there, range(len(there)), strict=True))
        at = [number.get(place, -1) for place in asked.keys.at]
        blocks = [answers[0][place] for place in there]
        is_stale = q >= generation.end + DAY if self._is_of_days else q > generation.end
        # Under another definition's upload a key that is not there may be one that this definition has.
        is_wrong = generation.fingerprint != self._fingerprint
        found = self._form.read(blocks, at, self._columns, is_stale=is_stale, is_wrong=is_wrong)
        rest = self._others(blocks, at, generation, is_stale=is_stale, is_wrong=is_wrong) if self._rest else {}
        return Block(*found, [generation.end]), rest

    def _others(
        self, blocks: Sequence[Any], at: Sequence[int], generation: Generation, *, is_stale: bool, is_wrong: bool
    ) -> dict[str, Values]:
        """The features that are no words."""
        opened = self._form.opened(blocks)
        wrong = [is_wrong or (n >= 0 and not opened.is_whole[n]) for n in at]
        rest: dict[str, Values] = {}
        for place, name, empty, dtype in self._rest:
            statuses: list[Status] = []
            values: list[Any] = []
            for n, has_none in zip(at, wrong, strict=True):
                value = None if has_none else empty if n < 0 else from_algebra(opened.rest[n][place], dtype)
                values.append(value)
                statuses.append("error" if has_none else "stale" if is_stale else "default" if value == empty else "ok")
            rest[name] = Values(values, statuses, [generation.end] * len(at))
        return rest

    def _unavailable(self, count: int) -> tuple[Block, dict[str, Values]]:
        shape = count, len(self.names)
        status = np.full(shape, _UNAVAILABLE, np.uint8)
        nothing = Values([None] * count, ["unavailable"] * count, [None] * count)
        block = Block(np.zeros(shape, np.int64), np.zeros(shape, np.bool_), status, [None])
        return block, {name: nothing for _, name, _, _ in self._rest}
