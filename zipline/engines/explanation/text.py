"""An explanation as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from zipline.engines.explanation.contract import SEEN, Event, Explanation, instant_text

SHOWN = 20
"""Lines of events that were seen, the newest."""

SHOWN_OF_OTHERS = 3
"""Lines of events of each other verdict, the nearest to the query."""


def lines(explanation: Explanation) -> list[str]:
    """The whole explanation, one text a line."""
    return list(_lines(explanation))


def _lines(of: Explanation) -> Iterator[str]:
    yield f"{of.column} = {shown(of.value)}"
    yield from (f"  {line}" for line in _alarm(of))
    keys = ", ".join(f"{name}={value!r}" for name, value in of.keys.items()) or "(all rows)"
    at = f" at {instant_text(of.query_time)}" if of.query_time is not None else ""
    yield f"  for {keys}{at}"
    yield f"  {headline(of)}"
    yield from (f"  {line}" for line in _bounds(of))
    yield from (f"  {note}" for note in of.notes)
    if of.kind in ("aggregation", "lookup"):
        yield from (f"  {line}" for line in _events(of))
    for each in of.inputs:
        yield from (f"  {line}" for line in _lines(each))
    yield from (f"  next: {command}" for command in of.deeper)


def _alarm(of: Explanation) -> Iterator[str]:
    if of.agrees is False:
        yield "!!! A BUG: the engine's value is not what the events below give, which is"
        yield f"!!! {shown(of.recomputed)}. Please report it with this explanation and the definition."


def headline(of: Explanation) -> str:
    """What makes the value, and where that is written."""
    place = f" ({of.location})" if of.location else ""
    if of.kind == "derivation":
        return f"= {of.expression}, defined by {of.definition}{place}"
    if of.kind in ("aggregation", "lookup"):
        window = "" if of.window is None else f" over {of.window}"
        return f"{of.operation}{window}, defined by {of.definition}{place}"
    source = f": {of.expression}" if of.expression else ""
    return f"{of.kind}{source}, of {of.definition}{place}"


def _bounds(of: Explanation) -> Iterator[str]:
    if of.end is not None:
        since = instant_text(of.start) or "the beginning"
        yield f"sees {since} <= time < {instant_text(of.end) or 'the end of the calendar'}"


def _events(of: Explanation) -> Iterator[str]:
    yield f"{of.counts.get(SEEN, 0):>9,} {SEEN}" + (f": {of.rule}" if of.rule else "")
    seen = of.seen
    if len(seen) > SHOWN:
        decide = [event for event in seen[:-SHOWN] if event.decides][-SHOWN:]
        yield from (f"          {event_text(event)}" for event in decide)
        yield f"          ... {of.counts[SEEN] - SHOWN - len(decide):,} older ones"
    yield from (f"          {event_text(event)}" for event in seen[-SHOWN:])
    others = sorted((e for e in of.events if e.verdict != SEEN), key=lambda event: event.verdict)
    listed = {verdict: list(events) for verdict, events in groupby(others, lambda event: event.verdict)}
    for verdict, count in of.counts.items():
        if verdict != SEEN:
            yield f"{count:>9,} {verdict}"
            near = sorted(listed.get(verdict, []), key=lambda event: _distance(of, event))[:SHOWN_OF_OTHERS]
            yield from (f"          {event_text(event)}" for event in sorted(near, key=_time))
    if of.other_keys is not None and of.keys:
        yield f"{of.other_keys:>9,} of other keys"


def _time(event: Event) -> int:
    return event.time or 0


def _distance(of: Explanation, event: Event) -> int:
    return abs(_time(event) - (of.end or 0))


def event_text(event: Event) -> str:
    """One event on one line: when, what, and what it did."""
    parts = [instant_text(event.time) or "no time"]
    if event.snapshot is not None:
        parts.append(f"snapshot {event.snapshot}")
    if event.known_at is not None:
        parts.append(f"known {instant_text(event.known_at)}")
    value = shown(event.value) if event.bucket is None else f"{shown(event.bucket)}: {shown(event.value)}"
    parts.append(value)
    if event.contribution is not None and event.contribution != event.value:
        parts.append(f"-> {figure(event.contribution)}")
    if event.decides:
        parts.append("<- decides the value")
    return "  ".join(parts)


def shown(value: Any) -> str:
    """A value on one line; a map as such, not as its pairs."""
    if isinstance(value, list) and value and all(isinstance(each, tuple) and len(each) == 2 for each in value):
        return "{" + ", ".join(f"{key!r}: {each!r}" for key, each in value) + "}"
    return repr(value)


def figure(value: Any) -> str:
    """A contribution, to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
