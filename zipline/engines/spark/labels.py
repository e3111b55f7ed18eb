"""Where the data of labels end, asked of the tables by Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from zipline.clock import DAY
from zipline.engines.spark.left import query_time
from zipline.engines.spark.scans import Days, scan
from zipline.engines.spark.statements import clock
from zipline.plan.chaining import newest_left
from zipline.plan.steps import PartPlan, Projection

if TYPE_CHECKING:
    from zipline.engines.spark.run import Run


def label_end(run: Run, parts: Sequence[PartPlan]) -> int | None:
    """The newest time in the sources of labels, the least over several; None where one has no end."""
    ends = [_end(run, source) for source in dict.fromkeys(source for part in parts for source in part.group_by.sources)]
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None


def _end(run: Run, source: Projection) -> int | None:
    newest_of = newest_left(source) if source.table in run.frames else None
    if newest_of is not None:
        conditions = [condition.sql("spark") for condition in newest_of.where]
        return _newest(run, newest_of, query_time(newest_of), conditions)
    if source.kind == "events":
        return None if source.time is None else _newest(run, source, clock(source.time), [])
    table = run.table(source.table)
    partitions = table.partitions(source.partition) if source.partition and table.schema else []
    days = [p.day for p in partitions if (source.start or "") <= p.day and (source.end is None or p.day <= source.end)]
    end = (int(np.datetime64(days[-1], "D").astype(np.int64)) + 1) * DAY if days else None
    changes = source.mutations
    newest = None
    if changes is not None and changes.mutation_time is not None:
        newest = _newest(run, changes, clock(changes.mutation_time), [])
    return max((each for each in (end, newest) if each is not None), default=None)


def _newest(run: Run, source: Projection, time: str, conditions: Sequence[str]) -> int | None:
    table = run.table(source.table)
    if not table.schema:
        return None
    rows = scan(run.spark, table, Days(source.partition, source.start, source.end)).frame
    for condition in conditions:
        rows = rows.where(condition)
    found = rows.selectExpr(f"unix_micros(max({time})) AS newest").toArrow()
    return found.column("newest")[0].as_py()  # type: ignore[no-any-return]
