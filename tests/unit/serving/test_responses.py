"""What JSON has no word for is text in an answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from serving.features.responses import answered
from zipline.fetch.results import Block, Result, Shape, Values
from zipline.types import BIGINT, BOOLEAN, DOUBLE, ArrayType, DataType, MapType, StructType

COUNTS = MapType(key=BOOLEAN, value=BIGINT)
INF = float("inf")


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (COUNTS, {True: 2, False: 1}, {"true": 2, "false": 1}),
        (COUNTS, None, None),
        (ArrayType(element=COUNTS), [{True: 2}, None], [{"true": 2}, None]),
        (StructType(fields=(("of", COUNTS),)), {"of": {False: 2}}, {"of": {"false": 2}}),
        (MapType(key=BOOLEAN, value=DOUBLE), {True: INF, False: 0.5}, {"true": "Infinity", "false": 0.5}),
        (MapType(key=BIGINT, value=BIGINT), {1: 2, 0: 3}, {"1": 2, "0": 3}),
        (MapType(key=DOUBLE, value=BIGINT), {-INF: 2}, {"-Infinity": 2}),
    ],
)
def test_maps_of_any_keys_are_answered(dtype: DataType, value: Any, expected: Any) -> None:
    none = Block(np.zeros((1, 0), np.int64), np.zeros((1, 0), np.bool_), np.zeros((1, 0), np.uint8), [])
    result = Result(Shape([("x", dtype)], [], []), none, {}, {"x": Values([value], ["ok"], [None])}, 1, "")
    assert json.loads(answered(result).json(0, 1))["rows"][0]["values"] == {"x": expected}
