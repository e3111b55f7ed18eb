"""Spark Connect: a client that has no JVM, and a server of its own; the engine uses nothing but DataFrames."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daily_company import JOIN, Company
from zipline.cli.main import execute
from zipline.ports import await_listening, free_port
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

SUBMIT = Path(sysconfig.get_paths()["purelib"]) / "pyspark" / "bin" / "spark-submit"
ZIPLINE = str(Path(sys.executable).with_name("zipline"))
RANGE = ("backfill", JOIN, "--start", "2024-03-01", "--end", "2024-03-02")
STARTS_WITHIN = 120


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server on two cores of this machine."""
    port = free_port()
    settings = (f"spark.connect.grpc.binding.port={port}", "spark.ui.enabled=false", "spark.sql.shuffle.partitions=2")
    command = [
        str(SUBMIT),
        "--master",
        "local[2]",
        "--class",
        "org.apache.spark.sql.connect.service.SparkConnectServer",
    ]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    process = subprocess.Popen(
        [*command, *(word for each in settings for word in ("--conf", each))], env=environment, stdout=-3, stderr=-3
    )
    try:
        is_there = await_listening(port, lambda: process.poll() is None, STARTS_WITHIN)
        assert is_there, "the server has ended, or does not listen"
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def zipline(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"} | variables
    return subprocess.run([ZIPLINE, *arguments], capture_output=True, text=True, timeout=240, env=given)


def test_a_backfill_through_connect_gives_the_table_of_the_local_engine(server: str, tmp_path: Path) -> None:
    company = Company(tmp_path / "connect", 41)
    clean = company.clean_copy(tmp_path / "local")
    with (company.root / "zipline.toml").open("a") as file:
        file.write(f'[spark]\nremote = "{server}"\nscratch = "scratch"\n')
    done = zipline(*RANGE, "--engine", "spark", "--json", "--project", str(company.root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["rows"] > 0
    assert execute([*RANGE, "--project", str(clean)]) == 0
    tables = [DeltaOutput(load_project(root).table_uri(JOIN)).read() for root in (company.root, clean)]
    on_connect, locally = (table.sort_by([("ds", "ascending"), ("login", "ascending")]) for table in tables)
    assert on_connect.equals(locally)
    looked = zipline("doctor", "--spark", "--json", "--project", str(company.root))
    findings = {each["what"]: each for each in json.loads(looked.stdout)["findings"]}
    assert findings["spark session"]["detail"].startswith("Spark 4.1")
    assert "spark java" not in findings
