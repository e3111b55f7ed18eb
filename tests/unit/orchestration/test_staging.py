"""Staging queries in a warehouse: only what is due is made, a changed query is made anew, a failure changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import StagingQuery
from zipline.errors import DataError, TableError
from zipline.orchestration.staging import Staging, StagingReport
from zipline.plan.staging import plan_staging
from zipline.project import Project, load_project
from zipline.tables.catalog import Catalog, open_catalog

DAILY = "SELECT k, sum(x) AS x, ds FROM events WHERE ds BETWEEN {{ start_date }} AND {{ end_date }} GROUP BY k, ds"
DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "zipline.toml").write_text('[tables.events]\npath = "data/events"\n')
    for number, day in enumerate(DAYS):
        write(tmp_path, day, [{"k": "a", "x": number}, {"k": "a", "x": 10}])
    return load_project(tmp_path)


def write(root: Path, day: str, rows: list[dict[str, Any]], file: str = "part-0") -> None:
    folder = root / "data" / "events" / f"ds={day}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{file}.parquet")


def make(project: Project, sql: str = DAILY, last: str | None = DAYS[-1], first: str | None = None, **how: Any) -> Any:
    staging = Staging(plan_staging(StagingQuery(sql, name="sums")), project, first, last)
    return staging.make(catalog(project), **how)


def catalog(project: Project) -> Catalog:
    return open_catalog(project=project)


def stored(project: Project) -> dict[str, int]:
    staging = Staging(plan_staging(StagingQuery(DAILY, name="sums")), project, None, DAYS[-1])
    return {row["ds"]: row["x"] for row in staging.output.read().to_pylist()}


def test_it_is_made_from_the_first_day_of_what_it_reads(project: Project) -> None:
    assert make(project) == StagingReport("sums", DAYS, 3, rewritten=True)
    assert stored(project) == {DAYS[0]: 10, DAYS[1]: 11, DAYS[2]: 12}


def test_a_second_run_does_nothing(project: Project) -> None:
    make(project)
    assert make(project) is None


def test_only_days_that_are_missing_are_made(project: Project) -> None:
    make(project, last=DAYS[1])
    assert make(project) == StagingReport("sums", (DAYS[2],), 1, rewritten=False)
    assert stored(project) == {DAYS[0]: 10, DAYS[1]: 11, DAYS[2]: 12}


def test_a_late_file_makes_its_day_due_and_no_other(project: Project) -> None:
    make(project)
    write(project.root, DAYS[1], [{"k": "a", "x": 100}], "late")
    assert make(project) == StagingReport("sums", (DAYS[1],), 1, rewritten=False)
    assert stored(project) == {DAYS[0]: 10, DAYS[1]: 111, DAYS[2]: 12}


def test_a_query_that_reads_more_than_its_day_is_due_whenever_anything_changed(project: Project) -> None:
    running = "SELECT sum(x) AS x, {{ end_date }} AS ds FROM events WHERE ds <= {{ end_date }}"
    make(project, running)
    assert stored(project) == {DAYS[0]: 10, DAYS[1]: 21, DAYS[2]: 33}
    write(project.root, DAYS[0], [{"k": "a", "x": 1000}], "late")
    assert make(project, running).days == DAYS
    assert stored(project) == {DAYS[0]: 1010, DAYS[1]: 1021, DAYS[2]: 1033}


def test_a_changed_query_makes_the_whole_table_anew_in_one_commit(project: Project) -> None:
    make(project)
    changed = DAILY.replace("sum(x) AS x", "max(x) AS x, count(*) AS n")
    assert make(project, changed, last=DAYS[0]) == StagingReport("sums", (DAYS[0],), 3, rewritten=True)
    assert stored(project) == dict.fromkeys(DAYS, 10)
    assert make(project, changed) is None


def test_a_query_without_days_is_made_anew_when_its_tables_change(project: Project) -> None:
    whole = "SELECT k, sum(x) AS x, '-' AS ds FROM events GROUP BY k"
    assert make(project, whole).rows == 1
    assert stored(project) == {"-": 33}
    assert make(project, whole) is None
    write(project.root, DAYS[0], [{"k": "a", "x": 7}], "late")
    assert make(project, whole).rewritten
    assert stored(project) == {"-": 40}


def test_a_query_that_fails_halfway_leaves_the_table_as_it_was(project: Project) -> None:
    make(project)
    failing = DAILY.replace("sum(x)", "sum(CAST(CASE WHEN ds = '2024-01-03' THEN 'x' ELSE '1' END AS INT))")
    with pytest.raises(DataError, match="'x'"):
        make(project, failing)
    assert stored(project) == {DAYS[0]: 10, DAYS[1]: 11, DAYS[2]: 12}


def test_other_columns_from_the_same_query_are_refused_until_it_is_made_anew(project: Project) -> None:
    everything = "SELECT * FROM events WHERE ds = {{ end_date }}"
    make(project, everything, last=DAYS[1])
    for day in DAYS:
        write(project.root, day, [{"k": "a", "x": 1, "y": 2.5}])
    with pytest.raises(TableError, match=r"y \(not there before, DOUBLE now\)") as refused:
        make(project, everything)
    assert "zipline backfill sums --force" in str(refused.value)
    assert make(project, everything, force=True).rewritten


def test_days_before_the_first_day_of_output_are_not_made(project: Project) -> None:
    late = StagingQuery(DAILY, name="sums", start=DAYS[1])
    report = Staging(plan_staging(late), project, DAYS[0], DAYS[2]).make(catalog(project))
    assert report is not None
    assert report.days == DAYS[1:]


def test_latest_date_makes_every_day_due_when_a_partition_comes(project: Project) -> None:
    newest = "SELECT k, {{ latest_date(events) }} AS x, ds FROM events WHERE ds = {{ end_date }} AND x = 10"
    make(project, newest)
    write(project.root, "2024-01-04", [{"k": "a", "x": 10}])
    assert make(project, newest, last="2024-01-04").days == (*DAYS, "2024-01-04")
    assert set(stored(project).values()) == {"2024-01-04"}


@pytest.mark.parametrize("gone", DAYS)
def test_a_partition_that_vanishes_is_said_and_the_table_kept_until_forced(project: Project, gone: str) -> None:
    make(project)
    shutil.rmtree(project.root / "data" / "events" / f"ds={gone}")
    with pytest.raises(DataError, match=f"gone that 1 of its days were made from: {gone}") as refused:
        make(project, last=None)
    assert "--force" in str(refused.value)
    assert set(stored(project)) == set(DAYS)
    make(project, last=None, force=True)
    assert set(stored(project)) == set(DAYS) - {gone}
    assert make(project, last=None) is None


def test_a_partition_that_a_correction_leaves_without_rows_is_made_anew(project: Project) -> None:
    positive = DAILY.replace("GROUP BY", "AND x > 0 GROUP BY")
    make(project, positive)
    write(project.root, DAYS[1], [{"k": "a", "x": -1}])
    assert make(project, positive).days == (DAYS[1],)
    assert set(stored(project)) == {DAYS[0], DAYS[2]}
