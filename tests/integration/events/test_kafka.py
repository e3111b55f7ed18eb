"""A topic of a real Kafka as a log: into tiles once, whatever is killed, with the progress that it allows."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.integration.events.shop import event, fetched, make_shop, stored
from tests.integration.servers.kafka import delete_all
from tests.integration.streaming.jobs import make_topic, until
from zipline.algebra.layout import EVER_BEFORE
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, day_text, now, to_text
from zipline.orchestration.events.kafka import ENDS_EVERY, KafkaLog
from zipline.orchestration.events.kafka_client import KafkaUnreachableError
from zipline.orchestration.events.logs import Record
from zipline.orchestration.events.opening import Wanted, open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.project import Brokers

SPENDING = "shop.spending.spending"


@pytest.fixture
def topic(kafka_servers: str) -> Iterator[str]:
    admin, name = AdminClient({"bootstrap.servers": kafka_servers}), f"topic-{uuid.uuid4().hex[:8]}"
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(30)
    yield name
    admin.delete_topics([name])[name].result(30)


def produce(servers: str, topic: str, events: list[Any], **settings: Any) -> None:
    producer = Producer({"bootstrap.servers": servers, **settings})
    for number, each in enumerate(events):
        text = each if isinstance(each, (bytes, type(None))) else json.dumps(each).encode()
        producer.produce(topic, text, partition=number % 2)
    assert producer.flush(30) == 0


def read_all(log: KafkaLog, position: dict[str, int]) -> tuple[list[Record], dict[str, int], int]:
    records: list[Record] = []
    while True:
        read = log.read(position)
        records += read.records
        position = read.position
        if read.is_all:
            return records, position, read.asked


def test_a_topic_is_read_from_any_position_to_its_end(kafka_servers: str, topic: str) -> None:
    produce(kafka_servers, topic, [{"n": n} for n in range(1000)])
    log = KafkaLog("purchases", topic, Brokers(kafka_servers))
    assert log.parts() == ["0", "1"]
    began = now()
    records, position, asked = read_all(log, {})
    assert sorted(json.loads(record.events[0])["n"] for record in records) == list(range(1000))
    assert position == {"0": 500, "1": 500}
    assert asked >= began - SECOND
    assert all(record.at is not None and abs(now() - record.at) < 60 * SECOND for record in records)
    again, _, _ = read_all(log, {"0": 499, "1": 500})
    assert [(record.part, record.after) for record in again] == [("0", 500)]
    assert read_all(log, position)[0] == []
    log.close()


def test_a_part_that_a_position_lacks_is_read_from_its_beginning(kafka_servers: str, topic: str) -> None:
    produce(kafka_servers, topic, [{"n": n} for n in range(10)])
    log = KafkaLog("purchases", topic, Brokers(kafka_servers))
    assert len(read_all(log, {"0": 5})[0]) == 5
    admin = AdminClient({"bootstrap.servers": kafka_servers})
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)
    until(lambda: len(admin.list_topics(topic, timeout=5).topics[topic].partitions) == 3)
    log.close()
    log = KafkaLog("purchases", topic, Brokers(kafka_servers))
    records, position, _ = read_all(log, {"0": 5, "1": 5})
    assert (records, position) == ([], {"0": 5, "1": 5, "2": 0})
    log.close()


def test_what_a_transaction_took_back_is_not_read_and_its_marks_are_no_end_that_is_never_reached(
    kafka_servers: str, topic: str
) -> None:
    producer = Producer({"bootstrap.servers": kafka_servers, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    for text, ends in ((b'{"n":1}', producer.abort_transaction), (b'{"n":2}', producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, text, partition=0)
        producer.flush(30)
        ends(30)
    log = KafkaLog("purchases", topic, Brokers(kafka_servers))
    records, position, _ = read_all(log, {})
    assert [record.events for record in records] == [[b'{"n":2}']]
    assert position["0"] == 4
    log.close()


def test_what_is_deleted_before_an_open_log_has_read_it_is_told(kafka_servers: str, topic: str) -> None:
    produce(kafka_servers, topic, [{"n": n} for n in range(8)])
    log = KafkaLog("purchases", topic, Brokers(kafka_servers))
    _, position, _ = read_all(log, {})
    produce(kafka_servers, topic, [{"n": n} for n in (8, 9, 10)])
    delete_all(kafka_servers, topic)
    before = now()
    produce(kafka_servers, topic, [{"n": 11}])
    time.sleep(ENDS_EVERY)
    read = log.read(position)
    assert read.lost_behind(position) >= before - SECOND
    assert read.lost_behind(read.position) == EVER_BEFORE
    records, _, _ = read_all(log, read.position)
    assert [record.events for record in (*read.records, *records)] == [[b'{"n": 11}']]
    log.close()


def test_a_topic_that_was_made_anew_is_read_from_its_beginning_and_what_is_gone_is_told(
    kafka_servers: str, topic: str, tmp_path: Path
) -> None:
    settings = f'[brokers]\nservers = "{kafka_servers}"\n'
    project = make_shop(tmp_path, topic=topic, settings=settings)
    assert execute(["upload", SPENDING, "--ds", "2024-05-03", "--project", str(tmp_path)]) == 0
    produce(kafka_servers, topic, [event(n, "ann", 1.0, "2024-05-04T10:00:00Z") for n in range(20)])
    with open_stream(project) as stream:
        stream.once()
    admin = AdminClient({"bootstrap.servers": kafka_servers})
    admin.delete_topics([topic])[topic].result(30)
    before = now()
    until(lambda: topic not in admin.list_topics(timeout=5).topics)
    make_topic(kafka_servers, topic)
    produce(kafka_servers, topic, [event(n, "ann", 1.0, "2024-05-04T10:00:00Z") for n in range(100, 104)])
    with open_stream(project) as stream:
        report = stream.once()
        assert report.tables["purchases"].events == 4
        assert report.group_bys[SPENDING].rows == 4
        assert (report.tables["purchases"].lost_before or 0) >= before - SECOND
    produce(kafka_servers, topic, [event(200, "ann", 1.0, "2024-05-04T10:00:00Z")])
    with open_stream(project) as stream:
        assert stream.once().group_bys[SPENDING].rows == 1


def test_brokers_and_topics_that_are_not_there_are_errors_that_say_so(kafka_servers: str) -> None:
    log = KafkaLog("purchases", "nowhere", Brokers(kafka_servers))
    with pytest.raises(KafkaUnreachableError, match="there is no topic 'nowhere'"):
        log.read({})
    log.close()


def test_events_of_a_topic_are_online_once_and_appended_only_when_asked_to(
    kafka_servers: str, topic: str, tmp_path: Path
) -> None:
    project = make_shop(tmp_path, topic=topic, settings=f'[brokers]\nservers = "{kafka_servers}"\n')
    assert execute(["upload", SPENDING, "--ds", "2024-05-03", "--project", str(tmp_path)]) == 0
    sent = [event(n, "ann", 1.0, "2024-05-04T10:00:00Z") for n in range(50)]
    produce(kafka_servers, topic, [*sent, b"no event", None, *sent[:10]])
    EventLog(project).post(
        "purchases", [event(0, "ann", 1.0, "2024-05-04T10:00:00Z"), event(99, "ann", 1.0, "2024-05-04T10:00:00Z")]
    )
    for _ in range(2):
        with open_stream(project) as stream:
            report = stream.once()
    assert report.tables["purchases"].events == 0, "nothing is read twice"
    assert fetched(project, "ann", at="2024-05-04T10:30:00Z").rows()[0]["spending_amount_sum_1h"] == 51.0
    assert [row["event"] for row in stored(project)] == ["p1", "p2", "e0", "e99"], "what was posted"
    refused = (tmp_path / ".zipline" / "events" / "purchases" / "refused.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["event"] for line in refused) == ["", "no event"]
    with open_stream(project, Wanted(appends_topics=True)) as stream:
        assert stream.once().tables["purchases"].appended == 49
    with open_stream(project, Wanted(appends_topics=True)) as stream:
        assert stream.once().tables["purchases"].appended == 0
    assert len(stored(project)) == 53


def test_messages_that_were_deleted_unread_make_features_stale(
    kafka_servers: str, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_shop(tmp_path, topic=topic, settings=f'[brokers]\nservers = "{kafka_servers}"\n')
    yesterday = ["--ds", day_text(now() - DAY), "--allow-missing", "--project", str(tmp_path)]
    assert execute(["upload", SPENDING, *yesterday]) == 0

    def taken_in(first: int, count: int = 4) -> tuple[Any, str]:
        produce(kafka_servers, topic, [event(first + n, "ann", 1.0, to_text(now() - SECOND)) for n in range(count)])
        assert execute(["stream", "--once", "--project", str(tmp_path)]) == 0
        found = fetched(project, "ann", at=to_text(now()))
        return found.rows()[0]["spending_amount_count_7d"], found.status(0, "spending_amount_count_7d")

    assert taken_in(0) == (4, "ok")
    delete_all(kafka_servers, topic)
    assert taken_in(10) == (8, "ok"), "what was deleted had been read"
    assert "have deleted" not in capsys.readouterr().out
    produce(kafka_servers, topic, [event(20, "ann", 1.0, to_text(now() - SECOND))])
    delete_all(kafka_servers, topic)
    assert taken_in(0, 0) == (8, "stale"), "nothing is left that tells how old they were"
    assert taken_in(30) == (12, "stale")
    assert "purchases: topics have deleted messages that came before" in capsys.readouterr().out
    assert taken_in(40) == (16, "stale"), "and it stays so"
    assert execute(["upload", SPENDING, *yesterday]) == 0
    assert taken_in(50) == (20, "stale"), "an upload of a day before it does not mend it"
