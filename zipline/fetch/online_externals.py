"""The external sources of a join online: whom to ask for what, and what their answers are as columns.

Every source is asked once for the keys of all rows, each key once; keys with a null are nobody's and are not asked. All
sources are asked at once, while the store is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from zipline.api import ExternalSource, Join
from zipline.errors import UsageError
from zipline.fetch.external import Answer, ExternalClient
from zipline.fetch.results import Values
from zipline.plan.steps import ExternalPlan, JoinPlan
from zipline.values import dataclass

Row: TypeAlias = Mapping[str, Any]
Key: TypeAlias = "tuple[Any, ...]"
_NOBODY = Answer({}, "default")


@dataclass(frozen=True, eq=False)
class OnlineExternal:
    """One external source of a join."""

    plan: ExternalPlan
    client: ExternalClient

    def keys(self, rows: Sequence[Row]) -> list[Key | None]:
        """The key of every row; None where a part of it is null. UsageError names what a row lacks."""
        found: list[Key | None] = []
        for number, row in enumerate(rows):
            try:
                key = tuple([row[name] for name in self.plan.left_keys])
            except KeyError as wrong:
                valid = self.plan.left_keys
                raise UsageError(f"rows[{number}] has no {wrong.args[0]!r}", asked=wrong.args[0], valid=valid) from None
            found.append(None if any(part is None for part in key) else key)
        return found

    def begin(self, keys: Sequence[Key | None]) -> Callable[[], dict[Key, Answer]]:
        """Asks; what it gives waits for the answers, by key."""
        some = list(dict.fromkeys(key for key in keys if key is not None))
        names = [name for name, _ in self.plan.keys]
        waiting = self.client.begin([dict(zip(names, key, strict=True)) for key in some])
        return lambda: dict(zip(some, waiting(), strict=True))

    def values(self, keys: Sequence[Key | None], answers: Mapping[Key, Answer]) -> dict[str, Values]:
        """The columns of the source."""
        own = [_NOBODY if key is None else answers[key] for key in keys]
        statuses, times = [answer.status for answer in own], [None] * len(own)
        return {
            self.plan.prefix + name: Values([answer.values.get(name) for answer in own], statuses, times)
            for name, _ in self.plan.values
        }


def externals_of(plan: JoinPlan) -> list[ExternalPlan]:
    """Those without a twin, and those that a twin stands for offline."""
    return [*plan.externals, *(part.external for part in plan.parts if part.external is not None)]


def online_externals(plan: JoinPlan, join: Join) -> list[OnlineExternal]:
    """The external sources of a join, with their handlers."""
    sources = {part.source.title: part.source for part in join.parts if isinstance(part.source, ExternalSource)}
    return [OnlineExternal(each, ExternalClient(sources[each.name])) for each in externals_of(plan)]
