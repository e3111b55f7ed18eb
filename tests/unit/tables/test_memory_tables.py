"""Tables in memory: what goes in is what a query sees, cheaply and without a copy."""

import datetime as dt
import subprocess
import sys
import time
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline.errors import TableError
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Partition
from zipline.types import BIGINT, DATE, DOUBLE, FLOAT, INT, NULL, SMALLINT, STRING, TIMESTAMP, DecimalType, array

UTC = dt.timezone.utc


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def table(rows):
    return open_catalog({"t": rows}).table("t")


def seen(connection, rows, **limits):
    return connection.sql(f"SELECT * FROM {table(rows).relation(connection, **limits)} AS s").fetchall()


def test_a_list_of_dicts_keeps_the_types_of_its_values(connection):
    rows = [
        {"n": 1, "x": 1, "text": "2020-01-01", "day": dt.date(2020, 1, 2), "none": None},
        {"n": 2, "x": 2.5, "text": "b", "day": None, "late": True},
    ]
    schema = table(rows).schema
    assert {name: schema[name] for name in ("n", "x", "text", "day", "none")} == {
        "n": BIGINT,
        "x": DOUBLE,
        "text": STRING,
        "day": DATE,
        "none": NULL,
    }
    assert seen(connection, rows) == [
        (1, 1.0, "2020-01-01", dt.date(2020, 1, 2), None, None),
        (2, 2.5, "b", None, None, True),
    ]


def test_naive_datetimes_are_utc_zoned_ones_converted_and_dates_beside_them_midnight(connection):
    plus_five = dt.timezone(dt.timedelta(hours=5))
    rows = [
        {"t": dt.date(2020, 1, 1)},
        {"t": dt.datetime(2020, 1, 1, 7)},
        {"t": dt.datetime(2020, 1, 1, 7, tzinfo=plus_five)},
    ]
    assert table(rows).schema == {"t": TIMESTAMP}
    assert seen(connection, rows) == [
        (dt.datetime(2020, 1, 1, 0, tzinfo=UTC),),
        (dt.datetime(2020, 1, 1, 7, tzinfo=UTC),),
        (dt.datetime(2020, 1, 1, 2, tzinfo=UTC),),
    ]


def test_an_empty_list_is_a_table_of_unknown_columns(connection):
    assert table([]).schema == {}
    assert seen(connection, []) == []
    assert table([]).partitions("ds") == []


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_timestamps_of_any_unit_and_zone_are_zoned_microseconds(connection, unit, zone):
    stored = pa.array([0, None], pa.timestamp(unit, zone))
    relation = table(pa.table({"t": stored})).relation(connection)
    described = connection.sql(f"SELECT typeof(t), epoch_us(t) FROM {relation}").fetchall()
    assert described == [("TIMESTAMP WITH TIME ZONE", 0), ("TIMESTAMP WITH TIME ZONE", None)]


def test_nanoseconds_are_rounded_down_on_both_sides_of_the_epoch(connection):
    rows = pa.table({"t": pa.array([1999, 1000, 999, -1, -1000, -1001], pa.timestamp("ns"))})
    relation = table(rows).relation(connection)
    assert connection.sql(f"SELECT epoch_us(t) FROM {relation}").fetchall() == [(1,), (1,), (0,), (-1,), (-1,), (-2,)]


def test_nested_timestamps_are_zoned_too(connection):
    rows = pa.table({"l": pa.array([[0]], pa.list_(pa.timestamp("us")))})
    assert connection.sql(f"SELECT typeof(l) FROM {table(rows).relation(connection)}").fetchall() == [
        ("TIMESTAMP WITH TIME ZONE[]",)
    ]


def test_chunks_dictionaries_large_and_unsigned_types_read_as_their_plain_kind(connection):
    words = pa.chunked_array([pa.array(["x"]).dictionary_encode(), pa.array(["y", "x"]).dictionary_encode()])
    rows = pa.table(
        {
            "word": words,
            "large": pa.array(["a", None, "c"], pa.large_string()),
            "small": pa.array([1, 2, 255], pa.uint8()),
            "pair": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        }
    )
    assert table(rows).schema == {"word": STRING, "large": STRING, "small": SMALLINT, "pair": array(INT)}
    assert seen(connection, rows) == [("x", "a", 1, [1, 2]), ("y", None, 2, None), ("x", "c", 255, [3, 4])]


def test_batches_readers_and_frames_are_tables(connection):
    rows = pa.table({"a": [1, 2], "b": ["x", None]})
    batch = rows.to_batches()[0]
    frames = [batch, rows.to_reader(), rows.to_pandas(), pl.from_arrow(rows)]
    assert [seen(connection, frame) for frame in frames] == [[(1, "x"), (2, None)]] * 4


def test_a_reader_can_be_read_more_than_once(connection):
    reader = table(pa.table({"a": [1]}).to_reader())
    sql = reader.relation(connection)
    assert connection.sql(f"FROM {sql}").fetchall() == connection.sql(f"FROM {sql}").fetchall() == [(1,)]


def test_arrow_is_registered_without_a_copy(connection):
    rows = pa.table({"a": pa.array(range(2_000_000))})
    before = pa.total_allocated_bytes()
    relation = table(rows).relation(connection)
    assert connection.sql(f"SELECT count(*) FROM {relation}").fetchall() == [(2_000_000,)]
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_name_of_any_characters_is_a_table(connection):
    rows = open_catalog({'my "odd" table': [{'a "b"': 1}]}).table('my "odd" table')
    assert connection.sql(f'SELECT "a ""b""" FROM {rows.relation(connection)}').fetchall() == [(1,)]


def test_ten_rows_are_a_table_in_milliseconds_of_cpu(connection):
    rows = [{"k": str(n), "n": n, "x": n / 2, "t": dt.datetime(2020, 1, 1, n)} for n in range(10)]
    durations = []
    for _ in range(50):
        start = time.thread_time()
        table(rows).relation(connection)
        durations.append(time.thread_time() - start)
    assert min(durations) < 0.002


def test_days_limit_a_text_a_date_and_a_timestamp_column(connection):
    days = [dt.date(2020, 1, day) for day in (1, 2, 3)]
    instants = [dt.datetime(2020, 1, day, 23, 59, 59, 999999) for day in (1, 2, 3)]
    for column in ([day.isoformat() for day in days], days, instants):
        rows = pa.table({"ds": column, "n": [1, 2, 3]})
        limited = table(rows).relation(connection, partition="ds", start="2020-01-02", end="2020-01-02")
        assert connection.sql(f"SELECT n FROM {limited}").fetchall() == [(2,)]
        from_second = table(rows).relation(connection, partition="ds", start="2020-01-02")
        assert connection.sql(f"SELECT n FROM {from_second}").fetchall() == [(2,), (3,)]


def test_partitions_are_the_days_of_the_column():
    rows = [{"ds": "2020-01-02"}, {"ds": "2020-01-01"}, {"ds": "2020-01-02"}, {"ds": None}]
    expected = [Partition("2020-01-01", 1, None), Partition("2020-01-02", 2, None)]
    assert table(rows).partitions("ds") == expected
    assert table([{"ds": dt.date.fromisoformat(row["ds"])} for row in rows[:3]]).partitions("ds") == expected
    assert table(rows).partitions("absent") == []


def test_a_limit_on_an_absent_partition_column_limits_nothing(connection):
    assert seen(connection, [{"a": 1}], partition="ds", start="2020-01-01", end="2020-01-01") == [(1,)]


def test_a_partition_column_that_holds_no_days_is_an_error(connection):
    with pytest.raises(TableError, match="'1 Jan', which is not a day"):
        table([{"ds": "1 Jan"}]).partitions("ds")
    with pytest.raises(TableError, match="BIGINT, which does not hold days"):
        table([{"ds": 20200101}]).relation(connection, partition="ds", start="2020-01-01")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": 1}, {"a": "x"}], "'a' .int and str."),
        ([{"a": 1}, {"a": True}], "'a'"),
        ([{"a": dt.datetime(2020, 1, 1)}, {"a": "2020-01-02"}], "'a' .datetime and str."),
        ([{"a": 2**64}], "'a' .int."),
        ([{1: 2}], "column name 1 is not text"),
        ([{"a": 1}, 3], "row 1 is 3, not a dict"),
        ([{"a": 1, "A": 2}], "'a' and 'A' have the same name"),
        ({"a": [1]}, "dict is not a table"),
        (pd.DataFrame({"o": [1, "x"]}), "column o"),
        (pa.table({"d": pa.array([1], pa.duration("s"))}), "'d' has the Arrow type duration"),
    ],
)
def test_rows_of_no_one_type_are_refused_by_name(rows, said):
    with pytest.raises(TableError, match=said) as refused:
        table(rows)
    assert "'t'" in str(refused.value)


def test_opening_a_catalog_loads_neither_deltalake_nor_fsspec():
    code = (
        "import sys; from zipline.tables.catalog import open_catalog; open_catalog({'t': [{'a': 1}]}).table('t');"
        "print({'deltalake', 'fsspec', 'polars'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_view_of_its_own_name_can_be_made_of_a_table_whose_types_are_changed(connection):
    relation = table(pa.table({"at": pa.array([0], pa.timestamp("ns")), "n": [1]})).relation(connection)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW t AS SELECT * FROM {relation}")
    assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_halves_and_decimals_in_wide_words_read_as_their_plain_kind(connection):
    halves = pa.array(np.array([1.5, 0], np.float16), mask=np.array([False, True]))
    tenths = pa.array([Decimal("1.5"), None], pa.decimal256(38, 1))
    rows = pa.table(
        {
            "half": halves,
            "tenth": tenths,
            "in_list": pa.ListArray.from_arrays([0, 2, 2], halves),
            "in_struct": pa.StructArray.from_arrays([tenths], ["x"]),
            "in_dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), tenths),
        }
    )
    assert seen(connection, rows) == [
        (1.5, Decimal("1.5"), [1.5, None], {"x": Decimal("1.5")}, Decimal("1.5")),
        (None, None, [], {"x": None}, None),
    ]
    assert list(table(rows).schema.values())[:2] == [FLOAT, DecimalType(precision=38, scale=1)]


@pytest.mark.parametrize("stored", [pa.decimal256(39, 2), pa.decimal256(50, 45), pa.decimal128(5, -2)])
def test_decimals_of_more_digits_are_refused_for_they_would_be_rounded(stored, tmp_path):
    rows = pa.table({"d": pa.array([None], stored)})
    with pytest.raises(TableError, match=r"column 'd' has the Arrow type decimal(.|\n)*up to 38 digits"):
        table(rows)
    if stored.scale >= 0:
        pq.write_table(rows, tmp_path / "d.parquet")
        with pytest.raises(TableError, match="column 'd' has the Arrow type decimal"):
            table(str(tmp_path / "d.parquet"))


def test_keys_of_maps_that_are_changed_do_not_end_the_process(connection):
    kind = pa.map_(pa.decimal256(10, 2), pa.int64())
    rows = pa.table({"m": pa.array([[(Decimal("1.00"), 1)], None, []], kind)})
    assert seen(connection, rows) == [({Decimal("1.00"): 1},), (None,), ({},)]


def test_rows_from_the_middle_of_structs_of_structs(connection):
    rows = pa.table({"x": pa.array([{"a": {"b": n}} for n in range(4)])})
    assert seen(connection, rows.slice(2)) == [({"a": {"b": 2}},), ({"a": {"b": 3}},)]


@pytest.mark.parametrize("series", [pl.Series("a", [1]), pd.Series([1]), pa.array([1])])
def test_a_column_alone_is_no_table(series):
    with pytest.raises(TableError, match=r"is not a table|does not convert to Arrow"):
        table(series)
