"""Outputs: one day replaced at a time, exactly what was written read back, old versions kept."""

import datetime as dt
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from zipline.errors import TableError, UsageError
from zipline.project import load_project
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Partition
from zipline.tables.delta import DeltaOutput, write_source
from zipline.types import BIGINT, STRING

UTC = dt.timezone.utc
EVERYTHING = pa.table(
    {
        "tiny": pa.array([3, 1, None], pa.int8()),
        "int": pa.array([3, 1, None], pa.int32()),
        "single": pa.array([1.5, float("inf"), None], pa.float32()),
        "truth": pa.array([True, None, False]),
        "text": pa.array(["é", "", None]),
        "bytes": pa.array([b"\x00", b"", None]),
        "day": pa.array([dt.date(1969, 12, 31), None, dt.date(2020, 2, 29)]),
        "instant": pa.array([dt.datetime(1969, 12, 31, 23, 59, 59, 999999), None, dt.datetime(2020, 1, 1)]).cast(
            pa.timestamp("us", "UTC")
        ),
        "money": pa.array([None, 1, 2], pa.int64()).cast(pa.decimal128(22, 2)),
        "list": pa.array([[1, None], [], None], pa.list_(pa.int64())),
        "map": pa.array([[("k", 1.5), ("b", None)], [], None], pa.map_(pa.string(), pa.float64())),
        "by_instant": pa.array([[(0, ["x"])], None, []], pa.map_(pa.timestamp("us", "UTC"), pa.list_(pa.string()))),
        "struct": pa.array([{"x": 1, "y": [{"z": "q"}]}, None, {"x": None, "y": None}]),
    }
)


@pytest.fixture
def output(tmp_path):
    return DeltaOutput(str(tmp_path / "out"))


def counted(n):
    return pa.table({"n": pa.array(range(n), pa.int64())})


def day_column(day, rows):
    return pa.array([day] * rows, pa.string())


def test_every_type_is_read_back_exactly_in_order(output):
    output.replace("2020-01-01", EVERYTHING)
    expected = EVERYTHING.append_column("ds", day_column("2020-01-01", 3))
    assert output.read().schema.equals(expected.schema)
    assert output.read().to_pylist() == expected.to_pylist()


def test_zones_units_and_encodings_are_stored_as_the_one_type_of_their_kind(output):
    rows = pa.table(
        {
            "t": pa.array([0], pa.timestamp("ns", "Asia/Tokyo")),
            "naive": pa.array([0], pa.timestamp("s")),
            "word": pa.array(["x"]).dictionary_encode(),
        }
    )
    output.replace("2020-01-01", rows)
    epoch = dt.datetime(1970, 1, 1, tzinfo=UTC)
    assert output.read(columns=["t", "naive", "word"]).to_pylist() == [{"t": epoch, "naive": epoch, "word": "x"}]


def test_a_day_is_replaced_and_the_others_stay(output):
    output.replace("2020-01-01", counted(3))
    output.replace("2020-01-02", counted(2))
    output.replace("2020-01-01", counted(1))
    assert output.days() == {"2020-01-01", "2020-01-02"}
    assert output.read().to_pydict() == {"n": [0, 0, 1], "ds": ["2020-01-01", "2020-01-02", "2020-01-02"]}
    assert output.read(days=["2020-01-02"], columns=["n"]).to_pydict() == {"n": [0, 1]}


def test_before_the_first_write_there_is_nothing(output):
    assert (output.exists(), output.days(), output.schema(), output.fingerprint(), output.versions()) == (
        False,
        set(),
        {},
        None,
        [],
    )
    with pytest.raises(TableError, match="there is no table"):
        output.read()


def test_a_day_without_rows_exists_and_keeps_the_columns(output):
    output.replace("2020-01-01", EVERYTHING.slice(0, 0))
    assert output.exists()
    assert output.days() == {"2020-01-01"}
    assert output.read().schema.equals(EVERYTHING.append_column("ds", day_column("", 3)).schema)
    output.replace("2020-01-01", EVERYTHING)
    assert output.read().num_rows == 3
    output.replace("2020-01-01", EVERYTHING.slice(0, 0))
    assert (output.days(), output.read().num_rows) == ({"2020-01-01"}, 0)


def test_old_versions_are_readable_as_they_were(output):
    output.replace("2020-01-01", counted(3))
    output.replace("2020-01-01", counted(1).append_column("new", pa.array(["x"])))
    assert output.read(version=0).to_pydict() == {"n": [0, 1, 2], "ds": ["2020-01-01"] * 3}
    assert output.read().to_pydict() == {"n": [0], "new": ["x"], "ds": ["2020-01-01"]}
    with pytest.raises(TableError, match="no version 7") as missing:
        output.read(version=7)
    assert missing.value.valid == ("0 to 1",)


def test_metadata_is_kept_with_the_commit(output):
    before = time.time() * 1e6
    output.replace("2020-01-01", counted(1), metadata={"fingerprint": "a", "run": "r1"})
    output.replace("2020-01-02", counted(0), metadata={"fingerprint": "b"})
    output.replace("2020-01-03", counted(1))
    newest, first = output.versions()[0], output.versions()[-1]
    assert {**first.metadata, "files": ""} == {"fingerprint": "a", "run": "r1", "ds": "2020-01-01", "files": ""}
    assert list(first.files) == ["2020-01-01"]
    assert set(newest.metadata) == {"ds", "files"}
    assert before - 1e6 < first.time < before + 60e6
    assert output.fingerprint() == "b"
    assert output.fingerprints() == {"2020-01-01": "a", "2020-01-02": "b"}


def test_new_columns_are_null_in_old_days_and_missing_ones_in_the_new_day(output):
    output.replace("2020-01-01", pa.table({"a": [1], "b": ["x"]}))
    output.replace("2020-01-02", pa.table({"c": [2.5], "a": [2]}))
    assert output.read().to_pylist() == [
        {"a": 1, "b": "x", "c": None, "ds": "2020-01-01"},
        {"a": 2, "b": None, "c": 2.5, "ds": "2020-01-02"},
    ]


def test_an_empty_day_may_bring_a_new_column(output):
    output.replace("2020-01-01", pa.table({"a": [1]}))
    output.replace("2020-01-02", pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())}))
    assert list(output.schema()) == ["a", "b", "ds"]
    assert DeltaTable(output.uri).metadata().configuration == {"delta.enableExpiredLogCleanup": "false"}
    assert output.read().to_pylist() == [{"a": 1, "b": None, "ds": "2020-01-01"}]


def test_a_type_that_changes_is_refused_and_the_day_kept(output):
    output.replace("2020-01-01", pa.table({"a": [1]}))
    with pytest.raises(TableError, match=r"'a' is string, in the table .* it is int64"):
        output.replace("2020-01-01", pa.table({"a": ["x"]}))
    assert output.read(columns=["a"]).to_pydict() == {"a": [1]}


def test_a_column_of_nothing_but_null_needs_a_type(output):
    for nothing in (pa.nulls(1), pa.array([[None]]), pa.array([{"k": None}])):
        with pytest.raises(TableError, match="nothing but null is known of the column 'a'"):
            output.replace("2020-01-01", pa.table({"a": nothing}))
    assert not output.exists()
    output.replace("2020-01-01", pa.table({"a": ["x"]}))
    output.replace("2020-01-02", pa.table({"a": pa.nulls(1)}))
    assert output.read(columns=["a"]).to_pydict() == {"a": ["x", None]}


def test_rows_of_another_day_and_names_that_are_no_days_are_refused(output):
    with pytest.raises(UsageError, match="rows of 2020-01-02 cannot replace the day 2020-01-01"):
        output.replace("2020-01-01", pa.table({"ds": ["2020-01-02"]}))
    with pytest.raises(TableError, match="'2020-1-1', which is not a day"):
        output.replace("2020-1-1", counted(1))


def test_writers_of_different_days_do_not_disturb_each_other(output):
    days = [f"2020-01-{day:02d}" for day in range(1, 13)]

    def write(day):
        DeltaOutput(output.uri).replace(day, counted(int(day[-2:])), metadata={"fingerprint": day})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, days))
    assert output.read().num_rows == sum(range(1, 13))
    assert output.fingerprints() == {day: day for day in days}


def test_days_without_rows_may_be_the_first_written_at_once(output):
    days = [f"2020-01-{day:02d}" for day in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: DeltaOutput(output.uri).replace(day, counted(0)), days))
    assert output.days() == set(days)


def test_writers_of_one_day_leave_the_rows_of_one_of_them(output):
    def write(value):
        DeltaOutput(output.uri).replace("2020-01-01", pa.table({"n": [value] * 3}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert output.read(columns=["n"]).to_pydict() in [{"n": [value] * 3} for value in range(4)]


def test_writers_of_one_new_day_leave_the_rows_of_one_of_them(output):
    output.replace("2020-01-01", counted(1))
    other = ("2020-01-02", "2020-01-03")

    def write(value):
        days = {day: pa.table({"n": pa.array([value] * 3, pa.int64())}) for day in other}
        DeltaOutput(output.uri).replace_days(days)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    rows = output.read(other, columns=["n"]).column("n").to_pylist()
    assert rows in [[value] * 6 for value in range(4)]


def test_days_with_and_without_rows_are_one_commit(output):
    output.replace_days({"2020-01-01": counted(2), "2020-01-02": counted(0), "2020-01-03": counted(1)})
    [commit] = output.versions()
    assert commit.days == ("2020-01-01", "2020-01-02", "2020-01-03")
    assert output.days() == set(commit.days)
    assert output.read(columns=["n", "ds"]).to_pydict() == {"n": [0, 1, 0], "ds": ["2020-01-01"] * 2 + ["2020-01-03"]}


WRITER = """
    import sys
    import pyarrow as pa
    from zipline.tables.delta import DeltaOutput
    output = DeltaOutput(sys.argv[1])
    for value in range(1_000_000):
        output.replace("2020-01-01", pa.table({"n": pa.repeat(pa.scalar(value), 200_000)}))
        print(value, flush=True)
"""


@pytest.mark.parametrize("commits", [1, 4])
def test_a_killed_writer_leaves_a_whole_day(output, commits):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), output.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        finished = [int(writer.stdout.readline()) for _ in range(commits)]
        time.sleep(0.003 * commits)
        os.kill(writer.pid, signal.SIGKILL)
    values = output.read(columns=["n"]).column("n")
    assert len(values) == 200_000
    assert len(values.unique()) == 1
    assert values[0].as_py() >= finished[-1]
    output.replace("2020-01-01", counted(2))
    assert output.read().num_rows == 2


FULL_DISK = """
    import resource, signal, sys
    import pyarrow as pa
    from zipline.errors import TableError
    from zipline.tables.delta import DeltaOutput
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    try:
        DeltaOutput(sys.argv[1]).replace("2020-01-01", pa.table({"n": range(1_000_000)}))
    except TableError as full:
        print(full)
"""


def test_a_full_disk_is_an_error_and_the_old_day_stays(output):
    output.replace("2020-01-01", counted(3))
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), output.uri]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the day 2020-01-01 of" in done.stdout
    assert "could not be written" in done.stdout
    assert output.read(columns=["n"]).to_pydict() == {"n": [0, 1, 2]}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


# Delta tables as sources


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def test_an_output_is_a_source_with_days_pruned(output, connection):
    output.replace("2020-01-01", pa.table({"a": [1, 2]}))
    output.replace("2020-01-02", pa.table({"a": [3], "b": ["x"]}))
    table = open_catalog({"t": output.uri}).table("t")
    assert table.schema == {"a": BIGINT, "b": STRING, "ds": STRING}
    first, second = table.partitions("ds")
    assert (first.day, first.rows, second.day, second.rows) == ("2020-01-01", 2, "2020-01-02", 1)
    assert table.statistics().rows == 3
    whole = table.relation(connection)
    assert connection.sql(f"SELECT * FROM {whole} ORDER BY a").fetchall() == [
        (1, None, "2020-01-01"),
        (2, None, "2020-01-01"),
        (3, "x", "2020-01-02"),
    ]
    only_first = table.relation(connection, partition="ds", end="2020-01-01")
    assert "2020-01-02" not in only_first
    assert connection.sql(f"SELECT b, a FROM {only_first} ORDER BY a").fetchall() == [(None, 1), (None, 2)]
    nothing = table.relation(connection, partition="ds", start="2021-01-01")
    assert connection.sql(f"SELECT * FROM {nothing}").fetchall() == []


def test_a_delta_source_keeps_its_nested_and_zoned_types(output, connection):
    output.replace("2020-01-01", EVERYTHING)
    relation = open_catalog({"t": output.uri}).table("t").relation(connection)
    read = connection.sql(f"SELECT * EXCLUDE ds FROM {relation}").to_arrow_table()
    assert read.to_pylist() == EVERYTHING.to_pylist()


def test_tables_partitioned_by_a_date_or_by_other_keys_are_sources(tmp_path, connection):
    days = [dt.date(2020, 1, 1), dt.date(2020, 1, 2)]
    rows = pa.table({"day": days, "k": ["x", None], "n": [1, 2], "naive": pa.array([0, 0], pa.timestamp("us"))})
    write_deltalake(str(tmp_path / "t"), rows, partition_by=["day", "k"])
    table = open_catalog({"t": tmp_path / "t"}).table("t")
    limited = table.relation(connection, partition="day", start="2020-01-02")
    assert connection.sql(f"SELECT n, day, k, typeof(naive) FROM {limited}").fetchall() == [
        (2, days[1], None, "TIMESTAMP WITH TIME ZONE")
    ]
    assert [partition.day for partition in table.partitions("day")] == ["2020-01-01", "2020-01-02"]


def test_a_broken_log_is_an_error_that_names_the_table(tmp_path):
    log = tmp_path / "t" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("{half")
    with pytest.raises(TableError, match=str(tmp_path / "t")):
        open_catalog({"t": tmp_path / "t"}).table("t")


def test_write_source_puts_a_table_into_the_warehouse_in_its_order(tmp_path, connection):
    project = load_project(tmp_path)
    values = list(range(300_000, 0, -1))
    write_source("events", pa.table({"n": values}), project=project)
    table = open_catalog(project=project).table("events")
    assert [n for (n,) in connection.sql(f"SELECT n FROM {table.relation(connection)}").fetchall()] == values
    write_source("events", pa.table({"n": ["other"], "ds": ["2020-01-01"]}), "ds", project=project)
    again = open_catalog(project=project).table("events")
    assert again.schema == {"n": STRING, "ds": STRING}
    assert [(each.day, each.rows) for each in again.partitions("ds")] == [("2020-01-01", 1)]
    assert isinstance(again.partitions("ds")[0], Partition)
    assert DeltaTable(project.table_uri("events")).version() == 1


def test_write_source_refuses_a_partition_column_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match="no column 'day'"):
        write_source("events", counted(1), "day", project=load_project(tmp_path))


def test_a_table_without_rows_is_a_source(tmp_path, connection):
    project = load_project(tmp_path)
    write_source("events", EVERYTHING.slice(0, 0), project=project)
    table = open_catalog(project=project).table("events")
    assert list(table.schema) == EVERYTHING.column_names
    assert connection.sql(f"SELECT * FROM {table.relation(connection)}").fetchall() == []
