"""The streaming engine's format: the same events as the embedded stream's, and no message is lost, whatever it is."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.servers.flink import run_java
from tests.unit.events.event_cases import (
    CHANGES,
    COLUMNS,
    bad,
    generated,
    good,
    intake,
    intake_of_changes,
    made_of,
    options,
)
from zipline.types import DOUBLE, FLOAT, ArrayType, DataType, MapType, StructType


def replayed(messages: Sequence[bytes | None], *, is_change: bool = False, **more: str) -> list[list[dict[str, Any]]]:
    """What the format makes of each message."""
    lines = ["-" if each is None else base64.b64encode(each).decode() for each in messages]
    settings = [f"{name}={value}" for name, value in (options(is_change=is_change) | more).items()]
    found = run_java("zipline.flink.events.Replay", *settings, text="\n".join(lines) + "\n")
    return [json.loads(line) for line in found.splitlines()]


def shown(dtype: DataType, value: Any) -> Any:
    """A value with its floats as Python writes them."""
    if value is None:
        return None
    if isinstance(dtype, ArrayType):
        return [shown(dtype.element, each) for each in value]
    if isinstance(dtype, MapType):
        return [[shown(dtype.key, key), shown(dtype.value, item)] for key, item in value]
    if isinstance(dtype, StructType):
        return [shown(kind, each) for (_, kind), each in zip(dtype.fields, value, strict=True)]
    return repr(float(value)) if dtype in (FLOAT, DOUBLE) else value


def rows(made: list[dict[str, Any]]) -> list[Any]:
    """The rows, and that something was refused without the words."""
    return [
        "refused" if "refused" in each else [shown(*pair) for pair in zip(COLUMNS.values(), each["row"], strict=True)]
        for each in made
    ]


def test_both_streams_take_the_same_events_and_refuse_the_same() -> None:
    checks, messages = intake(), [*good(), *bad(), *generated(1, 6000)]
    words, different = [], []
    for message, found in zip(messages, replayed(messages), strict=True):
        expected = made_of(checks, message)
        words += [found == expected] if "refused" in expected[0] else []
        if rows(found) != rows(expected):
            different.append((message[:300], found, expected))
    assert different == []
    assert sum(words) > 0.95 * len(words), "what is refused is told in the same words, but for a few"


def test_both_streams_make_the_same_rows_of_a_change() -> None:
    checks, messages = intake_of_changes(), [message for message, _ in CHANGES]
    for message, found in zip(messages, replayed(messages, is_change=True), strict=True):
        assert rows(found) == rows(made_of(checks, message, is_change=True)), message


def test_what_is_refused_does_not_depend_on_what_is_read() -> None:
    checks, messages = intake(), [*good(), *bad(), *generated(2, 1000)]
    places = [list(COLUMNS).index(name) for name in ("n", "at")]
    for message, found in zip(messages, replayed(messages, read='["n", "at"]'), strict=True):
        (expected,) = made_of(checks, message)
        if "row" in expected:
            expected = {"row": [expected["row"][place] for place in places]}
            assert found == [expected], message
        else:
            assert list(found[0]) == ["refused"], message


EVENTS = """
    CREATE TABLE events (
        `id` BIGINT, `at` TIMESTAMP_LTZ(6), `tags` ARRAY<STRING>,
        `refused` STRING METADATA FROM 'value.refused' VIRTUAL,
        `raw` BYTES METADATA FROM 'value.raw' VIRTUAL,
        `part` INT METADATA FROM 'partition' VIRTUAL,
        `pos` BIGINT METADATA FROM 'offset' VIRTUAL,
        `came` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL
    ) WITH (
        {kafka}, 'topic' = '{topic}', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
        'format' = 'zipline-json',
        'zipline-json.columns' = '{{"id": "BIGINT", "at": "TIMESTAMP", "tags": "ARRAY<STRING>", "more": "STRING"}}',
        'zipline-json.required' = '["at"]'
    )
    ;
    CREATE TABLE good (`id` BIGINT, `at` STRING, `tags` ARRAY<STRING>, `pos` BIGINT)
    WITH ({kafka}, 'topic' = '{topic}-good', 'format' = 'json')
    ;
    CREATE TABLE bad (`refused` STRING, `raw` BYTES, `pos` BIGINT)
    WITH ({kafka}, 'topic' = '{topic}-bad', 'format' = 'json')
    ;
    EXPLAIN {statements}
    ;
    EXECUTE {statements}
"""
STATEMENTS = """STATEMENT SET BEGIN
    INSERT INTO good SELECT `id`, CAST(`at` AS STRING), `tags`, `pos` FROM events WHERE `refused` IS NULL;
    INSERT INTO bad SELECT `refused`, `raw`, `pos` FROM events WHERE `refused` IS NOT NULL;
    END"""
SENT: list[bytes | None] = [
    b'{"id": 1, "at": "2026-01-01T00:00:00.123456Z", "tags": ["a", null], "more": "x"}',
    b'{"id": 2, "at": 0}',
    b'{"id": "3", "at": 0}',
    b'{"id": 4, "at": 0, "more": 1}',
    b"no event",
    b'{"id": 6}',
    None,
    b"",
    b'{"id": 9, "at": 1}',
]
REFUSED = {
    2: "$.id: Expected int | null, got str",
    3: "$.more: Expected str | null, got int",
    4: "$: JSON is malformed: invalid character (byte 4)",
    5: "$.at: is missing: it says when the event happened, or which way a change goes",
    6: "$: an empty message",
    7: "$: an empty message",
}


CHANGED = """
    CREATE TABLE changes (
        `before` ROW<`id` BIGINT, `changed_at` TIMESTAMP_LTZ(6), `is_before` BOOLEAN>,
        `after` ROW<`id` BIGINT, `changed_at` TIMESTAMP_LTZ(6), `is_before` BOOLEAN>,
        `refused` STRING METADATA FROM 'value.refused' VIRTUAL,
        `pos` BIGINT METADATA FROM 'offset' VIRTUAL
    ) WITH (
        {kafka}, 'topic' = '{topic}', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
        'format' = 'zipline-json',
        'zipline-json.columns' =
            '{{"id": "BIGINT", "name": "STRING", "changed_at": "TIMESTAMP", "is_before": "BOOLEAN"}}',
        'zipline-json.required' = '["changed_at", "is_before"]',
        'zipline-json.envelope' = 'debezium',
        'zipline-json.time-column' = 'changed_at',
        'zipline-json.before-column' = 'is_before'
    )
    ;
    CREATE TABLE found (`before` STRING, `after` STRING, `refused` STRING, `pos` BIGINT)
    WITH ({kafka}, 'topic' = '{topic}-found', 'format' = 'json')
    ;
    INSERT INTO found SELECT CAST(`before` AS STRING), CAST(`after` AS STRING), `refused`, `pos` FROM changes
"""


SOURCE = b'"source": {"ts_us": 1767225600000001}'
SENT_CHANGES: list[bytes | None] = [
    b'{"op": "u", "before": {"id": 1, "name": "a"}, "after": {"id": 1, "name": "b"}, ' + SOURCE + b"}",
    b'{"op": "d", "before": {"id": 1, "name": "b"}, "after": null, ' + SOURCE + b"}",
    None,
    b'{"op": "d", "before": null, "after": null, ' + SOURCE + b"}",
]


class Ran(NamedTuple):
    """What a process of Flink printed and wrote."""

    printed: str
    good: list[dict[str, Any]]
    bad: list[dict[str, Any]]
    changes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def ran(kafka_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One process runs both scripts: it takes longer to start than to do it."""
    kafka = f"'connector' = 'kafka', 'properties.bootstrap.servers' = '{kafka_servers}'"
    events, changes = made(kafka_servers, SENT, "-good", "-bad"), made(kafka_servers, SENT_CHANGES, "-found")
    scripts = [
        EVENTS.format(kafka=kafka, topic=events, statements=STATEMENTS),
        CHANGED.format(kafka=kafka, topic=changes),
    ]
    path = tmp_path_factory.mktemp("flink") / "script.sql"
    statements = [each.strip() for script in scripts for each in re.split(r"\n +;\n", script)]
    path.write_text("\0".join(["", *statements]))
    printed = run_java("zipline.flink.Main", str(path))
    written = (f"{events}-good", f"{events}-bad", f"{changes}-found")
    return Ran(printed, *(received(kafka_servers, topic) for topic in written))


def test_flink_reads_a_topic_once_and_loses_nothing(ran: Ran) -> None:
    _, _, executed = ran.printed.partition("== Optimized Execution Plan ==")
    assert executed.count("TableSourceScan") == 1, "several INSERTs share one scan"
    assert sorted(ran.good, key=lambda row: int(row["pos"])) == [
        {"id": 1, "at": "2026-01-01 00:00:00.123456", "tags": ["a", None], "pos": 0},
        {"id": 2, "at": "1970-01-01 00:00:00.000000", "tags": None, "pos": 1},
        {"id": 9, "at": "1970-01-01 00:00:00.000001", "tags": None, "pos": 8},
    ]
    assert {row["pos"]: row["refused"] for row in ran.bad} == REFUSED
    raw = {row["pos"]: None if row["raw"] is None else base64.b64decode(row["raw"]) for row in ran.bad}
    assert raw == {pos: SENT[pos] for pos in REFUSED}


def test_a_change_has_two_rows_and_its_tombstone_is_none(ran: Ran) -> None:
    at = "2026-01-01 00:00:00.000001"
    found = {row.pop("pos"): row for row in ran.changes}
    assert found[0] == {"before": f"(1, {at}, TRUE)", "after": f"(1, {at}, FALSE)", "refused": None}
    assert found[1] == {"before": f"(1, {at}, TRUE)", "after": None, "refused": None}
    assert "REPLICA IDENTITY FULL" in found[3].pop("refused")
    assert found[3] == {"before": None, "after": None}
    assert len(found) == 3


def made(servers: str, messages: Sequence[bytes | None], *others: str) -> str:
    """A topic of one partition with these messages, and empty ones beside it."""
    topic, admin = f"topic-{uuid.uuid4().hex[:8]}", AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(topic + end, 1, 1) for end in ("", *others)]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": servers})
    for message in messages:
        producer.produce(topic, message, partition=0)
    assert producer.flush(30) == 0
    return topic


def received(servers: str, topic: str) -> list[dict[str, Any]]:
    """All that a topic of one partition holds."""
    settings = {"bootstrap.servers": servers, "group.id": topic, "enable.partition.eof": True}
    consumer, found = Consumer(settings), []
    consumer.assign([TopicPartition(topic, 0, 0)])
    while (message := consumer.poll(30)) is not None and message.error() is None:
        found.append(json.loads(message.value()))
    consumer.close()
    return found
