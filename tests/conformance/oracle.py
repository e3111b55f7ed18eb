"""The deliberately naive oracle: for each query row, filter the raw events in plain Python and aggregate them.

Written from DESIGN section 2 alone. It shares no code with the platform: it reads the public definition objects and
tables of plain rows, knows neither numpy nor Arrow, and keeps no state between two rows. `sources` and `entities` turn
tables into rows that may be seen, `features` evaluates one group-by for one row; here they become whole results, and
the result of a join becomes the source of another group-by.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .entities import read_entity
from .features import Evidence, Features, Key, feature_names, key_of, of_row
from .instants import DAY, day_of, instant, micros, span
from .sources import Feed, Tables, bounded, clock, evaluate, partition, passes, read_events, selected
from .tables import AggregateCase, Case, Functions, Row, Table

TIME = "ts"


class DuplicateRowId(Exception):
    """Two rows of one id, in a bootstrap's table or among the left rows that it is for."""


@dataclass(frozen=True)
class Result:
    """A result table: its columns in order and its rows; `evidence` by (row number, column).

    `days` are the partitions of a join's rows, by their midnights.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    evidence: dict[tuple[int, str], Evidence] = field(default_factory=dict, repr=False, compare=False)
    days: tuple[int | None, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class LeftRow:
    """A row of a left: its columns, when it is asked about, and the day that it is stored under."""

    columns: Row
    time: int | None
    day: int | None


@dataclass(frozen=True)
class Part:
    """One part of a join with its sources read."""

    part: Any
    prefix: str
    feeds: Sequence[Feed]

    def of_row(
        self, row: Row, time: int | None, functions: Functions, covered: Row | None = None, offset: int | None = None
    ) -> Features:
        """The part's columns for one row, those that are covered as they were given."""
        source, key_map = self.part.source, self.part.key_map
        if hasattr(source, "offline"):
            made = of_row(source.offline, self.feeds, row, time, key_map, functions)
            values = {name: _as_declared(made.values[name], kind) for name, kind in source.values.items()}
            made = Features(values, {name: why for name, why in made.evidence.items() if name in values})
        else:
            made = of_row(source, self.feeds, row, time, key_map, functions, offset, self._own(covered or {}))
        return made.renamed(self.prefix, self.part.features).given(covered or {})

    def _own(self, covered: Row) -> Row:
        """What is covered of this part's columns, by their unprefixed names."""
        names = self.part.features or feature_names(self.part.source)
        return {name: covered[self.prefix + name] for name in names if self.prefix + name in covered}


@dataclass(frozen=True)
class Bootstrap:
    """Values that were computed before, by the id of their row."""

    columns: Sequence[str]
    rows: Mapping[Key, Row]


def run(case: Case) -> Result:
    """The one right answer to a case."""
    if isinstance(case, AggregateCase):
        return aggregate(case.group_by, case.queries, case.tables, case.functions)
    return backfill(case.join, case.tables, training=case.training, as_of=case.as_of, functions=case.functions)


def aggregate(group_by: Any, queries: Table, tables: Tables, functions: Functions | None = None) -> Result:
    """The queries' columns as they stand and the group-by's features, unprefixed."""
    feeds = _feeds(group_by, tables, functions or {})
    made = [of_row(group_by, feeds, row, row[TIME], {}, functions or {}) for row in queries.rows]
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
    """One row per left row: left columns, `ts`, features, contextual columns, derivations, labels.

    Immature rows are dropped for training.
    """
    functions = functions or {}
    left_columns, lefts = _left(join.left, tables, functions)
    bootstraps = _bootstraps(join, tables, functions, [left.columns for left in lefts])
    parts = [_read(part, "", tables, functions) for part in join.parts]
    labelled = join.labels is not None and training
    labels = [_read(part, "label_", tables, functions, True) for part in join.labels.parts] if labelled else []
    offset = span(join.labels.offset) if labelled else 0
    end = _label_end([feed for label in labels for feed in label.feeds], as_of) if labelled else None
    rows: list[Row] = []
    evidence: list[dict[str, Evidence]] = []
    if labelled:
        lefts = [one for one in lefts if end is not None and one.time is not None and one.time + offset <= end]
    for left in lefts:
        covered = _covered(join, bootstraps, left.columns)
        row, why = _scored(join, parts, left.columns, left.time, covered, functions)
        for label in labels:
            made = label.of_row(row, left.time, functions, offset=offset)
            row, why = row | made.values, why | made.evidence
        rows.append(row)
        evidence.append(why)
    columns = _join_columns(join, left_columns, labelled)
    return Result(columns, tuple(rows), _numbered(evidence), tuple(left.day for left in lefts))


def _scored(
    join: Any, parts: Sequence[Part], left: Row, time: int | None, covered: Row, functions: Functions
) -> tuple[Row, dict[str, Evidence]]:
    """A left row with everything but labels; what a bootstrap covers is neither computed nor judged by evidence."""
    row = left if TIME in left else left | {TIME: None if time is None else instant(time)}
    why: dict[str, Evidence] = {}
    for part in parts:
        made = part.of_row(row, time, functions, covered)
        row, why = row | made.values, why | made.evidence
    row = row | {name: covered.get(name) for name in _contextual(join) if name not in left}
    for derivation in join.derivations:
        name = derivation.name
        row = row | {name: covered[name] if name in covered else evaluate(derivation.expression, row, functions)}
    return row, why


def _feeds(group_by: Any, tables: Tables, functions: Functions, label: bool = False) -> list[Feed]:
    return [_feed(source, tables, functions, label) for source in group_by.sources]


def _feed(source: Any, tables: Tables, functions: Functions, label: bool) -> Feed:
    if hasattr(source, "snapshots"):
        return read_entity(source, tables, functions)
    query, table = _rows_of(source, tables, functions)
    return read_events(query, table, functions, label=label)


def _rows_of(source: Any, tables: Tables, functions: Functions) -> tuple[Any, Table]:
    """What a source of events reads: a table, or all that another join gives for scoring, at its `ts`."""
    if not hasattr(source, "join"):
        return source.query, tables[source.table]
    output = backfill(source.join, tables, training=False, functions=functions)
    query = source.query if source.query.time else dataclasses.replace(source.query, time=TIME)
    kept = [row for row, day in zip(output.rows, output.days, strict=True) if _is_bounded(query, day)]
    return query, Table(dict.fromkeys(output.columns, "of the join"), tuple(kept))


def _is_bounded(query: Any, day: int | None) -> bool:
    """Whether the rows of a day are within the bounds of a query over a join's output."""
    low, high = (micros(str(bound)) if bound else None for bound in (query.start, query.end))
    if low is None and high is None:
        return True
    return day is not None and (low is None or low <= day) and (high is None or day <= high)


def _read(part: Any, before: str, tables: Tables, functions: Functions, label: bool = False) -> Part:
    return Part(part, _prefix(part, before), _feeds(_stand_in(part.source), tables, functions, label))


def _stand_in(source: Any) -> Any:
    """The group-by that answers for a part: itself, or the offline twin of an external source."""
    return source.offline if hasattr(source, "offline") else source


def _as_declared(value: Any, kind: str) -> Any:
    return float(value) if kind in ("DOUBLE", "FLOAT") and isinstance(value, int) else value


def _left(source: Any, tables: Tables, functions: Functions) -> tuple[list[str], list[LeftRow]]:
    """The left's columns and rows: an entity's are asked about at the end of their day."""
    entity = hasattr(source, "snapshots")
    query, table = (source.query, tables[source.snapshots]) if entity else _rows_of(source, tables, functions)
    kept = [row for row in bounded(query, table) if passes(query, row, functions)]
    columns = list(table.schema) if query.select is None else list(dict(query.select))
    return columns, [_left_row(query, table, row, functions, entity) for row in kept]


def _left_row(query: Any, table: Table, row: Row, functions: Functions, entity: bool) -> LeftRow:
    time = _query_time(query, row, functions, entity)
    day = None if time is None else day_of(time)
    return LeftRow(
        selected(query, row, functions), time, partition(query, row) if query.partition in table.schema else day
    )


def _query_time(query: Any, row: Row, functions: Functions, entity: bool) -> int | None:
    return partition(query, row) + DAY if entity else clock(query.time, row, functions)


def _bootstraps(join: Any, tables: Tables, functions: Functions, lefts: Sequence[Row]) -> list[Bootstrap]:
    """The join's bootstrap parts, most important first."""
    if join.bootstrap:
        _by_id(join.row_id, lefts)
    return [
        Bootstrap(part.columns, _by_id(join.row_id, _rows_to_take(part.query, tables[part.table], functions)))
        for part in join.bootstrap
    ]


def _rows_to_take(query: Any, table: Table, functions: Functions) -> list[Row]:
    return [selected(query, row, functions) for row in bounded(query, table) if passes(query, row, functions)]


def _by_id(row_id: Sequence[str], rows: Sequence[Row]) -> dict[Key, Row]:
    """Rows by their id, those that have one; two rows of one id are an error."""
    found: dict[Key, Row] = {}
    for row in rows:
        key = key_of([row[name] for name in row_id])
        if key is not None and key in found:
            raise DuplicateRowId(key)
        if key is not None:
            found[key] = row
    return found


def _covered(join: Any, bootstraps: Sequence[Bootstrap], left: Row) -> Row:
    """The columns of a row that were computed before: each from the first part that has the row and the column."""
    key = key_of([left[name] for name in join.row_id]) if bootstraps else None
    covered: Row = {}
    for bootstrap in bootstraps:
        if key is not None and key in bootstrap.rows:
            covered = {name: bootstrap.rows[key][name] for name in bootstrap.columns} | covered
    return covered


def _contextual(join: Any) -> list[str]:
    return list(join.contextual.fields) if join.contextual else []


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
    names = list(part.source.values) if hasattr(part.source, "offline") else feature_names(part.source)
    return [_prefix(part, before) + name for name in part.features or names]


def _join_columns(join: Any, left: Sequence[str], labelled: bool) -> tuple[str, ...]:
    features = [name for part in join.parts for name in _part_columns(part, "")]
    context = [name for name in _contextual(join) if name not in left]
    labels = [name for part in join.labels.parts for name in _part_columns(part, "label_")] if labelled else []
    derived = [derivation.name for derivation in join.derivations]
    return (*left, *([] if TIME in left else [TIME]), *features, *context, *derived, *labels)


def _numbered(evidence: list[dict[str, Evidence]]) -> dict[tuple[int, str], Evidence]:
    return {(row, column): one for row, made in enumerate(evidence) for column, one in made.items()}
