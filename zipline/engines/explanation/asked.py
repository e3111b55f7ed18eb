"""A column of a part that is asked for one row, and what is found of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

from zipline.api import GroupBy
from zipline.engines.explanation.contract import Explanation
from zipline.plan.steps import Derived, Feature, PartPlan
from zipline.values import dataclass


@dataclass(frozen=True)
class Found:
    """An explanation and its value as an array of one, typed."""

    explanation: Explanation
    value: pa.Array


Given: TypeAlias = Callable[[str], Found | None]
"""What bootstrap gives to the row in a column of the output, None where it gives nothing."""


@dataclass(frozen=True)
class Asked:
    """A column of a part for one row: the definition it comes from, the keys and the query time (None: null).

    `depth` is how many parents down the values of a chained source are explained.
    """

    part: PartPlan
    definition: GroupBy
    name: str
    keys: Mapping[str, pa.Array]
    at: int | None
    given: Given | None = None
    depth: int = 1

    @property
    def feature(self) -> Feature | None:
        return next((f for f in self.part.group_by.features if f.name == self.name), None)

    @property
    def derived(self) -> Derived | None:
        return next((d for d in self.part.group_by.derivations if d.name == self.name), None)

    @property
    def nulls(self) -> tuple[str, ...]:
        """What of the row is null, of its keys and `ts`: then no event is its own, and nothing is read."""
        keys = [key for key, array in self.keys.items() if array.null_count]
        return (*keys, *(("ts",) if self.at is None else ()))

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """The window's exact bounds; a lookup of a source without a time has none."""
        feature = self.feature
        if self.at is None:
            return None, None
        if feature is None and not any(source.time is not None for source in self.part.group_by.sources):
            return None, None
        start, end = self.part.bounds(self.at, feature.window if feature else None)
        return start, end

    def shown_keys(self) -> dict[str, Any]:
        return {key: array[0].as_py() for key, array in self.keys.items()}
