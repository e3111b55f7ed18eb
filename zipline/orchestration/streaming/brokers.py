"""Kafka, as a streaming job needs it: topics made, tiles read, and how far a job has got.

The only module beside `zipline.orchestration.events.kafka` that knows Kafka's client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from zipline.clock import DAY, monotonic, now
from zipline.errors import ProjectError
from zipline.orchestration.events.kafka import KafkaUnreachableError, settings_of
from zipline.project import Brokers

TIMEOUT = 5.0
MADE_WITHIN = 30.0
"""Seconds for new topics, which may be hundreds at once."""
LARGEST = 64 << 20
"""Bytes of the largest message of tiles."""
_READING = {
    "group.id": "zipline",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "log_level": 2,
}

Offsets = dict[tuple[str, int], int]
"""(topic, partition) -> offset"""


class Tile(NamedTuple):
    """A message of tiles, and the offset behind it."""

    content: bytes
    after: int


class Admin:
    """What is made and asked of the brokers."""

    def __init__(self, brokers: Brokers) -> None:
        self._admin = AdminClient({**settings_of(brokers), "log_level": 2})
        self._consumer = Consumer({**settings_of(brokers), **_READING})

    def close(self) -> None:
        self._consumer.close()

    def check_topics(self, topics: Iterable[str]) -> None:
        """ProjectError names those that are not there: what others write is theirs to make."""
        known = self._topics()
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise ProjectError(
                f"there is no topic {', '.join(map(repr, missing))} on the brokers",
                asked=missing[0],
                valid=sorted(name for name in known if not name.startswith("__")),
                hint="make it, with as many partitions as it needs",
            )

    def make(self, topics: Sequence[str], *, kept: int, largest: int = LARGEST) -> None:
        """Makes those that are not there, of one partition, which keep messages for `kept` microseconds."""
        known = self._topics()
        config = {
            "retention.ms": str(kept // 1000),
            "segment.ms": str(min(kept, DAY) // 4000),
            "max.message.bytes": str(largest),
        }
        wanted = [NewTopic(topic, num_partitions=1, config=config) for topic in topics if topic not in known]
        for topic, made in (self._admin.create_topics(wanted) if wanted else {}).items():
            try:
                made.result(timeout=MADE_WITHIN)
            except KafkaException as wrong:
                if wrong.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise _unreachable(f"the topic {topic!r} could not be made", wrong) from None
        for new in wanted:
            self._await(new.topic)

    def delete(self, topics: Sequence[str]) -> None:
        """Deletes those that are there."""
        known = self._topics()
        wanted = [topic for topic in topics if topic in known]
        for topic, gone in (self._admin.delete_topics(wanted) if wanted else {}).items():
            try:
                gone.result(timeout=MADE_WITHIN)
            except KafkaException as wrong:
                if wrong.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise _unreachable(f"the topic {topic!r} could not be deleted", wrong) from None

    def _await(self, topic: str) -> None:
        """A topic that was just made has no leader for a moment, and the consumer must learn of it."""
        until = monotonic() + MADE_WITHIN
        while True:
            try:
                _asked(topic, lambda: self._consumer.list_topics(topic, timeout=TIMEOUT))
                self._watermarks(topic, 0)
            except KafkaUnreachableError:
                if monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def ends(self, topics: Iterable[str]) -> Offsets:
        """Where the partitions end."""
        known = self._topics()
        found: Offsets = {}
        for topic in topics:
            for number in known.get(topic, ()):
                found[topic, number] = self._watermarks(topic, number)[1]
        return found

    def begins(self, topic: str) -> int | None:
        """Since when all messages of a topic are there (microseconds); None where none was ever deleted."""
        times = [self._begins(topic, number) for number in self._topics().get(topic, ())]
        return max((time for time in times if time is not None), default=None)

    def _begins(self, topic: str, number: int) -> int | None:
        first, end = self._watermarks(topic, number)
        if first == 0:
            return None
        came = self.came((topic, number), first) if first < end else None
        return self._kept_since(topic) if came is None else came

    def _kept_since(self, topic: str) -> int:
        """What is newer cannot have been deleted; now, where a topic deletes by size too."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            settings = self._admin.describe_configs([resource])[resource].result(timeout=TIMEOUT)
        except KafkaException as wrong:
            raise _unreachable(f"the settings of the topic {topic!r} cannot be read", wrong) from None
        kept = int(settings["retention.ms"].value)
        is_by_time = int(settings["retention.bytes"].value) < 0 and kept >= 0
        return now() - kept * 1000 if is_by_time else now()

    def committed(self, group: str, places: Iterable[tuple[str, int]]) -> Offsets:
        """How far a job has got, as of its newest checkpoint; a partition that it has not begun is left out."""
        asked = [TopicPartition(topic, number) for topic, number in places]
        future = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group]
        try:
            found = future.result(timeout=TIMEOUT).topic_partitions
        except KafkaException as wrong:
            if wrong.args[0].code() in (KafkaError.GROUP_ID_NOT_FOUND, KafkaError.COORDINATOR_NOT_AVAILABLE):
                return {}
            raise _unreachable(f"how far {group!r} has got cannot be read", wrong) from None
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0 and not each.error}

    def came(self, place: tuple[str, int], offset: int) -> int | None:
        """When the first message from an offset on came; None where there is none, only marks of transactions."""
        self._consumer.assign([TopicPartition(*place, offset)])
        try:
            while (message := self._consumer.poll(TIMEOUT)) is not None:
                error = message.error()
                if error is None:
                    return int(message.timestamp()[1]) * 1000
                if error.code() == KafkaError._PARTITION_EOF:
                    return None
        finally:
            self._consumer.unassign()
        raise KafkaUnreachableError(f"partition {place[1]} of the topic {place[0]!r} does not answer")

    def _watermarks(self, topic: str, number: int) -> tuple[int, int]:
        place = TopicPartition(topic, number)
        found = _asked(topic, lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
        if found is None:
            raise KafkaUnreachableError(f"partition {number} of the topic {topic!r} does not answer")
        return int(found[0]), int(found[1])

    def _topics(self) -> Mapping[str, tuple[int, ...]]:
        try:
            metadata = self._admin.list_topics(timeout=TIMEOUT)
        except KafkaException as wrong:
            raise _unreachable("the brokers do not answer", wrong) from None
        return {name: tuple(sorted(found.partitions)) for name, found in metadata.topics.items() if found.error is None}


class Outbox:
    """A topic of one partition that one process writes, in transactions; it knows what it was sent last."""

    _AFTER = "after"

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._topic, self._brokers = topic, brokers
        self._producer: Producer | None = None
        self._position: dict[str, int] | None = None

    def position(self) -> dict[str, int]:
        """The place that the last message stands before; {} of an empty topic."""
        if self._position is None:
            try:
                self._opened()  # first: it waits for the end of what an earlier sender had begun
            except KafkaException as wrong:
                raise _unreachable(f"the topic {self._topic!r} cannot be written", wrong) from None
            self._position = self._last()
        return self._position

    def send(self, messages: Sequence[tuple[bytes, int | None, tuple[str, int]]]) -> None:
        """Sends (text, when it came, the place behind it), all or none."""
        try:
            producer = self._opened()
            producer.begin_transaction()
            for text, at, (part, after) in messages:
                headers: dict[str, str | bytes | None] = {self._AFTER: f"{after} {part}"}
                producer.produce(self._topic, text, headers=headers, timestamp=(at or now()) // 1000)
                producer.poll(0)
            producer.commit_transaction(2 * TIMEOUT)
        except (KafkaException, BufferError) as wrong:
            # Whatever became of it: the next one looks what is there.
            self._producer = self._position = None
            if isinstance(wrong, BufferError):
                raise KafkaUnreachableError("the brokers are slower than what is posted") from None
            raise _unreachable(f"the topic {self._topic!r} cannot be written", wrong) from None
        part, after = messages[-1][2]
        self._position = {**self.position(), part: after}

    def _opened(self) -> Producer:
        if self._producer is None:
            producer = Producer({**settings_of(self._brokers), "transactional.id": self._topic, "log_level": 2})
            producer.init_transactions(2 * TIMEOUT)
            self._producer = producer
        return self._producer

    def _last(self) -> dict[str, int]:
        consumer = Consumer({**settings_of(self._brokers), **_READING})
        place = TopicPartition(self._topic, 0)
        try:
            low, end = _asked(
                self._topic, lambda: consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False)
            ) or (0, 0)
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


def sent_again(brokers: Brokers, letters: str, group: str) -> dict[str, int]:
    """Sends messages that were put aside to the topics that they came from, as they came and with their own time, each
    once; gives how many to each. How far it got is kept by the brokers, in the same transactions."""
    consumer = Consumer({**settings_of(brokers), **_READING, "group.id": group})
    producer = Producer({**settings_of(brokers), "transactional.id": group, "log_level": 2})
    place = TopicPartition(letters, 0)
    counts: dict[str, int] = {}
    try:
        producer.init_transactions(2 * TIMEOUT)  # first: it waits for the end of what an earlier sender had begun
        known = consumer.committed([place], timeout=TIMEOUT)[0]
        ends = _asked(letters, lambda: consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
        low, end = int(ends[0]), int(ends[1])
        at = max(known.offset, low) if known.offset >= 0 else low
        consumer.assign([TopicPartition(letters, 0, at)])
        while at < end and (messages := consumer.consume(1000, TIMEOUT)):
            # What is put aside again meanwhile is for the next time.
            letters_read = [each for each in messages if each.error() is None and (each.offset() or 0) < end]
            producer.begin_transaction()
            for message in letters_read:
                facts = {name: value for name, value in list(message.headers() or ()) if isinstance(value, bytes)}
                topic = facts["topic"].decode()
                producer.produce(topic, message.value(), timestamp=int(facts["came"]) // 1000)
                counts[topic] = counts.get(topic, 0) + 1
                at = (message.offset() or 0) + 1
            at = at if letters_read else end  # nothing but marks of transactions was left
            metadata = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction([TopicPartition(letters, 0, at)], metadata, 2 * TIMEOUT)
            producer.commit_transaction(2 * TIMEOUT)
    except KafkaException as wrong:
        raise _unreachable(f"the letters of {letters!r} cannot be sent again", wrong) from None
    finally:
        consumer.close()
    return counts


class TileReader:
    """Messages of tiles in order, from an offset on."""

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **settings_of(brokers),
                **_READING,
                "fetch.wait.max.ms": 10,
                "fetch.message.max.bytes": 4 << 20,
                "fetch.max.bytes": LARGEST,
                "message.max.bytes": LARGEST,
                "queued.max.messages.kbytes": 64 << 10,
            }
        )

    def begin(self, offset: int | None) -> None:
        """Reads from there on; without an offset, from the first message that there is."""
        place = TopicPartition(self._topic, 0)
        found = _asked(self._topic, lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
        low, high = (0, 0) if found is None else found
        # A topic that was made anew is another one, and begins anew.
        begin = low if offset is None or not low <= offset <= high else offset
        self._consumer.assign([TopicPartition(self._topic, 0, begin)])

    def read(self, most: int, wait: float) -> list[Tile]:
        """What comes within `wait` seconds."""
        messages = _asked(self._topic, lambda: self._consumer.consume(most, wait))
        found = []
        for message in messages:
            error = message.error()
            if error is None:
                found.append(Tile(message.value() or b"", message.offset() + 1))
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaUnreachableError(f"the topic {self._topic!r} cannot be read: {error.str()}")
        return found

    def close(self) -> None:
        self._consumer.close()


def settings_for_java(brokers: Brokers) -> dict[str, str]:
    """The same settings as Kafka's client in Java has them, but for the servers."""
    found: dict[str, str] = {}
    if brokers.security_protocol:
        found["security.protocol"] = brokers.security_protocol
    if brokers.username:
        quoted = [part.replace("\\", "\\\\").replace('"', '\\"') for part in (brokers.username, brokers.password)]
        module = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.plain.PlainLoginModule"
        found |= {
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": f'{module} required username="{quoted[0]}" password="{quoted[1]}";',
        }
    return found


def _asked(topic: str, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except KafkaException as wrong:
        raise _unreachable(f"the topic {topic!r} cannot be read", wrong) from None


def _unreachable(what: str, wrong: KafkaException) -> KafkaUnreachableError:
    return KafkaUnreachableError(f"{what}: {wrong.args[0].str()}", hint="are the servers of [brokers] running?")


__all__ = ["Admin", "Offsets", "Outbox", "Tile", "TileReader", "sent_again", "settings_for_java"]
