"""What a streaming job needs and does not find: its state, messages, brokers, columns."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
import redis

from tests.integration.events.shop import make_shop
from tests.integration.servers.kafka import delete_all
from tests.integration.servers.redis import running_redis
from tests.integration.streaming.jobs import (
    QUICK,
    bought,
    fetching,
    make_streamed,
    produce,
    status,
    streaming,
    topic_of,
    until,
    virtual_machines,
)
from zipline.cli.main import execute
from zipline.clock import SECOND, now
from zipline.ports import free_port
from zipline.tables.delta import write_source


def test_state_that_is_gone_is_made_anew_and_messages_that_are_gone_are_told(
    tmp_path: Path, kafka_servers: str
) -> None:
    project = make_streamed(tmp_path, kafka_servers, with_ids=False)
    with fetching(project) as fetch:
        with streaming(project):
            produce(project, [bought(number, "ann", 1.0) for number in range(4)])
            until(lambda: fetch("ann")["count_7d"] == 4)
            until(lambda: status(project)["report"]["checkpoint"] is not None)
            assert execute(["stream", "stop", "--project", str(tmp_path)]) == 0
        shutil.rmtree(tmp_path / ".zipline" / "flink")
        produce(project, [bought(9, "ann", 1.0)])
        with streaming(project):
            until(lambda: fetch("ann")["count_7d"] == 5)
            until(lambda: fetch("ann")["status"] == "ok")
            assert status(project)["report"]["since"] is None
            assert execute(["stream", "stop", "--project", str(tmp_path)]) == 0
        produce(project, [bought(10, "ann", 1.0), bought(11, "bobo", 1.0)])
        delete_all(kafka_servers, topic_of(project))
        before = now()
        produce(project, [bought(12, "ann", 1.0)])
        with streaming(project):
            until(lambda: fetch("ann")["count_7d"] == 6)
            until(lambda: status(project)["report"]["lag"] == 0)
            until(lambda: (status(project)["report"]["since"] or 0) > before - SECOND)
            until(lambda: (fetch("ann")["status"], fetch("bobo")["status"]) == ("stale", "stale"))


def test_messages_deleted_before_a_job_that_runs_has_read_them_are_told_and_it_goes_on_with_what_is_left(
    tmp_path: Path, kafka_servers: str
) -> None:
    project = make_streamed(tmp_path, kafka_servers, with_ids=False)
    with fetching(project) as fetch, streaming(project) as process:
        produce(project, [bought(number, "ann", 1.0) for number in range(4)])
        until(lambda: fetch("ann")["count_7d"] == 4)
        with standing_still(process.pid):
            produce(project, [bought(10, "ann", 1.0), bought(11, "bobo", 1.0)])
            delete_all(kafka_servers, topic_of(project))
            before = now()
            produce(project, [bought(12, "ann", 1.0)])
        until(lambda: fetch("ann")["count_7d"] == 5)
        until(lambda: status(project)["report"]["lag"] == 0)
        until(lambda: (status(project)["report"]["since"] or 0) > before - SECOND)
        until(lambda: not status(project)["report"]["troubles"])
        until(lambda: (fetch("ann")["status"], fetch("bobo")["status"]) == ("stale", "stale"))
        assert status(project)["report"]["restarts"] == 0


def test_a_store_that_is_full_is_waited_for_and_nothing_is_lost(tmp_path: Path, kafka_servers: str) -> None:
    with running_redis() as (url, _), redis.Redis.from_url(url) as server:
        online = f'[online]\nstore = "redis"\nurl = "{url}"\n'
        project = make_streamed(tmp_path, kafka_servers, with_ids=False, settings=online + QUICK)
        with fetching(project) as fetch, streaming(project):
            produce(project, [bought(number, "ann", 1.0) for number in range(4)])
            until(lambda: fetch("ann")["count_7d"] == 4)
            server.config_set("maxmemory", 1)
            produce(project, [bought(9, "ann", 1.0)])
            until(lambda: "maxmemory" in status(project)["report"]["troubles"].get("tiles", ""))
            assert fetch("ann")["count_7d"] == 4
            server.config_set("maxmemory", 0)
            until(lambda: fetch("ann")["count_7d"] == 5 and fetch("ann")["status"] == "ok")
            until(lambda: not status(project)["report"]["troubles"])


@contextmanager
def standing_still(keeper: int) -> Iterator[None]:
    """The JVM of a job, which reads nothing meanwhile."""
    (java,) = virtual_machines(keeper)
    os.kill(java, signal.SIGSTOP)
    try:
        time.sleep(2.0)  # what it had asked for is answered by then
        yield
    finally:
        os.kill(java, signal.SIGCONT)


def test_a_message_with_a_new_field_is_a_letter_until_the_table_has_the_column_and_then_one_event(
    tmp_path: Path, kafka_servers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_streamed(tmp_path, kafka_servers, with_ids=False)
    once = ["stream", "--engine", "flink", "--once", "--project", str(tmp_path), "--json"]
    again = ["stream", "replay-dead-letters", "--project", str(tmp_path), "--json"]
    produce(project, [bought(1, "ann", 1.0), bought(2, "ann", 1.0) | {"shop": "x"}])
    assert execute(once) == 0
    with fetching(project) as fetch:
        assert fetch("ann")["count_7d"] == 1
    schema = pa.schema({"event": pa.string(), "user": pa.string(), "amount": pa.float64()})
    schema = schema.append(pa.field("bought_at", pa.timestamp("us", "UTC"))).append(pa.field("ds", pa.string()))
    with_shop = schema.append(pa.field("shop", pa.string())).empty_table()
    write_source("purchases", with_shop, "ds", project=project)
    capsys.readouterr()
    assert execute(again) == 0
    assert json.loads(capsys.readouterr().out) == {"purchases": {"topics": {}, "too_old": 0}}, "it will read it itself"
    assert execute(once) == 0
    with fetching(project) as fetch:
        assert fetch("ann")["count_7d"] == 2
    capsys.readouterr()
    assert execute(again) == 0
    assert json.loads(capsys.readouterr().out) == {"purchases": {"topics": {}, "too_old": 0}}, "it has read it"


def test_brokers_that_are_down_are_an_error_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brokers = f'[brokers]\nservers = "127.0.0.1:{free_port()}"\n'
    make_shop(tmp_path, settings=brokers)
    assert execute(["stream", "--engine", "flink", "--project", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "the brokers do not answer" in said
    assert "are the servers of [brokers] running?" in said
