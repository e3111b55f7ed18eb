"""Which sources can share one reading of a table.

Sources share it where table, clocks, event id and partitions agree; their columns are read together, and conditions
become masks. So three hundred group-bys over one table read it once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zipline.algebra.windows import hop
from zipline.clock import DAY
from zipline.plan.steps import PartPlan, Projection, SourceRead


def read_key(source: Projection) -> tuple[Any, ...]:
    """Equal for sources that are read together."""
    instants = (source.time, source.known_at, source.mutation_time, source.is_before)
    clocks = tuple(e.text if e else None for e in instants)
    # One event of several with an id is chosen by its values, so only sources that select the same share that choice.
    choice = (source.event_id.text, *(e.text for e in source.values)) if source.event_id else None
    return (source.table, source.kind, *clocks, choice, source.partition, source.start, source.end)


def shared_reads(parts: Iterable[PartPlan]) -> tuple[SourceRead, ...]:
    """The distinct readings, in order of first use."""
    users: dict[tuple[Any, ...], list[tuple[Projection, PartPlan]]] = {}
    for part in parts:
        for source in part.projections:
            users.setdefault(read_key(source), []).append((source, part))
    return tuple(_read(pairs) for pairs in users.values())


def _read(pairs: list[tuple[Projection, PartPlan]]) -> SourceRead:
    lookbacks = [lookback(part) for _, part in pairs]
    known = [back for back in lookbacks if back is not None]
    return SourceRead(
        projections=tuple(dict.fromkeys(source for source, _ in pairs)),
        used_by=tuple(dict.fromkeys(part.group_by.short_name for _, part in pairs)),
        lookback=max(known) if len(known) == len(lookbacks) else None,
        lookahead=max(part.offset or 0 for _, part in pairs),
    )


def lookback(part: PartPlan) -> int | None:
    """How far before a query the part can see; None is from the beginning."""
    spans = [feature.window for feature in part.needed]
    if part.group_by.is_entity or not spans or None in spans:
        return None
    widest = max(span for span in spans if span is not None)
    if part.offset is not None:
        return widest - part.offset
    return widest + (DAY if part.group_by.accuracy == "SNAPSHOT" else hop(widest))
