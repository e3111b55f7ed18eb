"""Records of a log as rows of a table. What is no event of it is counted, kept with the reason, and stops nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.errors import EventError
from zipline.orchestration.events.arrived import without
from zipline.orchestration.events.intake import Event, Intake
from zipline.orchestration.events.logs import CHANGES, Log, Record
from zipline.values import dataclass

MOST_KEPT = 64 << 20
"""Bytes of dead letters of a table; what comes after them is counted only."""
_SHOWN = 10_000


@dataclass(frozen=True, eq=False)
class Decoded:
    """Rows, of which record each is, and how many events were none."""

    rows: pa.Table
    record: NDArray[np.int64]
    refused: int


def decoded(intake: Intake, log: Log, records: Sequence[Record], dead: DeadLetters | None = None) -> Decoded:
    """The events of these records that fit the table, and of which its sources can compute what they read.

    A change is taken whole or not at all.
    """
    is_change = log.format == CHANGES
    check = intake.changes if is_change else lambda text: [intake.event(text)]
    try:
        events, numbers = _checked(check, records)
        rows = intake.arrow(events)
        intake.evaluation.check(rows, "$")
        return Decoded(rows, np.array(numbers, np.int64), 0)
    except EventError:
        pass
    refused: list[EventError] = []

    def refuse(record: Record, text: Any, wrong: EventError) -> None:
        refused.append(wrong)
        if dead is not None:
            dead.keep(log, record, bytes(text), str(wrong.args[0]))

    def held(text: Any) -> list[Event]:
        events = check(text)
        if is_change:
            intake.check_changes(events)
        else:
            intake.arrow(events)
        return events

    events, numbers = _checked(held, records, refuse)
    rows, record = intake.arrow(events), np.array(numbers, np.int64)
    wrong = intake.evaluation.wrong(rows)
    if is_change:
        first = {numbers[place]: why for place, why in reversed(wrong.items())}
        for number, why in sorted(first.items()):
            refuse(records[number], records[number].events[0], why)
        left_out = [place for place, number in enumerate(numbers) if number in first]
    else:
        left_out = list(wrong)
        for place, why in wrong.items():
            refuse(records[numbers[place]], intake.encoded([events[place]])[0], why)
    return Decoded(without(rows, left_out), np.delete(record, np.array(left_out, np.int64)), len(refused))


def _checked(
    check: Callable[[Any], list[Event]],
    records: Sequence[Record],
    refuse: Callable[[Record, Any, EventError], None] | None = None,
) -> tuple[list[Event], list[int]]:
    """(events, of which record each is); without `refuse` the first wrong one is an error."""
    events: list[Event] = []
    numbers: list[int] = []
    for number, record in enumerate(records):
        for text in record.events:
            try:
                events += check(text)
            except EventError as wrong:
                if refuse is None:
                    raise
                refuse(record, text, wrong)
            else:
                numbers += [number] * (len(events) - len(numbers))
    return events, numbers


class DeadLetters:
    """A file of events that could not be taken: where they stood, why, and their text."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, log: Log, record: Record, text: bytes, reason: str) -> None:
        """Adds one; the text of a very long one is cut."""
        shown = text[:_SHOWN].decode("utf-8", "replace")
        facts: dict[str, Any] = {"log": log.name, "part": record.part, "offset": record.after, "reason": reason}
        line = msgspec.json.encode(facts | {"event": shown}) + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.fstat(file).st_size < MOST_KEPT:
                os.write(file, line)
        finally:
            os.close(file)
