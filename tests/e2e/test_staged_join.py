"""A join over a staging query's table: it is made first, shown before, and by one run at a time."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daily_company import FIRST, JOIN, LAST, Company
from tests.e2e.test_command_line import command
from zipline.project import load_project
from zipline.registry import open_registry

TOTALS = "bank.features.totals"
RANGE = ("--start", FIRST, "--end", LAST)


def test_a_staging_table_is_shown_made_and_then_left_alone(tmp_path: Path) -> None:
    root = Company(tmp_path / "company", 7).root
    days = len(list((root / "data" / "payments").iterdir()))
    assert f"staging  {TOTALS}: {days} days to make" in command("plan", JOIN, *RANGE, project=root).out
    dry = command("backfill", JOIN, *RANGE, "--dry-run", project=root)
    assert f"staging  {TOTALS}: {days} days to make" in dry.out, dry.err
    assert (
        f"{TOTALS}: {days} days to make\n\nnothing was done"
        in command("backfill", TOTALS, "--dry-run", project=root).out
    )
    ran = command("backfill", JOIN, *RANGE, project=root)
    assert ran.code == 0, ran.err
    assert f"staging  {TOTALS}: up to date" in command("plan", JOIN, *RANGE, project=root).out
    assert command("backfill", TOTALS, project=root).out == f"{TOTALS}: nothing to do\n"


def test_a_staging_table_that_another_run_makes_is_not_made_beside_it(tmp_path: Path) -> None:
    root = Company(tmp_path / "company", 7).root
    project = load_project(root)
    with open_registry(project) as registry, registry.locks.acquire(project.table_uri(TOTALS), "another join"):
        ran = command("backfill", JOIN, *RANGE, project=root)
        assert ran.code == 1
        assert "another run is at work on it: another join" in ran.err
    assert command("backfill", JOIN, *RANGE, project=root).code == 0
