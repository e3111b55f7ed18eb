"""Kafka, as a streaming job needs it: topics made, tiles read, how far the job has got and what is lost for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import DAY, monotonic
from zipline.errors import ProjectError
from zipline.orchestration.events.kafka_client import (
    READING,
    TIMEOUT,
    KafkaUnreachableError,
    answered,
    begins,
    came,
    result_of,
    settings_of,
    unreachable,
)
from zipline.project import Brokers

MADE_WITHIN = 30.0
"""Seconds for new topics, which may be hundreds at once."""
LARGEST = 64 << 20
"""Bytes of the largest message of tiles."""
_LOST = b"lost"
"""The key of messages among tiles that say since when nothing is missing in them; tiles have none."""

_NO_ID = "A" * 22
"""The id of a topic that has none: zero."""

Place = tuple[str, int]
"""(topic, partition)"""
Offsets = dict[Place, int]
Bounds = dict[Place, tuple[int, int]]
"""Where partitions begin, now that they have deleted what was before, and where they end."""


class Tile(NamedTuple):
    """A message of tiles and the offset behind it; or, instead of tiles, since when nothing is missing in them."""

    content: bytes
    after: int
    since: int = EVER_BEFORE


class Admin:
    """What is made and asked of the brokers."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._groups: dict[str, Consumer] = {}
        self._admin = AdminClient({**settings_of(brokers), "log_level": 2})
        self._consumer = Consumer({**settings_of(brokers), **READING})
        self._producer = Producer({**settings_of(brokers), "log_level": 2})

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
            "retention.bytes": "-1",
            "segment.ms": str(min(kept, DAY) // 4000),
            "max.message.bytes": str(largest),
        }
        wanted = [NewTopic(topic, num_partitions=1, config=config) for topic in topics if topic not in known]
        for topic, made in (self._admin.create_topics(wanted) if wanted else {}).items():
            what = f"the topic {topic!r} could not be made"
            result_of(what, made, MADE_WITHIN, unless=KafkaError.TOPIC_ALREADY_EXISTS)
        for new in wanted:
            self._await(new.topic)

    def delete(self, topics: Sequence[str]) -> None:
        """Deletes those that are there."""
        known = self._topics()
        wanted = [topic for topic in topics if topic in known]
        for topic, gone in (self._admin.delete_topics(wanted) if wanted else {}).items():
            what = f"the topic {topic!r} could not be deleted"
            result_of(what, gone, MADE_WITHIN, unless=KafkaError.UNKNOWN_TOPIC_OR_PART)

    def _await(self, topic: str) -> None:
        """A topic that was just made has no leader for a moment, and the consumer must learn of it."""
        until = monotonic() + MADE_WITHIN
        while True:
            try:
                answered(_unread(topic), lambda: self._consumer.list_topics(topic, timeout=TIMEOUT))
                self._watermarks(topic, 0)
            except KafkaUnreachableError:
                if monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def bounds(self, topics: Sequence[str]) -> Bounds:
        """Those of all partitions of some topics; KafkaUnreachableError where one is not there."""
        known = self._topics()
        for topic in topics:
            if topic not in known:
                raise KafkaUnreachableError(f"there is no topic {topic!r} on the brokers any more")
        return {(topic, n): self._watermarks(topic, n) for topic in topics for n in known[topic]}

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Of topics what they are to the brokers: one that is made anew is another one. Old brokers know none."""
        if not topics:
            return {}
        asked = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=TIMEOUT)
        found = {topic: result_of(_unread(topic), each, TIMEOUT) for topic, each in asked.items()}
        return {topic: str(each.topic_id) for topic, each in found.items() if str(each.topic_id) != _NO_ID}

    def end(self, topic: str) -> int:
        """Where a topic of one partition ends."""
        return self._watermarks(topic, 0)[1]

    def begins(self, bounds: Bounds, *, are_unread: bool = False) -> int:
        """Since when nothing is missing for who reads these partitions from their beginning (microseconds); see
        `kafka_client.begins`."""
        times = (self._begins(place, *bound, is_unread=are_unread) for place, bound in bounds.items())
        return max(times, default=EVER_BEFORE)

    def _begins(self, place: Place, low: int, end: int, *, is_unread: bool) -> int:
        first, ask = TopicPartition(*place, low), partial(begins, self._consumer, self._brokers)
        return answered(_unread(place[0]), lambda: ask(first, end, is_unread=is_unread))

    def begin(self, group: str, topics: Sequence[str], since: int) -> None:
        """Has a job of this group, which does not run, begin with the messages that came from `since` on, whatever it
        had read of them before."""
        bounds, stamp = self.bounds(topics), max(0, since // 1000)
        asked = [TopicPartition(topic, number, stamp) for topic, number in bounds]
        if not asked:
            return
        what = f"where {group!r} begins is not known"
        found = answered(what, lambda: self._consumer.offsets_for_times(asked, timeout=TIMEOUT))
        self.commit(
            group,
            {
                (each.topic, each.partition): each.offset if each.offset >= 0 else bounds[each.topic, each.partition][1]
                for each in found
            },
        )

    def commit(self, group: str, offsets: Offsets) -> None:
        """Says how far a group has got that has no members."""
        places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        if not places:
            return
        what = f"how far {group!r} has got cannot be told"
        for each in answered(what, lambda: self._group(group).commit(offsets=places, asynchronous=False)) or []:
            if each.error is not None:
                raise unreachable(what, each.error)

    def committed(self, group: str, places: Iterable[Place]) -> Offsets:
        """How far a job has got, as of its newest checkpoint; a partition that it has not begun is left out."""
        asked = [TopicPartition(*place) for place in places]
        what = f"how far {group!r} has got cannot be read"
        found = answered(what, lambda: self._group(group).committed(asked, timeout=TIMEOUT)) if asked else []
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0 and not each.error}

    def came(self, place: Place, offset: int) -> int | None:
        """When the first message from an offset on came; None where there is none, only marks of transactions."""
        return answered(_unread(place[0]), lambda: came(self._consumer, TopicPartition(*place, offset)))

    def tell_lost(self, tiles: str, since: int) -> None:
        """Says in a topic of tiles, to all who read it, that what came before may be missing."""
        failed: list[KafkaError] = []
        what, text = f"the topic {tiles!r} cannot be written", str(since).encode()

        def done(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        answered(what, lambda: self._producer.produce(tiles, text, _LOST, on_delivery=done))
        if self._producer.flush(MADE_WITHIN):
            raise KafkaUnreachableError(f"{what} within {MADE_WITHIN:.0f} s")
        for error in failed:
            raise unreachable(what, error)

    def _group(self, name: str) -> Consumer:
        """A consumer finds the group's coordinator again when the brokers were away; the admin's client may not."""
        if name not in self._groups:
            self._groups[name] = Consumer({**settings_of(self._brokers), **READING, "group.id": name})
        return self._groups[name]

    def _watermarks(self, topic: str, number: int) -> tuple[int, int]:
        place = TopicPartition(topic, number)
        found = answered(
            _unread(topic), lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False)
        )
        if found is None:
            raise KafkaUnreachableError(f"partition {number} of the topic {topic!r} does not answer")
        return int(found[0]), int(found[1])

    def _topics(self) -> Mapping[str, tuple[int, ...]]:
        metadata = answered("the brokers do not answer", lambda: self._admin.list_topics(timeout=TIMEOUT))
        return {name: tuple(sorted(found.partitions)) for name, found in metadata.topics.items() if found.error is None}


class TileReader:
    """Messages of tiles in order, from an offset on."""

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **settings_of(brokers),
                **READING,
                "fetch.wait.max.ms": 200,
                "fetch.message.max.bytes": 4 << 20,
                "fetch.max.bytes": LARGEST,
                "message.max.bytes": LARGEST,
                "queued.max.messages.kbytes": 64 << 10,
            }
        )

    def begin(self, stands: Sequence[int]) -> tuple[int, bool]:
        """Reads from the least of these offsets on, of which 0 is the beginning; gives where that is, and whether what
        stood there is gone: deleted, or with the whole topic, if that was made anew."""
        place = TopicPartition(self._topic, 0)
        found = answered(
            _unread(self._topic), lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False)
        )
        low, high = (0, 0) if found is None else found
        least, most = min(stands, default=0), max(stands, default=0)
        begin = low if most > high else max(low, least)
        self._consumer.assign([TopicPartition(self._topic, 0, begin)])
        return int(begin), most > high or 0 < least < low

    def read(self, most: int, wait: float) -> list[Tile]:
        """What comes within `wait` seconds."""
        messages = answered(_unread(self._topic), lambda: self._consumer.consume(most, wait))
        found = []
        for message in messages:
            error = message.error()
            if error is None:
                content, after = message.value() or b"", (message.offset() or 0) + 1
                is_lost = message.key() == _LOST
                found.append(Tile(b"", after, int(content)) if is_lost else Tile(content, after))
            elif error.code() != KafkaError._PARTITION_EOF:
                raise unreachable(_unread(self._topic), error)
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


def _unread(topic: str) -> str:
    return f"the topic {topic!r} cannot be read"


__all__ = ["Admin", "Bounds", "Offsets", "Place", "Tile", "TileReader", "settings_for_java"]
