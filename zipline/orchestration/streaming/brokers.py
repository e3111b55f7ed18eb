"""Kafka, as a streaming job needs it: topics made, tiles read, and how far a job has got.

Beside `zipline.orchestration.events.kafka` and `outboxes` the only module that knows Kafka's client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import DAY, monotonic
from zipline.errors import ProjectError
from zipline.orchestration.events.kafka import KafkaUnreachableError, came, kept_since, settings_of
from zipline.project import Brokers

TIMEOUT = 5.0
MADE_WITHIN = 30.0
"""Seconds for new topics, which may be hundreds at once."""
LARGEST = 64 << 20
"""Bytes of the largest message of tiles."""
READING = {
    "group.id": "zipline",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "log_level": 2,
}

Offsets = dict[tuple[str, int], int]
"""(topic, partition) -> offset"""
_NOWHERE: Offsets = {}


class Tile(NamedTuple):
    """A message of tiles, and the offset behind it."""

    content: bytes
    after: int


class Admin:
    """What is made and asked of the brokers."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._groups: dict[str, Consumer] = {}
        self._admin = AdminClient({**settings_of(brokers), "log_level": 2})
        self._consumer = Consumer({**settings_of(brokers), **READING})

    def close(self) -> None:
        for consumer in (self._consumer, *self._groups.values()):
            consumer.close()

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
                    raise unreachable(f"the topic {topic!r} could not be made", wrong) from None
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
                    raise unreachable(f"the topic {topic!r} could not be deleted", wrong) from None

    def _await(self, topic: str) -> None:
        """A topic that was just made has no leader for a moment, and the consumer must learn of it."""
        until = monotonic() + MADE_WITHIN
        while True:
            try:
                answered(topic, lambda: self._consumer.list_topics(topic, timeout=TIMEOUT))
                self._watermarks(topic, 0)
            except KafkaUnreachableError:
                if monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def forget(self, group: str) -> None:
        """Forgets how far a job has got that does not run."""
        future = self._admin.delete_consumer_groups([group])[group]
        try:
            future.result(timeout=MADE_WITHIN)
        except KafkaException as wrong:
            if wrong.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise unreachable(f"how far {group!r} had got cannot be forgotten", wrong) from None

    def bounds(self, topics: Iterable[str]) -> dict[tuple[str, int], tuple[int, int]]:
        """Where the partitions begin, now that they have deleted what was before, and where they end."""
        known = self._topics()
        return {(topic, n): self._watermarks(topic, n) for topic in topics for n in known.get(topic, ())}

    def ends(self, topics: Iterable[str]) -> Offsets:
        """Where the partitions end."""
        return {place: end for place, (_, end) in self.bounds(topics).items()}

    def begins(self, topics: Iterable[str], reached: Offsets = _NOWHERE) -> int:
        """Since when nothing is missing for who has read topics so far (microseconds)."""
        times = [EVER_BEFORE]
        for place, (low, end) in self.bounds(topics).items():
            if reached.get(place, 0) < low:
                at = self.came(place, low) if low < end else None
                times.append(kept_since(self._brokers, place[0]) if at is None else at)
        return max(times)

    def committed(self, group: str, places: Iterable[tuple[str, int]]) -> Offsets:
        """How far a job has got, as of its newest checkpoint; a partition that it has not begun is left out."""
        asked = [TopicPartition(*place) for place in places]
        if group not in self._groups:
            # A consumer finds the group's coordinator again when the brokers were away; the admin's client may not.
            self._groups[group] = Consumer({**settings_of(self._brokers), **READING, "group.id": group})
        try:
            found = self._groups[group].committed(asked, timeout=TIMEOUT) if asked else []
        except KafkaException as wrong:
            raise unreachable(f"how far {group!r} has got cannot be read", wrong) from None
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0 and not each.error}

    def came(self, place: tuple[str, int], offset: int) -> int | None:
        """When the first message from an offset on came; None where there is none, only marks of transactions."""
        return answered(place[0], lambda: came(self._consumer, TopicPartition(*place, offset)))  # type: ignore[no-any-return]

    def _watermarks(self, topic: str, number: int) -> tuple[int, int]:
        place = TopicPartition(topic, number)
        found = answered(topic, lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
        if found is None:
            raise KafkaUnreachableError(f"partition {number} of the topic {topic!r} does not answer")
        return int(found[0]), int(found[1])

    def _topics(self) -> Mapping[str, tuple[int, ...]]:
        try:
            metadata = self._admin.list_topics(timeout=TIMEOUT)
        except KafkaException as wrong:
            raise unreachable("the brokers do not answer", wrong) from None
        return {name: tuple(sorted(found.partitions)) for name, found in metadata.topics.items() if found.error is None}


class TileReader:
    """Messages of tiles in order, from an offset on."""

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **settings_of(brokers),
                **READING,
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
        found = answered(
            self._topic, lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False)
        )
        low, high = (0, 0) if found is None else found
        # A topic that was made anew is another one, and begins anew.
        begin = low if offset is None or not low <= offset <= high else offset
        self._consumer.assign([TopicPartition(self._topic, 0, begin)])

    def read(self, most: int, wait: float) -> list[Tile]:
        """What comes within `wait` seconds."""
        messages = answered(self._topic, lambda: self._consumer.consume(most, wait))
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


def answered(topic: str, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except KafkaException as wrong:
        raise unreachable(f"the topic {topic!r} cannot be read", wrong) from None


def unreachable(what: str, wrong: KafkaException) -> KafkaUnreachableError:
    return KafkaUnreachableError(f"{what}: {wrong.args[0].str()}", hint="are the servers of [brokers] running?")


__all__ = ["Admin", "Offsets", "Tile", "TileReader", "answered", "settings_for_java", "unreachable"]
