"""The value itself: the engine's, over the few rows in question, and the same from the listed events in plain Python.

The two share the rows of the key and nothing else: the engine judges the rows again and runs its kernels, the plain
aggregators of `zipline.algebra` take the events that the query called seen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from zipline.algebra import aggregator
from zipline.algebra.operations import declaration
from zipline.algebra.values import door
from zipline.arrow import TIMESTAMP_ARROW, to_arrow
from zipline.clock import to_micros
from zipline.engines.explanation.contract import Event
from zipline.engines.explanation.contributions import elements
from zipline.engines.local.group_by import empty_of
from zipline.engines.local.run import run_group_by
from zipline.errors import UsageError, ZiplineError
from zipline.plan.steps import Feature, GroupByPlan, PartPlan, Projection
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Partition, Statistics, Table, Unit
from zipline.tables.memory import MemoryTable
from zipline.types import BINARY, DATE, NULL, TIMESTAMP, ArrayType, DataType, DecimalType, MapType


class Excerpt:
    """Some rows of a table in its place; the days are those of the table itself."""

    def __init__(self, name: str, rows: pa.Table, table: Table) -> None:
        self.name = name
        self._rows, self._table = MemoryTable(name, rows), table

    @property
    def schema(self) -> dict[str, DataType]:
        return self._rows.schema

    def relation(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        partition: str | None = None,
        start: str | None = None,
        end: str | None = None,
        units: Collection[str] | None = None,
    ) -> str:
        return self._rows.relation(connection, partition=partition, start=start, end=end, units=units)

    def units(self, partition: str | None) -> list[Unit]:
        return self._rows.units(partition)

    def partitions(self, column: str) -> list[Partition]:
        return self._table.partitions(column)

    def statistics(self) -> Statistics:
        return self._rows.statistics()


class Excerpts(Catalog):
    """A catalog of excerpts and nothing else."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        super().__init__({}, None)
        self._opened = dict(tables)


def engine_value(
    part: PartPlan, feature: Feature | None, column: str, keys: Mapping[str, pa.Array], at: int | None, catalog: Catalog
) -> pa.Array:
    """What the engine gives for one feature (None: a lookup's column) of one row: an array of one."""
    plan = narrowed(part.group_by, feature)
    queries = pa.table({**keys, "ts": pa.array([at], pa.int64()).view(TIMESTAMP_ARROW)})
    found = run_group_by(plan, queries, catalog, offset=part.offset).table.column(column).combine_chunks()
    return found if isinstance(found, pa.Array) else found.chunk(0)


def narrowed(plan: GroupByPlan, feature: Feature | None) -> GroupByPlan:
    """The group-by with this feature alone, or with its lookup."""
    return replace(plan, features=() if feature is None else (feature,), derivations=())


def key_array(value: Any, key: str, dtype: DataType) -> pa.Array:
    """A key as an array of one value of its type; UsageError where it is not of it. Of no rows a key has no type."""
    try:
        if dtype == NULL:
            return pa.array([value])
        return pa.array([_converted(value, dtype)], to_arrow(dtype))
    except (pa.ArrowException, ZiplineError, TypeError, ValueError, OverflowError):
        raise UsageError(f"the key {key!r} is {dtype}, not {value!r}") from None


def _converted(value: Any, dtype: DataType) -> Any:
    """Forms that JSON has for a type that it has not."""
    if dtype == TIMESTAMP and not isinstance(value, bool):
        return to_micros(value)
    if isinstance(value, str) and dtype == DATE:
        return door(DATE)(value)
    if isinstance(value, str) and isinstance(dtype, DecimalType):
        return door(dtype)(value)
    if isinstance(value, str) and dtype == BINARY:
        return value.encode()
    return value


def empty(feature: Feature) -> Any:
    """What the feature is where nothing was in the window."""
    return empty_of(feature)


def recompute(feature: Feature, seen: Sequence[Event]) -> Any:
    """The value from the events, by the plain aggregators, in the form of `clean_result`."""
    used = [event for event in seen if elements(feature, event.value)]
    if not used:
        return clean_result(feature.type, empty_of(feature))
    plain = aggregator(
        feature.operation,
        feature.input_type,
        k=feature.k,
        percentiles=feature.percentiles,
        bucket=feature.bucket_type if feature.bucket else None,
    )
    ir = plain.empty()
    for event in used:
        value = (event.bucket, event.value) if feature.bucket else event.value
        ir = plain.update(ir, value, (event.time or 0, event.known_at))
    return plain.finalize(ir)


def is_exact(feature: Feature) -> bool:
    """Whether the operation gives one answer, so that two ways to it must agree."""
    return not declaration(feature.operation).approximate


def clean_result(dtype: DataType, value: Any) -> Any:
    """A feature's value as the plain aggregators give it: instants in microseconds, maps as dicts."""
    if value is None:
        return None
    if isinstance(dtype, MapType):
        pairs = value.items() if isinstance(value, Mapping) else value
        return {clean_result(dtype.key, key): clean_result(dtype.value, each) for key, each in pairs}
    if isinstance(dtype, ArrayType):
        return [clean_result(dtype.element, each) for each in value]
    return door(dtype)(value)


_TOLERANCES = {"SKEW": 1e-6, "KURTOSIS": 1e-6}


def agree(feature: Feature, one: Any, other: Any, magnitude: float) -> bool:
    """Whether two values are one within the operation's tolerance; `magnitude` is the sum of those of the inputs."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agree(feature, one[k], other[k], magnitude) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(agree(feature, a, b, magnitude) for a, b in pairs)
    if isinstance(one, float) and isinstance(other, float):
        tolerance = _TOLERANCES.get(feature.operation, 1e-9)
        absolute = 1e-9 * magnitude if feature.operation in ("SUM", "AVERAGE") else 0.0
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=absolute)
    return bool(one == other)


def magnitude_of(feature: Feature, seen: Sequence[Event]) -> float:
    """The sum of the inputs' magnitudes, 0 where they are no numbers."""
    if feature.operation not in ("SUM", "AVERAGE"):
        return 0.0
    return float(sum(abs(value) for event in seen for value in elements(feature, event.value)))


def renamed(source: Projection, number: int) -> Projection:
    """The source under a table name of its own, no parent's: each has its own excerpt."""
    changes = source.mutations
    own = None if changes is None else replace(changes, table=f"{changes.table} [changes {number}]")
    return replace(source, table=f"{source.table} [{number}]", parent=None, mutations=own)
