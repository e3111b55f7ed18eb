"""Applications of Spark as users start them: spark-submit of the jobs, and a driver that is killed while it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.e2e.daily_company import JOIN, Company
from zipline.cli.main import execute
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

REPOSITORY = Path(__file__).parents[3]
SUBMIT = Path(sysconfig.get_paths()["purelib"]) / "pyspark" / "bin" / "spark-submit"
ZIPLINE = str(Path(sys.executable).with_name("zipline"))
FIRST = ("--start", "2024-03-01", "--end", "2024-03-02")
ALL = ("--start", "2024-03-01", "--end", "2024-03-05")


def environment() -> dict[str, str]:
    return {**os.environ, "PYSPARK_PYTHON": sys.executable}


def submit(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The job on two cores of this machine, by the spark-submit of the installed pyspark."""
    settings = ("--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2")
    command = [str(SUBMIT), "--master", "local[2]", "--name", "tested", *settings, str(REPOSITORY / "jobs" / job)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=240, env=environment())


def rows(root: Path) -> pa.Table:
    found = DeltaOutput(load_project(root).table_uri(JOIN)).read()
    return found.sort_by([("ds", "ascending"), ("login", "ascending")])


def locally(company: Company, root: Path, *days: str) -> pa.Table:
    clean = company.clean_copy(root)
    assert execute(["backfill", JOIN, *days, "--project", str(clean)]) == 0
    return rows(clean)


def test_a_submitted_training_set_is_that_of_the_local_engine(tmp_path: Path) -> None:
    company = Company(tmp_path / "spark", 32)
    asked, out = tmp_path / "asked.parquet", tmp_path / "out.parquet"
    times = pa.array([1_709_294_400_000_000, 1_709_380_800_000_000, None], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"customer": ["ann", "bob", "cat"], "ts": times}), asked)
    features = "bank.features.spend,bank.features.wallets.balance_sum"
    arguments = ("--rows", str(asked), "--features", features, "--project", str(company.root))
    done = submit("training_set.py", *arguments, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    named = (
        ",".join(f"bank.features.spend.{name}" for name in spend_columns(out)) + ",bank.features.wallets.balance_sum"
    )
    local = tmp_path / "local.parquet"
    command = ["train-set", "--rows", str(asked), "--features", named, "--out", str(local)]
    assert execute([*command, "--project", str(company.root)]) == 0
    assert pq.read_table(out).equals(pq.read_table(local))
    assert pq.read_table(out).column("spend_amount_last_k3_7d").null_count < 3


def spend_columns(out: Path) -> list[str]:
    return [name.removeprefix("spend_") for name in pq.read_schema(out).names if name.startswith("spend_")]


def test_a_submitted_job_that_fails_says_why_and_how_to_go_on(tmp_path: Path) -> None:
    company = Company(tmp_path / "spark", 33)
    done = submit("spark_backfill.py", "bank.joins.logouts", *FIRST, "--project", str(company.root))
    assert done.returncode == 2
    assert "did you mean 'bank.joins.logins'?" in done.stdout


@pytest.fixture
def settled(tmp_path: Path) -> Company:
    """A company whose first days are published."""
    company = Company(tmp_path / "spark", 34)
    with (company.root / "zipline.toml").open("a") as file:
        file.write('[spark]\nmaster = "local[2]"\n[spark.settings]\nspark.ui.enabled = false\n')
        file.write("spark.zipline.rowsPerTask = 25\n")
    assert execute(["backfill", JOIN, *FIRST, "--project", str(company.root)]) == 0
    return company


def test_a_driver_killed_while_it_writes_leaves_the_old_table_and_a_submitted_job_completes_it(
    settled: Company, tmp_path: Path
) -> None:
    root = settled.root
    table = Path(load_project(root).table_uri(JOIN))
    before, version = rows(root), DeltaTable(str(table)).version()
    known = set(table.rglob("*.parquet"))
    command = [ZIPLINE, "backfill", JOIN, *ALL, "--engine", "spark", "--project", str(root)]
    process = subprocess.Popen(command, env=environment(), stdout=-3, stderr=-3, cwd=REPOSITORY)
    while process.poll() is None and set(table.rglob("*.parquet")) == known:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert set(table.rglob("*.parquet")) - known, "it was killed before it wrote"
    assert DeltaTable(str(table)).version() == version
    assert rows(root).equals(before)
    again = submit("spark_backfill.py", JOIN, *ALL, "--project", str(root))
    assert again.returncode == 0, again.stdout + again.stderr
    assert rows(root).equals(locally(settled, tmp_path / "local", *ALL))
