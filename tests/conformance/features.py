"""One group-by for one row: filter the events of its key in plain Python and aggregate what is left.

Beside every feature stands its evidence (which values were seen), from which `comparison` derives the tolerance and
prints a failure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .instants import day_of, floored_start, micros, span, span_text
from .operations import OPERATIONS, Overflow, Seen, argument_text, empty_value, operation_of
from .sources import Event, Feed, evaluate, is_missing
from .tables import Functions, Row

Rule = Callable[[Event, int | None], bool]
"""Whether an event is seen, given the length of the window (None for lifetime)."""
Key = tuple[Any, ...]


class OverflowedTotal(Exception):
    """An integer total beyond int64; names the feature and the key."""

    def __init__(self, feature: str, key: tuple[Any, ...]) -> None:
        self.feature = feature
        self.key = key
        super().__init__(f"{feature} of {key!r} is beyond int64")


@dataclass(frozen=True)
class Evidence:
    """What one feature of one row was made of."""

    aggregation: Any
    bucket: str | None
    key: tuple[Any, ...]
    query: int | None
    seen: dict[Any, list[Seen]]
    """By the bucket's value; the one entry None where there is no bucket."""
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Features:
    """One group-by evaluated for one row."""

    values: Row
    evidence: dict[str, Evidence]

    def renamed(self, prefix: str, only: Sequence[str] | None) -> Features:
        kept = [name for name in self.values if only is None or name in only]
        return Features(
            {prefix + name: self.values[name] for name in kept},
            {prefix + name: self.evidence[name] for name in kept if name in self.evidence},
        )

    def given(self, covered: Row) -> Features:
        """With what was computed before in its place."""
        return Features(
            {name: covered.get(name, value) for name, value in self.values.items()},
            {name: why for name, why in self.evidence.items() if name not in covered},
        )


def feature_names(group_by: Any) -> tuple[str, ...]:
    """The columns a group-by adds: aggregations by window and bucket, or looked-up columns, then derivations."""
    made = [
        feature_name(aggregation, window, bucket)
        for aggregation in group_by.aggregations
        for window in aggregation.windows
        for bucket in aggregation.buckets or (None,)
    ]
    looked_up = [] if group_by.aggregations else _lookup_columns(group_by)
    return (*made, *looked_up, *(derivation.name for derivation in group_by.derivations))


def feature_name(aggregation: Any, window: object, bucket: str | None) -> str:
    parts = [
        aggregation.input,
        operation_of(aggregation).lower() + argument_text(aggregation),
        None if window is None else span_text(span(window)),
        bucket and f"by_{bucket}",
    ]
    return "_".join(part for part in parts if part)


def key_of(values: Sequence[Any]) -> Key | None:
    """A key compared by type and value, or None where any part is null or NaN."""
    return None if any(is_missing(value) for value in values) else tuple((_kind(value), value) for value in values)


def _kind(value: Any) -> str:
    for kind in (bool, int, float, str, bytes, dt.datetime, dt.date):
        if isinstance(value, kind):
            return kind.__name__
    return type(value).__name__


def seen_by(accuracy: str, query: int) -> Rule:
    """Section 2's table of what a query sees, and the second clock."""
    edge = query if accuracy == "TEMPORAL" else day_of(query)

    def rule(event: Event, window: int | None) -> bool:
        if event.known is not None and event.known >= edge:
            return False
        if window is None:
            return event.time < edge
        start = floored_start(query, window) if accuracy == "TEMPORAL" else edge - window
        return start <= event.time < edge

    return rule


def seen_by_label(query: int, offset: int) -> Rule:
    """A label's events: `q + O - W <= t < q + O`, whenever they were known; a state as of `q + O` has no start."""
    end = query + offset

    def rule(event: Event, window: int | None) -> bool:
        return event.time < end and (window is None or end - window <= event.time)

    return rule


def of_row(
    group_by: Any,
    feeds: Sequence[Feed],
    row: Row,
    time: Any,
    key_map: Any,
    functions: Functions,
    offset: int | None = None,
    covered: Row | None = None,
) -> Features:
    """A group-by's features for one left row, as a label where an offset is given.

    What is covered was computed before: it stands as it is, and derivations see it.
    """
    left_names = {key: column for column, key in dict(key_map).items()}
    values = [row[left_names.get(key, key)] for key in group_by.keys]
    key = key_of(values)
    query = time if time is None or isinstance(time, int) else micros(time)
    events: list[Event] = []
    rule: Rule = _nothing
    if key is not None and query is not None:
        accuracy = str(getattr(group_by.accuracy, "name", group_by.accuracy)).upper()
        rule = seen_by(accuracy, query) if offset is None else seen_by_label(query, offset)
        whole_days = accuracy == "SNAPSHOT" and offset is None
        rows = [event for feed in feeds for event in feed.candidates(query + (offset or 0), whole_days)]
        events = [event for event in rows if key_of([event.row[name] for name in group_by.keys]) == key]
    made = _aggregated(group_by, events, rule, tuple(values), query)
    if not group_by.aggregations:
        made = Features(_looked_up(group_by, [event for event in events if rule(event, None)]), {})
    given = covered or {}
    derived = dict(zip(group_by.keys, values, strict=True)) | made.values | given
    for derivation in group_by.derivations:
        if derivation.name not in given:
            derived[derivation.name] = evaluate(derivation.expression, derived, functions)
    return Features({name: derived[name] for name in feature_names(group_by)}, made.evidence)


def _nothing(_event: Event, _window: int | None) -> bool:
    return False


def _aggregated(group_by: Any, events: list[Event], rule: Rule, key: tuple[Any, ...], query: int | None) -> Features:
    values: Row = {}
    evidence: dict[str, Evidence] = {}
    seen_in = {
        window: tuple(event for event in events if rule(event, None if window is None else span(window)))
        for aggregation in group_by.aggregations
        for window in aggregation.windows
    }
    for aggregation in group_by.aggregations:
        for window in aggregation.windows:
            for bucket in aggregation.buckets or (None,):
                seen = _values_seen(aggregation.input, bucket, seen_in[window])
                name = feature_name(aggregation, window, bucket)
                evidence[name] = Evidence(aggregation, bucket, key, query, seen, seen_in[window])
                try:
                    values[name] = _feature(aggregation, bucket, seen)
                except Overflow as overflow:
                    raise OverflowedTotal(name, key) from overflow
    return Features(values, evidence)


def _values_seen(column: str, bucket: str | None, events: tuple[Event, ...]) -> dict[Any, list[Seen]]:
    """The values of a column by bucket: nulls and NaN skipped, each element of a list at its event's time."""
    seen: dict[Any, list[Seen]] = {}
    for event in events:
        where = event.row[bucket] if bucket else None
        if bucket and is_missing(where):
            continue
        value = event.row[column]
        for element in value if isinstance(value, list) else [value]:
            if not is_missing(element):
                seen.setdefault(where, []).append(Seen(event.time, event.known_order, element))
    return seen


def _feature(aggregation: Any, bucket: str | None, seen: dict[Any, list[Seen]]) -> Any:
    if not seen:
        return empty_value(aggregation, bucket)
    operation = OPERATIONS[operation_of(aggregation)]
    made = {where: operation(values, aggregation) for where, values in seen.items()}
    return made if bucket else made[None]


def _lookup_columns(group_by: Any) -> list[str]:
    return [name for name in dict(group_by.sources[0].query.select) if name not in group_by.keys]


def _looked_up(group_by: Any, events: list[Event]) -> Row:
    """The selected columns of the latest row, ties by the columns' own order, in which a null is the least."""
    columns = _lookup_columns(group_by)
    rows = [(event.time, event.known_order, [_nullable(event.row[name]) for name in columns]) for event in events]
    latest = max(rows)[-1] if rows else [()] * len(columns)
    return {name: value[0] if value else None for name, value in zip(columns, latest, strict=True)}


def _nullable(value: Any) -> tuple[Any, ...]:
    return () if is_missing(value) else (value,)
