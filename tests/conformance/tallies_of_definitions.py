"""How many events and definitions of each awkward kind the random definitions really held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from .batches import group_bys_of, parts_of
from .entities import newest_snapshot
from .instants import DAY, day_of, floored_start, micros, span
from .oracle import Result
from .tables import BackfillCase, Row

EVENTS = ("orders", "views", "outcomes")
EVENT_KINDS = (
    "late",
    "known late",
    "known late for a query that it would have reached",
    "known exactly at a query",
    "crossing midnight",
    "tied",
    "exactly at a query",
    "exactly at a floored start",
    "exactly on a midnight",
    "repeated",
    "without a time",
)
CHANGE_KINDS = (
    "reversed",
    "change exactly at a query",
    "change exactly on a midnight",
    "change crossing midnight",
    "change on the day of a snapshot",
    "change before every snapshot",
)
DEFINITION_KINDS = (
    "of depth 1",
    "of depth 2",
    "of depth 3",
    "left of events",
    "left of states",
    "left of a join",
    "with several labels",
    "with a label of states",
    "with a label of a join",
    "with bootstrap",
    "with two bootstrap parts",
    "with contextual columns",
    "with an external source",
    "with derivations",
    "with a shared parent",
    "keyless",
    "with a key map",
    "with some features",
)
CELL_KINDS = ("covered", "covered by a null")


def tally_events(cases: Iterable[BackfillCase]) -> Counter[str]:
    """Counts by kind over the events and changes of all cases; "events" and "changes" are the wholes."""
    counts: Counter[str] = Counter()
    for case in cases:
        counts["cases"] += 1
        counts["left rows"] += len(case.tables["asked"].rows)
        queries = {
            micros(row["asked"]) for name in ("asked", "visits") for row in case.tables[name].rows if row["asked"]
        }
        windows = {
            span(str(window))
            for group_by in group_bys_of(case.join)
            for one in group_by.aggregations
            for window in one.windows
            if window
        }
        starts = {floored_start(query, window) for query in queries for window in windows}
        for name in EVENTS:
            counts.update(_events(case.tables[name].rows, queries, starts))
        counts.update(_changes(case, queries))
    return counts


def _events(rows: Iterable[Row], queries: set[int], starts: set[int]) -> Iterator[str]:
    times = Counter((row["user"], row["item"], row["t"]) for row in rows)
    copies = Counter(map(repr, rows))
    newest: Any = None
    for row in rows:
        yield "events"
        if copies[repr(row)] > 1:
            yield "repeated"
        if row["t"] is None:
            yield "without a time"
            continue
        if newest is not None and row["t"] < newest:
            yield "late"
        newest = max(newest or row["t"], row["t"])
        if times[row["user"], row["item"], row["t"]] > 1:
            yield "tied"
        yield from _at(micros(row["t"]), queries, starts)
        if row["known"] is not None:
            yield from _known(micros(row["t"]), micros(row["known"]), queries)


def _at(time: int, queries: set[int], starts: set[int]) -> Iterator[str]:
    if time in queries:
        yield "exactly at a query"
    if time in starts:
        yield "exactly at a floored start"
    if time % DAY == 0:
        yield "exactly on a midnight"


def _known(time: int, known: int, queries: set[int]) -> Iterator[str]:
    if known > time:
        yield "known late"
    if any(time < query <= known for query in queries):
        yield "known late for a query that it would have reached"
    if known in queries:
        yield "known exactly at a query"
    if day_of(known) > day_of(time):
        yield "crossing midnight"


def _changes(case: BackfillCase, queries: set[int]) -> Iterator[str]:
    days = {micros(row["ds"]): () for row in case.tables["people"].rows}
    for row in case.tables["people_log"].rows:
        yield "changes"
        if row["before"]:
            yield "reversed"
        if row["changed"] is None:
            continue
        time = micros(row["changed"])
        if time in queries:
            yield "change exactly at a query"
        if time % DAY == 0:
            yield "change exactly on a midnight"
        if row["t"] is not None and day_of(micros(row["t"])) < day_of(time):
            yield "change crossing midnight"
        if day_of(time) in days:
            yield "change on the day of a snapshot"
        if newest_snapshot(days, time) is None:
            yield "change before every snapshot"


def kinds_of(join: Any) -> set[str]:
    """What is in a definition."""
    labels = join.labels.parts if join.labels else ()
    sources = [source for group_by in group_bys_of(join) for source in group_by.sources]
    found = {f"of depth {depth(join)}", f"left of {_kind(join.left)}"}
    found |= {f"with a label of {_kind(source)}" for part in labels for source in part.source.sources}
    found |= {"with several labels"} if len(labels) > 1 else set()
    found |= {"with bootstrap"} if join.bootstrap else set()
    found |= {"with two bootstrap parts"} if len(join.bootstrap) > 1 else set()
    found |= {"with contextual columns"} if join.contextual else set()
    found |= {"with derivations"} if join.derivations else set()
    found |= {"keyless"} if any(not group_by.keys for group_by in group_bys_of(join)) else set()
    found |= {"with an external source"} if any(hasattr(part.source, "offline") for part in parts_of(join)) else set()
    found |= {"with a key map"} if any(part.key_map for part in join.parts) else set()
    found |= {"with some features"} if any(part.features for part in join.parts) else set()
    parents = Counter(id(source.join) for source in sources if hasattr(source, "join"))
    return found | ({"with a shared parent"} if any(count > 1 for count in parents.values()) else set())


def depth(join: Any) -> int:
    """How many joins stand above this one, in the longest chain."""
    sources = [join.left, *(source for part in parts_of(join) for source in _sources(part.source))]
    return max((1 + depth(source.join) for source in sources if hasattr(source, "join")), default=0)


def _sources(source: Any) -> Any:
    return source.offline.sources if hasattr(source, "offline") else source.sources


def _kind(source: Any) -> str:
    if hasattr(source, "join"):
        return "a join"
    return "states" if hasattr(source, "snapshots") else "events"


def tally_cells(case: BackfillCase, result: Result) -> Counter[str]:
    """Cells that were computed before, of all cells that are not the left's."""
    counts: Counter[str] = Counter(cells=len(result.rows) * (len(result.columns) - 6))
    for row in result.rows if case.join.bootstrap else ():
        covered = {
            name: one[name]
            for part in case.join.bootstrap
            for one in case.tables[part.table].rows
            for name in part.columns
            if one["id"] == row["id"]
        }
        counts["covered"] += len(covered)
        counts["covered by a null"] += sum(value is None for value in covered.values())
    counts["not null"] = sum(row[name] is not None for row in result.rows for name in result.columns[6:])
    return counts
