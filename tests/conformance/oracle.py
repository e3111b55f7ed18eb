"""The deliberately naive oracle: for each query row, filter the raw events in plain Python and aggregate them.

Written from DESIGN section 2 alone. It shares no code with the platform: it reads the public definition objects and
tables of plain rows, knows neither numpy nor Arrow, and keeps no state between two rows. Beside every feature it keeps
its evidence (which values were seen), from which `comparison` derives the tolerance and prints a failure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .instants import DAY, day_of, floored_start, instant, micros, span, span_text
from .operations import OPERATIONS, Overflow, Seen, argument_text, empty_value, operation_of
from .sources import Event, Feed, Tables, evaluate, is_missing, read
from .tables import AggregateCase, Case, Functions, Row, Table

Rule = Callable[[Event, int | None], bool]
"""Whether an event is seen, given the length of the window (None for lifetime)."""


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
class Result:
    """A result table: its columns in order and its rows; `evidence` by (row number, column)."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    evidence: dict[tuple[int, str], Evidence] = field(default_factory=dict, repr=False, compare=False)


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


def run(case: Case) -> Result:
    """The one right answer to a case."""
    if isinstance(case, AggregateCase):
        return aggregate(case.group_by, case.queries, case.tables, case.functions)
    return backfill(case.join, case.tables, training=case.training, as_of=case.as_of, functions=case.functions)


def aggregate(group_by: Any, queries: Table, tables: Tables, functions: Functions | None = None) -> Result:
    """The queries' columns as they stand and the group-by's features, unprefixed."""
    feeds = _feeds(group_by, tables, functions or {})
    made = [_of_row(group_by, feeds, row, row["ts"], {}, functions or {}) for row in queries.rows]
    columns = (*queries.schema, *feature_names(group_by))
    rows = tuple(row | features.values for row, features in zip(queries.rows, made, strict=True))
    return Result(columns, rows, _numbered([features.evidence for features in made]))


def backfill(
    join: Any,
    tables: Tables,
    *,
    training: bool = True,
    as_of: dt.datetime | str | None = None,
    functions: Functions | None = None,
) -> Result:
    """One row per left row: left columns, `ts`, features, derivations, labels; immature rows dropped for training."""
    functions = functions or {}
    lefts = _left_rows(join.left, tables, functions)
    parts = [(part, _prefix(part, ""), _feeds(part.source, tables, functions)) for part in join.parts]
    labelled = join.labels is not None and training
    labels = (
        [(part, _prefix(part, "label_"), _feeds(part.source, tables, functions, True)) for part in join.labels.parts]
        if labelled
        else []
    )
    offset = span(join.labels.offset) if labelled else 0
    end = _label_end([feed for *_, feeds in labels for feed in feeds], as_of) if labelled else None
    rows: list[Row] = []
    evidence: list[dict[str, Evidence]] = []
    for left, time in lefts:
        if labelled and (time is None or end is None or time + offset > end):
            continue
        row = left if "ts" in left else left | {"ts": None if time is None else instant(time)}
        why: dict[str, Evidence] = {}
        for part, prefix, feeds in parts:
            features = _of_row(part.source, feeds, left, time, part.key_map, functions)
            renamed = features.renamed(prefix, part.features)
            row, why = row | renamed.values, why | renamed.evidence
        for derivation in join.derivations:
            row = row | {derivation.name: evaluate(derivation.expression, row, functions)}
        for part, prefix, feeds in labels:
            features = _of_row(part.source, feeds, left, time, part.key_map, functions, offset)
            renamed = features.renamed(prefix, part.features)
            row, why = row | renamed.values, why | renamed.evidence
        rows.append(row)
        evidence.append(why)
    return Result(_join_columns(join, tables, labelled), tuple(rows), _numbered(evidence))


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


def key_of(values: Sequence[Any]) -> tuple[Any, ...] | None:
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
    """A label's events lie after the query: `q + O - W <= t < q + O`, whenever they were known."""

    def rule(event: Event, window: int | None) -> bool:
        return window is None or query + offset - window <= event.time < query + offset

    return rule


def _feeds(group_by: Any, tables: Tables, functions: Functions, label: bool = False) -> list[Feed]:
    return [read(source, tables, functions, label=label) for source in group_by.sources]


def _of_row(
    group_by: Any,
    feeds: list[Feed],
    row: Row,
    time: Any,
    key_map: Any,
    functions: Functions,
    offset: int | None = None,
) -> Features:
    """A group-by's features for one left row, as a label where an offset is given."""
    left_names = {key: column for column, key in dict(key_map).items()}
    values = [row[left_names.get(key, key)] for key in group_by.keys]
    key = key_of(values)
    query = time if time is None or isinstance(time, int) else micros(time)
    events: list[Event] = []
    rule: Rule = _nothing
    if key is not None and query is not None:
        accuracy = str(getattr(group_by.accuracy, "name", group_by.accuracy)).upper()
        rule = seen_by(accuracy, query) if offset is None else seen_by_label(query, offset)
        rows = [event for feed in feeds for event in feed.candidates(query + (offset or 0))]
        events = [event for event in rows if key_of([event.row[name] for name in group_by.keys]) == key]
    made = _aggregated(group_by, events, rule, tuple(values), query)
    if not group_by.aggregations:
        made = Features(_looked_up(group_by, [event for event in events if rule(event, None)]), {})
    derived = dict(zip(group_by.keys, values, strict=True)) | made.values
    for derivation in group_by.derivations:
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
    """The selected columns of the latest row, ties by the columns' own order."""
    columns = _lookup_columns(group_by)
    ordered = sorted(events, key=lambda event: (event.time, event.known_order, [event.row[name] for name in columns]))
    return {name: ordered[-1].row[name] if ordered else None for name in columns}


def _left_rows(source: Any, tables: Tables, functions: Functions) -> list[tuple[Row, int | None]]:
    """The left rows with their query times: an entity's are asked about at the end of their day."""
    entity = hasattr(source, "snapshots")
    query = source.query
    rows = tables[source.snapshots if entity else source.table].rows
    kept = [row for row in rows if all(evaluate(condition, row, functions) is True for condition in query.where)]
    return [(_left_columns(query, row, functions), _query_time(query, row, functions, entity)) for row in kept]


def _left_columns(query: Any, row: Row, functions: Functions) -> Row:
    if query.select is None:
        return dict(row)
    return {name: evaluate(expression, row, functions) for name, expression in dict(query.select).items()}


def _query_time(query: Any, row: Row, functions: Functions, entity: bool) -> int | None:
    if entity:
        return micros(row[query.partition]) + DAY
    value = evaluate(query.time, row, functions)
    return None if value is None else micros(value)


def _label_end(feeds: list[Feed], as_of: dt.datetime | str | None) -> int | None:
    """The instant to which label data reach: `as_of`, or the least of the sources' ends; None where one is empty."""
    if as_of is not None:
        return micros(as_of)
    newest = [feed.newest for feed in feeds]
    return None if None in newest else min(time for time in newest if time is not None)


def _prefix(part: Any, before: str) -> str:
    short = str(part.source.name).rpartition(".")[2]
    return before + "".join(f"{word}_" for word in (part.prefix, short) if word)


def _part_columns(part: Any, before: str) -> list[str]:
    names = feature_names(part.source)
    return [_prefix(part, before) + name for name in names if part.features is None or name in part.features]


def _join_columns(join: Any, tables: Tables, labelled: bool) -> tuple[str, ...]:
    query = join.left.query
    table = join.left.snapshots if hasattr(join.left, "snapshots") else join.left.table
    left = list(dict(query.select)) if query.select is not None else list(tables[table].schema)
    features = [name for part in join.parts for name in _part_columns(part, "")]
    labels = [name for part in join.labels.parts for name in _part_columns(part, "label_")] if labelled else []
    derived = [derivation.name for derivation in join.derivations]
    return (*left, *([] if "ts" in left else ["ts"]), *features, *derived, *labels)


def _numbered(evidence: list[dict[str, Evidence]]) -> dict[tuple[int, str], Evidence]:
    return {(row, column): one for row, made in enumerate(evidence) for column, one in made.items()}
