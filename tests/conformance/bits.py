"""Tables compared to the last bit, and the rearrangements that must not change one."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .tables import Table


def bits(value: Any) -> Any:
    """A value in which equal means equal to the bit: floats as their eight bytes."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, (list, tuple)):
        return [bits(element) for element in value]
    return {name: bits(element) for name, element in value.items()} if isinstance(value, dict) else value


def columns(table: pa.Table) -> dict[str, tuple[str, Any]]:
    """Every column's type and bits; the order of a map's entries counts."""
    return {field.name: (str(field.type), bits(table[field.name].to_pylist())) for field in table.schema}


def assert_identical(first: pa.Table, second: pa.Table) -> None:
    assert first.column_names == second.column_names
    before, after = columns(first), columns(second)
    differing = [name for name in before if before[name] != after[name]]
    told = {name: _first_difference(before[name][1], after[name][1]) for name in differing[:3]}
    assert not differing, f"{len(differing)} columns differ in their bits or types: {told}"


def _first_difference(before: list[Any], after: list[Any]) -> Any:
    pairs = enumerate(zip(before, after, strict=False))
    return next((row, pair) for row, pair in pairs if pair[0] != pair[1]) if before != after else "type"


def shuffled(table: Table, seed: str) -> Table:
    rows = list(table.rows)
    random.Random(seed).shuffle(rows)
    return table.with_rows(rows)


def split(table: pa.Table, folder: Path, parts: int) -> Path:
    """The table as a folder of Parquet files, the last rows in the first file."""
    folder.mkdir()
    size = table.num_rows // parts + 1
    for number in range(parts):
        pq.write_table(table.slice(number * size, size), folder / f"part-{parts - number}.parquet")
    return folder
