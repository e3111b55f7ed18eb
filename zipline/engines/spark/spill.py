"""A partition in pieces: while its rows are few they are one piece; more are written to local disk, apart by key.

So what a task holds at a time is a piece, whatever the partition. Rows with the same `__part` stay together, and as
many of these as fit the budget are one piece; one that is larger than the budget is a piece of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from zipline.engines.spark.packing import PART

Batches = Iterable[pa.RecordBatch]


def _rows(batch: pa.RecordBatch) -> int:
    return int(batch.num_rows)


def _as_it_is(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def pieces(
    batches: Batches,
    most: int,
    count: Callable[[pa.RecordBatch], int] = _rows,
    divided: Callable[[pa.RecordBatch], pa.RecordBatch] = _as_it_is,
) -> Iterator[list[pa.RecordBatch]]:
    """The batches of a partition in pieces of at most `most` rows, as far as `__part` divides them.

    `count` says for how many rows those of a batch stand, `divided` makes each stand for those of one piece.
    """
    held: list[pa.RecordBatch] = []
    rows, rest = 0, iter(batches)
    for batch in rest:
        held.append(batch)
        rows += count(batch)
        if rows > most:
            break
    else:
        yield held
        return
    with TemporaryDirectory(prefix="zipline-", dir=_place()) as folder:
        spilled = _Spilled(Path(folder), count)
        while held:
            spilled.add(divided(held.pop()))
        for batch in rest:
            spilled.add(divided(batch))
        yield from spilled.pieces(most)


def _place() -> str | None:
    """Where Spark keeps what it spills itself."""
    places = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")
    return next((place for place in places if os.path.isdir(place)), None)


class _Spilled:
    """Rows on disk, a file for each `__part`."""

    def __init__(self, folder: Path, count: Callable[[pa.RecordBatch], int]) -> None:
        self._folder, self._count = folder, count
        self._rows: dict[int, int] = {}
        self._files: dict[int, pa.RecordBatchStreamWriter] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        parts = np.asarray(batch.column(PART))
        order = np.argsort(parts, kind="stable")
        found, first = np.unique(parts[order], return_index=True)
        ordered = batch.take(pa.array(order))
        for part, begin, end in zip(found.tolist(), first, [*first[1:], len(parts)], strict=True):
            if part not in self._files:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._files[part] = pa.ipc.new_stream(self._path(part), batch.schema, options=options)
            own = ordered.slice(begin, end - begin)
            self._files[part].write_batch(own)
            self._rows[part] = self._rows.get(part, 0) + self._count(own)

    def pieces(self, most: int) -> Iterator[list[pa.RecordBatch]]:
        for file in self._files.values():
            file.close()
        piece: list[int] = []
        for part in sorted(self._rows):
            if piece and sum(self._rows[each] for each in piece) + self._rows[part] > most:
                yield self._read(piece)
                piece = []
            piece.append(part)
        yield self._read(piece)

    def _read(self, parts: Iterable[int]) -> list[pa.RecordBatch]:
        found: list[pa.RecordBatch] = []
        for part in parts:
            with pa.ipc.open_stream(self._path(part)) as reader:
                found += reader
            os.remove(self._path(part))
        return found

    def _path(self, part: int) -> str:
        return str(self._folder / f"{part}.arrow")
