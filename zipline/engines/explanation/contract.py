"""What an explanation holds: the value, its bounds, its events with their verdicts, and the explanations below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from zipline.clock import to_text
from zipline.errors import UsageError
from zipline.values import dataclass

SEEN = "seen"
NULL_VALUE = "null"
NOT_KNOWN = "not yet known"
LEFT_OUT = "left out by where"
OTHER_SNAPSHOT = "of another snapshot"
DUPLICATE = "duplicate of an event_id"
WITHOUT_KEY = "without a key"
WITHOUT_TIME = "without a time"
WITHOUT_KNOWN = "without a known_at"
REVERSED = "reversed"
REVERSAL = "reversal"
ORPHAN = "reversal of a row that is not there"


def after(*, label: bool) -> str:
    return "after the label" if label else "after the query"


def before(*, label: bool) -> str:
    return "before the label" if label else "before the window"


@dataclass(frozen=True)
class Event:
    """One source row of the key and what became of it; times are microseconds.

    Of a change to an entity `known_at` is when it was made, and `snapshot` the day of a snapshot's row. `contribution`
    is what it adds to the value, by the explanation's `rule`; `decides` whether the value is its own. `row` says which
    row of a parent it is.
    """

    table: str
    time: int | None
    known_at: int | None
    value: Any
    verdict: str
    bucket: Any = None
    snapshot: str | None = None
    contribution: Any = None
    decides: bool = False
    row: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """The event as JSON-ready facts."""
        facts = {
            "table": self.table,
            "time": instant_text(self.time),
            "known_at": instant_text(self.known_at),
            "value": self.value,
            "verdict": self.verdict,
        }
        extra = {
            "bucket": self.bucket,
            "snapshot": self.snapshot,
            "contribution": self.contribution,
            "decides": self.decides or None,
            "row": None if self.row is None else dict(self.row),
        }
        return facts | {name: fact for name, fact in extra.items() if fact is not None}


@dataclass(frozen=True)
class Explanation:
    """Why one value is what it is.

    `kind` says where it comes from: "aggregation", "lookup", "derivation", "left column", "query time", "bootstrap",
    "contextual", "external". `start` and `end` bound the events seen: start <= time < end. `events` are all that were
    seen (the newest of very many) and the newest of each other verdict; `counts` are of all rows of the key.
    `other_keys` are the rows of other keys, None where that is not known without reading them. `recomputed` is the
    value made again from `events` in plain Python, and `agrees` whether it is the engine's: None where that was not
    tried, for the reason that `notes` give.
    """

    column: str
    value: Any
    kind: str
    keys: Mapping[str, Any]
    query_time: int | None
    definition: str
    location: str | None = None
    start: int | None = None
    end: int | None = None
    window: str | None = None
    operation: str | None = None
    expression: str | None = None
    rule: str | None = None
    events: tuple[Event, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    other_keys: int | None = None
    recomputed: Any = None
    agrees: bool | None = None
    notes: tuple[str, ...] = ()
    inputs: tuple[Explanation, ...] = ()
    deeper: tuple[str, ...] = ()

    @property
    def seen(self) -> tuple[Event, ...]:
        """The events behind the value, oldest first."""
        return tuple(event for event in self.events if event.verdict == SEEN)

    @property
    def has_bounds(self) -> bool:
        return self.end is not None

    @property
    def is_consistent(self) -> bool:
        """False where the engine's value is not what the events give, here or below: a bug of the platform."""
        return self.agrees is not False and all(each.is_consistent for each in self.inputs)

    def facts(self) -> dict[str, Any]:
        """The explanation as JSON-ready facts."""
        return {
            "column": self.column,
            "value": self.value,
            "kind": self.kind,
            "keys": dict(self.keys),
            "ts": instant_text(self.query_time),
            "window": {"start": instant_text(self.start), "end": instant_text(self.end), "length": self.window},
            "operation": self.operation,
            "expression": self.expression,
            "rule": self.rule,
            "counts": dict(self.counts),
            "other_keys": self.other_keys,
            "events": [event.facts() for event in self.events],
            "recomputed": self.recomputed,
            "agrees": self.agrees,
            "definition": self.definition,
            "location": self.location,
            "notes": list(self.notes),
            "inputs": [each.facts() for each in self.inputs],
            "deeper": list(self.deeper),
        }

    def __str__(self) -> str:
        from zipline.engines.explanation.text import lines

        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        from zipline.engines.explanation.page import page

        return page(self)


def instant_text(micros: int | None) -> str | None:
    """ISO text of an instant; None of one outside the calendar, which bounds nothing."""
    if micros is None:
        return None
    try:
        return to_text(micros)
    except (OverflowError, UsageError):
        return None
