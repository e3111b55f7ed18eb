"""What is sent on by us: posts to the topic that the job reads, letters to where they came from; each once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.integration.events.streams import ListLog
from tests.integration.streaming.jobs import bought, fetching, job_of, make_streamed, make_topic, topic_of, until
from zipline.cli.main import execute
from zipline.clock import DAY, now
from zipline.orchestration.events.kafka_client import KafkaUnreachableError
from zipline.orchestration.events.logs import JournalLog
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import journal_of
from zipline.orchestration.streaming.brokers import Admin
from zipline.orchestration.streaming.forwarding import Forwarder
from zipline.orchestration.streaming.outboxes import Outbox, Relay, Sent
from zipline.project import Brokers


def read(servers: str, topic: str, partition: int = 0) -> list[tuple[bytes | None, int]]:
    """(text, its time in milliseconds) of all messages of a partition."""
    settings = {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "enable.partition.eof": True}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, partition, 0)])
    found = []
    while (message := consumer.poll(20)) is not None:
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            consumer.close()
            return found
        found.append((message.value(), message.timestamp()[1]))
    raise AssertionError("the broker does not answer")


def test_an_outbox_goes_on_after_the_last_that_is_there(kafka_servers: str) -> None:
    topic, brokers = f"out-{uuid.uuid4().hex[:8]}", Brokers(kafka_servers)
    make_topic(kafka_servers, topic, 1)
    first = Outbox(brokers, topic)
    assert first.position() == {}
    first.send([(b"a", 1_000_000), (b"b", 2_000_000)], {"part": 2})
    assert first.position() == {"part": 2}
    # One that is killed between its messages and their end leaves nothing.
    killed = Producer({"bootstrap.servers": kafka_servers, "transactional.id": topic})
    killed.init_transactions(20)
    killed.begin_transaction()
    killed.produce(topic, b"lost", headers={"after": "3 part"})
    killed.flush(20)
    second = Outbox(brokers, topic)
    assert second.position() == {"part": 2}
    second.send([(b"c", 3_000_000)], {"part": 3})
    until(lambda: read(kafka_servers, topic) == [(b"a", 1000), (b"b", 2000), (b"c", 3000)])
    assert Outbox(brokers, topic).position() == {"part": 3}


def test_a_relay_goes_on_after_what_it_made_something_of(kafka_servers: str) -> None:
    source, target, brokers = f"in-{uuid.uuid4().hex[:8]}", f"out-{uuid.uuid4().hex[:8]}", Brokers(kafka_servers)
    make_topic(kafka_servers, source)
    make_topic(kafka_servers, target, 1)
    first = Relay(brokers, source, target)
    assert first.position() == {}
    first.send([(b"a", 1_000_000), (b"b", 2_000_000)], {"0": 2, "1": 5})
    # One that is killed between its messages and their end leaves neither these nor how far it was.
    killed = Producer({"bootstrap.servers": kafka_servers, "transactional.id": f"{target} of {source}"})
    killed.init_transactions(20)
    killed.begin_transaction()
    killed.produce(target, b"lost")
    killed.flush(20)
    second = Relay(brokers, source, target)
    assert second.position() == {"0": 2, "1": 5}
    second.send([], {"0": 3, "1": 5})
    second.send([(b"c", 3_000_000)], {"0": 4, "1": 6})
    with pytest.raises(KafkaUnreachableError):
        first.send([(b"twice", 3_000_000)], {"0": 4, "1": 5})
    assert read(kafka_servers, target) == [(b"a", 1000), (b"b", 2000), (b"c", 3000)]
    assert first.position() == Relay(brokers, source, target).position() == {"0": 4, "1": 6}
    first.close()
    second.close()


def test_what_is_sent_on_is_complete_only_as_far_as_what_it_is_made_of() -> None:
    class Held:
        at: Mapping[str, int] = {}
        sent: ClassVar[list[bytes]] = []

        def position(self) -> Mapping[str, int]:
            return self.at

        def send(self, messages: Sequence[Sent], position: Mapping[str, int]) -> None:
            self.sent += [text for text, _ in messages]
            self.at = position

        def close(self) -> None: ...

    log, held, until = ListLog(at_once=1), Held(), [None, 10, 30, 50]
    log.put({"n": 1}, {"n": 2})
    log.clock = 40
    forwarder = Forwarder([(log, held)], lambda: until.pop(0))
    seen = []
    for _ in range(4):
        forwarder._send(log, held)
        seen.append(forwarder.until())
    assert held.sent == [b'{"n": 1}', b'{"n": 2}']
    assert seen == [None, 10, 30, 40]


def test_what_is_posted_is_sent_once_and_reaches_the_next_fetch(tmp_path: Path, kafka_servers: str) -> None:
    project = make_streamed(tmp_path, kafka_servers)
    log = EventLog(project)
    log.post("purchases", [bought(1, "ann", 2.0), bought(2, "ann", 3.0)])
    assert execute(["stream", "--engine", "flink", "--once", "--project", str(tmp_path)]) == 0
    with fetching(project) as fetch:
        until(lambda: fetch("ann")["sum_1h"] == 5.0)
    topic = f"zipline.{project.name}.default.purchases.posted"
    assert read(kafka_servers, topic_of(project), 0) == read(kafka_servers, topic_of(project), 1) == []
    log.post("purchases", [bought(3, "ann", 4.0)])
    for _ in range(2):  # the second is another process, which finds that all was sent
        journal = JournalLog("purchases", journal_of(project, "purchases"))
        forwarder = Forwarder([(journal, Outbox(project.brokers, topic))])
        forwarder.all()
        assert forwarder.until() is not None
    sent = [json.loads(text or b"")["event"] for text, _ in read(kafka_servers, topic)]
    assert sent == ["e1", "e2", "e3"]


def test_dead_letters_are_sent_again_once_as_they_came(
    tmp_path: Path, kafka_servers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_streamed(tmp_path, kafka_servers)
    letters = f"zipline.{project.name}.default.purchases.dead"
    make_topic(kafka_servers, letters, 1)
    came, topic = now() - 5_000_000, topic_of(project)
    producer = Producer({"bootstrap.servers": kafka_servers})
    version = job_of(project).version

    def put_aside(text: bytes, job: str, offset: int, at: int) -> None:
        place = {"topic": topic, "partition": "0", "offset": str(offset)}
        producer.produce(letters, text, headers={"reason": "x", "job": job, "came": str(at), **place})
        assert producer.flush(20) == 0

    def replayed() -> dict[str, Any]:
        capsys.readouterr()
        assert execute(["stream", "replay-dead-letters", "purchases", "--json", "--project", str(tmp_path)]) == 0
        counts: dict[str, Any] = json.loads(capsys.readouterr().out)["purchases"]
        return counts

    put_aside(b"{", version, 1, came)
    put_aside(b"of a former one", f"{version[:-1]}x", 2, came)
    put_aside(b'{"user": 7}', version, 3, came)
    put_aside(b"{", version, 1, came)  # a job that went on from a checkpoint put it aside twice
    put_aside(b"old", version, 4, came - 2 * DAY)
    assert replayed() == {"topics": {topic: 2}, "too_old": 1}
    put_aside(b"{", version, 1, came)
    assert replayed() == {"topics": {}, "too_old": 0}
    put_aside(b"{", version, 5, came)  # as the next of its topic it is another
    assert replayed() == {"topics": {topic: 1}, "too_old": 0}
    found = read(kafka_servers, topic, 0) + read(kafka_servers, topic, 1)
    sent = [(b"{", came // 1000), (b'{"user": 7}', came // 1000), (b"{", came // 1000)]
    assert sorted(found, key=str) == sorted(sent, key=str)
    admin = Admin(project.brokers)
    first = next((topic, number) for number in (0, 1) if read(kafka_servers, topic, number))
    assert (admin.came(first, 0) or 0) > came + 1_000_000, "of what is lost their time says nothing"
    admin.close()
