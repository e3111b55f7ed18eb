"""A group-by that is served as the values that it had at the end of the uploaded day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zipline.algebra.codec import CodecError, unpack
from zipline.clock import DAY
from zipline.fetch.online_values import from_algebra
from zipline.fetch.partials import Asked, empty_of
from zipline.fetch.results import Status, Values
from zipline.plan.steps import GroupByPlan
from zipline.stores.contract import Ask, Generation, Place
from zipline.stores.keys import KeyWriter, key_writer


class ServedValues:
    """See the module."""

    def __init__(self, plan: GroupByPlan, space: str) -> None:
        self.space = space
        self._fingerprint = bytes.fromhex(plan.fingerprint)
        self._empty = {feature.name: empty_of(feature) for feature in plan.features}
        # Events of the day that goes on are missing at once; what is as of whole days is right until the day has ended.
        self._is_of_days = plan.accuracy == "SNAPSHOT" or plan.is_entity
        self._columns = plan.lookup or tuple((feature.name, feature.type) for feature in plan.features)
        self.key: KeyWriter = key_writer([dtype for _, dtype in plan.keys])

    def asks(self, keys: Sequence[bytes | None], q: int, generation: Generation | None) -> list[Ask]:  # noqa: ARG002
        """What to ask the store for these keys (None: no key)."""
        if generation is None:
            return []
        return [(Place(self.space, generation.name), list(dict.fromkeys(key for key in keys if key is not None)))]

    def features(self, asked: Asked, answers: Sequence[Sequence[Any]] | None, q: int) -> dict[str, Values]:
        """The features of every key, in order: `unavailable` where there is no answer or nothing was uploaded; `stale`
        once the day after the uploaded one has ended, the latest row of events from the upload's end on."""
        count, generation = len(asked.keys), asked.generation
        if generation is None or answers is None:
            return self._nowhere(count, "unavailable")
        some = dict.fromkeys(key for key in asked.keys if key is not None)
        try:
            of = {
                key: None if blob is None else unpack(self._fingerprint, bytes(blob))
                for key, blob in zip(some, answers[0], strict=True)
            }
        except CodecError:
            return self._nowhere(count, "error")
        rows = [None if key is None else of[key] for key in asked.keys]
        is_stale = q >= generation.end + DAY if self._is_of_days else q > generation.end
        found: dict[str, Values] = {}
        for place, (name, dtype) in enumerate(self._columns):
            empty = self._empty.get(name)
            values = [empty if row is None else from_algebra(row[place], dtype) for row in rows]
            statuses: list[Status] = ["stale" if is_stale else "default" if v == empty else "ok" for v in values]
            found[name] = Values(values, statuses, [generation.end] * count)
        return found

    def _nowhere(self, count: int, status: Status) -> dict[str, Values]:
        return {name: Values([None] * count, [status] * count, [None] * count) for name, _ in self._columns}
