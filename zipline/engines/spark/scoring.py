"""Models over DataFrames: batches of rows go through a function in tasks, and what it needs is loaded once per worker.

    scores = mapped(frame, load=lambda: load_model(place), apply=predict, columns={"score": DOUBLE})

A worker is a Python process of an executor; it runs many tasks, one after another, of one run and of later ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.engines.spark.packing import spelled
from zipline.errors import DataError
from zipline.expressions.dialects import identifier
from zipline.types import DataType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Loaded = TypeVar("Loaded")
_loaded: dict[str, Any] = {}
"""Of this worker: what was loaded, by the run that asked for it. Only the newest is kept."""


@dataclass(frozen=True)
class Batches(Generic[Loaded]):
    """The task: batches in, batches of `schema` out."""

    load: Callable[[], Loaded]
    apply: Callable[[Loaded, pa.RecordBatch], pa.RecordBatch]
    schema: pa.Schema
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if self.token not in _loaded:
                _loaded.clear()
                _loaded[self.token] = self.load()
            yield self._fitted(self.apply(_loaded[self.token], batch), batch.num_rows)

    def _fitted(self, found: pa.RecordBatch, rows: int) -> pa.RecordBatch:
        if found.num_rows != rows or found.schema.names != self.schema.names:
            raise DataError(
                f"of {rows} rows came {found.num_rows} with the columns {', '.join(found.schema.names) or 'none'}",
                hint=f"apply gives a row for each, with the columns {', '.join(self.schema.names)}",
            )
        return found.cast(self.schema) if found.schema != self.schema else found


def mapped(
    frame: DataFrame,
    load: Callable[[], Loaded],
    apply: Callable[[Loaded, pa.RecordBatch], pa.RecordBatch],
    columns: Mapping[str, DataType],
) -> DataFrame:
    """A row of `columns` for each row of the frame: `apply(loaded, batch)` gives them, in the order of the batch.

    `load` is called in the workers, at the first batch that one gets, and never on the driver; like `apply` it is a
    function that can be pickled. What it gives stays in the worker until another frame is mapped there. DataError where
    a batch comes back with other rows or columns; values that do not fit the types of `columns` fail the task.
    """
    schema = pa.schema([(name, to_arrow(dtype)) for name, dtype in columns.items()])
    ddl = ", ".join(f"{identifier('spark', name)} {spelled(dtype)}" for name, dtype in columns.items())
    return frame.mapInArrow(Batches(load, apply, schema), ddl)
