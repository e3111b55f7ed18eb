"""Tables on S3, against a local server that speaks its protocol."""

import datetime as dt
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline.errors import TableError
from zipline.project import load_project
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Partition
from zipline.tables.delta import DeltaOutput, write_source
from zipline.tables.storage import fsspec_options
from zipline.tables.succession import remove, succeed, successor_of, successors_of
from zipline.types import BIGINT, DATE, STRING

SERVER = """
    import sys
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def endpoint():
    """The server has a process of its own: deltalake holds the interpreter's lock while it waits for an answer."""
    command = [sys.executable, "-c", textwrap.dedent(SERVER)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.stdin.close()
        server.wait(timeout=10)


@pytest.fixture
def project(endpoint, tmp_path, monkeypatch):
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    bucket = "lake-" + tmp_path.name.replace("_", "-").lower()
    (tmp_path / "zipline.toml").write_text(
        f"""
        [warehouse]
        url = "s3://{bucket}/warehouse"
        [storage]
        endpoint_url = "{endpoint}"
        region = "eu-west-1"
        access_key_id = "key"
        """
    )
    monkeypatch.setenv("ZIPLINE_STORAGE_SECRET_ACCESS_KEY", "secret")
    loaded = load_project(tmp_path)
    fsspec.filesystem("s3", **fsspec_options("s3", loaded.storage_options)).mkdir(bucket)
    return loaded


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def put(project, name, content):
    files = fsspec.filesystem("s3", **fsspec_options("s3", project.storage_options))
    files.pipe(f"{project.warehouse}/{name}", content)


def parquet(**columns):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue().to_pybytes()


def seen(project, connection, name, **limits):
    relation = open_catalog(project=project).table(name).relation(connection, **limits)
    return connection.sql(f"SELECT * FROM {relation}").fetchall()


def test_parquet_csv_and_json_on_s3_are_read_by_table_name(project, connection):
    put(project, "flights/ds=2020-01-01/a.parquet", parquet(n=[1, 2]))
    put(project, "flights/ds=2020-01-02/a.parquet", parquet(n=[3]))
    put(project, "planes.csv", b"tail,since\nN1,2001-02-03\n")
    put(project, "notes.jsonl", b'{"n": 1}\n{"n": 2}\n')
    catalog = open_catalog(project=project)
    assert catalog.table("flights").schema == {"n": BIGINT, "ds": STRING}
    assert [(each.day, each.rows) for each in catalog.table("flights").partitions("ds")] == [
        ("2020-01-01", 2),
        ("2020-01-02", 1),
    ]
    assert seen(project, connection, "flights", partition="ds", start="2020-01-02") == [(3, "2020-01-02")]
    assert catalog.table("planes").schema == {"tail": STRING, "since": DATE}
    assert seen(project, connection, "planes") == [("N1", dt.date(2001, 2, 3))]
    assert seen(project, connection, "notes") == [(1,), (2,)]
    assert seen(project, connection, f"{project.warehouse}/planes.csv") == [("N1", dt.date(2001, 2, 3))]
    assert catalog.names() == ["flights", "notes", "planes"]


def test_a_source_written_to_s3_is_read_back(project, connection):
    write_source("events", pa.table({"ds": ["2020-01-01", "2020-01-02"], "n": [1, 2]}), "ds", project=project)
    assert seen(project, connection, "events", partition="ds", end="2020-01-01") == [(1, "2020-01-01")]


def test_an_output_on_s3_is_replaced_by_days_and_travels_in_time(project, connection):
    output = DeltaOutput(project.table_uri("out"), project.storage_options)
    rows = pa.table({"n": [1, 2], "m": pa.array([[("k", 1.0)], None], pa.map_(pa.string(), pa.float64()))})
    output.replace("2020-01-01", rows, metadata={"fingerprint": "a"})
    output.replace("2020-01-02", rows.slice(0, 0), metadata={"fingerprint": "b"})
    output.replace("2020-01-01", rows.slice(1), metadata={"fingerprint": "c"})
    assert output.days() == {"2020-01-01", "2020-01-02"}
    assert output.fingerprints() == {"2020-01-01": "c", "2020-01-02": "b"}
    assert output.read().to_pylist() == [{"n": 2, "m": None, "ds": "2020-01-01"}]
    assert output.read(version=0, columns=["n"]).to_pydict() == {"n": [1, 2]}
    assert seen(project, connection, "out") == [(2, None, "2020-01-01")]
    table = open_catalog(project=project).table("out")
    assert [each.day for each in table.partitions("ds")] == ["2020-01-01", "2020-01-02"]
    assert isinstance(table.partitions("ds")[0], Partition)


def test_writers_on_s3_do_not_lose_each_others_days(project):
    output = DeltaOutput(project.table_uri("busy"), project.storage_options)
    days = [f"2020-01-{day:02d}" for day in range(1, 7)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda day: output.replace(day, pa.table({"n": [int(day[-2:])]})), days))
    assert output.read(columns=["n"]).column("n").to_pylist() == [1, 2, 3, 4, 5, 6]


def test_a_successor_on_s3_takes_the_place_of_its_output(project):
    output = DeltaOutput(project.table_uri("flights"), project.storage_options)
    output.replace("2020-01-01", pa.table({"n": [1]}))
    made = successor_of(output, "abc")
    made.replace_days({"2020-01-01": pa.table({"x": [0.5]}), "2020-01-02": pa.table({"x": [1.5]})})
    assert [each.uri for each in successors_of(output)] == [made.uri]
    succeed(output, made, {"fingerprint": "new"})
    remove(made)
    assert successors_of(output) == []
    assert output.read().to_pydict() == {"x": [0.5, 1.5], "ds": ["2020-01-01", "2020-01-02"]}
    assert output.read(version=0).to_pydict() == {"n": [1], "ds": ["2020-01-01"]}


def test_a_unit_on_s3_has_another_token_when_it_is_written_again(project):
    for name in ("a", "b"):
        put(project, f"flights/ds=2020-01-01/{name}.parquet", parquet(n=[1]))
    before = open_catalog(project=project).table("flights").units("ds")
    put(project, "flights/ds=2020-01-01/b.parquet", parquet(n=[2]))
    after = open_catalog(project=project).table("flights").units("ds")
    assert [(unit.name, unit.day) for unit in after] == [(f"ds=2020-01-01/{n}.parquet", "2020-01-01") for n in "ab"]
    assert [new.token == old.token for new, old in zip(after, before, strict=True)] == [True, False]


def test_what_is_wrong_on_s3_is_named(project):
    put(project, "half/a.parquet", parquet(n=[1])[:-5])
    with pytest.raises(TableError, match=r"half/a\.parquet is not a complete Parquet file"):
        open_catalog(project=project).table("half")
    with pytest.raises(TableError, match="there is no table 'flight'") as missing:
        open_catalog(project=project).table("flight")
    assert missing.value.valid == ("half",)
    with pytest.raises(TableError, match=r"s3://nowhere/a\.csv"):
        open_catalog(project=project).table("s3://nowhere/a.csv")
