"""How many events of each awkward kind were really generated: a generator that draws none of them proves nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from .features import key_of
from .instants import DAY, MINUTE, day_of, floored_start, micros, span
from .tables import AggregateCase, Row

TALLIES: dict[str, dict[str, int]] = {}
"""Filled by the tests, printed when they end."""

KNOWN_KINDS = (
    "known on a later hop",
    "known on a later day",
    "known after a query that it would have reached",
    "known exactly at a query",
    "known before its time",
    "known never",
)
KINDS = (
    "exactly at a query",
    "exactly at a floored start",
    "exactly on a midnight",
    "exactly on a hop of 5 minutes",
    "tied with another of its key",
    "repeated",
    "after a newer row of its key",
    "before 1970",
    "with a null key",
    "without a time",
    "with a null value",
    "with NaN",
    "with an infinity",
    *KNOWN_KINDS,
)


def tally(cases: Iterable[AggregateCase]) -> Counter[str]:
    """Counts by kind over all events of all cases; "events" and "events with a second clock" are the wholes."""
    counts: Counter[str] = Counter()
    for case in cases:
        counts["cases"] += 1
        counts["queries"] += len(case.queries.rows)
        for source in case.group_by.sources:
            counts.update(_kinds_of_table(case, source))
    return counts


def _kinds_of_table(case: AggregateCase, source: Any) -> Iterator[str]:
    rows = case.tables[source.table].rows
    queries = [micros(row["ts"]) for row in case.queries.rows if row["ts"] is not None]
    windows = {span(window) for one in case.group_by.aggregations for window in one.windows if window is not None}
    starts = {floored_start(query, window) for query in queries for window in windows}
    keys = [tuple(row[name] for name in case.group_by.keys) for row in rows]
    times = Counter((repr(key), row["t"]) for key, row in zip(keys, rows, strict=True))
    copies = Counter(repr(row) for row in rows)
    newest: dict[str, Any] = {}
    for key, row in zip(keys, rows, strict=True):
        yield "events"
        if key_of(key) is None:
            yield "with a null key"
        yield from _kinds_of_values(row)
        if copies[repr(row)] > 1:
            yield "repeated"
        if row["t"] is None:
            yield "without a time"
            continue
        if times[repr(key), row["t"]] > 1:
            yield "tied with another of its key"
        if row["t"] < newest.get(repr(key), row["t"]):
            yield "after a newer row of its key"
        newest[repr(key)] = max(row["t"], newest.get(repr(key), row["t"]))
        yield from _kinds_of_time(micros(row["t"]), set(queries), starts)
        if source.query.known_at:
            yield "events with a second clock"
            yield from _kinds_of_known(row, queries)


def _kinds_of_values(row: Row) -> Iterator[str]:
    values = [value for name, value in row.items() if name not in ("t", "known", "id")]
    flat = [element for value in values for element in (value if isinstance(value, list) else [value])]
    floats = [value for value in flat if isinstance(value, float)]
    if None in flat:
        yield "with a null value"
    if any(map(math.isnan, floats)):
        yield "with NaN"
    if any(map(math.isinf, floats)):
        yield "with an infinity"


def _kinds_of_time(time: int, queries: set[int], starts: set[int]) -> Iterator[str]:
    if time in queries:
        yield "exactly at a query"
    if time in starts:
        yield "exactly at a floored start"
    if time % DAY == 0:
        yield "exactly on a midnight"
    if time % (5 * MINUTE) == 0:
        yield "exactly on a hop of 5 minutes"
    if time < 0:
        yield "before 1970"


def _kinds_of_known(row: Row, queries: list[int]) -> Iterator[str]:
    if row["known"] is None:
        yield "known never"
        return
    time, known = micros(row["t"]), micros(row["known"])
    if known // (5 * MINUTE) > time // (5 * MINUTE):
        yield "known on a later hop"
    if day_of(known) > day_of(time):
        yield "known on a later day"
    if any(time < query <= known for query in queries):
        yield "known after a query that it would have reached"
    if known in queries:
        yield "known exactly at a query"
    if known < time:
        yield "known before its time"
