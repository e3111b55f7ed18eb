"""Writing an output where it will stay: each task its own files, of which only those it tells of are ever published.

The files of an attempt that failed, or of a task that ran twice, are files that nobody knows: the table's log does not
name them, and `VACUUM` removes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from zipline.tables.delta import DAY, write_parquet
from zipline.tables.storage import Storage, joined
from zipline.types import BIGINT, STRING, DataType

FILES: Mapping[str, DataType] = {"day": STRING, "name": STRING, "bytes": BIGINT, "rows": BIGINT}
"""What a task tells of each file."""


@dataclass(frozen=True)
class Writing:
    """Where the days of an output go."""

    uri: str
    options: Mapping[str, str]

    def files(self, rows: pa.Table) -> pa.Table:
        """Writes the rows, whose last column is their day, and tells of the files."""
        storage = Storage(self.uri, self.options)
        told = [self._write(storage, day, part) for day, part in _by_day(rows)]
        columns = zip(*told, strict=True) if told else ((), (), (), ())
        kinds = (pa.string(), pa.string(), pa.int64(), pa.int64())
        return pa.table([pa.array(list(c), k) for c, k in zip(columns, kinds, strict=True)], names=list(FILES))

    def _write(self, storage: Storage, day: str, rows: pa.Table) -> tuple[str, str, int, int]:
        name = f"{DAY}={day}/part-00000-{uuid.uuid4()}.parquet"
        size = write_parquet(storage, joined(self.uri, name), rows.drop_columns([DAY]))
        return day, name, size, rows.num_rows


def _by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = rows.column(DAY)
    for day in sorted(days.unique().to_pylist()):
        yield day, rows.filter(pc.equal(days, day))
