"""The left rows as a DataFrame: selected columns, query times, days, and a number that stays each row's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zipline.engines.local import left as local
from zipline.engines.local.statements import between, left_items
from zipline.engines.spark.packing import ROW, spelled
from zipline.engines.spark.scans import INDEX, Days, Scan
from zipline.engines.spark.statements import clock, numbered_events
from zipline.expressions.dialects import identifier
from zipline.plan.chaining import Span
from zipline.plan.steps import Projection

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def left_days(left: Projection, bounds: tuple[str, str] | None, span: Span | None) -> Days:
    """The partitions to read."""
    return Days(left.partition, *local.left_days(left, bounds, span))


def left_frame(found: Scan, left: Projection, bounds: tuple[str, str] | None, span: Span | None) -> DataFrame:
    """`l:` columns, `__t`, `__ds` (null without a range or span), ROW, and the scan's order.

    Rows of no order are numbered as they come: they must be written down before they are read twice.
    """
    time = query_time(left)
    day = _day(left, time) if bounds or span else "CAST(NULL AS STRING)"
    rows = found.frame
    if left.event_id is not None:
        number, keep = numbered_events(left)
        rows = rows.selectExpr("*", f"{number} AS __number_of_event").where(keep)
    by_partition = left.partition is not None and left.event_id is None
    conditions = [condition.sql("spark") for condition in left.where]
    if bounds and not by_partition:
        undated = "" if left.partition else f" OR {day} IS NULL"
        conditions.append(f"{day} BETWEEN '{bounds[0]}' AND '{bounds[1]}'{undated}")
    if span is not None:
        conditions += between(time, span.low, span.high, "spark")
    for condition in conditions:
        rows = rows.where(condition)
    types = left.column_types
    items = [
        f"CAST({sql} AS {spelled(types[name])}) AS {identifier('spark', f'l:{name}')}"
        for name, sql in left_items(left, time, "spark")
    ]
    number_of = INDEX if found.order == (INDEX,) else "monotonically_increasing_id()"
    places = found.order or (f"{number_of} AS {INDEX}",)
    return rows.selectExpr(*items, f"{time} AS __t", f"{day} AS __ds", f"{number_of} AS {ROW}", *places)


def query_time(left: Projection) -> str:
    """An event's own time; for a row of a snapshot the end of the snapshot's day."""
    if left.time is not None:
        return clock(left.time)
    assert left.partition is not None
    return f"CAST(date_add(CAST({identifier('spark', left.partition)} AS DATE), 1) AS TIMESTAMP)"


def _day(left: Projection, time: str) -> str:
    if left.partition:
        return f"CAST(CAST({identifier('spark', left.partition)} AS DATE) AS STRING)"
    return f"date_format({time}, 'yyyy-MM-dd')"
