"""The stored output of a join as data for training: read batch by batch, by any number of readers, as of one moment.

    rows = stored_rows("flights.training.departures", start="2013-07-01", end="2013-09-30")
    rows.table()                                  # Arrow, all of it
    for batch in rows.batches(): ...              # Arrow, a batch at a time
    frames(rows)                                  # pandas, a frame at a time
    matrix(batch, features)                       # numpy float32, null as NaN

Files are read where they lie, by the process that wants the rows: nothing passes through Spark, whichever engine wrote
them. What is committed later changes nothing of rows that were asked for before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zipline.clock import days as days_between
from zipline.errors import TableError
from zipline.project import Project, load_project
from zipline.tables.delta import DeltaOutput
from zipline.tables.stored_rows import BATCH, StoredRows, output_name

if TYPE_CHECKING:
    import pandas as pd


def stored_rows(
    join: str,
    *,
    project: Project | None = None,
    start: str | None = None,
    end: str | None = None,
    columns: Sequence[str] | None = None,
    training: bool = True,
    version: int | None = None,
) -> StoredRows:
    """What `zipline backfill` stored of a join, in day order and within a day as it was written; the day is `ds`.

    `start` and `end` (both inclusive) bound the days, every one of which must be there. TableError where the output,
    a day or a column of it is missing.
    """
    project = project or load_project()
    output = DeltaOutput(project.table_uri(output_name(join, training)), project.storage_options)
    stored = sorted(output.days())
    if not stored:
        raise TableError(f"nothing is stored of {join}", next_command=f"zipline backfill {join} --start DAY --end DAY")
    first, last = start or stored[0], end or stored[-1]
    wanted = days_between(first, last) if start or end else stored
    missing = [day for day in wanted if day not in stored]
    if missing:
        raise TableError(
            f"{join} has no day {missing[0]}" + (f" and {len(missing) - 1} others" if len(missing) > 1 else ""),
            hint=f"stored are {len(stored)} days from {stored[0]} to {stored[-1]}",
            next_command=f"zipline backfill {join} --start {missing[0]} --end {missing[-1]}",
        )
    return output.rows(wanted, version, columns)


def frames(rows: StoredRows, size: int = BATCH) -> Iterator[pd.DataFrame]:
    """pandas frames of at most `size` rows."""
    return (batch.to_pandas() for batch in rows.batches(size))


def matrix(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows x columns as float32, null as NaN."""
    found = np.empty((len(columns), batch.num_rows), np.float32)
    for place, name in enumerate(columns):
        found[place] = (
            batch.column(batch.schema.get_field_index(name))
            .cast(pa.float32(), safe=False)
            .to_numpy(zero_copy_only=False)
        )
    return np.ascontiguousarray(found.T)
