"""What each named definition is made from, and that this goes round in no circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zipline.api import (
    Aggregation,
    BootstrapPart,
    Check,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    Model,
    Query,
    StagingQuery,
    Topic,
)
from zipline.api.base import Definition, children
from zipline.errors import DefinitionError
from zipline.plan.names import Nameable

_MUST_HAVE_A_NAME = (GroupBy, Join, ExternalSource, StagingQuery, Model)
_MAKES_A_TABLE = (Join, StagingQuery)
_MADE_FROM_NOTHING = (Aggregation, Check, Derivation, Query, Topic)


def dependencies(named: Mapping[str, Nameable]) -> dict[str, tuple[str, ...]]:
    """Name -> the names it directly needs, sorted; refuses what has no name and what needs itself.

    A source, or a bootstrap, needs the join or staging query whose name is its table.
    """
    by_id = {id(definition): name for name, definition in named.items()}
    needs = {name: tuple(sorted(set(_needed(definition, by_id, named)))) for name, definition in named.items()}
    _refuse_circles(named, needs)
    return needs


def _needed(definition: Definition, by_id: Mapping[int, str], named: Mapping[str, Nameable]) -> Iterator[str]:
    pending, seen = [definition], {id(definition)}
    while pending:
        current = pending.pop()
        yield from (table for table in _tables(current) if isinstance(named.get(table), _MAKES_A_TABLE))
        for child in children(current):
            if id(child) in by_id:
                yield by_id[id(child)]
            elif isinstance(child, _MUST_HAVE_A_NAME):
                raise _nameless(definition, child)
            elif id(child) not in seen and not isinstance(child, _MADE_FROM_NOTHING):
                seen.add(id(child))
                pending.append(child)


def _tables(definition: Definition) -> Iterator[str]:
    if isinstance(definition, EventSource):
        yield definition.table_name
    elif isinstance(definition, EntitySource):
        yield from (table for table in (definition.table_name, definition.mutations_name) if table)
    elif isinstance(definition, BootstrapPart):
        yield definition.table
    elif isinstance(definition, StagingQuery):
        from zipline.plan.staging import tables_of

        yield from tables_of(definition.sql)


def tables_of_sources(definition: Definition) -> Iterator[str]:
    """The tables that the sources inside one definition read; what has a name of its own answers for itself."""
    pending = [definition]
    while pending:
        current = pending.pop()
        yield from _tables(current)
        if isinstance(current, BootstrapPart):
            yield current.table
        pending += [c for c in children(current) if not isinstance(c, (*_MUST_HAVE_A_NAME, *_MADE_FROM_NOTHING))]


def _nameless(user: Definition, used: Definition) -> DefinitionError:
    kind = type(used).__name__
    place = f" made at {used.location}" if used.location else ""
    return user.wrong(
        f"uses a {kind}{place} that no variable under the folder holds, so it has no name",
        hint=f"keep the {kind} in a module-level variable, dict or list whose name does not begin with an underscore",
    )


def _refuse_circles(named: Mapping[str, Nameable], needs: Mapping[str, tuple[str, ...]]) -> None:
    done: set[str] = set()
    for name in named:
        path: list[str] = []
        pending = [(name, False)]
        while pending:
            current, leaving = pending.pop()
            if leaving:
                done.add(path.pop())
            elif current in path:
                circle = [*path[path.index(current) :], current]
                raise named[current].wrong(
                    f"depends on itself: {' -> '.join(circle)}", hint="let one of them read something else"
                )
            elif current not in done:
                path.append(current)
                pending.append((current, True))
                pending += [(needed, False) for needed in needs[current]]
