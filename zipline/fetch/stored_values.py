"""A group-by that is served as the values that it had at the end of the uploaded day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zipline.algebra.nested import from_algebra
from zipline.clock import DAY
from zipline.fetch.online_values import to_word
from zipline.fetch.partials import Asked, empty_of
from zipline.fetch.results import STATUSES, Block, Status, Values
from zipline.plan.online import Kept
from zipline.plan.steps import GroupByPlan
from zipline.stores.contract import Ask, Generation, Place
from zipline.stores.keys import KeyWriter, key_writer

_DEFAULT, _OK, _STALE, _UNAVAILABLE, _ERROR = range(len(STATUSES))


class ServedValues:
    """See the module. `called` is what the join calls the features that it takes."""

    def __init__(self, plan: GroupByPlan, space: str, called: Mapping[str, str]) -> None:
        self.space = space
        self.key: KeyWriter = key_writer([dtype for _, dtype in plan.keys])
        self._form, self._fingerprint = Kept(plan).values, plan.fingerprint
        self._empty = {feature.name: empty_of(feature) for feature in plan.features}
        # Events of the day that goes on are missing at once; what is as of whole days is right until the day has ended.
        self._is_of_days = plan.accuracy == "SNAPSHOT" or plan.is_entity
        fixed = [(place, *column) for place, column in enumerate(self._form.fixed) if column[0] in called]
        self.names = [called[name] for _, name, _ in fixed]
        self.types = [dtype for _, _, dtype in fixed]
        self._places = np.array([place for place, _, _ in fixed], np.int64)
        empty = [(self._empty.get(name), dtype) for _, name, dtype in fixed]
        self._has_empty = np.array([value is not None for value, _ in empty], np.bool_)
        self._empty_words = np.array([0 if v is None else to_word(v, dtype) for v, dtype in empty], np.int64)
        rest = [(place, *column) for place, column in enumerate(self._form.rest) if column[0] in called]
        self._rest = [(place, called[name], self._empty.get(name), dtype) for place, name, dtype in rest]

    def suffixes(self, _q: int, _generation: Generation) -> list[bytes]:
        """There are no chunks."""
        return []

    def asks(self, keys: Sequence[bytes | None], _q: int, generation: Generation | None) -> list[Ask]:
        """What to ask the store for these keys (None: no key)."""
        if generation is None:
            return []
        return [(Place(self.space, generation.name), list(dict.fromkeys(key for key in keys if key is not None)))]

    def answered(
        self, asked: Asked, answers: Sequence[Sequence[Any]] | None, q: int
    ) -> tuple[Block, dict[str, Values]]:
        """The features of every key: those of fixed size, and all others.

        `unavailable` where there is no answer or nothing was uploaded, `error` where what is stored is no block of this
        definition; `stale` once the day after the uploaded one has ended, the latest row of events from the upload's
        end on.
        """
        count, generation = len(asked.keys), asked.generation
        if generation is None or answers is None:
            return self._unavailable(count)
        some = dict.fromkeys(key for key in asked.keys if key is not None)
        there = {key: blob for key, blob in zip(some, answers[0], strict=True) if blob is not None}
        opened = self._form.opened(list(there.values()))
        number = {key: place for place, key in enumerate(there)}
        at = np.array([-1 if key is None else number.get(key, -1) for key in asked.keys], np.int64)
        known = at >= 0
        # Under another definition's upload a key that is not there may be one that this definition has.
        wrong = np.full(count, generation.fingerprint != self._fingerprint)
        wrong[known] |= ~opened.is_whole[at[known]]
        words = np.tile(self._empty_words, (count, 1))
        present = np.tile(self._has_empty, (count, 1))
        words[known] = opened.words[:, self._places][at[known]]
        present[known] = opened.present[:, self._places][at[known]]
        is_stale = q >= generation.end + DAY if self._is_of_days else q > generation.end
        is_empty = np.where(self._has_empty, present & (words == self._empty_words), ~present)
        status = np.where(is_empty, _DEFAULT, _OK).astype(np.uint8)
        if is_stale:
            status[:] = _STALE
        present[wrong], status[wrong] = False, _ERROR
        if asked.unread:
            present[asked.unread], status[asked.unread] = False, _UNAVAILABLE
        rest: dict[str, Values] = {}
        for place, name, empty, dtype in self._rest:
            statuses: list[Status] = []
            values: list[Any] = []
            for n, is_wrong in zip(at.tolist(), wrong.tolist(), strict=True):
                value = None if is_wrong else empty if n < 0 else from_algebra(opened.rest[n][place], dtype)
                values.append(value)
                statuses.append("error" if is_wrong else "stale" if is_stale else "default" if value == empty else "ok")
            rest[name] = Values(values, statuses, [generation.end] * count).without(asked.unread)
        return Block(words, present, status, [generation.end], []), rest

    def _unavailable(self, count: int) -> tuple[Block, dict[str, Values]]:
        shape = count, len(self.names)
        status = np.full(shape, _UNAVAILABLE, np.uint8)
        nothing = Values([None] * count, ["unavailable"] * count, [None] * count)
        block = Block(np.zeros(shape, np.int64), np.zeros(shape, np.bool_), status, [None], [])
        return block, {name: nothing for _, name, _, _ in self._rest}
