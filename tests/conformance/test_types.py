"""The types of the output, and left columns that pass untouched: what only Arrow tables can show."""

from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from zipline import EventSource, Join, JoinPart, Query

from .adapters import Arrow, arrow_table
from .questions import NOON, events, group_by_of, operation, queries, values
from .tables import AggregateCase, BackfillCase, Table

UTC = pa.timestamp("us", tz="UTC")


def feature_type(engine: Arrow, kind: str, name: str, **arguments: Any) -> pa.DataType:
    """The type of one feature over an empty table: it is known before there are data."""
    rows = values(kind)
    if "buckets" in arguments:
        rows = Table({**rows.schema, arguments["buckets"][0]: arguments.pop("bucket")}, ())
    case = AggregateCase(group_by_of(rows, operation(name, "1d", **arguments)), queries(NOON), {"events": rows})
    return engine.table(case).schema.field(2).type


@pytest.mark.parametrize("kind", ["TINYINT", "INT", "BIGINT"])
def test_sums_of_integers_are_int64(engine: Arrow, kind: str) -> None:
    assert feature_type(engine, kind, "SUM") == pa.int64()


@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
def test_sums_of_floats_are_doubles(engine: Arrow, kind: str) -> None:
    assert feature_type(engine, kind, "SUM") == pa.float64()


@pytest.mark.parametrize("name", ["AVERAGE", "VARIANCE", "SKEW", "KURTOSIS"])
def test_averages_and_moments_are_doubles(engine: Arrow, name: str) -> None:
    assert feature_type(engine, "INT", name) == pa.float64()


@pytest.mark.parametrize("name", ["COUNT", "UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT"])
def test_counts_are_int64(engine: Arrow, name: str) -> None:
    assert feature_type(engine, "STRING", name) == pa.int64()


@pytest.mark.parametrize("name", ["MIN", "MAX", "FIRST", "LAST"])
@pytest.mark.parametrize(
    ("kind", "arrow"),
    [("INT", pa.int32()), ("FLOAT", pa.float32()), ("STRING", pa.string()), ("DATE", pa.date32()), ("TIMESTAMP", UTC)],
)
def test_ends_have_the_type_of_their_input(engine: Arrow, name: str, kind: str, arrow: pa.DataType) -> None:
    assert feature_type(engine, kind, name) == arrow
    assert feature_type(engine, f"ARRAY<{kind}>", name) == arrow


@pytest.mark.parametrize("name", ["TOP_K", "BOTTOM_K", "FIRST_K", "LAST_K"])
def test_lists_have_elements_of_the_type_of_their_input(engine: Arrow, name: str) -> None:
    assert feature_type(engine, "DATE", name, k=2) == pa.list_(pa.date32())


def test_approx_percentile_is_always_a_list_of_doubles(engine: Arrow) -> None:
    for kind in ("INT", "BIGINT", "FLOAT", "DOUBLE"):
        for percentiles in ([0.5], [0.5, 0.9]):
            made = feature_type(engine, kind, "APPROX_PERCENTILE", percentiles=percentiles)
            assert made == pa.list_(pa.float64())


def test_histograms_map_values_to_counts(engine: Arrow) -> None:
    assert feature_type(engine, "STRING", "HISTOGRAM") == pa.map_(pa.string(), pa.int64())
    assert feature_type(engine, "INT", "APPROX_HISTOGRAM_K", k=3) == pa.map_(pa.int32(), pa.int64())


def test_buckets_map_their_own_type_to_the_value(engine: Arrow) -> None:
    by_text = feature_type(engine, "INT", "SUM", buckets=["channel"], bucket="STRING")
    assert by_text == pa.map_(pa.string(), pa.int64())
    by_number = feature_type(engine, "STRING", "LAST_K", k=2, buckets=["level"], bucket="SMALLINT")
    assert by_number == pa.map_(pa.int16(), pa.list_(pa.string()))


LEFT = pa.table(
    {
        "user": pa.array(["ann", None, "ann"], pa.large_string()),
        "tiny": pa.array([-128, None, 127], pa.int8()),
        "unsigned": pa.array([2**32 - 1, None, 0], pa.uint32()),
        "single": pa.array([0.1, math.nan, None], pa.float32()),
        "double": pa.array([-0.0, math.nan, math.inf], pa.float64()),
        "price": pa.array([Decimal("1.10"), None, Decimal("-0.01")], pa.decimal128(9, 2)),
        "born": pa.array([dt.date(1969, 12, 31), None, dt.date(2024, 2, 29)], pa.date32()),
        "flag": pa.array([True, None, False]),
        "raw": pa.array([b"\x00", None, b""], pa.binary()),
        "words": pa.array([["a", None], None, []], pa.list_(pa.string())),
        "nested": pa.array([{"x": 1}, None, {"x": None}], pa.struct([("x", pa.int32())])),
        "asked": pa.array([dt.datetime(2024, 3, 5, 12), None, dt.datetime(2024, 3, 5, 12)], pa.timestamp("us", "UTC")),
    }
)


def _bits(table: pa.Table) -> Any:
    return [
        [struct.pack("<d", value) if isinstance(value, float) else value for value in column.to_pylist()]
        for column in table.columns
    ]


def test_selected_left_columns_pass_untouched(engine: Arrow) -> None:
    rows = events("BIGINT", ("2024-03-05 11:00", 1))
    names = [name for name in LEFT.column_names if name != "asked"]
    join = Join(
        left=EventSource("left", query=Query(select={name: name for name in names}, time="asked")),
        parts=[JoinPart(group_by_of(rows, operation("SUM")))],
        name="j",
    )
    case = BackfillCase(join, {"events": rows})
    result = engine.call(case, None, {"left": LEFT, "events": arrow_table(rows)})
    assert result.column_names == [*names, "ts", "small_value_sum"]
    assert result.schema.field("ts").type == UTC
    assert _bits(result.select(names)) == _bits(LEFT.select(names))
    assert result["small_value_sum"].to_pylist() == [1, None, 1]


def test_columns_of_queries_pass_untouched(engine: Arrow) -> None:
    rows = events("BIGINT", ("2024-03-05 11:00", 1))
    asked = LEFT.rename_columns([*LEFT.column_names[:-1], "ts"])
    case = AggregateCase(group_by_of(rows, operation("SUM")), queries(NOON), {"events": rows})
    result = engine.call(case, asked, {"events": arrow_table(rows)})
    assert result.column_names == [*asked.column_names, "value_sum"]
    assert _bits(result.select(asked.column_names)) == _bits(asked)


@pytest.mark.parametrize("form", ["rows", "pandas", "parquet", "csv", "jsonl"])
def test_tables_may_come_in_any_form(engine: Arrow, form: str, tmp_path: Any) -> None:
    rows = events("BIGINT", ("2024-03-05 11:00", 1), ("2024-03-05 11:30", None), ("2024-03-05 12:00", 4))
    table = arrow_table(rows)
    case = AggregateCase(group_by_of(rows, operation("SUM"), operation("COUNT")), queries(NOON), {"events": rows})
    given = _in_form(form, table, tmp_path)
    result = engine.call(case, arrow_table(case.queries), {"events": given})
    assert (result["value_sum"].to_pylist(), result["value_count"].to_pylist()) == ([1], [1])


def _in_form(form: str, table: pa.Table, folder: Any) -> Any:
    if form == "rows":
        return table.to_pylist()
    frame = table.to_pandas()
    if form == "pandas":
        return frame
    path = folder / f"events.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True, date_format="iso", date_unit="us")
    return str(path)
