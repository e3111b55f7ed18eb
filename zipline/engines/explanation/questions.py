"""What is asked of one source of a group-by for one row, and the evidence that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import pyarrow as pa

from zipline.engines.explanation.contract import (
    Event,
)
from zipline.expressions import Expression
from zipline.plan.steps import Feature, PartPlan, Projection
from zipline.values import dataclass

SAMPLE = 20
"""How many rows of each verdict are listed that were not seen."""


MOST_SEEN = 10_000
"""How many rows are listed that were seen, the newest of more."""


@dataclass(frozen=True)
class Question:
    """What is asked of one source: the feature (None: a lookup of `column`), the keys as SQL, the bounds."""

    part: PartPlan
    source: Projection
    feature: Feature | None
    column: str
    keys: Mapping[str, str]
    start: int | None
    end: int | None
    origin: tuple[str, ...] = ()
    """Of a chained source: the columns that say which of the parent's rows one is."""

    @property
    def is_label(self) -> bool:
        return self.part.offset is not None

    @property
    def value(self) -> Expression:
        return self.source.columns[self.feature.input if self.feature else self.column]

    @property
    def bucket(self) -> Expression | None:
        return self.source.columns[self.feature.bucket] if self.feature and self.feature.bucket else None

    @property
    def table_columns(self) -> list[str]:
        """The table's columns that this feature alone needs."""
        source = self.source
        clocks = (source.time, source.known_at, source.event_id, *source.where)
        if self.feature is None or source.event_id is not None:
            return sorted(source.table_columns | set(self.origin))
        read = (self.value, self.bucket, *clocks, *(source.columns[key] for key in self.keys))
        names = frozenset[str]().union(*(each.columns for each in read if each is not None))
        return sorted(names | ({source.partition} if source.partition else set()) | set(self.origin))


@dataclass(frozen=True)
class Evidence:
    """What one source has of the key."""

    events: tuple[Event, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    """Beside each event the columns of a lookup."""
    counts: Mapping[str, int] = field(default_factory=dict)
    excerpt: pa.Table | None = None
