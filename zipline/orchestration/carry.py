"""Carrying valid columns over: the part of a plan that computes the others, and both put together again.

Columns are carried over only beside left rows that are the same to the bit, in the same order; else the whole day is
made anew. Derivations are evaluated over the columns together, so what they read may come from either side.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.engines.local.derive import derive
from zipline.engines.local.session import connect
from zipline.plan.steps import Derived, JoinPlan, PartPlan

DAY_COLUMN, TIME_COLUMN = "ds", "ts"


def reduced(plan: JoinPlan, columns: Collection[str]) -> JoinPlan:
    """The plan that computes only these columns (and the left's).

    Derivations are left to `together`, but for those that are bootstrapped: these come with all that they read.
    """
    given = {name for read in plan.bootstrap for name, _ in read.columns}
    derivations: list[Derived] = []
    read: set[str] = set()
    for each in reversed(plan.derivations):
        if each.name in read or (each.name in columns and each.name in given):
            derivations.append(each)
            read |= each.expression.columns
    columns = {*columns, *read}
    bootstrap = (replace(b, columns=tuple(c for c in b.columns if c[0] in columns)) for b in plan.bootstrap)
    externals = (replace(e, values=tuple(v for v in e.values if e.prefix + v[0] in columns)) for e in plan.externals)
    left = dict(plan.left_columns)
    return replace(
        plan,
        parts=_chosen(plan.parts, columns),
        labels=_chosen(plan.labels, columns),
        derivations=tuple(reversed(derivations)),
        checks=(),
        bootstrap=tuple(read for read in bootstrap if read.columns),
        externals=tuple(external for external in externals if external.values),
        contextual=tuple(c for c in plan.contextual if c[0] in columns or c[0] in left),
    )


def _chosen(parts: tuple[PartPlan, ...], columns: Collection[str]) -> tuple[PartPlan, ...]:
    chosen = (replace(p, chosen=tuple(name for name in p.chosen if p.prefix + name in columns)) for p in parts)
    return tuple(part for part in chosen if part.chosen)


def mature(rows: pa.Table, offset: int, end: int | None) -> pa.Table:
    """The rows whose labels are complete at `end`, which is what training keeps."""
    if end is None:
        return rows.slice(0, 0)
    # It takes a while to import, and a run that finds all done carries nothing.
    import pyarrow.compute as pc

    times = rows.column(TIME_COLUMN).cast(pa.int64())
    return rows.filter(pc.fill_null(pc.less_equal(times, end - offset), False))


def together(
    plan: JoinPlan, fresh: pa.Table, stored: pa.Table, columns: Collection[str], *, training: bool
) -> pa.Table | None:
    """A day's rows of the whole plan: `columns` of `fresh`, or derived, the others of `stored`; `ds` last.

    None where the left rows differ, so that nothing can be carried over.
    """
    wanted = plan.columns if training else plan.scoring_columns
    types = {name: to_arrow(dtype) for name, dtype in wanted if name != DAY_COLUMN}
    own = [name for name in types if name in dict(plan.left_columns) or name == TIME_COLUMN]
    if not all(name in stored.column_names and same_bits(fresh.column(name), stored.column(name)) for name in own):
        return None
    derived = {each.name for each in plan.derivations}
    table = fresh.select(own)
    for name in types:
        if name not in own and name not in derived:
            column = (fresh if name in columns else stored).column(name)
            table = table.append_column(name, _cast(column, types[name]))
    table = _derived(plan, table, fresh, stored, columns)
    return table.select(list(types)).append_column(DAY_COLUMN, fresh.column(DAY_COLUMN))


def _derived(plan: JoinPlan, table: pa.Table, fresh: pa.Table, stored: pa.Table, columns: Collection[str]) -> pa.Table:
    connection = connect()
    try:
        for each in plan.derivations:
            if each.name in columns and each.name in fresh.column_names:
                table = table.append_column(each.name, _cast(fresh.column(each.name), to_arrow(each.type)))
            elif each.name in columns:
                table = derive(connection, table, [each])
            else:
                table = table.append_column(each.name, _cast(stored.column(each.name), to_arrow(each.type)))
    finally:
        connection.close()
    return table


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == wanted else column.cast(wanted)


def same_bits(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """True where both hold the same values in the same order, each NaN and zero told apart by its bits."""
    if len(one) != len(other) or one.type != other.type:
        return False
    return _same(_whole(one), _whole(other))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def _same(one: Any, other: Any) -> bool:
    dtype = one.type
    if pa.types.is_floating(dtype):
        bits = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[dtype.bit_width]
        return bool(one.view(bits).equals(other.view(bits)))
    if pa.types.is_struct(dtype):
        parts = zip(one.flatten(), other.flatten(), strict=True)
        return bool(one.is_valid().equals(other.is_valid())) and all(_same(*pair) for pair in parts)
    if pa.types.is_map(dtype):
        return _same(one.cast(_as_list(dtype)), other.cast(_as_list(dtype)))
    if pa.types.is_list(dtype):
        import pyarrow.compute as pc

        return bool(pc.list_value_length(one).equals(pc.list_value_length(other))) and _same(
            one.flatten(), other.flatten()
        )
    return bool(one.equals(other))


def _as_list(dtype: Any) -> Any:
    return pa.list_(pa.struct([pa.field("key", dtype.key_type, False), pa.field("value", dtype.item_type)]))
