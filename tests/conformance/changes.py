"""How the literal tests of changing states ask: snapshots and changes of "ann", one query, one answer."""

from __future__ import annotations

from typing import Any

from zipline import Aggregation, EntitySource, GroupBy, Query

from .adapters import Adapter
from .questions import NOON, operation, queries
from .tables import AggregateCase, Functions, Table, table

OLD, NEW = True, False
JAN = "2024-01-01"


def dump(*rows: tuple[Any, ...]) -> Table:
    """Snapshots of "ann": (day, value, time of the row)."""
    return table("user STRING, value BIGINT, t TIMESTAMP, ds STRING", *(("ann", v, t, ds) for ds, v, t in rows))


def log(*rows: tuple[Any, ...]) -> Table:
    """Changes of "ann": (when, whether it is the row before, value, time of the row)."""
    schema = "user STRING, value BIGINT, t TIMESTAMP, changed TIMESTAMP, before BOOLEAN"
    return table(schema, *(("ann", v, t, changed, before) for changed, before, v, t in rows))


def source(**query: Any) -> EntitySource:
    columns = {"user": "user", "value": "value"}
    clocks = {"time": "t", "mutation_time": "changed", "is_before": "before"}
    return EntitySource("dump", mutations="log", query=Query(**{"select": columns, **clocks, **query}))


def group_by(*aggregations: Aggregation, query: dict[str, Any] | None = None, **fields: Any) -> GroupBy:
    given = {"keys": ["user"], "sources": [source(**(query or {}))], "aggregations": aggregations, "name": "state"}
    return GroupBy(**{**given, **fields})


def ask(
    adapter: Adapter,
    snapshots: Table,
    changes: Table,
    *aggregations: Aggregation,
    at: str | None = NOON,
    functions: Functions | None = None,
    **fields: Any,
) -> list[Any]:
    """The features of "ann" at one time."""
    tables = {"dump": snapshots, "log": changes}
    case = AggregateCase(group_by(*aggregations, **fields), queries(at), tables, functions or {})
    result = adapter.run(case)
    return [result.rows[0][column] for column in result.columns[2:]]


def values(adapter: Adapter, snapshots: Table, changes: Table, at: str = NOON, **fields: Any) -> list[Any]:
    """All values of the state at one time, ascending."""
    only = ask(adapter, snapshots, changes, operation("BOTTOM_K", k=99), at=at, **fields)[0]
    return only or []


ONE = dump(("2024-03-04", 1, JAN))
T = "2024-03-05 10:00"
LATER = "2024-03-05 11:00"
