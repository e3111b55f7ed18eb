"""A topic of Kafka as a log.

Partitions are assigned, not subscribed to: how far they were read is kept beside what was made of them, so there is no
group whose members must agree, and a successor of a killed reader begins at once. A new reader begins with the messages
of the days for which tiles are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from zipline.clock import monotonic, now
from zipline.orchestration.events.kafka_client import READING, KafkaUnreachableError, begins, settings_of, unreachable
from zipline.orchestration.events.logs import CHANGES, EVENTS, Lost, Position, Read, Record
from zipline.project import Brokers
from zipline.stores.contract import TILES_KEPT

MOST = 10_000
"""Messages that are read at once."""
WAITED = 0.02
"""Seconds for which a read waits for messages, of which none or some come."""
TIMEOUT = 2.0
"""Seconds for which brokers may keep everything else of the stream waiting."""
LOOK_AGAIN = 30.0
"""Seconds after which it is asked whether the topic has more partitions."""
ENDS_EVERY = 0.5
"""Seconds after which it is asked anew where partitions end."""


class KafkaLog:
    """The messages of a topic, each an event as JSON, or a change in the envelope that `format` names. `since` is how
    far back a new reader begins (microseconds)."""

    def __init__(
        self, table: str, topic: str, brokers: Brokers, *, since: int = TILES_KEPT, format: str = EVENTS
    ) -> None:
        self.format = format
        self.name, self.table, self._topic, self._since = f"kafka:{topic}", table, topic, since
        self._brokers, self._consumer = brokers, Consumer({**settings_of(brokers), **READING, "fetch.wait.max.ms": 50})
        self._known: tuple[float, list[int]] = (-LOOK_AGAIN, [])
        self._at: dict[int, int] = {}
        self._lost: dict[str, Lost] = {}
        self._looked: dict[int, int] = {}
        self._ends: tuple[float, int, dict[int, int]] = (-ENDS_EVERY, 0, {})

    def parts(self) -> list[str]:
        return [str(number) for number in self._partitions()]

    def read(self, position: Position) -> Read:
        partitions = self._partitions()
        self._assign(position, partitions)
        asked, ends = self._ends_now(partitions)
        messages = self._asked(lambda: self._consumer.consume(MOST, WAITED))
        records = [record for message in messages if (record := self._record(message)) is not None]
        behind = frozenset(str(number) for number in partitions if self._at[number] < ends[number])
        reached = {str(number): offset for number, offset in self._at.items()}
        bounds = {str(number): max(ends[number], self._at[number]) for number in partitions}
        return Read(records, reached, behind, asked, self._lost, bounds)

    def forget(self, position: Position) -> None:
        """The brokers keep messages for as long as they are told to."""

    def close(self) -> None:
        self._consumer.close()

    def _record(self, message: Message) -> Record | None:
        """An event; None for what says that a partition has ended, where only marks of transactions were left."""
        number, offset, error = message.partition(), message.offset(), message.error()
        assert number is not None
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise self._wrong(error)
            self._at[number] = max(self._at[number], offset or 0)
            return None
        assert offset is not None
        self._at[number] = offset + 1
        kind, stamp = message.timestamp()
        value = message.value()
        events = [b"" if value is None else value]
        if value is None and self.format == CHANGES:
            events = []  # a tombstone, behind the change that says the same
        return Record(str(number), offset + 1, stamp * 1000 if kind else None, events)

    def _assign(self, position: Position, partitions: list[int]) -> None:
        """Reads on from a position, where it is not the one at which the last read ended."""
        wanted = {number: position[str(number)] for number in partitions if str(number) in position}
        if self._at.keys() == set(partitions) and wanted == self._at:
            return
        begun = self._beginnings([number for number in partitions if number not in wanted])
        self._at = {**wanted, **begun}
        for number in partitions:
            low, high = self._watermarks(number)
            offset = wanted.get(number, 0)
            if number in wanted:
                # Messages that the brokers have deleted cannot be had; a topic that was made anew is read anew.
                self._at[number] = max(offset, low) if offset <= high else low
            if offset < low:
                self._lost[str(number)] = Lost(low, self._begins(number, low, high, is_unread=number in wanted))
        self._consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in self._at.items()])
        self._ends, self._looked = (-ENDS_EVERY, 0, {}), dict(self._at)

    def _beginnings(self, numbers: list[int]) -> dict[int, int]:
        """Where the messages begin that are not too old, in each of these partitions."""
        if not numbers:
            return {}
        stamp = max(0, (now() - self._since) // 1000)
        asked = [TopicPartition(self._topic, number, stamp) for number in numbers]
        found = self._asked(lambda: self._consumer.offsets_for_times(asked, timeout=TIMEOUT))
        return {
            each.partition: self._watermarks(each.partition)[1] if each.offset in (OFFSET_END, -1) else each.offset
            for each in found
        }

    def _begins(self, number: int, low: int, high: int, *, is_unread: bool) -> int:
        """Since when all messages of a partition are there, of which some were deleted. Nothing is assigned then."""
        place = TopicPartition(self._topic, number, low)
        return int(self._asked(lambda: begins(self._consumer, self._brokers, place, high, is_unread=is_unread)))

    def _ends_now(self, partitions: list[int]) -> tuple[int, dict[int, int]]:
        """(when it was asked, where each partition ends)."""
        looked, asked, ends = self._ends
        if monotonic() - looked >= ENDS_EVERY or ends.keys() != set(partitions):
            asked = now()
            bounds = {number: self._watermarks(number) for number in partitions}
            ends = {number: high for number, (_, high) in bounds.items()}
            self._look_for_lost(bounds)
            self._ends = monotonic(), asked, ends
        return asked, ends

    def _look_for_lost(self, bounds: Mapping[int, tuple[int, int]]) -> None:
        """Where a partition begins behind what was read of it when it was looked last, the client may have gone on
        behind what was deleted."""
        gone = [number for number, (low, _) in bounds.items() if self._looked.get(number, 0) < low]
        for number in gone:
            low, high = bounds[number]
            self._lost[str(number)] = Lost(
                max(low, self._at[number] + 1), self._begins(number, low, high, is_unread=True)
            )
            self._at[number] = max(self._at[number], low)
        if gone:
            self._consumer.assign([TopicPartition(self._topic, number, at) for number, at in self._at.items()])
        self._looked = dict(self._at)

    def _watermarks(self, number: int) -> tuple[int, int]:
        place = TopicPartition(self._topic, number)
        found = self._asked(lambda: self._consumer.get_watermark_offsets(place, timeout=TIMEOUT, cached=False))
        if found is None:
            raise KafkaUnreachableError(f"partition {number} of the topic {self._topic!r} does not answer")
        return int(found[0]), int(found[1])

    def _partitions(self) -> list[int]:
        looked, numbers = self._known
        if monotonic() - looked < LOOK_AGAIN and numbers:
            return numbers
        metadata = self._asked(lambda: self._consumer.list_topics(self._topic, timeout=TIMEOUT))
        found = metadata.topics.get(self._topic)
        if found is None or found.error is not None or not found.partitions:
            raise KafkaUnreachableError(
                f"there is no topic {self._topic!r} on the brokers", hint="make it, with as many partitions as it needs"
            )
        numbers = sorted(found.partitions)
        self._known = monotonic(), numbers
        return numbers

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except KafkaException as wrong:
            raise self._wrong(wrong.args[0]) from None

    def _wrong(self, error: KafkaError) -> KafkaUnreachableError:
        self._at = {}
        return unreachable(f"the topic {self._topic!r} cannot be read", error)


__all__ = ["KafkaLog"]
