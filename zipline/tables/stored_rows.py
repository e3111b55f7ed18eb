"""Rows of a stored table that are read when they are wanted: whole, or in batches that need no more memory than one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pyarrow as pa

from zipline.tables.delta_log import failed
from zipline.tables.storage import DataFile, Storage
from zipline.values import dataclass

BATCH = 65_536


def output_name(join: str, training: bool) -> str:
    """The table that holds a join's output: rows to score are no training set, so they have a table of their own."""
    return join if training else f"{join}.scoring"


@dataclass(frozen=True)
class StoredRows:
    """The rows of `files`, file by file and in the order they were written, with the columns of `schema`."""

    storage: Storage
    files: tuple[DataFile, ...]
    schema: pa.Schema

    def table(self) -> pa.Table:
        """All rows in memory. TableError where a file cannot be read."""
        batches = [batch for file in self.files for batch in self._batches(file, None)]
        return pa.Table.from_batches(batches, self.schema)

    def batches(self, rows: int = BATCH) -> Iterator[pa.RecordBatch]:
        """At most so many rows at a time, none of them empty. TableError where a file cannot be read."""
        for file in self.files:
            yield from self._batches(file, rows)

    def share(self, number: int, of: int) -> StoredRows:
        """The files of one of several readers: every `of`-th, from the one of this number on."""
        return replace(self, files=self.files[number::of])

    def _batches(self, file: DataFile, rows: int | None) -> Iterator[pa.RecordBatch]:
        try:
            with self.storage.parquet(file.path) as (parquet, threads):
                stored = set(parquet.schema_arrow.names)
                names = [name for name in self.schema.names if name in stored]
                if rows is None:
                    found = iter(parquet.read(columns=names, use_threads=threads).to_batches())
                else:
                    found = parquet.iter_batches(rows, columns=names, use_threads=threads)
                for batch in found:
                    yield self._fitted(batch, file)
        except (pa.ArrowException, OSError) as wrong:
            hint = "put the file back from a copy, or write its day anew with --force"
            raise failed(f"the file {file.path} of the table cannot be read", wrong, hint) from None

    def _fitted(self, batch: pa.RecordBatch, file: DataFile) -> pa.RecordBatch:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays = [_column(columns, field, file, batch.num_rows) for field in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _column(columns: Mapping[str, pa.Array], wanted: pa.Field, file: DataFile, count: int) -> pa.Array:
    if wanted.name in file.partition:
        return pa.repeat(pa.scalar(file.partition[wanted.name], wanted.type), count)
    column = columns.get(wanted.name)
    if column is None:
        return pa.nulls(count, wanted.type)
    return column if column.type == wanted.type else column.cast(wanted.type)
