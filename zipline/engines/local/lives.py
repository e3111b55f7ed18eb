"""Lives: the rows of an entity's snapshots and changes, each copy of a row from when until when it is there.

A change at m belongs to the state of one snapshot, the newest before m's day, and to no other. Of each state the equal
rows (in keys, time and all selected columns) are counted: one for each in the snapshot, one more for an insert, one
less for a reversal, all changes of one time together. That many copies are there, none where the count is below zero;
so every rise of it bears copies and every fall takes back the oldest. A query at q sees what was born before q and did
not die before q.

Rows are compared by value, never by a hash alone: -0.0 is 0.0, and null (or NaN) equals null.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import values_of
from zipline.clock import DAY, to_text
from zipline.engines.local.keys import KeyIndex
from zipline.engines.local.read import Rows
from zipline.engines.local.stream import BEGINNING, FOREVER, UNTIMED, ranks, signs
from zipline.errors import DataError
from zipline.plan.steps import Projection
from zipline.types import NULL, DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Asked:
    """The states that queries see: their keys, all days of states in order, and those that are asked for."""

    index: KeyIndex
    keys: tuple[str, ...]
    days: Ints
    seen: Ints


def live_rows(snapshots: Rows, changes: Rows, source: Projection, asked: Asked) -> Rows:
    """Every copy of every row of the states asked for, with its life. Counts the `orphans` of the changes."""
    assert source.mutations is not None
    assert changes.changed is not None
    assert changes.is_before is not None
    old, old_day = _of_snapshots(snapshots, source, asked)
    new, new_day = _of_changes(changes, source.mutations, asked)
    columns = {
        name: pa.concat_arrays(
            [snapshots.column(source, name).take(old), changes.column(source.mutations, name).take(new)]
        )
        for name in source.columns
    }
    day = np.concatenate([old_day, new_day])
    t = np.full(len(day), UNTIMED)
    if source.time is not None:
        t = np.concatenate([_at(snapshots.t, old), _at(changes.t, new)])
    row = _numbered(columns, source, day, t)
    at = np.concatenate([np.full(len(old), BEGINNING), _at(changes.changed, new)])
    found = _lives(row, at, np.concatenate([np.ones(len(old), np.int64), signs(changes.is_before.take(new))]))
    changes.orphans = max(changes.orphans, found.orphans)
    rows = pa.array(found.rows)
    return Rows(
        columns={name: column.take(rows) for name, column in columns.items()},
        masks={},
        t=t[found.rows],
        known=None,
        timed=None,
        seen=None,
        partition=pa.array(day[found.rows].astype(np.int32)).view(pa.date32()),
        rows=len(found.rows),
        aliases={(each, name): name for each, name in snapshots.aliases if name in columns},
        partitions=asked.days,
        born=found.born,
        died=found.died,
    )


def _of_snapshots(rows: Rows, source: Projection, asked: Asked) -> tuple[pa.Array, Ints]:
    """(places of the rows that count, the day of the state of each)."""
    assert rows.partition is not None
    day = _ints(rows.partition.view(pa.int32()).fill_null(0))
    kept = _kept(rows, source) & np.asarray(rows.partition.is_valid()) & np.isin(day, asked.seen)
    places = np.flatnonzero(kept & _has_key(rows, source, asked))
    return pa.array(places), day[places]


def _of_changes(rows: Rows, changes: Projection, asked: Asked) -> tuple[pa.Array, Ints]:
    assert rows.changed is not None
    kept = _kept(rows, changes)
    refuse_unsigned(rows, changes, kept)
    day = asked.days[np.searchsorted(asked.days, rows.changed // DAY, side="left") - 1]
    places = np.flatnonzero(kept & np.isin(day, asked.seen) & _has_key(rows, changes, asked))
    return pa.array(places), day[places]


def _kept(rows: Rows, source: Projection) -> Bools:
    mask = rows.mask(source)
    kept = np.ones(rows.rows, np.bool_) if mask is None else mask
    return kept if rows.seen is None else kept & rows.seen


def _has_key(rows: Rows, source: Projection, asked: Asked) -> Bools:
    return asked.index.lookup([rows.pieces(source, key) for key in asked.keys], rows.rows) >= 0


def refuse_unsigned(rows: Rows, changes: Projection, kept: Bools) -> None:
    """DataError names the first of the changes, of those that are kept, that does not say which way it goes."""
    assert rows.is_before is not None
    assert rows.changed is not None
    if not rows.is_before.null_count:
        return
    unsigned = np.flatnonzero(np.asarray(rows.is_before.is_null()) & kept)
    if not len(unsigned):
        return
    row = int(unsigned[0])
    shown = ", ".join(f"{name}={rows.pieces(changes, name)[row].as_py()!r}" for name in changes.columns)
    text = changes.is_before.text.strip('"') if changes.is_before else ""
    raise DataError(
        f"reading {changes.table!r}, {text}: null in the change at {to_text(int(rows.changed[row]))} of {shown}"
        + (f", and in {len(unsigned) - 1:,} more" if len(unsigned) > 1 else ""),
        hint="true takes a row away, false adds one; "
        f'mend the rows, or say what null means: is_before="coalesce({text}, FALSE)"',
    )


def _numbered(columns: dict[str, pa.Array], source: Projection, day: Ints, t: Ints) -> NDArray[np.int32]:
    """The number of each row among the different ones of its state."""
    parts = [day, t]
    for name, column in columns.items():
        parts += _parts(column, source.column_types[name])
    return KeyIndex([pa.array(part) for part in parts], len(day)).codes


def _parts(column: pa.Array, dtype: DataType) -> Iterator[Ints]:
    """Integers that are equal where the values are."""
    if dtype == NULL:
        return
    if not dtype.is_ordered:
        yield ranks(column, dtype)
        return
    values = values_of(column, dtype)
    yield values.ordinals if values.valid is None else np.where(values.valid, values.ordinals, 0)
    if values.valid is not None:
        yield values.valid.astype(np.int64)


@dataclass(frozen=True)
class _Lives:
    """Copies: the row that each is of, its ends; and how many reversals found no copy."""

    rows: Ints
    born: Ints
    died: Ints
    orphans: int


def _lives(row: NDArray[np.int32], at: Ints, sign: Ints) -> _Lives:
    """The lives of the copies of each row, from its changes in any order."""
    order = np.lexsort((at, row))
    row, at = row[order], at[order]
    is_first = np.ones(len(row), np.bool_)
    is_first[1:] = (row[1:] != row[:-1]) | (at[1:] != at[:-1])
    step = np.flatnonzero(is_first)
    change = np.add.reduceat(sign[order], step) if len(step) else sign
    row, at = row[step], at[step]
    after = _within(row, np.cumsum(change))
    before = after - change
    copies = np.maximum(after, 0) - np.maximum(before, 0)
    births = np.repeat(np.arange(len(step)), np.maximum(copies, 0))
    deaths = np.repeat(np.arange(len(step)), np.maximum(-copies, 0))
    # The nth death of a row is that of its nth copy.
    nth = np.arange(len(deaths)) - np.searchsorted(row[deaths], row[deaths])
    died = np.full(len(births), FOREVER)
    died[np.searchsorted(row[births], row[deaths]) + nth] = at[deaths]
    lost = np.maximum(-after, 0) - np.maximum(-before, 0)
    return _Lives(order[step[births]], at[births], died, int(np.maximum(lost, 0).sum()))


def _within(row: NDArray[np.int32], total: Ints) -> Ints:
    """Running totals that begin anew with each row."""
    if not len(row):
        return total
    first = np.searchsorted(row, row)
    before: Ints = np.where(first > 0, total[first - 1], 0)
    return total - before


def _at(array: Ints | None, places: pa.Array) -> Ints:
    assert array is not None
    found: Ints = array[places.to_numpy()]
    return found


def _ints(array: pa.Array) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.int64)
