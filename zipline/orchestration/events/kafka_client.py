"""How Kafka's brokers are asked, by logs and by streaming jobs: their errors are ours."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import now
from zipline.errors import ZiplineError
from zipline.project import Brokers

TIMEOUT = 5.0
"""Seconds for an answer."""
READING: dict[str, Any] = {
    "group.id": "zipline",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "log_level": 2,
}
"""Settings of a consumer: it is told where to read, and takes back nothing that a transaction took back."""
SENT_AGAIN = "zipline.sent-again"
"""A header of messages that have the time of earlier ones."""
_HINT = "are the servers of [brokers] running?"

Answer = TypeVar("Answer")


class KafkaUnreachableError(ZiplineError):
    """The brokers, or the topic, cannot be reached or read."""


def settings_of(brokers: Brokers) -> dict[str, Any]:
    """The settings of a client of the project's brokers."""
    settings: dict[str, Any] = {"bootstrap.servers": brokers.servers}
    if brokers.security_protocol:
        settings["security.protocol"] = brokers.security_protocol
    if brokers.username:
        settings |= {
            "sasl.mechanisms": "PLAIN",
            "sasl.username": brokers.username,
            "sasl.password": brokers.password,
        }
    return settings


def unreachable(what: str, error: KafkaError) -> KafkaUnreachableError:
    return KafkaUnreachableError(f"{what}: {error.str()}", hint=_HINT)


def answered(what: str, question: Callable[[], Answer]) -> Answer:
    """What the brokers answer, or KafkaUnreachableError, which says what could not be had."""
    try:
        return question()
    except KafkaException as wrong:
        raise unreachable(what, wrong.args[0]) from None


def result_of(what: str, future: Future[Any], within: float = TIMEOUT, *, unless: int | None = None) -> Any:
    """The same of what a client of admins does; None where it fails as `unless` says."""
    try:
        return future.result(timeout=within)
    except KafkaException as wrong:
        if wrong.args[0].code() == unless:
            return None
        raise unreachable(what, wrong.args[0]) from None
    except TimeoutError:
        raise KafkaUnreachableError(f"{what}: no answer within {within:.0f} s", hint=_HINT) from None


def came(consumer: Consumer, place: TopicPartition) -> int | None:
    """When the first message from an offset on came (microseconds); None where there is none, only marks of
    transactions. What was sent again came now. Nothing is assigned to the consumer afterwards."""
    at = None
    consumer.assign([place])
    try:
        while (message := consumer.poll(TIMEOUT)) is not None:
            error = message.error()
            if error is None:
                if SENT_AGAIN not in dict(message.headers() or []):
                    return int(message.timestamp()[1]) * 1000
                at = now()
            elif error.code() == KafkaError._PARTITION_EOF:
                return at
    finally:
        consumer.unassign()
    raise KafkaUnreachableError(f"partition {place.partition} of the topic {place.topic!r} does not answer")


def begins(consumer: Consumer, brokers: Brokers, place: TopicPartition, end: int, *, is_unread: bool = False) -> int:
    """Since when all messages of a partition are there (microseconds), which begins at an offset for what was before is
    deleted. That is when the first came; where none is there, since when none is deleted for its age. What was deleted
    though somebody was about to read it (`is_unread`) may have been of any age."""
    if not place.offset:
        return EVER_BEFORE
    at = came(consumer, place) if place.offset < end else None
    if at is not None:
        return at
    return now() if is_unread else _kept_since(brokers, place.topic)


def _kept_since(brokers: Brokers, topic: str) -> int:
    """Messages that came later cannot have been deleted; now, where a topic deletes by size too."""
    admin, resource = AdminClient({**settings_of(brokers), "log_level": 2}), ConfigResource(ResourceType.TOPIC, topic)
    asked = admin.describe_configs([resource])[resource]
    settings = result_of(f"the settings of the topic {topic!r} cannot be read", asked)
    kept = int(settings["retention.ms"].value)
    is_by_time = int(settings["retention.bytes"].value) < 0 and kept >= 0
    return now() - kept * 1000 if is_by_time else now()


__all__ = [
    "READING",
    "SENT_AGAIN",
    "TIMEOUT",
    "KafkaUnreachableError",
    "answered",
    "begins",
    "came",
    "result_of",
    "settings_of",
    "unreachable",
]
