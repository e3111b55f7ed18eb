"""Streams over logs in memory, for tests that say when what arrives and what fails."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, Topic
from zipline.clock import to_micros
from zipline.fetch.joins import join_fetch
from zipline.orchestration.events.decoding import DeadLetters
from zipline.orchestration.events.logs import EVENTS, Position, Read, Record
from zipline.orchestration.events.stream import Stream
from zipline.orchestration.events.tables import EventTable
from zipline.orchestration.events.tiling import Feed
from zipline.plan.build import plan_group_by, plan_join
from zipline.plan.online import Kept
from zipline.stores.contract import Place, Store
from zipline.stores.opening import space_of
from zipline.types import BIGINT, STRING, TIMESTAMP, DataType

SCHEMA = {"id": STRING, "key": STRING, "n": BIGINT, "text": STRING, "t": TIMESTAMP, "known": TIMESTAMP}
DAY = "2024-05-04"
END = to_micros(DAY)
"""Where the upload ends that the tests begin with."""


class ListLog:
    """A log of which a test is the writer: `part -> [(event or text, when it came)]`, read some at once."""

    format = EVENTS

    def __init__(self, table: str = "events", at_once: int = 2, name: str = "list:events") -> None:
        self.name, self.table, self.at_once = name, table, at_once
        self.held: dict[str, list[tuple[Any, int | None]]] = {"0": []}
        self.clock = END
        self.wrong: Exception | None = None

    def put(self, *events: Any, part: str = "0", at: int | None = None) -> None:
        self.held.setdefault(part, []).extend((event, at) for event in events)

    def parts(self) -> list[str]:
        return list(self.held)

    def read(self, position: Position) -> Read:
        if self.wrong is not None:
            raise self.wrong
        records, reached, behind = [], {}, set()
        for part, held in self.held.items():
            first = position.get(part, 0)
            some = held[first : first + self.at_once]
            for number, (event, at) in enumerate(some):
                text = event if isinstance(event, bytes) else json.dumps(event).encode()
                records.append(Record(part, first + number + 1, at, [text]))
            reached[part] = first + len(some)
            if reached[part] < len(held):
                behind.add(part)
        return Read(records, reached, frozenset(behind), self.clock)

    def forget(self, position: Position) -> None:
        pass

    def close(self) -> None:
        pass


def totals(name: str = "totals", operation: Operation = Operation.SUM, **query: Any) -> GroupBy:
    asked = {"select": {"key": "key", "n": "n"}, "time": "t", "event_id": "id"} | query
    return GroupBy(
        ["key"],
        [EventSource("events", topic=Topic("events", lateness="1h"), query=Query(**asked))],
        [Aggregation("n", operation, windows=["1d"])],
        online=True,
        name=name,
    )


def latest(**query: Any) -> GroupBy:
    """The latest event of each key: a lookup."""
    asked = {"select": ["key", "n"], "time": "t"} | query
    return GroupBy(["key"], [EventSource("events", Query(**asked), topic=Topic("events"))], online=True, name="latest")


def space(kept: Kept) -> str:
    """Where its uploads and tiles lie."""
    project: Any = SimpleNamespace(key_prefix="")
    return space_of(project, kept)


def place(group_by: GroupBy) -> Place:
    """Of its tiles."""
    return Place(space(Kept(plan_group_by(group_by, lambda _: SCHEMA))))


def stream(
    store: Store, logs: Sequence[Any], folder: Path, *group_bys: GroupBy, schema: Mapping[str, DataType] = SCHEMA
) -> Stream:
    """A stream of these group-bys, as a process that has just begun."""
    plans = [plan_group_by(each, lambda _: schema) for each in group_bys]
    feeds = [Feed(kept, store, space(kept), lambda: END) for kept in map(Kept, plans)]
    tables: dict[str, EventTable] = {}
    for log in logs:
        pairs = [
            (source, projection)
            for group_by, plan in zip(group_bys, plans, strict=True)
            for source, projection in zip(group_by.sources, plan.sources, strict=True)
            if isinstance(source, EventSource) and source.table_name == log.table
        ]
        tables[log.table] = EventTable(log.table, schema, tuple(pairs), None, "in memory")
    dead = {name: DeadLetters(folder / f"{name}.refused") for name in tables}
    return Stream(tables, logs, feeds, {}, dead, lambda: END)


def upload(store: Store, *group_bys: GroupBy, schema: Mapping[str, DataType] = SCHEMA) -> None:
    """An upload in which nothing is."""
    for group_by in group_bys:
        kept = Kept(plan_group_by(group_by, lambda _: schema))
        with store.upload(space(kept), end=END, fingerprint=kept.fingerprint) as writing:
            writing.publish()


def totals_of(
    store: Store, group_by: GroupBy, keys: Sequence[str], at: int, schema: Mapping[str, DataType] = SCHEMA
) -> tuple[dict[str, Any], dict[str, str]]:
    """(key -> value, key -> status) of a group-by's one feature."""
    left = EventSource("asked", query=Query(select=["key"], time="t"))
    join = Join(left=left, parts=[JoinPart(group_by)], name="j")
    plan = plan_join(join, lambda _: schema)
    found = join_fetch(plan, join, store, space).fetch([{"key": key} for key in keys], at)
    name = found.features[0]
    values: Mapping[str, Any] = {key: row[name] for key, row in zip(keys, found.rows(), strict=True)}
    return dict(values), {key: found.status(number, name) for number, key in enumerate(keys)}


def event(number: int, n: int | None = 1, key: str = "a", minutes: int = 60, **more: Any) -> dict[str, Any]:
    """An event of some minutes after the upload's end."""
    return {"id": f"e{number}", "key": key, "n": n, "t": END + minutes * 60_000_000} | more
