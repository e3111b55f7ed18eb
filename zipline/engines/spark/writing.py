"""Writing an output where it will stay: each task its own files, of which only those it tells of are ever published.

The files of an attempt that failed, or of a task that ran twice, are files that nobody knows: the table's log does not
name them, and `VACUUM` removes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.tables.delta import DAY
from zipline.tables.parquet_writing import write_parquet
from zipline.tables.storage import Storage, joined
from zipline.types import BIGINT, STRING, DataType

FILES: Mapping[str, DataType] = {"day": STRING, "name": STRING, "bytes": BIGINT, "rows": BIGINT}
"""What a task tells of each file."""


@dataclass(frozen=True)
class Writing:
    """Where the days of an output go."""

    uri: str
    options: Mapping[str, str]

    def files(self, rows: pa.Table, order: Mapping[str, pa.ChunkedArray]) -> pa.Table:
        """Writes the rows, whose last column is their day, in their order and by day, and tells of the files."""
        storage = Storage(self.uri, self.options)
        told = [self._write(storage, day, part) for day, part in _by_day(rows, order)]
        columns = zip(*told, strict=True) if told else ((), (), (), ())
        kinds = (pa.string(), pa.string(), pa.int64(), pa.int64())
        return pa.table([pa.array(list(c), k) for c, k in zip(columns, kinds, strict=True)], names=list(FILES))

    def _write(self, storage: Storage, day: str, rows: pa.Table) -> tuple[str, str, int, int]:
        name = f"{DAY}={day}/part-00000-{uuid.uuid4()}.parquet"
        size = write_parquet(storage, joined(self.uri, name), rows)
        return day, name, size, rows.num_rows


def _by_day(rows: pa.Table, order: Mapping[str, pa.ChunkedArray]) -> Iterator[tuple[str, pa.Table]]:
    """Each day's rows, in order and cut: to look through all of them for each day would take longer."""
    days = sorted(rows.column(DAY).unique().to_pylist())
    codes = pc.index_in(rows.column(DAY), value_set=pa.array(days, pa.string()))
    keys = pa.table([codes, *order.values()], names=[DAY, *order])
    ordered = rows.drop_columns([DAY]).take(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]))
    counts = np.bincount(np.asarray(codes), minlength=len(days))
    for day, end, count in zip(days, np.cumsum(counts), counts, strict=True):
        yield day, ordered.slice(end - count, count)
