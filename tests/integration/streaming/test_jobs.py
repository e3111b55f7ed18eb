"""A streaming job for real: Kafka, Flink on a mini cluster, LMDB; killed, stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.integration.streaming.jobs import (
    bought,
    fetching,
    make_streamed,
    produce,
    status,
    streaming,
    topic_of,
    until,
)
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, now
from zipline.orchestration.streaming.brokers import Admin
from zipline.project import load_project


def test_events_are_in_the_next_fetch_once_whoever_is_killed(tmp_path: Path, kafka_servers: str) -> None:
    project = make_streamed(tmp_path, kafka_servers)
    ann = [bought(number, "ann", 1.0 + number) for number in range(10)]
    with fetching(project) as fetch:
        with streaming(project) as process:
            produce(project, ann[:4] + ann[:2])
            until(lambda: fetch("ann")["sum_1h"] == 10.0)
            assert fetch("ann")["last_k2_7d"] == [4.0, 3.0]
            late, ahead = bought(50, "ann", 1000.0, ago=2 * DAY), bought(51, "ann", 1000.0, ago=-2 * DAY)
            produce(project, [b"{", b'{"user": "ann"}', None, late, ahead, *ann[3:5]])
            until(lambda: fetch("ann")["sum_1h"] == 15.0)
            until(
                lambda: (
                    (status(project)["report"]["dead"], status(project)["report"]["late"])
                    == ({"purchases": 4}, {"purchases": 1})
                )
            )
            assert fetch("ann")["count_7d"] == 5
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        produce(project, [*ann, bought(20, "bob", 2.0)])
        with streaming(project):
            until(lambda: fetch("ann")["sum_1h"] == 55.0 and fetch("bob")["sum_1h"] == 2.0)
            assert fetch("ann")["count_7d"] == 10
            assert execute(["stream", "stop", "--project", str(tmp_path)]) == 0
        assert status(project)["report"]["state"] == "stopped"
        saved = list((tmp_path / ".zipline" / "flink").rglob("savepoint-*/_metadata"))
        assert len(saved) == 1
        produce(project, [*ann[:3], bought(21, "bob", 3.0)])
        with streaming(project):
            until(lambda: fetch("bob")["sum_1h"] == 5.0)
            assert fetch("ann")["count_7d"] == 10


def test_letters_hold_the_message_as_it_came_and_where_it_stood(tmp_path: Path, kafka_servers: str) -> None:
    from confluent_kafka import Consumer, TopicPartition

    project = make_streamed(tmp_path, kafka_servers)
    produce(project, [b'{"user": 7}', bought(1, "ann", 1.0), bought(2, "ann", 1.0, ago=3 * DAY)])
    assert execute(["stream", "--engine", "flink", "--once", "--project", str(tmp_path)]) == 0
    consumer = Consumer({"bootstrap.servers": kafka_servers, "group.id": "test", "auto.offset.reset": "earliest"})
    found = {}
    for kind in ("dead", "late"):
        consumer.assign([TopicPartition(f"zipline.{project.name}.default.purchases.{kind}", 0, 0)])
        message = consumer.poll(20)
        assert message is not None
        found[kind] = (message.value(), {name: value.decode() for name, value in message.headers() or []})
    consumer.close()
    value, headers = found["dead"]
    assert value == b'{"user": 7}'
    assert headers["reason"] == "$.user: Expected str | null, got int"
    assert (headers["topic"], headers["partition"], headers["offset"]) == (topic_of(project), "0", "0")
    assert abs(int(headers["came"]) - now()) < 600 * SECOND
    value, headers = found["late"]
    assert json.loads(value)["event"] == "e2"
    assert "reason" not in headers


def test_the_job_is_printed_as_sql(tmp_path: Path, kafka_servers: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_streamed(tmp_path, kafka_servers, settings='username = "me"\npassword = "secret"\n')
    capsys.readouterr()
    assert (
        execute(["stream", "shop.spending.spending", "--engine", "flink", "--dry-run", "--project", str(tmp_path)]) == 0
    )
    shown = capsys.readouterr().out
    assert "CREATE TEMPORARY TABLE `scan:purchases`" in shown
    assert "'connector' = 'zipline-tiles'" in shown
    assert "secret" not in shown
    assert "********" in shown


def test_a_topic_that_is_not_there_is_named(
    tmp_path: Path, kafka_servers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_streamed(tmp_path, kafka_servers)
    file = tmp_path / "configs" / "shop" / "spending.py"
    file.write_text(file.read_text().replace(topic_of(project), topic_of(project) + "s"))
    assert execute(["stream", "--engine", "flink", "--project", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "there is no topic" in said
    assert f"did you mean '{topic_of(load_project(tmp_path))[:-1]}'" in said


def test_a_second_job_of_the_same_tiles_is_refused(
    tmp_path: Path, kafka_servers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_streamed(tmp_path, kafka_servers)
    with streaming(project):
        for engine in ("flink", "local"):
            assert execute(["stream", "--engine", engine, "--once", "--project", str(tmp_path)]) == 1
            assert "another process writes the tiles of shop.spending.spending" in capsys.readouterr().err


def test_progress_is_stored_while_nothing_comes(tmp_path: Path, kafka_servers: str) -> None:
    project = make_streamed(tmp_path, kafka_servers)
    with streaming(project):
        produce(project, [bought(1, "ann", 1.0)])
        until(lambda: (status(project)["report"]["until"] or 0) > now() - 5 * SECOND)
        before = status(project)["report"]["until"]
        until(lambda: status(project)["report"]["until"] > before + 3 * SECOND)
        assert status(project)["report"]["lag"] == 0
        admin = Admin(project.brokers)
        assert admin.bounds([topic_of(project)])[topic_of(project), 1][1] == 1
        admin.close()
