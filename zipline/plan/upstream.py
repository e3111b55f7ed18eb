"""Which joins a definition reads, through group-bys and other joins: the order in which chains are worked through.

A chain may be longer than Python lets functions call each other, so what follows it does so from the deepest on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zipline.api import ExternalSource, GroupBy, Join, JoinPart, JoinSource
from zipline.api.sources import Source


def chained_joins(definition: GroupBy | Join) -> list[Join]:
    """The joins that a definition reads, directly or through others, each once, deepest first."""
    done: dict[int, Join] = {}
    pending: list[tuple[GroupBy | Join, bool]] = [(definition, False)]
    while pending:
        current, leaving = pending.pop()
        if leaving:
            assert isinstance(current, Join)
            done.setdefault(id(current), current)
        elif id(current) not in done:
            if isinstance(current, Join) and current is not definition:
                pending.append((current, True))
            pending += [(source.join, False) for source in _sources(current) if isinstance(source, JoinSource)]
    return list(done.values())


def _sources(definition: GroupBy | Join) -> Iterator[Source]:
    if isinstance(definition, GroupBy):
        yield from definition.sources
        return
    yield definition.left
    for group_by in _group_bys((*definition.parts, *(definition.labels.parts if definition.labels else ()))):
        yield from group_by.sources


def _group_bys(parts: Iterable[JoinPart]) -> Iterator[GroupBy]:
    for part in parts:
        twin = part.source.offline if isinstance(part.source, ExternalSource) else part.source
        if twin is not None:
            yield twin
