"""Days of an output that are written and not published: files in the output's folder that its log does not name.

Whoever computes a day on many machines writes it where it will stay, and hands over what was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import pyarrow as pa

from zipline.errors import TableError
from zipline.tables.storage import Storage, joined
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of one day: its path in the output's folder, and its size."""

    name: str
    bytes: int
    rows: int


class WrittenDay:
    """The rows of one day, in one or more files, of a `schema` without the day itself."""

    def __init__(
        self,
        uri: str,
        options: Mapping[str, str],
        day: pa.Field,
        value: str,
        files: Sequence[WrittenFile],
        schema: pa.Schema,
    ) -> None:
        self.uri, self.files, self.schema = uri, tuple(files), schema.append(day)
        self._options, self._day, self._value = dict(options), day, value

    @property
    def num_rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def nbytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    @cached_property
    def _storage(self) -> Storage:
        return Storage(self.uri, self._options)

    def select(self, columns: Sequence[str]) -> pa.Table:
        """These columns of all rows, in memory."""
        wanted = [name for name in columns if name != self._day.name]
        pieces = [self._read(file, wanted) for file in self.files]
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.concat_tables(
            [schema.empty_table(), *(self._in_full(piece).select(list(columns)) for piece in pieces)]
        )

    def table(self) -> pa.Table:
        """All of it, in memory."""
        return self.select(self.column_names)

    def _read(self, file: WrittenFile, columns: Sequence[str]) -> pa.Table:
        path = joined(self.uri, file.name)
        try:
            with self._storage.parquet(path) as (parquet, threads):
                found = parquet.read(columns=list(columns), use_threads=threads)
        except (pa.ArrowException, OSError) as wrong:
            raise TableError(f"{path}, just written, cannot be read: {wrong}", hint="run it again") from None
        return found if columns else pa.table({"__rows": pa.nulls(file.rows, pa.int8())})

    def _in_full(self, rows: pa.Table) -> pa.Table:
        day = pa.repeat(pa.scalar(self._value, self._day.type), rows.num_rows)
        own = [rows.column(field.name).cast(field.type) for field in self.schema if field.name in rows.column_names]
        names = [name for name in self.schema.names if name in rows.column_names]
        return pa.table([*own, day], names=[*names, self._day.name])
