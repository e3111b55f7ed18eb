"""What is said beside a value: how its window is written, where it begins, what an empty one gives, late labels."""

from __future__ import annotations

from collections.abc import Mapping

from zipline.algebra.windows import hop
from zipline.clock import DAY, HOUR, MINUTE, SECOND, to_text
from zipline.engines.explanation.asked import Asked
from zipline.engines.explanation.contract import SEEN, instant_text
from zipline.engines.explanation.evidence import newest
from zipline.engines.explanation.values import (
    empty,
)
from zipline.engines.local.session import connect
from zipline.plan.steps import Feature
from zipline.tables.catalog import Catalog


def operation_text(feature: Feature) -> str:
    arguments = [] if feature.k is None else [f"k={feature.k}"]
    arguments += [] if feature.percentiles is None else [f"percentiles={list(feature.percentiles)}"]
    shown = f"{feature.operation}({', '.join([feature.input, *arguments])})"
    return shown + (f" by {feature.bucket}" if feature.bucket else "")


def window_text(asked: Asked) -> str | None:
    """How the window is written: 6h, 7d; "lifetime" without one; None of a lookup."""
    if asked.feature is None:
        return None
    return "lifetime" if asked.feature.window is None else span_text(asked.feature.window)


def span_text(micros: int) -> str:
    """A span in its largest whole unit: 7d, 90m."""
    for unit, suffix in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if micros % unit == 0:
            return f"{micros // unit}{suffix}"
    return f"{micros}us"


def notes_on(asked: Asked, counts: Mapping[str, int], catalog: Catalog) -> tuple[str, ...]:
    notes = [_null(asked), _floored(asked), _nothing(asked, counts), _immature(asked, catalog)]
    return tuple(note for note in notes if note is not None)


def _null(asked: Asked) -> str | None:
    if not asked.nulls:
        return None
    keys = [name for name in asked.nulls if name != "ts"]
    parts = [f"the key {', '.join(keys)} is null, which is no key: no event is of it"] if keys else []
    parts += ["ts, the query time, is null: no event is before it"] if asked.at is None else []
    return "; ".join(parts)


def _floored(asked: Asked) -> str | None:
    feature, plan = asked.feature, asked.part.group_by
    if asked.part.offset is not None or feature is None or asked.at is None or asked.bounds[0] is None:
        return None
    if plan.accuracy == "SNAPSHOT":
        return "SNAPSHOT: whole UTC days before that of the query"
    assert feature.window is not None
    if asked.bounds[0] == asked.at - feature.window:
        return None
    return f"the window begins on a whole step of {span_text(hop(feature.window))}"


def _nothing(asked: Asked, counts: Mapping[str, int]) -> str | None:
    if counts.get(SEEN):
        return None
    if asked.feature is None:
        return "no row is seen: null"
    value = empty(asked.feature)
    if asked.feature.default is not None:
        return f"nothing is in the window: the default {value!r} of the aggregation is shown"
    return f"nothing is in the window: {asked.feature.operation} is then {'null' if value is None else value}"


def _immature(asked: Asked, catalog: Catalog) -> str | None:
    """Of a label: that training leaves the row out, because the label's data end before the label does."""
    offset = asked.part.offset
    if offset is None or asked.part.group_by.is_entity or any(s.parent for s in asked.part.group_by.sources):
        return None
    if asked.at is None:
        return "training leaves this row out: it has no query time"
    connection = connect()
    try:
        ends = [newest(connection, catalog.table(source.table), source) for source in asked.part.group_by.sources]
    finally:
        connection.close()
    known = [end for end in ends if end is not None]
    if known and len(known) == len(ends) and asked.at + offset <= min(known):
        return None
    until = f"they end at {to_text(min(known))}" if known else "there are none"
    due = instant_text(asked.at + offset)
    return f"training leaves this row out: its label is complete with the data up to {due}, and {until}"
