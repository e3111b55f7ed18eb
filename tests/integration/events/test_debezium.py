"""The changes of an entity as Debezium tells them: by a topic or a file, into tiles and the table of mutations."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.events.test_kafka import produce
from tests.integration.events.test_posted_changes import (
    BEFORE,
    CHANGED,
    CHANGES,
    CONFIGS,
    GROUP_BYS,
    TODAY,
    dumped,
    fetched,
    row,
    stored,
    summed,
)
from zipline.cli.main import execute
from zipline.clock import to_datetime, to_micros
from zipline.orchestration.events.opening import REFUSED, Wanted, open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import folder_of
from zipline.project import Project, load_project
from zipline.tables.delta import write_source


def told(op: str, at: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    source = {"connector": "postgresql", "ts_us": to_micros(f"2024-05-04T{at}Z")}
    return {"op": op, "before": before, "after": after, "source": source, "ts_ms": 0}


MOVED = told("u", "23:50:00", row("ann", "a2", 30.0, TODAY), row("bob", "a2", 35.0, TODAY))
OPENED = {"schema": {}, "payload": told("c", "23:59:30", None, row("eve", "e1", 0.5, TODAY))}
UNKNOWN = told("d", "23:59:40", None, None)
HALF = told("u", "23:59:50", row("ann", "a1", 100.0, TODAY), {"user": 1})


@pytest.fixture
def topic(kafka_servers: str) -> str:
    admin, name = AdminClient({"bootstrap.servers": kafka_servers}), f"topic-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(30)
    return name


def bank(folder: Path, topic: str, settings: str = "") -> Project:
    for name, text in CONFIGS.items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).replace('Topic("account-changes")', f'Topic("{topic}", format="debezium-json")'))
    (folder / "zipline.toml").write_text('name = "bank"\n' + settings)
    project = load_project(folder)
    write_source("accounts", dumped("2024-05-03", BEFORE), "ds", project=project)
    write_source("account_changes", CHANGES.empty_table(), "ds", project=project)
    at = pa.array([to_datetime(to_micros("2024-05-05T00:10:00Z"))], pa.timestamp("us", "UTC"))
    write_source("visits", pa.table({"user": ["ann"], "at": at}), project=project)
    for name in GROUP_BYS:
        assert execute(["upload", name, "--ds", "2024-05-03", "--project", str(folder)]) == 0
    return project


def reasons(project: Project) -> list[str]:
    lines = (folder_of(project, "account_changes") / REFUSED).read_text().splitlines()
    return [json.loads(line)["reason"] for line in lines]


def test_changes_of_a_topic_are_online_and_half_of_one_never(kafka_servers: str, topic: str, tmp_path: Path) -> None:
    project = bank(tmp_path, topic, f'[brokers]\nservers = "{kafka_servers}"\n')
    produce(kafka_servers, topic, [MOVED, OPENED, None, UNKNOWN, HALF, {"user": "eve"}])
    with open_stream(project) as stream:
        report = stream.once()
    counts = report.tables["account_changes"]
    assert (counts.events, counts.refused) == (3, 3), "the tombstone is none of either"
    assert summed(fetched(project, "2024-05-04T23:59:59Z")) == [100.0, 42.0, 0.5, None]
    assert sorted(reasons(project)) == [
        "$.after.user: Expected str | null, got int",
        "$.before: is missing: what the change took away is not known (give the table REPLICA IDENTITY FULL)",
        "$.op: is missing: it says what kind of change it is",
    ]


def test_changes_of_a_file_are_appended_too_and_posted_rows_stay_plain(tmp_path: Path) -> None:
    project, file = bank(tmp_path / "bank", "changes"), tmp_path / "changes.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (MOVED, HALF)))
    EventLog(project).post("account_changes", CHANGED[2:])
    with open_stream(project, Wanted(("account_changes",), file)) as stream:
        report = stream.once()
    assert report.tables["account_changes"].refused == 1
    assert summed(fetched(project, "2024-05-04T23:59:59Z")) == [100.0, 42.0, 0.5, None]
    assert stored(project) == [("a2", True, "2024-05-04"), ("a2", False, "2024-05-04"), ("e1", False, "2024-05-04")]
