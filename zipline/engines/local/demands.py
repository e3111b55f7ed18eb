"""Demands: what is left to compute where some rows are given some columns, and how both become one.

A feature is needed for a row unless it is given there or nothing that is needed is made of it, and each is aggregated
over exactly the rows that need it: what no row needs is neither read nor able to fail. The derivations of group-bys and
of the join see the columns with what is given in place, and are computed where they are not given themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import whole
from zipline.arrow import to_arrow
from zipline.engines.local.derive import derive
from zipline.engines.local.group_by import Left, Readings, aggregate
from zipline.errors import DataError
from zipline.plan.steps import Derived, PartPlan
from zipline.types import DataType
from zipline.values import dataclass

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Given:
    """One column's given values in left order, null where a row is not `covered`."""

    values: pa.Array
    covered: Bools


@dataclass(frozen=True)
class Demand:
    """What is left to compute: some features (not derivations) of a part, for the rows that need exactly these."""

    part: PartPlan
    rows: Bools


def put(column: pa.Array, values: pa.Array, place: NDArray[np.int64]) -> pa.Array:
    """The column with `values[place]` where there is a place."""
    own = np.arange(len(column))
    return pa.concat_arrays([column, values]).take(pa.array(np.where(place >= 0, len(column) + place, own)))


def in_type(name: str, column: pa.Array | pa.ChunkedArray, dtype: DataType) -> pa.Array | pa.ChunkedArray:
    """The column in its type in the output; a DataError where a value would be another one."""
    arrow = to_arrow(dtype)
    try:
        return column if column.type == arrow else column.cast(arrow)
    except pa.ArrowInvalid as wrong:
        raise DataError(f"a value of {name} is no {dtype}: {wrong}", hint="declare a wider type") from None


def overlaid(column: pa.Array, given: Given | None, dtype: DataType) -> pa.Array:
    """The column in its type, given values in place of computed ones."""
    arrow = to_arrow(dtype)
    column = column if column.type == arrow else column.cast(arrow)
    return column if given is None else put(column, given.values, np.where(given.covered, np.arange(len(column)), -1))


def demands_of(part: PartPlan, given: Mapping[str, Given], rows: int) -> list[Demand] | None:
    """What is left to compute of a part; None where it is given nothing, so that all of it is."""
    of_part = _given_of(part, given)
    if not of_part:
        return None
    derived = {d.name: d.expression.columns for d in part.group_by.derivations}
    asked = {name: np.zeros(rows, np.bool_) for name, _ in part.group_by.columns}
    for name, _ in reversed(part.group_by.columns):
        missing = ~of_part[name].covered if name in of_part else np.ones(rows, np.bool_)
        asked[name] = (asked[name] & (missing | _is_opaque(part))) | (missing & (name in part.chosen))
        for used in derived.get(name, frozenset()) & asked.keys():
            asked[used] = asked[used] | asked[name]
    features = {name: needed for name, needed in asked.items() if name not in derived and needed.any()}
    if part.group_by.lookup and features:
        return [Demand(replace(part, chosen=tuple(features)), np.logical_or.reduce(list(features.values())))]
    by_rows: dict[bytes, list[str]] = {}
    for name, needed in features.items():
        by_rows.setdefault(needed.tobytes(), []).append(name)
    return [Demand(replace(part, chosen=tuple(names)), features[names[0]]) for names in by_rows.values()]


def _given_of(part: PartPlan, given: Mapping[str, Given]) -> dict[str, Given]:
    return {name: given[part.prefix + name] for name in part.chosen if part.prefix + name in given}


def _is_opaque(part: PartPlan) -> bool:
    """An external source's values are given as they are: none is made of another."""
    return part.external is not None


def scattered(column: pa.Array, rows: Bools) -> pa.Array:
    """A column over the rows that are true, as one over all rows: null elsewhere."""
    return column.take(pa.array(np.cumsum(rows) - 1, mask=~rows)) if len(column) else pa.nulls(len(rows), column.type)


@dataclass(frozen=True)
class Rest:
    """The left rows of one key set, some of whose columns are given: what computes and completes its parts."""

    connection: duckdb.DuckDBPyConnection
    rows: pa.Table
    left: Left
    given: Mapping[str, Given]
    readings: Readings
    pool: ThreadPoolExecutor

    def compute(self, demands: Iterable[tuple[PartPlan, list[Demand]]]) -> list[tuple[PartPlan, pa.Table]]:
        """The chosen columns of every part; what is for the same rows is aggregated together."""
        demands = list(demands)
        by_rows: dict[bytes, list[Demand]] = {}
        for demand in (each for _, of_part in demands for each in of_part):
            by_rows.setdefault(demand.rows.tobytes(), []).append(demand)
        features: dict[int, pa.Table] = {}
        for sharing in by_rows.values():
            computed = self._aggregate(tuple(demand.part for demand in sharing), sharing[0].rows)
            features |= {id(demand): table for demand, table in zip(sharing, computed, strict=True)}
        return [(part, self._complete(part, [features[id(demand)] for demand in own])) for part, own in demands]

    def _complete(self, part: PartPlan, computed: list[pa.Table]) -> pa.Table:
        columns = {name: table.column(name) for table in computed for name in table.column_names}
        return complete(self.connection, part, pa.table(columns), self.given, self._keys(part))

    def _aggregate(self, parts: tuple[PartPlan, ...], rows: Bools) -> list[pa.Table]:
        kept = pa.array(np.flatnonzero(rows))
        some = Left([key.take(kept) for key in self.left.keys], self.left.times[rows], self.left.timed[rows])
        computed = aggregate(some, parts, self.readings, self.pool)
        return [pa.table({n: scattered(whole(t.column(n)), rows) for n in t.column_names}) for t in computed]

    def _keys(self, part: PartPlan) -> pa.Table:
        pairs = zip(part.group_by.keys, part.left_keys, strict=True)
        keys = {key: self.rows.column(column) for (key, _), column in pairs}
        return pa.table({**keys, "\0row": pa.nulls(self.left.rows, pa.int8())})


def complete(
    connection: duckdb.DuckDBPyConnection,
    part: PartPlan,
    features: pa.Table,
    given: Mapping[str, Given],
    keys: pa.Table,
) -> pa.Table:
    """The part's chosen columns, from computed features (where a row needs them), given values and derivations."""
    of_part = _given_of(part, given)
    inside = {} if _is_opaque(part) else of_part
    types = dict(part.group_by.columns) | (dict(part.settled) if inside else {})
    derived = {d.name for d in part.group_by.derivations}
    columns = dict(zip(keys.column_names, keys.columns, strict=True))
    for name, dtype in types.items():
        if name not in derived:
            known = name in features.column_names
            column = whole(features.column(name)) if known else pa.nulls(keys.num_rows, to_arrow(dtype))
            columns[name] = overlaid(column, inside.get(name), dtype)
    table = derive_uncovered(connection, pa.table(columns), part.needed_derivations, inside)
    chosen = {n: whole(table.column(n)) for n in part.chosen}
    if _is_opaque(part):
        own = ((name, in_type(name, chosen[name], dtype), dtype) for name, dtype in part.own_columns)
        chosen = {name: overlaid(column, of_part.get(name), dtype) for name, column, dtype in own}
    return pa.table(chosen)


def derive_uncovered(
    connection: duckdb.DuckDBPyConnection, table: pa.Table, derivations: Iterable[Derived], given: Mapping[str, Given]
) -> pa.Table:
    """The table with its derivations, each computed for the rows to which it is not given."""
    for derived in derivations:
        own = given.get(derived.name)
        if own is None:
            table = derive(connection, table, (derived,))
            continue
        computed = derive(connection, table.filter(pa.array(~own.covered)), (derived,)).column(derived.name)
        column = overlaid(scattered(whole(computed), ~own.covered), own, derived.type)
        table = table.append_column(derived.name, column)
    return table
