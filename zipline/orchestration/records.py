"""What a commit of an output remembers of its days: what they were made by and from.

One commit has one definition (`rows`, the identity of the rows; `columns`, of every column beyond the left's) and for
each of its days the inputs: the digests of the left and of every reach. `present` says which days each source had, as
runs, so that a partition that vanished can be named. All of it is one compact JSON text in the commit's metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, Protocol

from zipline.plan.identity import Identity
from zipline.plan.steps import Column
from zipline.values import dataclass

FINGERPRINT, STATE, GENERATION = "fingerprint", "inputs", "generation"
_FORMAT = 1
_DIGITS = 16

Present = Mapping[str, Mapping[int, tuple[int, int]]]
"""Source -> what its days are called -> the first and last day of their rows, as days since 1970."""


@dataclass(frozen=True)
class Definition:
    """What an output's columns are defined as: short identities. Equal generations are equal in everything."""

    rows: str
    columns: Mapping[str, str]
    generation: str


@dataclass(frozen=True)
class Record:
    """What one stored day was made by and from."""

    definition: Definition
    left: str
    mature: str
    reaches: Mapping[str, str]
    present: Present = field(default_factory=dict)


class Commit(Protocol):
    """One version of an output and what its writer stored with it."""

    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def days(self) -> tuple[str, ...]: ...


def defined(identity: Identity, columns: Sequence[Column]) -> Definition:
    """The definition of an output of these columns, in their order and types."""
    short = {name: value[:_DIGITS] for name, value in identity.columns.items()}
    facts = json.dumps([identity.rows, sorted(short.items()), [[name, str(dtype)] for name, dtype in columns]])
    generation = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return Definition(identity.rows[:_DIGITS], short, generation)


def encoded(days: Mapping[str, Record]) -> dict[str, str]:
    """The metadata of a commit of these days, all of one definition."""
    [first, *_] = days.values()
    keys = sorted({key for record in days.values() for key in record.reaches})
    present: dict[str, dict[int, tuple[int, int]]] = {}
    for record in days.values():
        for source, labels in record.present.items():
            present.setdefault(source, {}).update(labels)
    state = {
        "format": _FORMAT,
        "rows": first.definition.rows,
        "columns": first.definition.columns,
        "reaches": keys,
        "days": {d: [r.left, r.mature, *(r.reaches.get(key, "") for key in keys)] for d, r in days.items()},
        "present": {source: _runs(labels) for source, labels in present.items()},
    }
    return {GENERATION: first.definition.generation, STATE: json.dumps(state, separators=(",", ":"))}


def records_of(versions: Iterable[Commit], days: Iterable[str]) -> dict[str, Record | None]:
    """For each of the days the record of its newest commit; None where that has none (or of another format)."""
    missing = set(days)
    found: dict[str, Record | None] = {}
    for version in versions:
        if not missing:
            break
        if hit := missing.intersection(version.days):
            missing -= hit
            found |= _decoded(version.metadata, hit)
    return found | dict.fromkeys(missing)


def _decoded(metadata: Mapping[str, str], days: Iterable[str]) -> dict[str, Record | None]:
    with suppress(ValueError, KeyError, TypeError):
        state = json.loads(metadata[STATE])
        if state["format"] == _FORMAT:
            definition = Definition(state["rows"], state["columns"], metadata[GENERATION])
            present = {source: _labels(runs) for source, runs in state["present"].items()}
            return {day: _record(state, day, definition, present) for day in days}
    return dict.fromkeys(days)


def _record(state: Mapping[str, Any], day: str, definition: Definition, present: Present) -> Record:
    left, mature, *digests = state["days"][day]
    return Record(definition, left, mature, dict(zip(state["reaches"], digests, strict=True)), present)


def _runs(labels: Mapping[int, tuple[int, int]]) -> dict[str, str]:
    """Days that hold the same days beside their own, in runs: {"-1 0": "15706-15736 15740"}."""
    alike: dict[str, list[int]] = {}
    for label, (first, last) in sorted(labels.items()):
        alike.setdefault(f"{first - label} {last - label}", []).append(label)
    return {shift: " ".join(_joined(found)) for shift, found in alike.items()}


def _joined(days: Sequence[int]) -> Iterable[str]:
    start = days[0]
    for day, following in zip(days, [*days[1:], None], strict=True):
        if following != day + 1:
            yield f"{start}:{day}" if day > start else str(start)
            start = following or 0


def _labels(runs: Mapping[str, str]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for shift, text in runs.items():
        before, after = (int(each) for each in shift.split(" "))
        for run in text.split():
            start, _, end = run.partition(":")
            found |= {day: (day + before, day + after) for day in range(int(start), int(end or start) + 1)}
    return found
