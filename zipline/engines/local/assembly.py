"""Parts beside left rows: what a set of left keys computes, and the output that is put together from all sets.

Pure functions over Arrow columns in left order, without a catalog: whoever has the rows of some keys, and all that
these keys can see, gets their features, be it a whole run or one task of many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import validity, whole
from zipline.arrow import TIMESTAMP_ARROW, to_arrow
from zipline.engines.local.demands import Demand, Given, Rest, in_type, overlaid
from zipline.engines.local.derive import derive
from zipline.engines.local.group_by import Left, Readings
from zipline.engines.local.left import TIME
from zipline.plan.steps import JoinPlan, PartPlan
from zipline.values import dataclass

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Features = Callable[[Left, tuple[PartPlan, ...]], list[pa.Table]]
"""As `group_by.aggregate`: for each part a table of its needed features in left order."""


@dataclass(frozen=True)
class LeftRows:
    """Left rows with their query times in microseconds (whatever, where not `timed`) and the values they are given."""

    table: pa.Table
    times: Ints
    timed: Bools
    given: Mapping[str, Given]


@dataclass(frozen=True)
class KeySet:
    """The parts that share a set of left keys. `demands` are of those that are given something, by id."""

    parts: tuple[PartPlan, ...]
    demands: Mapping[int, Sequence[Demand]]

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[0].left_keys

    def compute(
        self,
        rows: LeftRows,
        readings: Readings,
        features: Features,
        connection: duckdb.DuckDBPyConnection,
        pool: ThreadPoolExecutor,
    ) -> dict[int, pa.Table]:
        """The chosen columns of every part by its id, in left order."""
        left = self.left(rows)
        plain = tuple(part for part in self.parts if id(part) not in self.demands)
        found = features(left, plain) if plain else []
        computed = {id(p): part_columns(connection, rows.table, p, each) for p, each in zip(plain, found, strict=True)}
        rest = Rest(connection, rows.table, left, rows.given, readings, pool)
        asked = [(part, list(self.demands[id(part)])) for part in self.parts if id(part) in self.demands]
        return computed | {id(part): made for part, made in rest.compute(asked)}

    def left(self, rows: LeftRows) -> Left:
        return Left([whole(rows.table.column(name)) for name in self.names], rows.times, rows.timed)

    def null_keys(self, rows: LeftRows) -> int:
        """How many left rows have a null in their key."""
        null = np.zeros(rows.table.num_rows, np.bool_)
        for name in self.names:
            valid = validity(whole(rows.table.column(name)))
            null |= np.zeros(len(null), np.bool_) if valid is None else ~valid
        return int(null.sum())


def part_columns(connection: duckdb.DuckDBPyConnection, left: pa.Table, part: PartPlan, features: pa.Table) -> pa.Table:
    """The part's chosen columns, derivations evaluated over its keys and features."""
    if not part.needed_derivations:
        return features.select(list(part.chosen))
    table = features
    for (key, _), column in zip(part.group_by.keys, part.left_keys, strict=True):
        table = table.append_column(key, left.column(column))
    return derive(connection, table, part.needed_derivations).select(list(part.chosen))


def beside(plan: JoinPlan, left: pa.Table, parts: Mapping[int, pa.Table], given: Mapping[str, Given]) -> pa.Table:
    """Left columns, `ts`, parts (by id), and what only a request brings: given values, else null."""
    names = [name for name, _ in plan.left_columns]
    columns: list[Any] = [left.column(name) for name in names]
    if "ts" not in names:
        names.append("ts")
        columns.append(left.column(TIME).cast(TIMESTAMP_ARROW))
    features: dict[str, Any] = {}
    for part in plan.parts:
        of_part = zip(part.columns, parts[id(part)].columns, strict=True)
        features |= {name: in_type(name, column, dtype) for (name, dtype), column in of_part}
    for name, dtype in plan.feature_columns:
        names.append(name)
        if name not in features:
            features[name] = overlaid(pa.nulls(left.num_rows, to_arrow(dtype)), given.get(name), dtype)
        columns.append(features[name])
    if not names:
        return pa.table({"__row": pa.nulls(left.num_rows, pa.int8())}).select([])
    return pa.table(columns, names=names)


def are_mature(rows: LeftRows, offset: int, end: int | None) -> Bools:
    """Which rows have labels that are complete where label data end (None: nowhere)."""
    return np.zeros(len(rows.times), np.bool_) if end is None else rows.timed & (rows.times + offset <= end)
