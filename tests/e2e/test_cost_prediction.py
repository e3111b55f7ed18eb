"""What `zipline plan` predicts of the demo's joins, against what their backfills then take."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from training.source_tables import source_tables
from zipline.cli.outputs import open_work
from zipline.orchestration.cost import predict
from zipline.project import load_project
from zipline.tables.delta import write_source

ROOT = Path(__file__).parents[2]
UNTIL = "2013-02-28"
JOINS = {
    "flights.departures.departures": ("2013-02-01", "2013-02-14", 7),
    "flights.routes.route_history": ("2013-01-15", "2013-02-14", 30),
    "network.airports.airport_hours": ("2013-02-01", "2013-02-20", 30),
}
RUN = """
import json, sys
from zipline.cli.backfill import backfill
from zipline.cli.outputs import open_work
from zipline.orchestration.cost import predict
from zipline.orchestration.memory import PeakMemory

project, join, start, end, step_days = sys.argv[1:]
work = open_work(join, project, None, start, end, True)
expected = predict(work.plan, work.catalog, start, end, int(step_days))
with PeakMemory() as memory:
    report = backfill(work, step_days=int(step_days), as_of=None, force=False, progress=lambda _: None)
print(json.dumps({
    "rows": [expected.rows, report.rows],
    "bytes": [expected.bytes, report.bytes],
    "peak_bytes": [expected.peak_bytes, memory.bytes],
}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The demo's first two months, in a project of their own."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "configs", folder / "configs")
    opened = load_project(folder)
    for name, rows in source_tables().items():
        has_days = "ds" in rows.column_names
        until = rows.filter(pc.less_equal(rows.column("ds"), UNTIL)) if has_days else rows
        write_source(name, until, "ds" if has_days else None, project=opened)
    return folder


@pytest.mark.parametrize("join", JOINS)
def test_rows_bytes_and_memory_are_within_a_factor_of_two(project, join):
    """In a process of its own, as a user has it: memory is of all that a process holds."""
    command = [sys.executable, "-c", RUN, str(project), join, *map(str, JOINS[join])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for measure, (expected, actual) in json.loads(done.stdout).items():
        assert actual > 0
        assert actual / 2 <= expected <= actual * 2, (measure, expected, actual)


def test_bytes_to_read_are_those_of_the_files_columns_within_a_factor_of_two(project):
    """Counted again from the footers of the Parquet files."""
    start, end, _ = JOINS["flights.routes.route_history"]
    work = open_work("flights.routes.route_history", str(project), None, start, end, True)
    columns = {"flight_id", "carrier", "tailnum", "origin", "dest", "sched_dep"}
    landed = {"carrier", "tailnum", "origin", "dest", "arr_delay", "dep_delay", "arr_time", "dep_time", "diverted"}
    actual = column_bytes(project, columns, start, end) + column_bytes(project, landed, "2012-01-01", end)
    expected = predict(work.plan, work.catalog, start, end, 31).bytes_read
    assert actual / 2 <= expected <= actual * 2


def column_bytes(project, columns, start, end):
    total = 0
    for path in (project / ".zipline" / "warehouse" / "flights").glob("ds=*/*.parquet"):
        if start <= path.parent.name.removeprefix("ds=") <= end:
            group = pq.ParquetFile(path).metadata.row_group(0)
            chunks = [group.column(place) for place in range(group.num_columns)]
            total += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in columns)
    return total


def test_a_prediction_takes_a_fraction_of_the_half_second_that_a_plan_may_take(project):
    work = open_work("flights.departures.departures", str(project), None, "2013-02-01", "2013-02-14", True)
    took = []
    for _ in range(3):
        began = time.process_time()
        predict(work.plan, work.catalog, "2013-02-01", "2013-02-14")
        took.append(time.process_time() - began)
    assert min(took) < 0.25
