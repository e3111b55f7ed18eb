"""How the literal tests ask: one key ("ann") of one small table, one query, one answer."""

from __future__ import annotations

from typing import Any

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Operation, Query

from .adapters import Adapter
from .tables import AggregateCase, Table, table

NOON = "2024-03-05 12:00"
SNAPSHOT = Accuracy.SNAPSHOT
WITH_ARGUMENTS: dict[str, dict[str, Any]] = {
    "FIRST_K": {"k": 2},
    "LAST_K": {"k": 2},
    "TOP_K": {"k": 2},
    "BOTTOM_K": {"k": 2},
    "APPROX_HISTOGRAM_K": {"k": 4},
    "APPROX_PERCENTILE": {"percentiles": [0.5]},
}


def events(kind: str, *rows: tuple[str | None, Any]) -> Table:
    """Events of "ann": (time, value)."""
    return table(f"user STRING, value {kind}, t TIMESTAMP", *(("ann", value, time) for time, value in rows))


def known_events(kind: str, *rows: tuple[str | None, str | None, Any]) -> Table:
    """Events of "ann" with a second clock: (time, known_at, value)."""
    schema = f"user STRING, value {kind}, t TIMESTAMP, known TIMESTAMP"
    return table(schema, *(("ann", value, time, known) for time, known, value in rows))


def values(kind: str, *given: Any) -> Table:
    """Events of "ann" one minute apart before noon, oldest first."""
    return events(kind, *((f"2024-03-05 11:{number:02d}", value) for number, value in enumerate(given)))


def source_of(rows: Table, name: str = "events", **query: Any) -> EventSource:
    """An EventSource over a table of the above shape, its second clock declared where the table has one."""
    columns = {column: column for column in rows.schema if column not in ("t", "known")}
    clocks = {"known_at": "known"} if "known" in rows.schema else {}
    return EventSource(name, query=Query(**{"select": columns, "time": "t", **clocks, **query}))


def group_by_of(rows: Table, *aggregations: Aggregation, query: dict[str, Any] | None = None, **fields: Any) -> GroupBy:
    sources = [source_of(rows, **(query or {}))]
    return GroupBy(**{"keys": ["user"], "sources": sources, "aggregations": aggregations, "name": "small", **fields})


def operation(name: str, window: str | None = None, **arguments: Any) -> Aggregation:
    return Aggregation("value", Operation[name], windows=[window], **arguments)


def made(name: str, window: str | None = None, **arguments: Any) -> Aggregation:
    """An operation with the arguments that it needs, unless others are given."""
    return operation(name, window, **{**WITH_ARGUMENTS.get(name, {}), **arguments})


def queries(*times: str | None, user: str | None = "ann") -> Table:
    return table("user STRING, ts TIMESTAMP", *((user, time) for time in times))


def features(
    adapter: Adapter,
    rows: Table,
    *aggregations: Aggregation,
    query: str | None = NOON,
    user: str | None = "ann",
    **fields: Any,
) -> list[Any]:
    """The features of one query, in order."""
    group_by = group_by_of(rows, *aggregations, **fields)
    functions = {"value > 1": lambda row: None if row["value"] is None else row["value"] > 1}
    result = adapter.run(AggregateCase(group_by, queries(query, user=user), {"events": rows}, functions))
    return [result.rows[0][column] for column in result.columns[2:]]


def feature(adapter: Adapter, rows: Table, aggregation: Aggregation, **fields: Any) -> Any:
    """The one feature of one query."""
    (only,) = features(adapter, rows, aggregation, **fields)
    return only
