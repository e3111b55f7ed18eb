"""The stored output of a join as data for training: read batch by batch, by any number of readers, as of one moment.

    rows = stored_rows("flights.training.departures", start="2013-07-01", end="2013-09-30")
    rows.table()                                  # Arrow, all of it
    for batch in rows.batches(): ...              # Arrow, a batch at a time
    frames(rows)                                  # pandas, a frame at a time
    matrix(batch, features)                       # numpy float32, null as NaN
    torch_rows(rows, features, label)             # a dataset for torch's DataLoader

Files are read where they lie, by the process that wants the rows: nothing passes through Spark, whichever engine wrote
them. What is committed later changes nothing of rows that were asked for before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from zipline.clock import days as days_between
from zipline.errors import EngineError, TableError, UsageError
from zipline.project import Project, load_project
from zipline.tables.delta import DeltaOutput
from zipline.tables.stored_rows import BATCH, StoredRows, output_name

if TYPE_CHECKING:
    import pandas as pd

    from training.torch_rows import TorchRows


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

    `start` and `end` (both inclusive) bound the days, every one of which must be there. UsageError where they are
    no days in their order, TableError where the output, a day or a column of it is missing.
    """
    project = project or load_project()
    output = DeltaOutput(project.table_uri(output_name(join, training)), project.storage_options)
    stored = sorted(output.days())
    if not stored:
        raise TableError(f"nothing is stored of {join}", next_command=f"zipline backfill {join} --start DAY --end DAY")
    first, last = _day(start or stored[0]), _day(end or stored[-1])
    if first > last:
        raise UsageError(f"start {first} is after end {last}")
    wanted = days_between(first, last) if start or end else stored
    missing = [day for day in wanted if day not in stored]
    if missing:
        raise TableError(
            f"{join} has no day {missing[0]}" + (f" and {len(missing) - 1} others" if len(missing) > 1 else ""),
            hint=f"stored are {len(stored)} days from {stored[0]} to {stored[-1]}",
            next_command=f"zipline backfill {join} --start {missing[0]} --end {missing[-1]}",
        )
    return output.rows(wanted, version, columns)


def _day(text: str) -> str:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except (TypeError, ValueError):
        raise UsageError(f"{text!r} is not a day", hint="write it as 2013-07-01") from None


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


def torch_rows(
    rows: StoredRows, features: Sequence[str], label: str | None = None, *, size: int = 1024, shuffle: bool = False
) -> TorchRows:
    """A torch `IterableDataset` of float32 batches, `size` x features at most, null as NaN; with a label a pair of
    these and as many labels.

    Batches are made already: `DataLoader(rows, batch_size=None, num_workers=4)`. Workers share the files. With
    `shuffle` each epoch has the files in another order, and so the rows of a file among as many as are read at a time
    (65,536); `torch.manual_seed` makes it the same again. TableError where a column is missing or has no numbers,
    EngineError without the package torch.
    """
    names = [*features, *([label] if label else [])]
    missing = [name for name in names if name not in rows.schema.names]
    if missing:
        raise TableError(f"the rows have no column {missing[0]!r}", asked=missing[0], valid=tuple(rows.schema.names))
    for name in names:
        kind = rows.schema.field(name).type
        if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise TableError(f"the column {name!r} is {kind}, which is no number", hint="encode it, or leave it out")
    try:
        from training.torch_rows import TorchRows
    except ModuleNotFoundError as absent:
        if absent.name != "torch":
            raise
        raise EngineError(
            "a torch dataset needs the package torch", next_command="pip install 'zipline-features[torch]'"
        ) from None
    return TorchRows(rows, tuple(features), label, size=size, shuffle=shuffle)
