"""Where hop partials are kept: small Parquet files that are written once, named by what they were made of.

`<location>/<what was computed>/<of what>.parquet`: names are content addresses, so a file never changes its meaning,
nothing is ever invalidated, and two writers of one name write the same. A file is written beside and renamed (an object
store's put is one step), so a killed writer leaves nothing that is read. A file that is gone, or cannot be read, is
as one that was never made.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zipline.errors import TableError
from zipline.tables.storage import Storage, joined, normalised

SUFFIX = ".parquet"
UNFINISHED = ".unfinished"


@dataclass
class PartialStore:
    """The partials below one location, local or any fsspec URL, which need not exist yet.

    Tables of fewer than `least_rows` are not worth partials. `made`, `found` and `bytes_read` count what was written
    and read through this object.
    """

    location: str
    options: Mapping[str, str] = field(default_factory=dict)
    least_rows: int = 0
    made: int = 0
    found: int = 0
    bytes_read: int = 0

    def __post_init__(self) -> None:
        self.location = normalised(self.location)
        self._storage = Storage(self.location, self.options)

    @property
    def readers(self) -> int:
        """How many threads are worth reading with: those of local files only wait for each other."""
        return 1 if self._storage.scheme is None else 8

    def names(self, group: str) -> frozenset[str]:
        """The names that there are in a group."""
        children = self._storage.children(joined(self.location, group))
        return frozenset(child.removesuffix(SUFFIX) for child in children if child.endswith(SUFFIX))

    def read(self, group: str, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The columns (None: all) of a table; None where there is no such file, or it is damaged."""
        path = self._path(group, name)
        try:
            with self._storage.open(path) as opened:
                file = pq.ParquetFile(opened)
                table = file.read(columns, use_threads=False)
        except (OSError, pa.ArrowException):
            return None
        self.found += 1
        self.bytes_read += _bytes_of(file, columns)
        return table

    def write(self, group: str, name: str, table: pa.Table) -> None:
        """Stores the table under its name."""
        sink = pa.BufferOutputStream()
        diverse = [name for name in table.column_names if _is_diverse(table.column(name))]
        others = [name for name in table.column_names if name not in diverse]
        pq.write_table(
            table,
            sink,
            compression="zstd",
            use_dictionary=others,
            use_byte_stream_split=diverse,
            write_statistics=False,
        )
        path = self._path(group, name)
        try:
            self._put(path, sink.getvalue().to_pybytes())
        except OSError as wrong:
            raise TableError(
                f"{path} cannot be written: {wrong}", hint="make room, or put the partials elsewhere; none is needed"
            ) from None
        self.made += 1

    def remove(self, group: str, names: Collection[str]) -> None:
        """Takes tables away; one that is gone already is no error."""
        for name in names:
            path = self._path(group, name)
            if self._storage.exists(path):
                self._storage.files.rm(path)

    def _path(self, group: str, name: str) -> str:
        return joined(self.location, group, name + SUFFIX)

    def _put(self, path: str, content: bytes) -> None:
        files = self._storage.files
        if self._storage.scheme is not None:
            files.pipe_file(path, content)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = f"{path}.{uuid.uuid4().hex}{UNFINISHED}"
        try:
            with open(beside, "wb") as opened:
                opened.write(content)
            os.replace(beside, path)
        finally:
            if os.path.exists(beside):
                os.remove(beside)


def _is_diverse(column: pa.ChunkedArray) -> bool:
    """Floats of which few are alike: by their bytes apart they are smaller than as numbers of a dictionary."""
    return bool(pa.types.is_floating(column.type) and pc.count_distinct(column).as_py() * 2 > len(column))


def _bytes_of(file: pq.ParquetFile, columns: Sequence[str] | None) -> int:
    """The size of what was read: the column chunks."""
    total = 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            chunk = group.column(place)
            if columns is None or chunk.path_in_schema.split(".", 1)[0] in columns:
                total += chunk.total_compressed_size
    return total
