"""One run as a value, and how it is made of a row of the table of runs, whichever library read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Protocol

from zipline.registry.process import Process
from zipline.values import dataclass


class Outcome(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Measures:
    """What a run took and gave; None where it was not measured. `peak_bytes` is of the whole process."""

    rows: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    peak_bytes: int | None = None
    step_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `subject` is the definition it is about; `days` counts those asked for, from first to last.

    `predicted` is what was expected of it, by the names of its measures and `seconds`.
    """

    id: int
    what: str
    subject: str
    arguments: Mapping[str, object]
    fingerprint: str | None
    first_day: str | None
    last_day: str | None
    days: int
    measures: Measures
    seconds: float | None
    outcome: Outcome
    error: str | None
    started: int
    ended: int | None
    process: Process
    predicted: Mapping[str, float] = field(default_factory=dict)


class Row(Protocol):
    """A row whose values are found by the names of their columns."""

    def __getitem__(self, column: str, /) -> Any: ...


def run_of(row: Row, outcome: Outcome) -> Run:
    """The run that a row stands for; of one that is running in the row, `outcome` says what became of it."""
    return Run(
        id=row["id"],
        what=row["what"],
        subject=row["subject"],
        arguments=json.loads(row["arguments"]),
        fingerprint=row["fingerprint"],
        first_day=row["first_day"],
        last_day=row["last_day"],
        days=row["days"],
        measures=Measures(
            rows=row["rows"],
            bytes_read=row["bytes_read"],
            bytes_written=row["bytes_written"],
            peak_bytes=row["peak_bytes"],
            step_seconds=json.loads(row["step_seconds"]),
        ),
        seconds=row["seconds"],
        outcome=outcome,
        error=row["error"],
        started=row["started"],
        ended=row["ended"],
        process=process_of(row),
        predicted=json.loads(row["predicted"]),
    )


def process_of(row: Row) -> Process:
    return Process(row["host"], row["pid"], row["machine"], row["process_started"])
