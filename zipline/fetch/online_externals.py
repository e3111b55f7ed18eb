"""The external sources of a join online: whom to ask for what, and what their answers are as columns.

Every source is asked once for the keys of all rows, each key once; keys with a null are nobody's and are not asked. All
sources are asked at once, while the store is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from zipline.api import ExternalSource, Join
from zipline.fetch.external import Answer, ExternalClient
from zipline.fetch.results import Values
from zipline.plan.steps import ExternalPlan, JoinPlan
from zipline.values import dataclass

Row: TypeAlias = Mapping[str, Any]
Key: TypeAlias = "tuple[Any, ...]"
_NOBODY, _LACKING = Answer({}, "default"), Answer({}, "error")


@dataclass(frozen=True, eq=False)
class OnlineExternal:
    """One external source of a join."""

    plan: ExternalPlan
    client: ExternalClient

    def keys(self, rows: Sequence[Row]) -> list[Key | None]:
        """The key of every row; None where a part of it is null or missing."""
        keys = [tuple([row.get(name) for name in self.plan.left_keys]) for row in rows]
        return [None if any(part is None for part in key) else key for key in keys]

    def begin(self, keys: Sequence[Key | None]) -> Callable[[], dict[Key, Answer]]:
        """Asks; what it gives waits for the answers, by key."""
        some = list(dict.fromkeys(key for key in keys if key is not None))
        names = [name for name, _ in self.plan.keys]
        waiting = self.client.begin([dict(zip(names, key, strict=True)) for key in some])
        return lambda: dict(zip(some, waiting(), strict=True))

    def values(
        self, rows: Sequence[Row], keys: Sequence[Key | None], answers: Mapping[Key, Answer]
    ) -> dict[str, Values]:
        """The columns of the source: `error` in rows that have not all columns of its key."""
        own = [self._of_none(row) if key is None else answers[key] for row, key in zip(rows, keys, strict=True)]
        statuses, times = [answer.status for answer in own], [None] * len(own)
        return {
            self.plan.prefix + name: Values([answer.values.get(name) for answer in own], statuses, times)
            for name, _ in self.plan.values
        }

    def _of_none(self, row: Row) -> Answer:
        return _NOBODY if all(name in row for name in self.plan.left_keys) else _LACKING


def externals_of(plan: JoinPlan) -> list[ExternalPlan]:
    """Those without a twin, and those that a twin stands for offline."""
    return [*plan.externals, *(part.external for part in plan.parts if part.external is not None)]


def online_externals(plan: JoinPlan, join: Join) -> list[OnlineExternal]:
    """The external sources of a join, with their handlers."""
    sources = {part.source.title: part.source for part in join.parts if isinstance(part.source, ExternalSource)}
    return [OnlineExternal(each, ExternalClient(sources[each.name])) for each in externals_of(plan)]
