"""What is written to topics in transactions, each with how far that was read of which it was made: so nothing is sent
twice, whoever is killed and whenever.

An `Outbox` keeps that place in its messages, for what it sends stands in no topic. A `Relay` leaves it with the
brokers, as consumers do. Both begin by ending what an earlier sender of the same name had begun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import NamedTuple, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from zipline.clock import now
from zipline.orchestration.events.kafka_client import (
    READING,
    SENT_AGAIN,
    TIMEOUT,
    KafkaUnreachableError,
    answered,
    settings_of,
    unreachable,
)
from zipline.orchestration.streaming.brokers import LARGEST
from zipline.project import Brokers
from zipline.values import dataclass

Sent: TypeAlias = "tuple[bytes, int | None]"
"""A text, and when it came (microseconds)."""


class _Sender:
    """Transactions of one name. After one that failed the next begins with a look at what became of it."""

    def __init__(self, brokers: Brokers, name: str, topic: str) -> None:
        self._settings = {
            **settings_of(brokers),
            "transactional.id": name,
            "message.max.bytes": LARGEST,
            "log_level": 2,
        }
        self._topic = topic
        self._producer: Producer | None = None

    def opened(self) -> Producer:
        """The producer, once what an earlier sender of the name had begun has ended."""
        if self._producer is None:
            producer = Producer(self._settings)
            with self._told():
                producer.init_transactions(2 * TIMEOUT)
            self._producer = producer
        return self._producer

    @contextmanager
    def transaction(self) -> Iterator[Producer]:
        """All that is sent in the block, or none; KafkaUnreachableError where that is not known."""
        producer = self.opened()
        with self._told():
            producer.begin_transaction()
            yield producer
            producer.commit_transaction(2 * TIMEOUT)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BaseException as wrong:
            self._producer = None
            if isinstance(wrong, BufferError):
                raise KafkaUnreachableError(f"the brokers are slower than what is sent to {self._topic!r}") from None
            if isinstance(wrong, KafkaException):
                raise unreachable(f"the topic {self._topic!r} cannot be written", wrong.args[0]) from None
            raise


class Outbox:
    """A topic of one partition that one process writes, in transactions; it knows what it was sent last."""

    _AFTER = "after"

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._topic, self._brokers = topic, brokers
        self._sender = _Sender(brokers, topic, topic)
        self._position: dict[str, int] | None = None

    def position(self) -> dict[str, int]:
        """The place that the last message stands before; {} of an empty topic."""
        if self._position is None:
            self._sender.opened()
            self._position = self._last()
        return self._position

    def send(self, messages: Sequence[Sent], position: Mapping[str, int]) -> None:
        """Sends all or none; behind the last of them its log was read up to a position."""
        if not messages:
            return
        ((part, after),) = position.items()
        headers: dict[str, str | bytes | None] = {self._AFTER: f"{after} {part}"}
        before, self._position = self._position or {}, None  # known again where it is known what became of it
        with self._sender.transaction() as producer:
            for text, at in messages:
                producer.produce(self._topic, text, headers=headers, timestamp=(at or now()) // 1000)
                producer.poll(0)
        self._position = {**before, part: after}

    def close(self) -> None:
        """Nothing is held that does not end by itself."""

    def _last(self) -> dict[str, int]:
        consumer = Consumer({**settings_of(self._brokers), **READING})
        place = TopicPartition(self._topic, 0)
        try:
            what = f"the topic {self._topic!r} cannot be read"
            low, end = answered(what, lambda: consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
            # Behind the last message there are marks of transactions: some steps back are enough to find it.
            step = 16
            while end > low:
                first = max(low, end - step)
                consumer.assign([TopicPartition(self._topic, 0, first)])
                found = self._newest(consumer)
                if found is not None:
                    place_behind = dict(found.headers() or [])[self._AFTER]
                    assert isinstance(place_behind, bytes), "whoever sends here says how far"
                    after, part = place_behind.decode().split(" ", 1)
                    return {part: int(after)}
                if first == low:
                    break
                step *= 4
        finally:
            consumer.close()
        return {}

    def _newest(self, consumer: Consumer) -> Message | None:
        """The last message up to the end of the partition."""
        found = None
        while (message := consumer.poll(TIMEOUT)) is not None:
            error = message.error()
            if error is None:
                found = message
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
            else:
                raise KafkaUnreachableError(f"the topic {self._topic!r} cannot be read: {error.str()}")
        raise KafkaUnreachableError(f"the topic {self._topic!r} does not answer")


class Relay:
    """A topic of one partition, of messages that are made of those of another topic. How far that was read the brokers
    know, told in the transaction that has what was made of it; messages keep the time at which the first came."""

    def __init__(self, brokers: Brokers, source: str, target: str) -> None:
        self._source, self._target = source, target
        name = f"{target} of {source}"
        self._consumer = Consumer({**settings_of(brokers), **READING, "group.id": name})
        self._sender = _Sender(brokers, name, target)
        self._position: dict[str, int] | None = None

    def position(self) -> dict[str, int]:
        """How far the partitions of the source were read; without those that were never."""
        if self._position is None:
            self._sender.opened()
            what = f"how far {self._source!r} was read cannot be read"
            found = answered(what, lambda: self._consumer.committed(self._partitions(), timeout=TIMEOUT))
            self._position = {str(each.partition): each.offset for each in found if each.offset >= 0}
        return self._position

    def send(self, messages: Sequence[Sent], position: Mapping[str, int]) -> None:
        """Sends what was made of all messages up to a position, and keeps that: all or none."""
        if position == self.position():
            return
        places = [TopicPartition(self._source, int(part), after) for part, after in position.items()]
        self._position = None  # known again where it is known what became of it
        with self._sender.transaction() as producer:
            for text, at in messages:
                producer.produce(self._target, text, timestamp=(at or now()) // 1000)
                producer.poll(0)
            producer.send_offsets_to_transaction(places, self._consumer.consumer_group_metadata(), 2 * TIMEOUT)
        self._position = dict(position)

    def close(self) -> None:
        self._consumer.close()

    def _partitions(self) -> list[TopicPartition]:
        found = self._consumer.list_topics(self._source, timeout=TIMEOUT).topics[self._source]
        return [TopicPartition(self._source, number) for number in found.partitions]


@dataclass
class SentAgain:
    """How many letters were sent to each topic, and how many are too old for it."""

    topics: dict[str, int] = field(default_factory=dict)
    too_old: int = 0


def sent_again(brokers: Brokers, letters: str, job: str, oldest: int) -> SentAgain:
    """Sends messages that a job put aside to the topics that they came from, as they came and with their own time, each
    once. How far it got is kept by the brokers, in the same transactions.

    Those of former versions of the job are left out: this one has read their messages itself, where they came from. So
    are those that came before `oldest`, for the job may have forgotten the tiles to which they belong. A job that went
    on from a checkpoint may have put one message aside twice: so all letters are read that may be told of again.
    """
    group = f"{job} {letters}.replay"
    consumer = Consumer({**settings_of(brokers), **READING, "group.id": group})
    sender, place = _Sender(brokers, group, letters), TopicPartition(letters, 0)
    found, seen = SentAgain(), set[tuple[str, int, int]]()
    what = f"the topic {letters!r} cannot be read"
    try:
        sender.opened()
        known = answered(what, lambda: consumer.committed([place], timeout=TIMEOUT))[0]
        ends = answered(what, lambda: consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
        at, end = int(ends[0]), int(ends[1])  # what is put aside again meanwhile is for the next time
        consumer.assign([TopicPartition(letters, 0, at)])
        while at < end:
            read, at = _letters(consumer, what, at, end)
            with sender.transaction() as producer:
                for letter in read:
                    if letter.job != job or letter.origin in seen:
                        continue
                    seen.add(letter.origin)
                    if letter.number < known.offset:
                        continue
                    if letter.came < oldest:
                        found.too_old += 1
                        continue
                    topic = letter.origin[0]
                    producer.produce(topic, letter.text, timestamp=letter.came // 1000, headers={SENT_AGAIN: b""})
                    producer.poll(0)
                    found.topics[topic] = found.topics.get(topic, 0) + 1
                after = TopicPartition(letters, 0, max(at, known.offset))
                producer.send_offsets_to_transaction([after], consumer.consumer_group_metadata(), 2 * TIMEOUT)
    finally:
        consumer.close()
    return found


class _Letter(NamedTuple):
    number: int
    text: bytes | None
    job: str
    origin: tuple[str, int, int]
    """Topic, partition and offset."""
    came: int


def _letters(consumer: Consumer, what: str, at: int, end: int) -> tuple[list[_Letter], int]:
    """(some more letters before an end, how far was read)."""
    found: list[_Letter] = []
    messages = answered(what, lambda: consumer.consume(1000, TIMEOUT))
    if not messages:
        raise KafkaUnreachableError(f"{what}: it does not answer")
    for message in messages:
        error, offset = message.error(), message.offset() or 0
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise unreachable(what, error)
            at = max(at, end)  # nothing but marks of transactions was left
        elif offset < end:
            facts = {name: value.decode() for name, value in list(message.headers() or ()) if isinstance(value, bytes)}
            origin = facts["topic"], int(facts["partition"]), int(facts["offset"])
            found.append(_Letter(offset, message.value(), facts["job"], origin, int(facts["came"])))
        at = max(at, offset + (error is None))
    return found, at


__all__ = ["Outbox", "Relay", "Sent", "SentAgain", "sent_again"]
