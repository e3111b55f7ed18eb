"""Rows as they were read in the shape of condensed rows: what stands for nothing but itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.series import moments_of_each
from zipline.algebra.columnar.values import clean_floats, validity, whole
from zipline.arrow import to_arrow
from zipline.engines.local.read import Rows
from zipline.plan.condensed import Condensation, Stored
from zipline.plan.steps import Projection

Columns = dict[str, Any]


def expand(rows: Rows, source: Projection, condensed: Condensation) -> Rows:
    """Rows as they were read, with the columns of condensed rows; those that are the same go by one name."""
    rows, columns, inputs = _elements(rows, source, condensed)
    columns |= {column.name: _unmerged(inputs[column.input], column) for column in condensed.stored}
    mask = rows.mask(source)
    same: dict[tuple[object, ...], str] = {}
    aliases = {name: name for name in columns}
    aliases |= {c.name: same.setdefault((c.input, c.type, c.kind == "count"), c.name) for c in condensed.stored}
    return replace(
        rows,
        columns=columns,
        masks={} if mask is None else {(): mask},
        aliases={(condensed.projection, name): alias for name, alias in aliases.items()},
    )


def _elements(rows: Rows, source: Projection, condensed: Condensation) -> tuple[Rows, Columns, Columns]:
    """(rows, keys and buckets, inputs), the lists of which are taken apart: a row has as many copies as elements."""
    shared = {key: rows.pieces(source, key) for key, _ in condensed.group_by.keys}
    shared |= {name: rows.pieces(source, bucket) for bucket, name in condensed.buckets.items()}
    inputs = {name: rows.pieces(source, name) for name in dict.fromkeys(c.input for c in condensed.stored)}
    lists = [name for name, column in inputs.items() if pa.types.is_list(column.type)]
    if not lists or condensed.group_by.lookup:
        return rows, shared, inputs
    lengths = {name: np.asarray(pc.fill_null(pc.list_value_length(whole(inputs[name])), 0)) for name in lists}
    copies = np.maximum(1, np.max(list(lengths.values()), axis=0))
    at = np.repeat(np.arange(rows.rows), copies)
    nth = np.arange(len(at)) - np.repeat(np.cumsum(copies) - copies, copies)
    places, firsts = pa.array(at), pa.array(at, mask=nth > 0)
    shared = {name: column.take(places) for name, column in shared.items()}
    for name, column in inputs.items():
        if name not in lengths:
            inputs[name] = column.take(firsts)
            continue
        length = lengths[name]
        begin = np.cumsum(length, dtype=np.int64) - length
        inputs[name] = pc.list_flatten(whole(column)).take(pa.array(begin[at] + nth, mask=nth >= length[at]))
    return replace(rows, columns={}).take(places), shared, inputs


def _unmerged(values: pa.Array | pa.ChunkedArray, column: Stored) -> Any:
    """A column of rows that stand for nothing but themselves."""
    if column.kind == "total":
        return values.cast(to_arrow(column.type))
    if column.kind == "moments":
        floats = pc.fill_null(whole(values).cast(pa.float64(), safe=False), np.nan)
        return moments_of_each(np.asarray(floats) + 0.0)
    if column.kind not in ("count", "counted"):
        return values
    cleaned = clean_floats(whole(values))
    valid, ones = validity(cleaned), np.ones(len(cleaned), np.int64)
    missing = None if valid is None else ~valid
    return pa.array(ones, mask=missing) if column.kind == "count" else counted_values(cleaned, ones, column, missing)


def counted_values(values: pa.Array, counts: Any, column: Stored, missing: Any = None) -> pa.Array:
    """A column of values with how often each occurs; null where `missing`."""
    mask = None if missing is None else pa.array(missing)
    fields = list(to_arrow(column.type))
    return pa.StructArray.from_arrays([values.cast(fields[0].type), pa.array(counts)], fields=fields, mask=mask)
