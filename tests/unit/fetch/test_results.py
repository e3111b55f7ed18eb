"""The columns of a result are its rows, of every type that is words."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from zipline.fetch.online_values import to_word
from zipline.fetch.results import Block, Result, Shape, Values
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, FLOAT, INT, SMALLINT, STRING, TIMESTAMP, TINYINT, DataType

UTC = dt.timezone.utc
SAMPLES: list[tuple[DataType, list[Any]]] = [
    (BIGINT, [-(2**63), 2**63 - 1, 0]),
    (INT, [-(2**31), 2**31 - 1, 7]),
    (SMALLINT, [-(2**15), 2**15 - 1, 7]),
    (TINYINT, [-128, 127, 0]),
    (DOUBLE, [1.5, float("inf"), 5e-324]),
    (FLOAT, [1.5, float("-inf"), 2.0**-149]),
    (BOOLEAN, [True, False, True]),
    (DATE, [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 12, 31)]),
    (TIMESTAMP, [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2024, 3, 1, 1, 2, 3, 4, tzinfo=UTC)] * 2),
]


@pytest.mark.parametrize("missing", [(), (0,), (1, 8), tuple(range(17))])
def test_columns_are_the_rows(missing: tuple[int, ...]) -> None:
    types = [*(dtype for dtype, _ in SAMPLES)]
    names = [f"c{n}" for n in range(len(types))]
    rows = [[values[row % len(values)] for _, values in SAMPLES] for row in range(17)]
    words = np.array([[to_word(v, dtype) for v, dtype in zip(row, types, strict=True)] for row in rows], np.int64)
    present = np.ones(words.shape, np.bool_)
    present[list(missing), 0:3] = False
    columns = [*zip(names, types, strict=True), ("text", STRING)]
    block = Block(words, present, np.ones(words.shape, np.uint8), [0])
    texts = Values([f"t{n}" for n in range(17)], ["ok"] * 17, [0] * 17)
    found = Result(Shape(columns, names, types), block, dict.fromkeys(names, 0), {"text": texts}, 17, "")
    table = found.columns()
    table.validate(full=True)
    assert table.to_pylist() == found.rows()
    assert found.rows()[2] == {
        **{name: None if 2 in missing and n < 3 else rows[2][n] for n, name in enumerate(names)},
        "text": "t2",
    }
    assert table.column("c0").null_count == len(missing)
