"""What was fetched of a join beside what a backfill gives: value by value, to 1e-9 for floats.

SKEW and KURTOSIS have no unit, and are near 0 what rounding makes of them: they are compared to 1e-9 of 1 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from zipline.arrow import TIMESTAMP_ARROW, to_arrow
from zipline.engines.local.run import run_group_by
from zipline.fetch.results import Result, Status
from zipline.plan.steps import GroupByPlan, JoinPlan
from zipline.tables.catalog import Catalog
from zipline.types import ArrayType, DataType, MapType, StructType

TOLERANCE = 1e-9
_PURE = ("SKEW", "KURTOSIS")
"""Of these a value near 0 is a small number, of whatever unit the input is."""


class Pair(NamedTuple):
    """One value of a feature for the key of a row."""

    row: int
    key: tuple[Any, ...]
    feature: str
    online: Any
    status: Status
    offline: Any
    is_pure: bool = False

    @property
    def is_alike(self) -> bool:
        return _alike(self.online, self.offline, TOLERANCE if self.is_pure else 0.0)


def pairs(
    plan: JoinPlan,
    rows: Sequence[Mapping[str, Any]],
    found: Result,
    q: int,
    arrived: Callable[[GroupByPlan], Catalog],
) -> Iterator[Pair]:
    """Every value of the parts' features that was fetched for these rows at `q` (microseconds), with that of a local
    backfill over the tables that `arrived` gives of a group-by."""
    online = found.rows()
    for part in plan.parts:
        if part.external is not None:
            continue
        names = [(key, left) for (key, _), left in zip(part.group_by.keys, part.left_keys, strict=True)]
        queries = _queries(part.group_by, names, rows, q)
        offline = run_group_by(part.group_by, queries, arrived(part.group_by)).table
        types = dict(part.own_columns)
        pure = {feature.name for feature in part.group_by.features if feature.operation in _PURE}
        for name in part.chosen:
            feature = part.prefix + name
            for number, value in enumerate(offline.column(name).to_pylist()):
                key = tuple(rows[number][left] for _, left in names)
                status, expected = found.status(number, feature), _with_maps(value, types[name])
                yield Pair(number, key, feature, online[number][feature], status, expected, name in pure)


def _queries(
    plan: GroupByPlan, names: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]], q: int
) -> pa.Table:
    types = dict(plan.keys)
    columns = {key: pa.array([row[left] for row in rows], to_arrow(types[key])) for key, left in names}
    return pa.table({**columns, "ts": pa.array([q] * len(rows), pa.int64()).cast(TIMESTAMP_ARROW)})


def _with_maps(value: Any, dtype: DataType) -> Any:
    """What Arrow gives as lists of pairs, as maps."""
    if value is None:
        return None
    if isinstance(dtype, MapType):
        return {key: _with_maps(each, dtype.value) for key, each in value}
    if isinstance(dtype, StructType):
        return {name: _with_maps(value[name], field) for name, field in dtype.fields}
    return [_with_maps(each, dtype.element) for each in value] if isinstance(dtype, ArrayType) else value


def _alike(online: Any, offline: Any, absolute: float) -> bool:
    if isinstance(online, float) and isinstance(offline, float):
        return math.isclose(online, offline, rel_tol=TOLERANCE, abs_tol=absolute)
    if isinstance(online, list) and isinstance(offline, list):
        both = zip(online, offline, strict=False)
        return len(online) == len(offline) and all(_alike(*pair, absolute) for pair in both)
    if isinstance(online, dict) and isinstance(offline, dict):
        return list(online) == list(offline) and all(_alike(online[key], offline[key], absolute) for key in online)
    return bool(online == offline) and (online is None) == (offline is None)


__all__ = ["Pair", "pairs"]
