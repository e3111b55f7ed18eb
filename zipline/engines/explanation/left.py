"""The left row of a row_id: its columns and its query time, read without the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zipline.api import Join
from zipline.engines.explanation import warm
from zipline.engines.explanation.statements import key_literal
from zipline.engines.explanation.values import key_array
from zipline.engines.local.session import connect, query
from zipline.errors import DataError, UsageError
from zipline.plan.steps import JoinPlan, Projection
from zipline.tables.catalog import Catalog
from zipline.tables.columns import quoted


def left_row(plan: JoinPlan, join: Join, given: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The left's columns and `ts` of the one row with this row_id.

    UsageError where no row has it, DataError where several have.
    """
    left = plan.left
    table = catalog.table(left.table)
    connection = connect()
    try:
        relation = warm.relation(connection, table, left, left.table_columns)
        rows = query(connection, _statement(left, join, given, relation), left.table).to_pylist()
    finally:
        connection.close()
    if not rows:
        raise UsageError(f"no row of {left.table!r} has {_shown(join, given)}", hint="give its keys and ts instead")
    if len(rows) > 1:
        raise DataError(f"several rows of {left.table!r} have {_shown(join, given)}", hint="give the keys and ts")
    return dict(rows[0])


def _statement(left: Projection, join: Join, given: Mapping[str, Any], relation: str) -> str:
    items = [f"{expression.sql('duckdb')} AS {quoted(name)}" for name, expression in left.select if name != "ts"]
    items.append(f"{_time(left)} AS ts")
    conditions = [f"({condition.sql('duckdb')})" for condition in left.where]
    for name in join.row_id:
        value = key_array(given[name], name, left.column_types[name])[0].as_py()
        conditions.append(f"({left.columns[name].sql('duckdb')}) = {key_literal(value, left.column_types[name])}")
    return f"SELECT DISTINCT {', '.join(items)} FROM {relation} WHERE {' AND '.join(conditions)} LIMIT 2"


def _time(left: Projection) -> str:
    """An event's own time; for a row of a snapshot the end of the snapshot's day."""
    if left.time is not None:
        return f"CAST({left.time.sql('duckdb')} AS TIMESTAMPTZ)"
    assert left.partition is not None
    return f"CAST(CAST({quoted(left.partition)} AS DATE) + INTERVAL 1 DAY AS TIMESTAMPTZ)"


def _shown(join: Join, given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={given[name]!r}" for name in join.row_id)
