"""`zipline backfill --engine spark`: the same table as the local engine's, day after day."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.spark_session import spark_session
from tests.e2e.daily_company import FIRST, JOIN, LAST, Company
from zipline.cli.main import execute
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

RANGE = ("--start", FIRST, "--end", LAST)
Backfill = Callable[..., dict[str, Any]]


@pytest.fixture
def backfill(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Backfill:
    """Runs `zipline backfill` in a company's folder, in this process, which has a session."""

    def run(root: Path, engine: str, *arguments: str, expected: int = 0) -> dict[str, Any]:
        if engine == "spark":
            spark_session()
        monkeypatch.chdir(root)
        capsys.readouterr()
        code = execute(["backfill", JOIN, *RANGE, "--engine", engine, "--json", *arguments])
        shown = capsys.readouterr()
        assert code == expected, shown.err
        return dict(json.loads(shown.out))

    return run


def stored(root: Path) -> pa.Table:
    """The output in an order of its own: files have none."""
    rows = DeltaOutput(load_project(root).table_uri(JOIN)).read()
    return rows.sort_by([("ds", "ascending"), ("login", "ascending")])


def test_a_backfill_on_spark_gives_the_table_of_the_local_engine(tmp_path: Path, backfill: Backfill) -> None:
    company = Company(tmp_path / "spark", 11)
    clean = company.clean_copy(tmp_path / "local")
    on_spark, locally = backfill(company.root, "spark", "--step-days", "5"), backfill(clean, "local")
    assert stored(company.root).equals(stored(clean))
    assert stored(clean).num_rows > 40
    assert on_spark["rows"] == locally["rows"]
    again = backfill(company.root, "spark")
    assert again["rows"] == 0


def test_days_that_late_files_and_changed_definitions_touch_are_made_anew(tmp_path: Path, backfill: Backfill) -> None:
    company = Company(tmp_path / "spark", 12)
    backfill(company.root, "spark")
    for n, happens in enumerate((company.late, company.correct, company.redefine)):
        happens()
        backfill(company.root, "spark" if n != 1 else "local")
        clean = company.clean_copy(tmp_path / f"local{n}")
        backfill(clean, "local")
        assert stored(company.root).equals(stored(clean)), happens.__name__
