"""Columns of lists and maps: what their offsets cannot hold is refused, not wrapped around."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from zipline.algebra.columnar.series import MOST_ELEMENTS, lists, maps
from zipline.errors import DataError


def test_an_empty_list_and_an_empty_map_are_null() -> None:
    offsets = np.array([0, 2, 2, 3])
    assert lists(offsets, pa.array([1, 2, 3])).to_pylist() == [[1, 2], None, [3]]
    assert maps(offsets, pa.array(["a", "b", "c"]), pa.array([1, 2, 3])).to_pylist() == [
        [("a", 1), ("b", 2)],
        None,
        [("c", 3)],
    ]


def test_more_elements_than_offsets_can_count_are_refused() -> None:
    with pytest.raises(DataError, match="2,147,483,648 elements"):
        lists(np.array([0, MOST_ELEMENTS + 1]), pa.array([1]))
