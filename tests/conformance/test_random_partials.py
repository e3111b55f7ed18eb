"""Random cases from stored partials: the bits of those from rows, with events strewn over files old and new.

The cases of one scenario that take place around the same days are one job. Their events lie in files by availability,
but for a few that lie in another file; the job runs from rows, then from an empty store, then from what that left.
Moments, whose states are merged in another order, are held against the oracle within their tolerance.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import EventSource, Join, JoinPart, Query
from zipline.arrow import schema_of
from zipline.engines.contract import Result
from zipline.engines.local import choice
from zipline.engines.local.run import run_join
from zipline.plan.build import plan_group_by, plan_join
from zipline.tables.catalog import open_catalog
from zipline.tables.partials import PartialStore

from . import oracle
from .adapters import arrow_schema, arrow_table, result_of
from .batches import merged
from .bits import assert_identical
from .comparison import permitted
from .generate import Scenario, scenarios
from .instants import DAY, micros
from .streams import Draw
from .tables import AggregateCase, Row, Table
from .tallies import TALLIES

CASES, STRAYED = 60, 2
MOMENTS = ("VARIANCE", "SKEW", "KURTOSIS")
SCENARIOS = [each for each in scenarios() if not each.mode.event_id]
FOUND = {"jobs": 0, "cases": 0, "files condensed": 0, "files as rows": 0, "partials found again": 0, "moments": 0}


@cache
def job_of(scenario: Scenario) -> tuple[AggregateCase, int]:
    """(the cases around the days that most of them share, as one; how many they are)."""
    around: dict[int, list[AggregateCase]] = {}
    for case in scenario.cases(CASES):
        times = [micros(row["ts"]) for row in case.queries.rows if row["ts"] is not None]
        if times:
            around.setdefault(min(times) // (8 * DAY), []).append(case)
    cases = max(around.values(), key=len)
    whole = merged(cases)
    assert isinstance(whole, AggregateCase)
    return whole, len(cases)


def write(folder: Path, draw: Draw, table: Table) -> None:
    """The table's rows in files of two days of availability, a few rows in the file of others."""
    folder.mkdir()
    files: dict[int, list[Row]] = {}
    for row in table.rows:
        files.setdefault(_available(row) // (2 * DAY), []).append(row)
    for _ in range(STRAYED if len(files) > 1 else 0):
        source = files[draw.one([number for number, rows in files.items() if rows])]
        files[draw.one(list(files))].append(source.pop(draw.number(0, len(source) - 1)))
    for number, rows in files.items():
        pq.write_table(arrow_table(table.with_rows(rows)), folder / f"{number}.parquet")


def _available(row: Row) -> int:
    times = [micros(row[name]) for name in ("t", "known") if row.get(name) is not None]
    return max(times, default=0)


def run(case: AggregateCase, tables: dict[str, Any], store: PartialStore | None) -> Result:
    catalog = open_catalog(tables)
    join = Join(EventSource("asked", query=Query(time="ts")), [JoinPart(case.group_by)], name="random.partials")
    return run_join(plan_join(join, lambda name: catalog.table(name).schema), catalog, partials=store)


def moments_of(case: AggregateCase) -> dict[str, str]:
    """Feature -> column of the join, of those that are moments."""
    plan = plan_group_by(case.group_by, lambda name: schema_of(arrow_schema(case.tables[name])))
    found = [feature.name for feature in plan.features if feature.operation in MOMENTS]
    return {name: f"{plan.short_name}_{name}" for name in found}


def exact(case: AggregateCase, table: pa.Table) -> pa.Table:
    """All columns but moments."""
    return table.drop_columns(list(moments_of(case).values()))


def judge_moments(case: AggregateCase, table: pa.Table) -> int:
    """How many values were held against the oracle."""
    columns = moments_of(case)
    if not columns:
        return 0
    expected, found = oracle.run(case), result_of(table.select(list(columns.values())))
    for number, (wanted, got) in enumerate(zip(expected.rows, found.rows, strict=True)):
        for name, column in columns.items():
            evidence = expected.evidence.get((number, name))
            assert permitted(evidence, wanted[name], got[column]), (number, name, wanted[name], got[column], evidence)
    return len(columns) * len(found.rows)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_partials_give_the_bits_of_rows(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MOST_ROWS", 1.0)
    case, count = job_of(scenario)
    for name, table in case.tables.items():
        write(tmp_path / name, Draw(f"files of {scenario.name} {name}"), table)
    pq.write_table(arrow_table(case.queries), tmp_path / "asked.parquet")
    tables = {name: str(tmp_path / name) for name in case.tables} | {"asked": str(tmp_path / "asked.parquet")}
    expected = run(case, tables, None)
    for _ in range(2):
        store = PartialStore(str(tmp_path / "partials"))
        found = run(case, tables, store)
        assert_identical(exact(case, expected.table), exact(case, found.table))
    FOUND["moments"] += judge_moments(case, found.table)
    done = re.fullmatch(r"partials of (\d+) files, rows of (\d+)", next(iter(found.report.partials.values())))
    FOUND["jobs"] += 1
    FOUND["cases"] += count
    FOUND["partials found again"] += store.found
    if done:
        FOUND["files condensed"] += int(done.group(1))
        FOUND["files as rows"] += int(done.group(2))


def test_enough_was_condensed_to_tell() -> None:
    TALLIES["partials of random cases"] = FOUND
    enough = FOUND["cases"] >= 400 and FOUND["files condensed"] >= 100 and FOUND["moments"] >= 10_000
    assert FOUND["jobs"] < len(SCENARIOS) or enough, FOUND
