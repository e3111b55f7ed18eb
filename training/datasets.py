"""A join's output as data for models: split by time, columns as numbers, nothing dropped without saying so.

Contract: `split_by_time` takes the Arrow table of a backfill and gives frozen values. What a model may learn comes from
the training rows alone, the categories of text columns too:

- numbers stay, booleans become 0 and 1, null is NaN;
- text becomes the number of its category, in sorted order; null, and what the training rows do not hold, is NaN;
- text with more than `most_categories` values (names and identifiers), times, lists and maps are left out, each with
  the reason in `left_out`;
- rows whose label is null are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zipline.api.fields import duration_micros
from zipline.clock import to_micros
from zipline.errors import DataError, UsageError
from zipline.plan.staging import DAY_COLUMN

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]
MOST_CATEGORIES = 128


@dataclass(frozen=True)
class Dataset:
    """Rows for a model: `table` holds the feature columns as they were, `categories` the text values by column."""

    table: pa.Table
    labels: NDArray[np.float32]
    times: pa.ChunkedArray
    categories: Mapping[str, tuple[str, ...]]

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def is_categorical(self, feature: str) -> bool:
        return feature in self.categories

    @cached_property
    def matrix(self) -> Floats:
        """Rows x features; NaN where there is no value."""
        columns = np.empty((len(self.features), self.rows), np.float32)
        for place, name in enumerate(self.features):
            columns[place] = _numbers(self.table.column(name), self.categories.get(name))
        return columns.T

    def pandas(self) -> pd.DataFrame:
        """The same as a frame, text columns with their categories, indexed by time."""
        import pandas as pd

        frame = pd.DataFrame(self.matrix, columns=list(self.features), index=self.times.to_pandas())
        for name, values in self.categories.items():
            codes = np.nan_to_num(frame[name].to_numpy(), nan=-1).astype(np.int32)
            frame[name] = pd.Categorical.from_codes(codes.tolist(), pd.Index(values))
        return frame

    def select(self, features: Sequence[str]) -> Dataset:
        """The same rows with some of the features."""
        chosen = {name: values for name, values in self.categories.items() if name in features}
        return Dataset(self.table.select(list(features)), self.labels, self.times, chosen)


@dataclass(frozen=True)
class Split:
    """Rows to learn from, and later ones to test on. `left_out` maps column to reason; `unlabelled` counts rows."""

    train: Dataset
    test: Dataset
    left_out: Mapping[str, str]
    unlabelled: int

    def select(self, features: Sequence[str]) -> Split:
        return Split(self.train.select(features), self.test.select(features), self.left_out, self.unlabelled)


def split_by_time(
    rows: pa.Table,
    *,
    label: str,
    at: str,
    gap: str | None = None,
    start: str | None = None,
    features: Sequence[str] | None = None,
    time: str = "ts",
    most_categories: int = MOST_CATEGORIES,
) -> Split:
    """Rows from `at` on test, rows before it train, without those less than `gap` before it.

    The gap is the label's offset: a row closer than that would be learned with a label from the time of the test. Rows
    before `start` are used for neither. `features` defaults to every column but the time, the day of storing (`ds`) and
    those that begin with `label_`.
    """
    named = _features(rows, label, time, features)
    labelled = rows.filter(pc.is_valid(rows.column(label)))
    instants = labelled.column(time)
    first, split = to_micros(start) if start else None, to_micros(at)
    train = labelled.filter(_between(instants, first, split - _length(gap)))
    test = labelled.filter(_between(instants, split, None))
    _refuse_empty(train, test, at)
    columns, left_out = _usable(train, named, most_categories)
    categories = {name: _categories(train.column(name)) for name in columns if _is_text(train.schema.field(name).type)}

    def dataset(part: pa.Table) -> Dataset:
        return Dataset(part.select(columns), _numbers(part.column(label), None), part.column(time), categories)

    return Split(dataset(train), dataset(test), left_out, rows.num_rows - labelled.num_rows)


def _length(gap: str | None) -> int:
    try:
        return duration_micros(gap) if gap else 0
    except (TypeError, ValueError):
        raise UsageError(f"{gap!r} is not a length of time", hint="write 36h or 2d") from None


def _features(rows: pa.Table, label: str, time: str, features: Sequence[str] | None) -> list[str]:
    for name in (label, time, *(features or ())):
        if name not in rows.column_names:
            raise UsageError(f"the rows have no column {name!r}", asked=name, valid=rows.column_names)
    if features is not None:
        return list(features)
    own = (label, time, DAY_COLUMN)
    return [name for name in rows.column_names if name not in own and not name.startswith("label_")]


def _between(instants: pa.ChunkedArray, first: int | None, end: int | None) -> pa.ChunkedArray:
    kept = pc.is_valid(instants)
    if first is not None:
        kept = pc.and_(kept, pc.greater_equal(instants, _scalar(first, instants.type)))
    if end is not None:
        kept = pc.and_(kept, pc.less(instants, _scalar(end, instants.type)))
    return kept


def _scalar(micros: int, dtype: pa.DataType) -> pa.Scalar:
    return pa.scalar(micros, pa.timestamp("us", "UTC")).cast(dtype)


def _refuse_empty(train: pa.Table, test: pa.Table, at: str) -> None:
    if not train.num_rows or not test.num_rows:
        side = "train on" if not train.num_rows else "test on"
        raise DataError(
            f"splitting at {at} leaves no labelled rows to {side}",
            hint="split inside the range of the rows' times; rows without a label are left out",
        )


def _usable(train: pa.Table, named: Sequence[str], most: int) -> tuple[list[str], dict[str, str]]:
    reasons = {name: _reason(train.column(name), most) for name in named}
    return (
        [name for name, reason in reasons.items() if reason is None],
        {name: reason for name, reason in reasons.items() if reason is not None},
    )


def _reason(column: pa.ChunkedArray, most: int) -> str | None:
    dtype = column.type
    if _is_text(dtype):
        values = pc.count_distinct(column).as_py()
        return f"text with {values} values, more than {most}" if values > most else None
    if pa.types.is_boolean(dtype) or pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return None
    return f"{dtype} is no single number" if pa.types.is_nested(dtype) else f"{dtype} is no number"


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_dictionary(dtype))


def _categories(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(sorted(value for value in pc.unique(column).to_pylist() if value is not None))


def _numbers(column: pa.ChunkedArray, categories: tuple[str, ...] | None) -> Floats:
    if categories is not None:
        column = pc.index_in(column, value_set=pa.array(categories, column.type))
    values = column.cast(pa.float32(), safe=False).combine_chunks()
    found: Floats = np.asarray(values.to_numpy(zero_copy_only=False), np.float32)
    return found
