"""Parquet, CSV and JSON-lines sources: types over all of the data, days pruned, broken files named."""

import datetime as dt
import gzip

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline.errors import TableError
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Partition, Statistics
from zipline.tables.paths import PathSource, format_of, is_path
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, NULL, STRING, TIMESTAMP, StructType, array

UTC = dt.timezone.utc


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def table(path):
    return open_catalog({"t": path}).table("t")


def seen(connection, path, columns="*", **limits):
    return connection.sql(f"SELECT {columns} FROM {table(path).relation(connection, **limits)} AS s").fetchall()


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def stored(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


# CSV


def test_csv_columns_have_the_type_that_all_their_values_have(tmp_path, connection):
    header = "whole,fraction,truth,day,instant,text,zip,huge,nothing\n"
    lines = [
        "1,2,true,2013-01-01,2013-01-01 05:00,x,00501,1,",
        '-2,2.5e3,FALSE,2013-01-02,2013-01-01T05:00:01.5+02:00,"a,""b""",10001,99999999999999999999,',
        ",,,,2013-01-01T05:00:00Z,,,,",
    ]
    path = written(tmp_path / "a.csv", header + "\n".join(lines) + "\n")
    assert table(path).schema == {
        "whole": BIGINT,
        "fraction": DOUBLE,
        "truth": BOOLEAN,
        "day": DATE,
        "instant": TIMESTAMP,
        "text": STRING,
        "zip": STRING,
        "huge": STRING,
        "nothing": NULL,
    }
    assert seen(connection, path, "whole, fraction, truth, day, text, zip, nothing") == [
        (1, 2.0, True, dt.date(2013, 1, 1), "x", "00501", None),
        (-2, 2500.0, False, dt.date(2013, 1, 2), 'a,"b"', "10001", None),
        (None,) * 7,
    ]
    assert seen(connection, path, "instant") == [
        (dt.datetime(2013, 1, 1, 5, tzinfo=UTC),),
        (dt.datetime(2013, 1, 1, 3, 0, 1, 500000, tzinfo=UTC),),
        (dt.datetime(2013, 1, 1, 5, tzinfo=UTC),),
    ]


@pytest.mark.parametrize(
    ("usual", "last", "expected"),
    [
        ("1", "x", STRING),
        ("1", "1.5", DOUBLE),
        ("", "7", BIGINT),
        ("", "x", STRING),
        ("2013-01-01", "2013-01-01 10:00", TIMESTAMP),
        ("2013-01-01", "2013-02-30", STRING),
        ("true", "1", STRING),
        ("1", "9223372036854775808", STRING),
        ("1.5", "9223372036854775808", STRING),
        ("1", "2013-01-01", STRING),
    ],
)
def test_the_last_value_of_a_long_csv_counts(tmp_path, connection, usual, last, expected):
    path = written(tmp_path / "a.csv", "k,v\n" + f"k,{usual}\n" * 30_000 + f"k,{last}\n")
    assert table(path).schema["v"] == expected
    assert len(seen(connection, path)) == 30_001


def test_null_values_of_a_csv_are_configurable(tmp_path, connection):
    path = written(tmp_path / "a.csv", "a\n1\nNA\n\n")
    assert table(path).schema == {"a": STRING}
    with_na = PathSource(path, null_values=["", "NA"])
    assert table(with_na).schema == {"a": BIGINT}
    assert seen(connection, with_na)[:2] == [(1,), (None,)]


def test_csv_may_be_compressed_or_separated_by_tabs_or_semicolons(tmp_path, connection):
    assert seen(connection, written(tmp_path / "a.csv.gz", "a,b\n1,x\n")) == [(1, "x")]
    assert seen(connection, written(tmp_path / "a.tsv", "a\tb\n1\tx,y\n")) == [(1, "x,y")]
    assert seen(connection, PathSource(written(tmp_path / "s.csv", "a;b\n1;x\n"), delimiter=";")) == [(1, "x")]


def test_a_csv_of_a_header_alone_has_columns_and_no_rows(tmp_path, connection):
    path = written(tmp_path / "a.csv", "a,b\n")
    assert table(path).schema == {"a": NULL, "b": NULL}
    assert seen(connection, path) == []


@pytest.mark.parametrize("body", ["1,2\n3\n", "1,2\n3,4,5\n"])
def test_a_csv_row_of_other_width_is_an_error_with_file_and_line(tmp_path, body):
    path = written(tmp_path / "wide.csv", "a,b\n" + body)
    with pytest.raises(TableError, match=r"wide\.csv, line 3: Expected Number of Columns: 2"):
        table(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'1,"x\n', "line 2: Value with unterminated quote"),
        (b"1,2\n1,\xe9\n", "line 3: Invalid unicode|can't decode byte 0xe9"),
    ],
)
def test_a_csv_that_does_not_parse_is_an_error_with_file_and_line(tmp_path, body, said):
    path = tmp_path / "broken.csv"
    path.write_bytes(b"a,b\n" + body)
    with pytest.raises(TableError, match=said) as refused:
        table(path)
    assert "broken.csv" in str(refused.value)


def test_a_csv_with_byte_order_mark_and_windows_lines_is_read(tmp_path, connection):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,x\r\n")
    assert seen(connection, path, "a, b") == [(1, "x")]


@pytest.mark.parametrize(
    ("text", "said"), [("", "is empty"), ("a,,b\n", "has no name"), ("a,A\n", "'a' and 'A' have the same name")]
)
def test_a_csv_header_must_name_every_column_once(tmp_path, text, said):
    with pytest.raises(TableError, match=said):
        table(written(tmp_path / "a.csv", text))


def test_csv_files_of_a_folder_may_order_their_columns_differently(tmp_path, connection):
    written(tmp_path / "f" / "1.csv", "a,b\n1,x\n")
    written(tmp_path / "f" / "2.csv", "b,a\ny,2.5\n")
    assert table(tmp_path / "f").schema == {"a": DOUBLE, "b": STRING}
    assert seen(connection, tmp_path / "f") == [(1.0, "x"), (2.5, "y")]


def test_a_csv_type_that_changes_between_files_is_an_error_that_names_file_and_column(tmp_path):
    written(tmp_path / "f" / "1.csv", "a,b\n1,x\n")
    written(tmp_path / "f" / "2.csv", "a,b\none,y\n")
    with pytest.raises(TableError, match=r"2\.csv: the column 'a' is STRING, in the files before it is BIGINT"):
        table(tmp_path / "f")


def test_a_csv_of_a_folder_that_lacks_a_column_is_an_error(tmp_path):
    written(tmp_path / "f" / "1.csv", "a,b\n1,x\n")
    written(tmp_path / "f" / "2.csv", "a\n1\n")
    with pytest.raises(TableError, match=r"2\.csv has no column 'b'"):
        table(tmp_path / "f")


# JSON lines


def test_json_lines_have_the_types_that_json_says(tmp_path, connection):
    path = written(
        tmp_path / "a.jsonl.gz",
        '{"n": 1, "x": 1, "day": "2020-01-01", "o": {"k": [1]}, "none": null}\n{"n": -2, "x": 2.5, "late": true}\n',
    )
    assert table(path).schema == {
        "n": BIGINT,
        "x": DOUBLE,
        "day": STRING,
        "o": StructType(fields=(("k", array(BIGINT)),)),
        "none": NULL,
        "late": BOOLEAN,
    }
    assert seen(connection, path) == [(1, 1.0, "2020-01-01", {"k": [1]}, None, None), (-2, 2.5, None, None, None, True)]


def test_json_files_of_a_folder_may_lack_keys_that_others_have(tmp_path, connection):
    written(tmp_path / "f" / "1.jsonl", '{"a": 1}\n')
    written(tmp_path / "f" / "2.jsonl", '{"a": 2, "o": {"k": 1}}\n{"o": {"l": "x"}}\n')
    assert seen(connection, tmp_path / "f") == [(1, None), (2, {"k": 1, "l": None}), (None, {"k": None, "l": "x"})]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a":\n', "line"),
        ('{"a": 1}\n{"a": "x"}\n', "'a' holds values of several kinds"),
        ('[{"a": 1}]\n', "one JSON object a line"),
        ('{"a": 1}\n{"a": 18446744073709551615}\n', "line 2"),
        ('{"a": 1, "A": 2}\n', "have the same name"),
    ],
)
def test_json_that_is_not_rows_of_one_type_is_an_error_that_names_the_file(tmp_path, text, said):
    with pytest.raises(TableError, match=said) as refused:
        table(written(tmp_path / "bad.jsonl", text))
    assert "bad.jsonl" in str(refused.value)


# Parquet


def test_a_hive_folder_has_its_keys_as_columns_and_days_are_pruned(tmp_path, connection):
    for day in ("2020-01-01", "2020-01-02", "2020-01-03"):
        stored(tmp_path / "f" / f"ds={day}" / "hour=7" / "a.parquet", n=[int(day[-1])])
    assert table(tmp_path / "f").schema == {"n": BIGINT, "ds": STRING, "hour": BIGINT}
    limits = {"partition": "ds", "start": "2020-01-02", "end": "2020-01-02"}
    assert seen(connection, tmp_path / "f", **limits) == [(2, "2020-01-02", 7)]
    (tmp_path / "f" / "ds=2020-01-01" / "hour=7" / "a.parquet").exists()
    relation = table(tmp_path / "f").relation(connection, **limits)
    assert "2020-01-01" not in relation
    assert "2020-01-03" not in relation
    assert seen(connection, tmp_path / "f", partition="ds", start="2021-01-01") == []


def test_partitions_of_a_hive_folder_know_rows_and_bytes(tmp_path):
    first = stored(tmp_path / "f" / "ds=2020-01-01" / "a.parquet", n=[1, 2])
    second = stored(tmp_path / "f" / "ds=2020-01-01" / "b.parquet", n=[3])
    stored(tmp_path / "f" / "ds=__HIVE_DEFAULT_PARTITION__" / "a.parquet", n=[9])
    size = first.stat().st_size + second.stat().st_size
    assert table(tmp_path / "f").partitions("ds") == [Partition("2020-01-01", 3, size)]
    assert table(tmp_path / "f").partitions("absent") == []
    assert table(tmp_path / "f").statistics().rows == 4


def test_days_of_an_ordinary_column_are_counted_and_limited(tmp_path, connection):
    path = stored(tmp_path / "a.parquet", ds=["2020-01-02", "2020-01-01", None], n=[1, 2, 3])
    assert table(path).partitions("ds") == [Partition("2020-01-01", 1, None), Partition("2020-01-02", 1, None)]
    assert seen(connection, path, "n", partition="ds", end="2020-01-01") == [(2,)]
    assert table(path).statistics() == Statistics(3, path.stat().st_size, 1)


def test_naive_parquet_timestamps_are_zoned(tmp_path, connection):
    path = stored(tmp_path / "a.parquet", t=pa.array([1_000_000], pa.timestamp("us")))
    assert seen(connection, path, "t, typeof(t)") == [
        (dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "TIMESTAMP WITH TIME ZONE")
    ]


def test_a_column_of_nulls_in_one_file_takes_the_type_of_the_others(tmp_path, connection):
    stored(tmp_path / "f" / "1.parquet", a=pa.nulls(1), b=[1])
    stored(tmp_path / "f" / "2.parquet", b=[2], a=["x"])
    assert table(tmp_path / "f").schema == {"a": STRING, "b": BIGINT}
    assert seen(connection, tmp_path / "f") == [(None, 1), ("x", 2)]


@pytest.mark.parametrize("keep", [0, 3, -1, -8])
def test_a_half_written_parquet_file_is_an_error_that_names_it(tmp_path, keep):
    whole = stored(tmp_path / "f" / "1.parquet", a=[1]).read_bytes()
    (tmp_path / "f" / "2.parquet").write_bytes(whole[:keep])
    with pytest.raises(TableError, match=r"2\.parquet is not a complete Parquet file"):
        table(tmp_path / "f")


def test_a_parquet_type_that_changes_between_files_is_an_error_that_names_file_and_column(tmp_path):
    stored(tmp_path / "f" / "1.parquet", a=[1], b=[1])
    stored(tmp_path / "f" / "2.parquet", a=[1], b=["x"])
    with pytest.raises(TableError, match=r"2\.parquet: the column 'b' is STRING, in the files before it is BIGINT"):
        table(tmp_path / "f")


def test_a_parquet_file_that_lacks_a_column_is_an_error(tmp_path):
    stored(tmp_path / "f" / "1.parquet", a=[1], b=[1])
    stored(tmp_path / "f" / "2.parquet", a=[1])
    with pytest.raises(TableError, match=r"2\.parquet has no column 'b'"):
        table(tmp_path / "f")


def test_hidden_files_and_those_of_writers_are_no_data(tmp_path, connection):
    stored(tmp_path / "f" / "1.parquet", a=[1])
    written(tmp_path / "f" / "_SUCCESS", "")
    written(tmp_path / "f" / ".1.parquet.crc", "x")
    written(tmp_path / "f" / "_temporary" / "0" / "2.parquet", "half")
    assert seen(connection, tmp_path / "f") == [(1,)]


# Paths


def test_a_list_of_paths_and_a_pattern_are_one_table(tmp_path, connection):
    paths = [stored(tmp_path / f"{n}.parquet", a=[n]) for n in (1, 2)]
    assert seen(connection, paths) == seen(connection, str(tmp_path / "*.parquet")) == [(1,), (2,)]


def test_files_of_two_formats_are_no_table(tmp_path):
    stored(tmp_path / "f" / "1.parquet", a=[1])
    written(tmp_path / "f" / "2.csv", "a\n1\n")
    with pytest.raises(TableError, match="several formats"):
        table(tmp_path / "f")


def test_a_missing_path_suggests_its_neighbour(tmp_path):
    written(tmp_path / "flights.csv", "a\n1\n")
    with pytest.raises(TableError) as missing:
        table(tmp_path / "flight.csv")
    assert missing.value.suggestion == "flights.csv"


def test_an_empty_folder_and_an_unknown_extension_say_what_is_read(tmp_path):
    (tmp_path / "f").mkdir()
    for path in (tmp_path / "f", written(tmp_path / "a.xlsx", "x")):
        with pytest.raises(TableError) as refused:
            table(path)
        assert ".parquet" in refused.value.valid


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flights", False),
        ("flights.carriers.by_carrier", False),
        ("flights.csv", True),
        ("flights.jsonl.gz", True),
        ("data/flights", True),
        ("s3://lake/flights", True),
        ("archive.gz", False),
    ],
)
def test_names_that_look_like_paths(name, expected):
    assert is_path(name) is expected


def test_formats_by_extension():
    assert [format_of(name) for name in ("a.PARQUET", "x.y/a.csv.gz", "a.ndjson", "a.txt", "csv")] == [
        "parquet",
        "csv",
        "json",
        None,
        None,
    ]


def test_file_urls_and_other_fsspec_file_systems_are_read(tmp_path, connection):
    memory = fsspec.filesystem("memory")
    local = stored(tmp_path / "a b.parquet", a=[1])
    memory.pipe("/lake/p/ds=2020-01-01/a.parquet", local.read_bytes())
    memory.pipe("/lake/c.csv.gz", gzip.compress(b"a\n1\n"))
    memory.pipe("/lake/j.jsonl", b'{"a": 1}\n')
    try:
        assert seen(connection, local.as_uri()) == [(1,)]
        assert seen(connection, "memory://lake/p") == [(1, "2020-01-01")]
        assert seen(connection, "memory://lake/c.csv.gz") == seen(connection, "memory://lake/j.jsonl") == [(1,)]
    finally:
        memory.rm("/lake", recursive=True)


def test_an_unknown_scheme_is_an_error():
    with pytest.raises(TableError, match=r"s4://lake/a\.csv cannot be opened"):
        table("s4://lake/a.csv")
