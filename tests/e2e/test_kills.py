"""Fifty kills at random moments, between late files, corrections and changed definitions: the table is the clean one.

The process is killed for real (SIGKILL), half of the time at a random moment, half of the time right after it has
written something. Whatever is read in between is whole days.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tests.e2e.daily_company import FIRST, JOIN, LAST, Company
from tests.e2e.test_command_line import ZIPLINE, command
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

KILLS = 26
"""Of each of two companies."""
RANGE = ("--start", FIRST, "--end", LAST)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_warehouse_survives_kills_late_data_and_changed_definitions(tmp_path: Path, seed: int) -> None:
    company, chance = Company(tmp_path / "company", seed), random.Random(seed)
    kills, finished, happened = 0, 0, []
    while kills < KILLS:
        killed = run_and_kill(company.root, chance)
        kills, finished = kills + killed, finished + (not killed)
        assert_readable(company.root)
        if not killed or chance.random() < 0.3:
            happened.append(chance.choice([company.late, company.correct, company.redefine])())
    clean = company.clean_copy(tmp_path / "clean")
    for root, step in ((company.root, str(chance.randint(1, 12))), (clean, "30")):
        ran = command("backfill", JOIN, *RANGE, "--step-days", step, project=root)
        assert ran.code == 0, ran.err
    assert {"payments", "logins"} & {word for each in happened for word in each.split()}
    found, expected = output(company.root), output(clean)
    assert found.column_names == expected.column_names
    for day in sorted(set(expected.column("ds").to_pylist())):
        assert of_day(found, day).equals(of_day(expected, day)), (seed, day, happened)
    print(f"{kills} kills, {finished} runs that ended first; between them: {', '.join(happened)}")


def run_and_kill(root: Path, chance: random.Random) -> bool:
    """Whether the run was killed before it ended by itself."""
    arguments = ("backfill", JOIN, *RANGE, "--step-days", str(chance.randint(1, 4)), "--json")
    process = subprocess.Popen([ZIPLINE, *arguments, "--project", str(root)], stdout=-3, stderr=-3)
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.6, 2.5))
    else:
        wait_for_a_write(root, process)
        time.sleep(chance.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def wait_for_a_write(root: Path, process: subprocess.Popen[bytes]) -> None:
    before = stored(root)
    while process.poll() is None and stored(root) == before:
        time.sleep(0.01)


def stored(root: Path) -> set[Path]:
    """Those that are seen while others are written and taken away."""
    found = (Path(folder, name) for folder, _, names in os.walk(root / ".zipline") for name in names)
    return {path for path in found if path.suffix == ".parquet"}


def assert_readable(root: Path) -> None:
    """What readers see at any time is whole: each day's rows are the logins of that day."""
    if Path(where(root)).exists() and DeltaOutput(where(root)).days():
        rows = output(root)
        assert len(set(rows.column("login").to_pylist())) == rows.num_rows


def where(root: Path) -> str:
    return load_project(root).table_uri(JOIN)


def output(root: Path) -> pa.Table:
    return DeltaOutput(where(root)).read()


def of_day(rows: pa.Table, day: str) -> pa.Table:
    return rows.filter(pa.compute.equal(rows.column("ds"), day)).combine_chunks()
