"""Requests of joins whose columns are nested: read as JSON says them, with every place that is wrong."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from serving.features.batching import _problem
from serving.features.request_log import _column
from serving.features.requests import RequestReader
from serving.problems import Problem
from zipline import Derivation, EventSource, Join, LocalPlatform, Query
from zipline.clock import to_micros
from zipline.errors import DataError

STRUCT = pa.struct([("a", pa.int64()), ("n", pa.decimal128(22, 2)), ("l", pa.list_(pa.struct([("x", pa.int8())])))])


def reader() -> RequestReader:
    columns = {"s": STRUCT, "l": pa.list_(STRUCT), "m": pa.map_(pa.string(), STRUCT)}
    left = pa.table({**{name: pa.nulls(1, kind) for name, kind in columns.items()}, "t": pa.array(["2024-01-01"])})
    source = EventSource("asked", query=Query(list(columns), time="t"))
    join = Join(source, [], derivations=[Derivation("same", "s")], name="j", online=True)
    return RequestReader(LocalPlatform(join, tables={"asked": left}).join("j"), 10)


def test_structs_are_read_with_their_types_wherever_they_are() -> None:
    text = '{"a": 1, "n": 12345678901234567890.12, "l": [{"x": 5}, null, {}]}'
    read = {"a": 1, "n": Decimal("12345678901234567890.12"), "l": [{"x": 5}, None, {"x": None}]}
    body = f'{{"rows": [{{"s": {text}, "l": [{text}, null], "m": {{"k": {text}}}}}, {{"s": null}}]}}'
    (row, other) = reader().read(body.encode()).rows
    assert row == {"s": read, "l": [read, None], "m": {"k": read}}
    assert other == {"s": None}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": True}, "$.rows[0].s.a"),
        ({"a": 2**70}, "$.rows[0].s.a"),
        ({"zz": 1}, "$.rows[0].s"),
        ({"l": [{"x": 300}]}, "$.rows[0].s.l[0].x"),
        (5, "$.rows[0].s"),
    ],
)
def test_what_is_wrong_within_a_struct_is_told_with_its_place(value: Any, path: str) -> None:
    with pytest.raises(Problem) as caught:
        reader().read(json.dumps({"rows": [{"s": value}]}).encode())
    assert (caught.value.status, json.loads(caught.value.body())["error"]["path"]) == (400, path)


def test_the_place_of_a_value_is_told_and_not_the_value() -> None:
    problem = _problem(DataError("'secret: x' is not a value of type INT", subject="rows[3].a"))
    assert json.loads(problem.body())["error"]["path"] == "$.rows[3].a"
    assert b"secret" not in problem.body()


def test_the_log_has_null_for_what_is_no_value_of_its_column() -> None:
    values = [Decimal("1.50"), Decimal("NaN"), "x", Decimal(12345), None]
    column = _column(values, pa.decimal128(5, 2))
    assert column.to_pylist() == [Decimal("1.50"), None, None, None, None]
    assert _column([2**70, 1], pa.int64()).to_pylist() == [None, 1]


def timed() -> RequestReader:
    instant = pa.timestamp("us", tz="UTC")
    columns = {"x": instant, "l": pa.list_(instant), "m": pa.map_(instant, pa.int64())}
    left = pa.table({**{name: pa.nulls(1, kind) for name, kind in columns.items()}, "t": pa.array(["2024-01-01"])})
    source = EventSource("asked", query=Query(list(columns), time="t"))
    join = Join(source, [], derivations=[Derivation("same", "x")], name="j", online=True)
    return RequestReader(LocalPlatform(join, tables={"asked": left}).join("j"), 10)


def test_what_is_finer_than_a_microsecond_is_cut_off_and_nothing_is_rounded() -> None:
    last, cut = '"2024-02-29T23:59:59.999999999Z"', dt.datetime(2024, 2, 29, 23, 59, 59, 999999, dt.timezone.utc)
    body = f'{{"rows": [{{"x": {last}, "l": [{last}, null], "m": {{{last}: 1}}}}], "at": {last}}}'
    request = timed().read(body.encode())
    assert request.rows == [{"x": cut, "l": [cut, None], "m": {cut: 1}}]
    assert request.at == to_micros(cut)


@pytest.mark.parametrize("value", [1709251199999999, 1.5, True, "2024-02-29", "2024-02-30T00:00:00.1234567Z", "x", []])
def test_an_instant_is_text_in_rfc_3339(value: Any) -> None:
    for row, path in (({"x": value}, "$.rows[0].x"), ({"l": [value]}, "$.rows[0].l[0]")):
        with pytest.raises(Problem) as caught:
            timed().read(json.dumps({"rows": [row]}).encode())
        assert json.loads(caught.value.body())["error"]["path"] == path


def mapped() -> RequestReader:
    flags = pa.map_(pa.bool_(), pa.int64())
    columns = {"m": flags, "l": pa.list_(flags), "s": pa.struct([("f", flags)]), "n": pa.map_(pa.int64(), pa.bool_())}
    left = pa.table({**{name: pa.nulls(1, kind) for name, kind in columns.items()}, "t": pa.array(["2024-01-01"])})
    source = EventSource("asked", query=Query(list(columns), time="t"))
    join = Join(source, [], derivations=[Derivation("same", "m")], name="j", online=True)
    return RequestReader(LocalPlatform(join, tables={"asked": left}).join("j"), 10)


def test_truth_values_that_are_keys_are_texts_as_in_answers() -> None:
    flags = {"true": 1, "false": None}
    body = {"rows": [{"m": flags, "l": [flags, None, {}], "s": {"f": flags}, "n": {"7": True}}, {"m": None}]}
    read = {True: 1, False: None}
    assert mapped().read(json.dumps(body).encode()).rows == [
        {"m": read, "l": [read, None, {}], "s": {"f": read}, "n": {7: True}},
        {"m": None},
    ]


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"m": {"True": 1}}, "$.rows[0].m"),
        ({"l": [{"x": 1}]}, "$.rows[0].l[0]"),
        ({"n": {"x": True}}, "$.rows[0].n"),
        ({"m": {"true": "x"}}, "$.rows[0].m[...]"),
        ({"a - at b": 1}, "$.rows[0]"),
    ],
)
def test_the_place_of_a_key_is_the_map_it_is_in(row: Any, path: str) -> None:
    with pytest.raises(Problem) as caught:
        mapped().read(json.dumps({"rows": [row]}).encode())
    said = json.loads(caught.value.body())["error"]
    assert said["path"] == path
    assert " - at" not in said["message"].removesuffix("`a - at b`")
