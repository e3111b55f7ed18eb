"""Packing: rows of different shapes as one DataFrame, so that one shuffle moves them all; and apart again.

A packed row has `__part` (the partition it goes to), `__lane` (what it is a row of), the clocks, and slots. A slot is a
column of a type that every lane uses for some column of its own, so a packed row is as wide as the widest lane and not
as all of them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.arrow import to_arrow
from zipline.expressions.dialects import identifier, type_name
from zipline.types import NULL, DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

PART, LANE, ROW, ROWS = "__part", "__lane", "__zipline_row", "__rows"
CLOCKS = {"__t": "TIMESTAMP", "__known": "TIMESTAMP", "__changed": "TIMESTAMP", "__day": "DATE", "__before": "BOOLEAN"}
PLACE = {"__zipline_file": "STRING", "__zipline_index": "BIGINT"}
OWN = {ROW: "BIGINT", **CLOCKS, "__ds": "STRING", **PLACE, "__facts": "STRING", ROWS: "BINARY"}
"""Columns that stand for themselves, where a lane has them: a left row's number, day and place, clocks, facts; or many
rows at once (`bundles`)."""
OWN_ARROW = {
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    "STRING": pa.string(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "BINARY": pa.binary(),
}


@dataclass(frozen=True)
class Shape:
    """The columns of a lane: those of OWN that it has, and others by name with their types."""

    own: tuple[str, ...]
    columns: Mapping[str, DataType]


@dataclass(frozen=True)
class Packing:
    """Where each lane's columns are. Columns of which only null is known take no place."""

    shapes: tuple[Shape, ...]

    @property
    def own(self) -> tuple[str, ...]:
        return tuple(name for name in OWN if any(name in shape.own for shape in self.shapes))

    @property
    def slots(self) -> dict[str, str]:
        """Slot -> its type."""
        most: dict[str, int] = {}
        for shape in self.shapes:
            for dtype, count in _counted(shape.columns).items():
                most[dtype] = max(most.get(dtype, 0), count)
        names = [(dtype, n) for dtype, count in most.items() for n in range(count)]
        return {f"__{number}": dtype for number, (dtype, _) in enumerate(names)}

    def places(self, lane: int) -> dict[str, str]:
        """Column -> slot."""
        free: dict[str, list[str]] = {}
        for slot, dtype in self.slots.items():
            free.setdefault(dtype, []).append(slot)
        of_type = {name: spelled(dtype) for name, dtype in self.shapes[lane].columns.items() if dtype != NULL}
        return {name: free[dtype].pop(0) for name, dtype in of_type.items()}

    def pack(self, frames: Sequence[DataFrame], parts: Sequence[str]) -> DataFrame:
        """One frame of all lanes, in their order; `parts` are the SQL of the partition of each lane's rows."""
        packed = [frame.selectExpr(*self._items(lane, parts[lane])) for lane, frame in enumerate(frames)]
        return reduce(lambda one, other: one.unionAll(other), packed)

    def _items(self, lane: int, part: str) -> list[str]:
        shape = self.shapes[lane]
        own = [name if name in shape.own else f"CAST(NULL AS {OWN[name]}) AS {name}" for name in self.own]
        by_slot = {slot: name for name, slot in self.places(lane).items()}
        slots = [
            f"{identifier('spark', by_slot[slot])} AS {slot}" if slot in by_slot else f"CAST(NULL AS {dtype}) AS {slot}"
            for slot, dtype in self.slots.items()
        ]
        return [f"{part} AS {PART}", f"{lane} AS {LANE}", *own, *slots]

    def laid(self, lane: int, rows: pa.Table) -> pa.Table:
        """A lane's rows as they are packed, without partitions, in memory."""
        shape, places = self.shapes[lane], self.places(lane)
        of = {slot: name for name, slot in places.items()} | {name: name for name in shape.own}
        columns = [
            pa.nulls(rows.num_rows, field.type)
            if field.name not in of
            else rows.column(of[field.name]).cast(field.type)
            for field in list(self.arrow)[1:]
        ]
        return pa.table([pa.array(np.full(rows.num_rows, lane, np.int32)), *columns], schema=self.arrow)

    @property
    def arrow(self) -> pa.Schema:
        """Of packed rows in memory, without partitions."""
        types = {spelled(dtype): to_arrow(dtype) for shape in self.shapes for dtype in shape.columns.values()}
        slots = [(slot, types[dtype]) for slot, dtype in self.slots.items()]
        return pa.schema([(LANE, pa.int32()), *((name, OWN_ARROW[OWN[name]]) for name in self.own), *slots])

    @property
    def ddl(self) -> str:
        """The same for Spark."""
        items = [f"{LANE} INT", *(f"{name} {OWN[name]}" for name in self.own)]
        return ", ".join([*items, *(f"{slot} {dtype}" for slot, dtype in self.slots.items())])

    def unpacked(self, packed: DataFrame, lane: int) -> DataFrame:
        """The rows of a lane, with its own columns."""
        shape = self.shapes[lane]
        items = [f"{slot} AS {identifier('spark', name)}" for name, slot in self.places(lane).items()]
        return packed.where(f"{LANE} = {lane}").selectExpr(*shape.own, *items)

    def unpack(self, batches: Iterable[pa.RecordBatch]) -> list[pa.Table]:
        """Each lane's rows with its own columns; those of no type are left out. No batch gives no lanes."""
        listed = list(batches)
        if not listed:
            return []
        table = pa.Table.from_batches(listed)
        lanes = table.column(LANE)
        return [self._own(table, lane).filter(pc.equal(lanes, lane)) for lane in range(len(self.shapes))]

    def _own(self, packed: pa.Table, lane: int) -> pa.Table:
        """The columns of a lane, under their names; the rows of all."""
        shape, places = self.shapes[lane], self.places(lane)
        return packed.select([*shape.own, *places.values()]).rename_columns([*shape.own, *places])


def spelled(dtype: DataType) -> str:
    """A type as Spark writes it."""
    return type_name("spark", dtype)


def _counted(columns: Mapping[str, DataType]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for dtype in columns.values():
        if dtype != NULL:
            counts[spelled(dtype)] = counts.get(spelled(dtype), 0) + 1
    return counts
