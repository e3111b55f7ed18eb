"""Separate processes that have the platform from what was shipped alone: they are killed, and they fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests.e2e.daily_company import JOIN, Company
from tests.integration.spark.on_cluster import MARK
from zipline.cli.main import execute
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

REPOSITORY = Path(__file__).parents[3]
RANGE = ("backfill", JOIN, "--start", "2024-03-01", "--end", "2024-03-04", "--json")
LIBRARIES = Path(sysconfig.get_paths()["purelib"])


def wheel(folder: Path) -> Path:
    """The platform as a wheel, built without a network from a copy of the tree, under the name that Spark wants."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    for package in ("zipline", "training"):
        shutil.copytree(REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *offline, str(source)], check=True, timeout=120)
    return next(folder.glob("*.whl")).rename(folder / "zipline.zip")


def python_without_the_platform(folder: Path) -> Path:
    """A Python with the libraries of this one, and no zipline."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next((folder / "lib").glob("python3*")) / "site-packages"
    (packages / "libraries.pth").write_text(f"{LIBRARIES}\n")
    python = folder / "bin" / "python"
    asked = "import duckdb, importlib.util as u; print(u.find_spec('zipline'))"
    said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True, cwd=folder, timeout=60)
    assert said.stdout == "None\n"
    return python


def spark_home(folder: Path) -> Path:
    """The pip-installed Spark, in a folder where its workers may write."""
    folder.mkdir()
    for name in ("bin", "jars", "python", "sbin"):
        (folder / name).symlink_to(LIBRARIES / "pyspark" / name)
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver saw, and the folders of the projects."""
    root = tmp_path_factory.mktemp("cluster")
    company = Company(root / "killed", 21)
    copies = {"killed": company.root}
    for name in ("failed", "local"):
        copies[name] = company.clean_copy(root / name)
    shipped = wheel(root / "wheel")
    settings = (
        f'[spark]\nmaster = "local-cluster[2,1,2048]"\nscratch = "{root}/scratch"\n[spark.settings]\n'
        f'spark.submit.pyFiles = "{shipped}"\nspark.executor.memory = "1g"\nspark.driver.memory = "1g"\n'
        "spark.ui.enabled = false\nspark.sql.shuffle.partitions = 2\nspark.zipline.rowsPerTask = 40\n"
    )
    for name in ("killed", "failed"):
        with (copies[name] / "zipline.toml").open("a") as file:
            file.write(settings)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYSPARK_PYTHON"] = str(python_without_the_platform(root / "python"))
    environment["SPARK_HOME"] = str(spark_home(root / "spark"))
    command = [sys.executable, "-m", "tests.integration.spark.on_cluster", str(copies["killed"]), str(copies["failed"])]
    done = subprocess.run(
        [*command, *RANGE, "--engine", "spark"],
        capture_output=True,
        text=True,
        timeout=400,
        env=environment,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert execute([*RANGE, "--project", str(copies["local"])]) == 0
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert facts["codes"] == [0, 0], done.stdout + done.stderr
    return {**facts, "roots": copies, "shipped": shipped}


def output(root: Path) -> DeltaOutput:
    return DeltaOutput(load_project(root).table_uri(JOIN))


def rows(root: Path) -> pa.Table:
    return output(root).read().sort_by([("ds", "ascending"), ("login", "ascending")])


def test_executors_are_processes_of_their_own_that_have_the_platform_from_the_wheel(seen: dict[str, Any]) -> None:
    assert len(seen["executors"]) == 2
    assert all("zipline.zip/zipline/__init__.py" in file for file in seen["files"])


def test_an_executor_that_is_killed_in_the_middle_changes_nothing(seen: dict[str, Any]) -> None:
    assert seen["killed"]["pid"] in seen["executors"]
    assert 1 <= seen["killed"]["done"] < seen["killed"]["tasks"]
    expected = rows(seen["roots"]["local"])
    assert expected.num_rows > 10
    assert rows(seen["roots"]["killed"]).equals(expected)


def test_a_task_that_failed_once_changes_nothing_and_what_it_wrote_is_in_no_table(seen: dict[str, Any]) -> None:
    root = seen["roots"]["failed"]
    table = Path(output(root).uri)
    assert Path(f"{table.parent}-{MARK}").exists()
    written = set(map(str, table.rglob("*.parquet")))
    published = {uri.removeprefix("file://") for uri in DeltaTable(str(table)).file_uris()}
    assert len(written - published) == 1
    assert rows(root).equals(rows(seen["roots"]["local"]))
