"""What a run on Spark is predicted to cost, by hand: no session, no pyspark."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.performance.spark.scale.__main__ import END, EVENT_ROWS, KEYS, LEFT_ROWS, START, asked, write_project
from zipline import (
    Aggregation,
    BootstrapPart,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Query,
)
from zipline.cli.outputs import open_work
from zipline.engines.spark.packing import ROW, Packing, Shape
from zipline.engines.spark.sizes import Sizing
from zipline.engines.spark.splits import MOST, OPENING, tasks_of
from zipline.engines.spark.widths import beyond, column_bytes, packed_bytes, row_bytes
from zipline.errors import UsageError
from zipline.orchestration.spark_cost import estimate_on_spark, sizing_of
from zipline.plan.build import plan_join
from zipline.spark_settings import Spark
from zipline.tables.catalog import open_catalog
from zipline.types import BIGINT, DOUBLE, STRING, TIMESTAMP, ArrayType, DecimalType, MapType

BILLION = 10**9
DOCS = Path(__file__).parents[3] / "docs" / "spark.md"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A hundred group-bys over five tables of two terabytes and a billion left rows, as the command sees them."""
    folder = tmp_path_factory.mktemp("scale") / "project"
    write_project(folder)
    work = open_work("scale.joins.wide", str(folder), None, START, END, True)
    rows = {"orders": LEFT_ROWS} | {f"{key}_events": EVENT_ROWS for key in KEYS}
    sizing = Sizing(rows_per_task=2_000_000, cores=2_000)
    return estimate_on_spark(work.plan, work.catalog, sizing, start=START, end=END, rows=rows)


def test_a_hundred_group_bys_by_five_sets_of_keys_are_six_shuffles(wide):
    assert wide.total.shuffles == 5 + 1
    by_keys = [step for step in wide.steps if step.title.startswith("20 parts by ")]
    assert [step.title.removeprefix("20 parts by ") for step in by_keys] == list(KEYS)
    assert [step.shuffles for step in by_keys] == [1] * 5


def test_a_set_of_keys_moves_its_left_rows_and_its_events_once_for_twenty_group_bys(wide):
    step = next(step for step in wide.steps if step.title == "20 parts by user")
    # Columns: number, time, day (ten letters and four bytes), a key, the piece; of events a key, time, four values.
    left, event = 8 + 8 + 14 + 8 + 1, 8 + 8 + 4 * 8 + 1
    columns = 1 * BILLION * left + 20 * BILLION * event
    bundles = (BILLION // 500_000 + 20 * BILLION // 1_000_000) * 10_500
    assert step.rows_shuffled == step.rows_sorted == 21 * BILLION
    assert step.bytes_shuffled == step.bytes_bundled
    assert columns + 300 * bundles < step.bytes_shuffled < columns + 600 * bundles
    assert step.tasks == 21 * BILLION // 2_000_000 == 10_500
    # Of a row's 100 bytes in columns these are read: key, time and four values.
    assert step.bytes_read == 20 * BILLION * (8 + 8 + 4 * 8)


def test_all_is_brought_together_in_columns_of_its_own_for_each_set_of_keys(wide):
    step = wide.steps[-1]
    # Of the left: number, time, day, five keys; of each set of keys number, day, 20 x 2 x 3 features; and the piece.
    left, outcome = 8 + 8 + 14 + 5 * 8 + 1, 8 + 14 + 120 * 8 + 1
    columns = BILLION * (left + 5 * outcome)
    bundles = 5 * 10_500 * 3_000
    facts = 5 * 10_500
    assert step.rows_shuffled == 6 * BILLION + facts
    assert columns + 120 * 16 * bundles < step.bytes_shuffled < columns + 120 * 64 * bundles
    assert 0 < step.bytes_shuffled - step.bytes_bundled < facts * 250
    assert step.tasks == 6 * BILLION // 2_000_000
    assert step.bytes_output == BILLION * (5 * 8 + 8 + 600 * 8)


def test_left_rows_in_files_are_not_written_down(wide):
    assert wide.steps[0].title == "first and last query time"
    assert wide.steps[0].bytes_read == BILLION * (5 * 8 + 8)
    assert wide.total.bytes_scratch == 0


def test_hot_keys_are_looked_for_in_keys_and_times_alone(wide):
    step = next(step for step in wide.steps if step.title == "looking for hot keys of city")
    assert (step.shuffles, step.tasks, step.bytes_read) == (0, 0, 20 * BILLION * 16)


def test_the_command_prints_what_the_documentation_shows_and_needs_no_pyspark(tmp_path):
    write_project(tmp_path / "project")
    code = "import sys; sys.modules['pyspark'] = None\nfrom zipline.cli.main import execute\nexecute(sys.argv[1:])"
    command = [sys.executable, "-c", code, *asked(tmp_path / "project")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.rstrip()
    assert printed in DOCS.read_text(), printed
    total = next(line for line in printed.splitlines() if line.startswith("all "))
    assert total.split()[1:4] == ["184,000", "55,500", "6"]
    assert total.split()[5:7] == ["10.5", "TiB"]


CLICKS = EventSource("clicks", Query(["user", "item", "price"], time="at"))
LEFT = EventSource("orders", Query(["id", "user", "item"], time="at"))


@pytest.fixture
def tables(tmp_path):
    """Orders and clicks of four days, a hundred a day, and values that ten orders are given."""
    days = [f"2024-03-0{day}" for day in (1, 2, 3, 4)]
    rows = [(day, number) for day in days for number in range(100)]
    columns = {
        "id": list(range(400)),
        "user": [number % 7 for _, number in rows],
        "item": [number % 5 for _, number in rows],
        "price": [number / 4 for _, number in rows],
        "at": pa.array([f"{day}T{number % 24:02}:00:00Z" for day, number in rows]).cast(pa.timestamp("us", "UTC")),
    }
    table = pa.table(columns)
    found = {}
    for name, rows in (("orders", table), ("clicks", table), ("known", table.slice(0, 10))):
        (tmp_path / name).mkdir()
        pq.write_table(rows, tmp_path / name / "part-0.parquet")
        found[name] = str(tmp_path / name)
    return found


def totals(name, key, windows=("1d",), source=CLICKS):
    return JoinPart(GroupBy([key], [source], [Aggregation("price", "SUM", windows=list(windows))], name=name))


def estimated(join, tables, start=None, end=None, rows=None, sizing=None):
    catalog = open_catalog(tables)
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    sizing = sizing or Sizing(rows_per_task=100, cores=2)
    return estimate_on_spark(plan, catalog, sizing, start=start, end=end, rows=rows)


def moves(estimate):
    return {step.title: step.rows_shuffled for step in estimate.steps if step.shuffles}


def test_only_days_that_queries_see_are_moved(tables):
    of_a_day = estimated(Join(LEFT, [totals("a", "user", ["2h"])], name="j"), tables, "2024-03-03", "2024-03-03")
    assert moves(of_a_day) == {"1 part by user": 100 + 200}
    everything = estimated(Join(LEFT, [totals("a", "user", [None])], name="j"), tables, "2024-03-03", "2024-03-03")
    assert moves(everything) == {"1 part by user": 100 + 300}


def test_parts_of_the_same_keys_move_nothing_more_and_other_keys_twice(tables):
    one = estimated(Join(LEFT, [totals("a", "user")], name="j"), tables)
    assert moves(estimated(Join(LEFT, [totals("a", "user"), totals("b", "user")], name="j"), tables)) == {
        "2 parts by user": 800
    }
    assert one.total.shuffles == 1
    both = estimated(Join(LEFT, [totals("a", "user"), totals("b", "item")], name="j"), tables)
    # Eight tasks by user, eight by item: each counts what it saw in a row more.
    assert moves(both) == {"1 part by user": 800, "1 part by item": 800, "bringing together": 3 * 400 + 2 * 8}


def test_given_values_are_one_shuffle_of_left_rows_more(tables):
    given = BootstrapPart("known", ["a_price_sum_1d"], Query({"id": "id", "a_price_sum_1d": "price"}))
    join = Join(LEFT, [totals("a", "user")], row_id=["id"], bootstrap=[given], name="j")
    assert moves(estimated(join, tables)) == {"left rows with given values": 410, "1 part by user": 800}


def test_a_parent_is_computed_before_what_reads_it(tables):
    parent = Join(EventSource("clicks", Query(["user", "item"], time="at")), [totals("a", "item")], name="parent")
    chained = JoinSource(parent, Query({"user": "user", "price": "a_price_sum_1d"}))
    found = estimated(Join(LEFT, [totals("b", "user", source=chained)], name="j"), tables)
    assert list(moves(found)) == ["parent: 1 part by item", "1 part by user"]
    # Of the parent's columns user, item, ts and the feature are kept, eight bytes each.
    kept = next(step for step in found.steps if step.title == "parent: 1 part by item")
    assert kept.bytes_scratch == 400 * 4 * 8


def test_the_end_of_labels_is_looked_for(tables):
    labels = LabelPart([totals("late", "user")], offset="1d")
    found = estimated(Join(LEFT, [totals("a", "user")], labels=labels, name="j"), tables)
    assert "the end of the labels in clicks" in [step.title for step in found.steps]
    assert found.total.shuffles == 1


def test_supposed_rows_are_more_of_the_same_on_each_day(tables):
    join = Join(LEFT, [totals("a", "user", ["2h"])], name="j")
    more = estimated(join, tables, "2024-03-03", "2024-03-03", rows={"clicks": 4_000_000})
    # Of four days two are seen; so many tasks would write too many files. Each task with a left row counts.
    assert moves(more) == {"1 part by user": 100 + 2_000_000, "bringing together": 2 * 100 + 100}
    # A run is divided by what tables have, not by what it sees of them.
    assert [step.tasks for step in more.steps if step.shuffles] == [(4_000_000 + 100) // 100, 2]
    assert any(step.title.startswith("looking for hot keys") for step in more.steps)


def test_rows_can_be_supposed_only_of_tables_that_are_read(tables):
    with pytest.raises(UsageError, match="does not read it") as refused:
        estimated(Join(LEFT, [totals("a", "user")], name="j"), tables, rows={"clikcs": 1})
    assert set(refused.value.valid) == {"orders", "clicks"}


def test_days_are_brought_together_where_files_would_be_many(tables, monkeypatch):
    monkeypatch.setattr("zipline.engines.spark.moves.MOST_FILES", 64)
    join = Join(LEFT, [totals("a", "user")], name="j")
    few = estimated(join, tables, "2024-03-01", "2024-03-04", sizing=Sizing(1_000, 2))
    many = estimated(join, tables, "2024-03-01", "2024-03-04", sizing=Sizing(10, 2))
    assert (few.total.shuffles, many.total.shuffles) == (1, 2)


def test_rows_are_laid_out_in_words():
    assert row_bytes(3, 0) == 4 + 8 + 24
    assert row_bytes(65, 0) == 4 + 16 + 65 * 8
    assert [beyond(dtype) for dtype in (BIGINT, STRING, DecimalType(precision=18), DecimalType(precision=19))] == [
        0,
        16,
        0,
        16,
    ]
    # How many, which are null, and the values: of five doubles 8 + 8 + 40.
    assert beyond(ArrayType(element=DOUBLE), 5) == 56
    # How long the keys are, then both lists: of two texts 8 + 8 + 2 x (8 + 16), of two doubles 8 + 8 + 16.
    assert beyond(MapType(key=STRING, value=DOUBLE), 2) == 8 + 64 + 32


def test_a_packed_row_has_room_for_the_widest_lane():
    one = Shape((ROW,), {"a": BIGINT, "b": BIGINT})
    other = Shape(("__t",), {"c": DOUBLE, "d": STRING})
    packing = Packing((one, other))
    fields = 2 + 2 + 2 + 1 + 1
    assert packed_bytes(packing, 0, {}, {}) == row_bytes(fields, 0)
    assert packed_bytes(packing, 1, {}, {}) == row_bytes(fields, 16)


def test_columns_take_what_their_values_take():
    assert column_bytes([("a", BIGINT), ("b", STRING), ("c", TIMESTAMP)], {}) == 8 + 20 + 8


@pytest.mark.parametrize(
    ("files", "cores", "tasks"),
    [
        ([], 2, 0),
        ([1_000], 2, 1),
        # A file that is opened counts as four megabytes.
        ([1_000] * 4, 4, 4),
        ([1_000] * 4, 2, 2),
        ([10 * MOST], 2, 10),
        ([MOST - OPENING] * 3, 2, 3),
        # All cores have something to read.
        ([64 * 1024**2], 8, 8),
    ],
)
def test_files_are_divided_among_tasks(files, cores, tasks):
    assert tasks_of(files, cores) == tasks


def test_a_run_is_divided_as_the_projects_settings_say():
    assert sizing_of(Spark(), 3).cores == 3
    assert sizing_of(Spark(master="yarn"), 3).cores == 200
    own = Spark(settings={"spark.sql.shuffle.partitions": "64", "spark.zipline.rowsPerTask": "500"})
    assert (sizing_of(own, 3).cores, sizing_of(own, 3).rows_per_task) == (64, 500)
    assert sizing_of(own, 3, cores=9).cores == 9
