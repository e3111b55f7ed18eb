"""Leaks by association: a feature that nearly is the label, and says little when its events come a day later.

A sample of left rows of about a month is computed twice: as it is, and with every query a day earlier, which is what a
delay of all sources by a day amounts to. The strength of a numeric feature is |2 AUC - 1| for a label of two values,
else the magnitude of Spearman's correlation; a null is taken as the median. Fresh features do lose strength when they
are delayed: only those that are stronger than features honestly are, and lose more than half of it, are reported.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.clock import DAY, day_text
from zipline.engines.local.left import DAY as LEFT_DAY
from zipline.engines.local.left import TIME, newest_event, read_left
from zipline.engines.local.run import run_join
from zipline.engines.local.session import connect
from zipline.expressions import parse, parse_time
from zipline.plan.steps import JoinPlan, Projection
from zipline.quality.leaks import Leak, Scene
from zipline.tables.columns import quoted
from zipline.types import BIGINT, BOOLEAN, TIMESTAMP, DataType
from zipline.values import dataclass

ROWS = 3_000
SPAN_DAYS = 28
SUSPICIOUS = 0.7
"""An AUC of 0.85: features that wait for what they need are seldom as strong."""

KEPT = 0.5
"""Of its strength, what a feature that is delayed by a day keeps if it is no leak."""

LEAST_ROWS = 50
SAMPLE = "\0sample"
_QUERY, _ROW = "__query", "__row"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Sampled:
    """The features and labels of the sample, and the features of the same rows a day earlier."""

    now: pa.Table
    delayed: pa.Table


def collapsing(scene: Scene) -> tuple[list[Leak], list[str]]:
    """(a finding for each feature that collapses when delayed, what was not looked at)."""
    plan = _numeric(scene.plan)
    if not plan.labels or not plan.parts:
        return [], []
    if plan.left.parent is not None:
        return [], ["how features fare when they are delayed: the left is the output of a join"]
    sampled = _sample(scene, plan)
    if sampled is None:
        return [], [f"how features fare when they are delayed: under {LEAST_ROWS} rows have a complete label"]
    return list(_judged(plan, sampled)), []


def _numeric(plan: JoinPlan) -> JoinPlan:
    """The join with the parts' numeric features and labels alone."""
    parts = [replace(p, chosen=tuple(n for n, t in p.own_columns if _is_number(t))) for p in plan.parts]
    labels = [replace(p, chosen=tuple(n for n, t in p.own_columns if _is_number(t))) for p in plan.labels]
    return replace(
        plan,
        parts=tuple(part for part in parts if part.chosen),
        labels=tuple(part for part in labels if part.chosen),
        derivations=(),
        bootstrap=(),
        externals=(),
        contextual=(),
    )


def _is_number(dtype: DataType) -> bool:
    return dtype.is_numeric or dtype == BOOLEAN


def _sample(scene: Scene, plan: JoinPlan) -> _Sampled | None:
    rows = _left_rows(scene, plan)
    if rows is None or rows.num_rows < LEAST_ROWS:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(rows.num_rows)[:ROWS])
    rows = rows.take(pa.array(chosen)).append_column(_ROW, pa.array(np.arange(len(chosen))))
    sampled = _over_sample(plan)
    now = run_join(sampled, scene.catalog.with_tables({SAMPLE: rows}), training=True).table
    if now.num_rows < LEAST_ROWS:
        return None
    place = rows.column_names.index(_QUERY)
    earlier = pc.subtract(rows.column(_QUERY), pa.scalar(DAY, pa.duration("us")))
    late = rows.set_column(place, _QUERY, earlier)
    delayed = run_join(sampled, scene.catalog.with_tables({SAMPLE: late}), training=False).table
    return _Sampled(now, delayed.take(now.column(_ROW)))


def _left_rows(scene: Scene, plan: JoinPlan) -> pa.Table | None:
    """Left rows of the last month whose labels can be complete, with their query times."""
    left = plan.left
    table = scene.catalog.table(left.table)
    if not table.schema:
        return None
    connection = connect()
    try:
        last = _last_day(connection, table, left)
        if last is None:
            return None
        offset = max(part.offset or 0 for part in plan.labels)
        end = last - dt.timedelta(days=-(-offset // DAY))
        start = end - dt.timedelta(days=SPAN_DAYS - 1)
        rows = read_left(connection, table, left, start=start.isoformat(), end=end.isoformat())
    finally:
        connection.close()
    times = rows.column(TIME)
    rows = rows.drop_columns([TIME, LEFT_DAY]).append_column(_QUERY, times)
    return rows.filter(pc.is_valid(times))


def _last_day(connection: Any, table: Any, left: Projection) -> dt.date | None:
    if left.partition is not None:
        days = [p.day for p in table.partitions(left.partition) if p.day <= (left.end or p.day)]
        return dt.date.fromisoformat(days[-1]) if days else None
    newest = newest_event(connection, table, left)
    return None if newest is None else dt.date.fromisoformat(day_text(newest))


def _over_sample(plan: JoinPlan) -> JoinPlan:
    """The join over the sample in the left's place: the left's columns as they are, and the number of each row."""
    types = {**dict(plan.left_columns), _QUERY: TIMESTAMP, _ROW: BIGINT}
    place: dict[str, Any] = {"subject": plan.name, "where": None}
    time = parse_time(quoted(_QUERY), types, **place)
    names = [*(name for name, _ in plan.left_columns), _ROW]
    select = tuple((n, time if n == "ts" else parse(quoted(n), types, **place)) for n in names)
    left = replace(
        plan.left,
        table=SAMPLE,
        select=select,
        types=tuple(types[name] for name in names),
        where=(),
        time=time,
        known_at=None,
        event_id=None,
        partition=None,
        start=None,
        end=None,
        made_by=None,
    )
    return replace(plan, left=left, left_columns=tuple((name, types[name]) for name in names))


def _judged(plan: JoinPlan, sampled: _Sampled) -> Iterator[Leak]:
    for label in (name for part in plan.labels for name, _ in part.columns):
        outcome = _floats(sampled.now, label)
        known = ~np.isnan(outcome)
        if known.sum() < LEAST_ROWS or len(np.unique(outcome[known])) < 2:
            continue
        for part in plan.parts:
            for name, _ in part.columns:
                now = strength(_floats(sampled.now, name)[known], outcome[known])
                late = strength(_floats(sampled.delayed, name)[known], outcome[known])
                if now >= SUSPICIOUS and late <= KEPT * now:
                    yield _leak(name, part.group_by.name, label, now, late, int(known.sum()), part.group_by.location)


def _floats(table: pa.Table, name: str) -> Floats:
    column = table.column(name)
    numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(numbers.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False))


def strength(values: Floats, outcome: Floats) -> float:
    """How well values order the outcome, 0 to 1: |2 AUC - 1| of two outcomes, else |Spearman's correlation|."""
    known = ~np.isnan(values)
    if not known.any():
        return 0.0
    ranks = _ranks(np.where(known, values, np.median(values[known])))
    highest = outcome.max()
    if len(np.unique(outcome)) == 2:
        positive = outcome == highest
        count, others = int(positive.sum()), int((~positive).sum())
        area = (ranks[positive].sum() - count * (count + 1) / 2) / (count * others)
        return float(abs(2 * area - 1))
    spread = _ranks(outcome)
    if ranks.std() == 0 or spread.std() == 0:
        return 0.0
    return float(abs(np.corrcoef(ranks, spread)[0, 1]))


def _ranks(values: Floats) -> Floats:
    """Ranks from 1 on, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Floats = last - (counts - 1) / 2
    return mean[place]


def _leak(column: str, owner: str, label: str, now: float, late: float, rows: int, location: str | None) -> Leak:
    return Leak(
        kind="collapses when delayed",
        column=column,
        message=f"{owner} orders {label} almost perfectly, and hardly at all when its sources are a day late",
        remedy="look when its rows really become available, and declare it: known_at; "
        "zipline explain shows the events behind one value",
        evidence={
            "strength": round(now, 4),
            "strength_delayed": round(late, 4),
            "delay_seconds": DAY // 10**6,
            "rows": rows,
        },
        location=location,
    )
