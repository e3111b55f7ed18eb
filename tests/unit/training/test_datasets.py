"""Splitting a join's output: by time, learned from the training rows alone, nothing dropped in silence."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from training.datasets import split_by_time
from zipline.errors import DataError, UsageError


def at(day: int, hour: int = 0) -> dt.datetime:
    return dt.datetime(2013, 7, day, hour, tzinfo=dt.timezone.utc)


def rows(**columns: list[object]) -> pa.Table:
    given = {"ts": [at(1), at(2), at(3), at(4)], "x": [1, 2, 3, 4], "label_late": [0, 1, 0, 1], **columns}
    return pa.table(given)


def test_rows_from_the_split_on_test_and_rows_before_it_train() -> None:
    split = split_by_time(rows(), label="label_late", at="2013-07-03")
    assert split.train.times.to_pylist() == [at(1), at(2)]
    assert split.test.times.to_pylist() == [at(3), at(4)]
    assert split.train.features == split.test.features == ("x",)
    np.testing.assert_array_equal(split.train.matrix, [[1], [2]])
    np.testing.assert_array_equal(split.test.labels, [0, 1])


def test_a_row_whose_label_may_lie_in_the_time_of_the_test_is_not_learned() -> None:
    split = split_by_time(rows(), label="label_late", at="2013-07-04", gap="2d")
    assert split.train.times.to_pylist() == [at(1)]
    assert split.test.times.to_pylist() == [at(4)]


def test_the_day_of_storing_is_no_feature() -> None:
    """A model that learned it would know when a row was, and of later days nothing."""
    split = split_by_time(rows(ds=["2013-07-01", "2013-07-02"] * 2), label="label_late", at="2013-07-03")
    assert split.train.features == ("x",)


def test_a_gap_is_a_length_of_time() -> None:
    with pytest.raises(UsageError, match="'2 days' is not a length of time"):
        split_by_time(rows(), label="label_late", at="2013-07-03", gap="2 days")


def test_rows_before_the_start_are_used_for_neither() -> None:
    split = split_by_time(rows(), label="label_late", at="2013-07-03", start="2013-07-02")
    assert split.train.times.to_pylist() == [at(2)]
    assert split.test.rows == 2


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    split = split_by_time(rows(label_late=[0, None, 0, 1]), label="label_late", at="2013-07-03")
    assert (split.train.rows, split.test.rows, split.unlabelled) == (1, 2, 1)


def test_rows_without_a_time_are_used_for_neither() -> None:
    split = split_by_time(rows(ts=[at(1), None, at(3), at(4)]), label="label_late", at="2013-07-03")
    assert (split.train.rows, split.test.rows) == (1, 2)


def test_text_becomes_categories_of_the_training_rows_alone() -> None:
    split = split_by_time(rows(carrier=["UA", "AA", "UA", "B6"]), label="label_late", at="2013-07-03")
    assert split.train.categories == {"carrier": ("AA", "UA")}
    column = split.test.features.index("carrier")
    np.testing.assert_array_equal(split.train.matrix[:, column], [1, 0])
    np.testing.assert_array_equal(split.test.matrix[:, column], [1, np.nan])
    assert split.test.pandas()["carrier"].tolist() == ["UA", np.nan]
    assert split.test.pandas()["carrier"].cat.categories.tolist() == ["AA", "UA"]


def test_null_is_nan_and_booleans_are_numbers() -> None:
    split = split_by_time(
        rows(x=[1.5, None, 3, 4], flag=[True, False, None, True]), label="label_late", at="2013-07-03"
    )
    np.testing.assert_array_equal(split.train.matrix, [[1.5, 1], [np.nan, 0]])
    np.testing.assert_array_equal(split.test.matrix, [[3, np.nan], [4, 1]])


def test_what_is_left_out_is_said_with_the_reason() -> None:
    table = rows(
        name=["a", "b", "c", "d"],
        last=[[1], [2], [], None],
        seen=[at(1), at(1), at(1), at(1)],
        label_other=[1, 1, 1, 1],
    )
    split = split_by_time(table, label="label_late", at="2013-07-03", most_categories=1)
    assert split.train.features == ("x",)
    assert split.left_out == {
        "name": "text with 2 values, more than 1",
        "last": "list<item: int64> is no single number",
        "seen": "timestamp[us, tz=UTC] is no number",
    }


def test_selecting_features_keeps_rows_and_categories() -> None:
    split = split_by_time(rows(carrier=["UA", "AA", "UA", "B6"]), label="label_late", at="2013-07-03")
    chosen = split.select(["carrier"])
    assert chosen.train.features == ("carrier",)
    assert chosen.train.categories == {"carrier": ("AA", "UA")}
    assert split.select(["x"]).test.categories == {}


def test_an_unknown_label_is_an_error_that_names_the_near_one() -> None:
    with pytest.raises(UsageError) as caught:
        split_by_time(rows(), label="label_lat", at="2013-07-03")
    assert caught.value.suggestion == "label_late"


@pytest.mark.parametrize(("day", "side"), [("2013-07-01", "train"), ("2013-07-05", "test")])
def test_a_split_that_leaves_nothing_says_so(day: str, side: str) -> None:
    with pytest.raises(DataError, match=f"no labelled rows to {side} on"):
        split_by_time(rows(), label="label_late", at=day)
