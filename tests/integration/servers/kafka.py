"""Kafka, one broker without ZooKeeper, on a free port; its artefacts are fetched once, into `build/`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from training import broker as own

BUILD = Path(__file__).parents[3] / "build"
Broker = own.Broker


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """host:port of a running broker, for the tests of this process."""
    with running_kafka() as servers:
        yield servers


@contextmanager
def running_kafka() -> Iterator[str]:
    """host:port of a broker of its own."""
    with broker() as started:
        yield started.address


def broker() -> AbstractContextManager[Broker]:
    """A broker of its own, which can be killed and started again."""
    return own.broker(BUILD)


def delete_all(servers: str, topic: str, partitions: int = 2) -> None:
    """What a topic holds now, as brokers do with what is old."""
    admin, end = AdminClient({"bootstrap.servers": servers}), -1
    for deleted in admin.delete_records([TopicPartition(topic, number, end) for number in range(partitions)]).values():
        deleted.result(30)
