"""The door of columns: NaN is null and -0.0 is 0.0, at any depth."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from zipline.algebra.columnar.values import clean_floats

FLOATS = st.none() | st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf])
INNER = pa.struct([("x", pa.float32()), ("tags", pa.list_(pa.float64())), ("n", pa.int64())])
KINDS = {
    "float": (pa.float64(), FLOATS),
    "list": (pa.list_(pa.float64()), st.none() | st.lists(FLOATS, max_size=3)),
    "large": (pa.large_list(pa.float32()), st.none() | st.lists(FLOATS, max_size=3)),
    "map": (
        pa.map_(pa.string(), pa.float64()),
        st.none() | st.lists(st.tuples(st.sampled_from("abc"), FLOATS), max_size=3),
    ),
    "struct": (
        INNER,
        st.none()
        | st.fixed_dictionaries(
            {"x": FLOATS, "tags": st.none() | st.lists(FLOATS, max_size=2), "n": st.none() | st.just(7)}
        ),
    ),
    "texts": (pa.list_(pa.string()), st.none() | st.lists(st.none() | st.just("nan"), max_size=2)),
}


def cleaned(value: Any) -> Any:
    """By hand: the same value without NaN and negative zeros."""
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0
    if isinstance(value, dict):
        return {name: cleaned(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(cleaned(each) for each in value)
    return value


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_floats_are_clean_at_any_depth_and_all_else_stays(data: st.DataObject, name: str) -> None:
    kind, values = KINDS[name]
    given = data.draw(st.lists(values, max_size=6))
    first = data.draw(st.integers(0, len(given)))
    column = pa.array(given, kind)[first:]
    found = clean_floats(column)
    found.validate(full=True)
    assert found.type == kind
    assert str(found.to_pylist()) == str(cleaned(column.to_pylist()))  # as text, for -0.0 == 0.0


def test_of_a_map_the_values_are_cleaned_and_not_the_keys() -> None:
    kind = pa.map_(pa.float64(), pa.list_(pa.float64()))
    found = clean_floats(pa.array([[(-0.0, [math.nan, -0.0])], None], kind))
    assert str(found.to_pylist()) == "[[(-0.0, [None, 0.0])], None]"
