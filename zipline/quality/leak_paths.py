"""Leaks through chaining: a feature that is made with a label of some join, by lineage.

The output of a training join holds labels, which are the future of its rows. A group-by over that table, over a staging
query of it, or over a parent that reads either, hands the future on, unless its source waits: declares a `known_at`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from zipline.api import EntitySource, EventSource, GroupBy, Join, StagingQuery
from zipline.api.base import Definition, children
from zipline.plan.lineage import Lineage, Use
from zipline.plan.lineage_graph import lineage_of
from zipline.plan.staging import tables_of
from zipline.quality.leaks import Leak, Scene


def labels_through_chaining(scene: Scene) -> list[Leak]:
    """A finding for each group-by whose features a label leads to."""
    definitions = list(around(scene))
    joins = [each for each in definitions if isinstance(each, Join) and each.labels is not None]
    if not joins:
        return []
    graph = lineage_of(definitions, lambda name: scene.catalog.table(name).schema)
    plans = [scene.planned.join(join) for join in joins]
    labels = {f"{plan.name}.{name}" for plan in plans for part in plan.labels for name, _ in part.columns}
    waiting = _waiting(scene, definitions)
    leaks: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for part in scene.plan.parts:
        for name in part.chosen:
            path = _path(graph, f"{scene.plan.name}.{part.prefix}{name}", labels, waiting)
            if path is not None:
                leaks.setdefault(part.group_by.name, []).append((part.prefix + name, path))
    return [_leak(owner, found) for owner, found in leaks.items()]


def around(scene: Scene) -> Iterator[Definition]:
    """The join and every definition that it is made from, by object or by the name of the table it makes."""
    pending: list[Definition] = [scene.join]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, GroupBy | Join | StagingQuery):
            yield current
        pending += children(current)
        for table in _tables(current):
            made = scene.definitions.get(table.removesuffix(".scoring"))
            if isinstance(made, Join | StagingQuery):
                pending.append(made)


def _tables(definition: Definition) -> Iterator[str]:
    if isinstance(definition, EventSource):
        yield definition.table_name
    elif isinstance(definition, EntitySource):
        yield from (name for name in (definition.table_name, definition.mutations_name) if name)
    elif isinstance(definition, StagingQuery):
        yield from tables_of(definition.sql)


def _waiting(scene: Scene, around: list[Definition]) -> set[tuple[str, str]]:
    """(group-by, table) where every source of the table declares when its rows are known."""
    found: dict[tuple[str, str], bool] = {}
    for each in around:
        if isinstance(each, GroupBy):
            for source in scene.planned.group_by(each).sources:
                table = source.parent.name if source.parent else source.table
                found[each.title, table] = found.get((each.title, table), True) and source.known_at is not None
    return {pair for pair, waits in found.items() if waits}


def _path(graph: Lineage, column: str, labels: set[str], waiting: set[tuple[str, str]]) -> tuple[str, ...] | None:
    """The shortest way from a column up to a label; None where none leads there."""
    if column not in graph.columns:
        return None
    pending: deque[tuple[str, ...]] = deque([(column,)])
    seen = {column}
    while pending:
        path = pending.popleft()
        for use in graph.made_with.get(path[-1], ()):
            if use.source in seen or _waits(graph, use, waiting):
                continue
            if use.source in labels:
                return (*path, use.source)
            seen.add(use.source)
            pending.append((*path, use.source))
    return None


def _waits(graph: Lineage, use: Use, waiting: set[tuple[str, str]]) -> bool:
    owners = [graph.columns[name].of for name in (use.target, use.source) if name in graph.columns]
    return tuple(owners) in waiting


def _leak(owner: str, found: list[tuple[str, tuple[str, ...]]]) -> Leak:
    column, path = found[0]
    return Leak(
        kind="label through chaining",
        column=column,
        message=f"{owner} is made with {path[-1]}, a label: what happened after its row's query time",
        remedy="read the join's features only; or let the source wait until the label is complete: "
        "known_at=\"ts + INTERVAL '...' DAY\", the label's offset",
        evidence={"path": list(path)},
        columns=tuple(name for name, _ in found),
    )
