"""Whether the alternative computed the same: columns in turn, whatever they are called."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

TOLERANCE = 1e-9


def differences(ours: pa.Table, theirs: pa.Table) -> list[str]:
    """One line for every column that differs; none where the results are the same."""
    if ours.num_rows != theirs.num_rows or ours.num_columns != theirs.num_columns:
        return [f"{ours.num_rows} x {ours.num_columns} against {theirs.num_rows} x {theirs.num_columns}"]
    pairs = zip(ours.column_names, ours.columns, theirs.columns, strict=True)
    counted = ((name, _different(mine, other)) for name, mine, other in pairs)
    return [f"{name}: {count} rows differ" for name, count in counted if count]


def _different(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> int:
    if pa.types.is_floating(ours.type) or pa.types.is_integer(ours.type):
        return _different_numbers(ours, theirs)
    if pa.types.is_timestamp(ours.type):
        return _different_numbers(ours.cast(pa.int64()), theirs.cast(ours.type).cast(pa.int64()))
    rows = zip(ours.to_pylist(), theirs.to_pylist(), strict=True)
    return sum(not _alike(mine, other) for mine, other in rows)


def _different_numbers(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> int:
    null = np.asarray(ours.is_null()), np.asarray(theirs.is_null())
    mine, other = (np.asarray(column.cast(pa.float64(), safe=False).fill_null(0.0)) for column in (ours, theirs))
    far = np.abs(mine - other) > TOLERANCE * np.maximum(1.0, np.abs(mine))
    return int(((null[0] != null[1]) | far).sum())


def _alike(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    return bool(ours == theirs)
