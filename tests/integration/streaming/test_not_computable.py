"""What a source cannot compute of an event: the streaming job refuses it as the embedded stream does, and goes on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.integration.streaming.streamed import EVER, letters, ran, space
from zipline import Aggregation, EntitySource, EventSource, GroupBy, Operation, Query, Topic
from zipline.clock import DAY, now, to_micros
from zipline.orchestration.events.decoding import DeadLetters, decoded
from zipline.orchestration.events.logs import CHANGES, Record
from zipline.orchestration.events.logs import EVENTS as EVENTS_FORM
from zipline.orchestration.events.sources import EventSources
from zipline.orchestration.events.tables import EventTable
from zipline.orchestration.events.tiling import Feed
from zipline.plan.build import Planned
from zipline.plan.online import Kept
from zipline.stores.contract import Place
from zipline.stores.memory import MemoryStore
from zipline.stores.tiles import POSITION, PROGRESS
from zipline.types import DataType, parse_type

COLUMNS = {
    name: parse_type(kind)
    for name, kind in {
        "user": "STRING",
        "text": "STRING",
        "n": "BIGINT",
        "m": "BIGINT",
        "x": "DOUBLE",
        "at": "STRING",
        "id": "STRING",
        "way": "STRING",
        "gone": "BOOLEAN",
        "t": "TIMESTAMP",
    }.items()
}
NOON = to_micros("2024-03-05T12:00:00Z")
MOST = 2**63 - 1
EVENTS: list[dict[str, Any]] = [
    {"text": "12"},
    {"text": " 7 "},
    {"text": "twelve"},
    {"text": None},
    {"text": "many", "n": 0},
    {"text": "9", "n": MOST, "m": 2},
    {"text": "9", "n": MOST, "m": None},
    {"text": "9", "n": -(2**63), "m": -1},
    {"x": 1e300},
    {"x": 3e9},
    {"x": 12.9},
    {"at": "2024-02-30"},
    {"at": "2024-03-05T11:00:00+01:00"},
    {"at": None},
    {"at": "soon", "text": "many"},
    {"id": "a1"},
    {"id": "1"},
    {"id": "1", "text": "3"},
    {"m": 0, "text": "5"},
    {"user": None, "text": "many"},
    {"way": "d"},
    {"way": None},
    {"way": "x", "text": "many"},
]


def event(number: int, given: dict[str, Any]) -> dict[str, Any]:
    plain = {
        "user": f"u{number % 3}",
        "text": "1",
        "n": 2,
        "m": 3,
        "x": 0.5,
        "at": "2024-03-05",
        "id": None,
        "way": "i",
    }
    return {**plain, "t": NOON + number * 1_000_000, **given}


def sources(table: str) -> list[EventSource]:
    """Conditions that guard others, branches that guard a CAST, a clock that is text, an id that is computed."""
    topic = Topic(table, lateness=EVER)

    def source(columns: dict[str, str], **more: Any) -> EventSource:
        return EventSource(
            table, topic=topic, query=Query(**{"select": {"user": "user", **columns}, "time": "t", **more})
        )

    return [
        source({"a": "CAST(text AS BIGINT)", "b": "n * m"}, where=["n > 0"]),
        source({"a": "CASE WHEN n < 9 THEN n ELSE -n - 2 END", "b": "CAST(x AS INT)"}, where=["CAST(text AS INT) > 4"]),
        source({"a": "COALESCE(n, CAST(text AS BIGINT))", "b": "n DIV m"}, known_at="CAST(at AS TIMESTAMP)"),
        source({"a": "TRY_CAST(text AS BIGINT)", "b": "m"}, event_id="CAST(id AS BIGINT)"),
    ]


def schema(table: str) -> dict[str, DataType]:
    return {**COLUMNS, "ds": parse_type("STRING")} if table == "dump" else COLUMNS


def planned(name: str, every: Sequence[Any]) -> tuple[EventSources, tuple[Kept, ...]]:
    totals = [Aggregation(column, Operation[each]) for column in "ab" for each in ("SUM", "COUNT")]
    group_bys = [GroupBy(["user"], [each], totals, online=True, name=f"{name}.g{n}") for n, each in enumerate(every)]
    kept = tuple(Kept(Planned(schema).group_by(each)) for each in group_bys)
    streams = tuple((each, one.streams[0]) for each, one in zip(every, kept, strict=True))
    return EventSources({name: EventTable(name, COLUMNS, streams, None, "of a test")}, kept), kept


def tiles(store: MemoryStore, kept: Kept) -> dict[bytes, bytes]:
    """Without what a writer keeps beside them."""
    found = store._values.get(Place(space(kept)), {})
    return {name: bytes(value) for name, value in found.items() if name != PROGRESS and not name.startswith(POSITION)}


def embedded(
    found: EventSources, name: str, messages: Sequence[bytes], folder: Path, form: str = EVENTS_FORM, at: int = NOON
) -> tuple[Any, MemoryStore]:
    """(the dead letters, the store) of the embedded stream."""
    dead, store = DeadLetters(folder / "dead"), MemoryStore()
    log: Any = SimpleNamespace(name=name, format=form)
    records = [Record("0", number + 1, None, (text,)) for number, text in enumerate(messages)]
    rows = decoded(found.tables[name].intake, log, records, dead).rows
    for kept in found.group_bys:
        Feed(kept, store, space(kept), lambda: at).take(name, name, rows, {"0": len(messages)})
    lines = [msgspec.json.decode(line) for line in dead.path.read_bytes().splitlines()] if dead.path.exists() else []
    return sorted((each["offset"], each["reason"]) for each in lines), store


@pytest.mark.parametrize("kind", ["events", "changes"])
def test_both_streams_refuse_and_aggregate_the_same(kind: str, tmp_path: Path, kafka_servers: str) -> None:
    name = f"computed_{kind}"
    every: Sequence[Any] = sources(name) if kind == "events" else changes(name)
    found, feeds = planned(name, every)
    messages = [msgspec.json.encode(event(number, given)) for number, given in enumerate(EVENTS)]
    refused, expected = embedded(found, name, messages, tmp_path)
    job, store, report = ran(found, {name: messages}, kafka_servers, tmp_path)
    told = sorted((messages.index(text) + 1, reason) for text, reason in letters(job, name, kafka_servers))
    assert told == refused
    assert 5 < len(refused) < len(EVENTS) - 5
    assert report.dead == {name: len(refused)}
    for kept in feeds:
        assert tiles(store, kept) == tiles(expected, kept)
        assert tiles(store, kept)


def changes(table: str) -> list[EntitySource]:
    query = Query(
        select={"user": "user", "a": "CAST(text AS BIGINT)", "b": "n * m"},
        time="CAST(at AS TIMESTAMP)",
        mutation_time="t",
        is_before="way = 'd'",
    )
    return [EntitySource("dump", mutations=table, topic=Topic(table, lateness=EVER), query=query)]


ROWS: list[dict[str, Any] | None] = [
    {},
    {"text": "12"},
    {"text": "many"},
    {"user": None},
    {"user": "u9", "n": MOST},
    None,
]


def test_a_change_is_taken_whole_or_not_at_all(tmp_path: Path, kafka_servers: str) -> None:
    """Of its rows one may be no event: if the other were taken, it would be taken again with the letter."""
    name = "computed_debezium"
    query = Query(
        select={"user": "user", "a": "CAST(text AS BIGINT)", "b": "n * m"},
        time="CAST(at AS TIMESTAMP)",
        mutation_time="t",
        is_before="gone",
    )
    topic = Topic(name, format=CHANGES, lateness=EVER)
    found, feeds = planned(name, [EntitySource("dump", mutations=name, topic=topic, query=query)])
    messages = [
        change(number, before, after)
        for number, (before, after) in enumerate(itertools.product(ROWS, ROWS))
        if (before, after) != (None, None)
    ]
    refused, expected = embedded(found, name, messages, tmp_path, CHANGES)
    job, store, report = ran(found, {name: messages}, kafka_servers, tmp_path)
    told = sorted((messages.index(text) + 1, reason) for text, reason in letters(job, name, kafka_servers))
    assert told == refused
    assert report.dead == {name: len(refused)}
    assert len(refused) == 20, "each with a row whose text or product cannot be computed"
    assert tiles(store, feeds[0]) == tiles(expected, feeds[0])
    assert tiles(store, feeds[0])


def test_a_change_that_is_late_is_put_aside_whole_and_counted(tmp_path: Path, kafka_servers: str) -> None:
    name, at = "computed_late", now()
    query = Query(
        select={"user": "user", "a": "n", "b": "m"}, time="CAST(at AS TIMESTAMP)", mutation_time="t", is_before="gone"
    )
    source = EntitySource("dump", mutations=name, topic=Topic(name, format=CHANGES, lateness="1d"), query=query)
    found, feeds = planned(name, [source])
    row: dict[str, Any] = {"user": "ann"}
    sides = [(None, row), (row, {"user": "bob"}), (row, None)]
    in_time = [change(number, *each, at - DAY // 2) for number, each in enumerate(sides)]
    late = [change(number, *each, at - 3 * DAY) for number, each in enumerate(sides)]
    messages = [each for pair in zip(late, in_time, strict=True) for each in pair]
    _, store, report = ran(found, {name: messages}, kafka_servers, tmp_path)
    assert (report.late, report.dead) == ({name: 3}, {name: 0})
    _, expected = embedded(found, name, in_time, tmp_path, CHANGES, at)
    assert tiles(store, feeds[0]) == tiles(expected, feeds[0])
    assert tiles(store, feeds[0])


def change(number: int, before: dict[str, Any] | None, after: dict[str, Any] | None, at: int = NOON) -> bytes:
    def row(given: dict[str, Any] | None) -> dict[str, Any] | None:
        said = ("t", "gone")
        return None if given is None else {k: v for k, v in event(number, given).items() if k not in said}

    op = "c" if before is None else "d" if after is None else "u"
    micros = at + number * 1_000_000
    return msgspec.json.encode({"op": op, "before": row(before), "after": row(after), "source": {"ts_us": micros}})


def test_a_day_that_no_key_can_be_has_no_tile_and_stops_nobody(tmp_path: Path, kafka_servers: str) -> None:
    name = "computed_days"
    select = {"user": "CAST(CAST(at AS TIMESTAMP) AS DATE)", "a": "n", "b": "m"}
    source = EventSource(name, topic=Topic(name, lateness=EVER), query=Query(select=select, time="t"))
    found, feeds = planned(name, [source])
    days = ["2024-03-05T11:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:30:00-05:00"]
    messages = [msgspec.json.encode(event(number, {"at": day})) for number, day in enumerate(days)]
    _, store, report = ran(found, {name: messages}, kafka_servers, tmp_path)
    _, expected = embedded(found, name, messages[:1], tmp_path)
    assert tiles(store, feeds[0]) == tiles(expected, feeds[0])
    assert report.tiles == 1
