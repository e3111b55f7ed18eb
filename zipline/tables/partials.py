"""Where hop partials are kept: small Parquet files that are written once, named by what they were made of.

`<location>/<what was computed>/<of what>.parquet`: names are content addresses, so a file never changes its meaning,
nothing is ever invalidated, and two writers of one name write the same. A file is written beside and renamed (an object
store's put is one step), so a killed writer leaves nothing that is read. A file that is gone, or cannot be read, is
as one that was never made: so whatever nobody needs any more may be removed while others read and write.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zipline.clock import DAY
from zipline.errors import TableError
from zipline.tables.storage import Storage, joined, normalised
from zipline.values import dataclass

SUFFIX = ".parquet"
UNFINISHED = ".unfinished"

KEPT = 60 * DAY
"""How long a group stays in which nothing is written. One that is in use has something new every day of its source."""
ABANDONED = DAY
"""After so long what is unfinished is what a killed writer left."""
NEVER = 1 << 62


@dataclass
class PartialStore:
    """The partials below one location, local or any fsspec URL, which need not exist yet.

    Tables of fewer than `least_rows` are not worth partials. `made`, `found`, `removed` and `bytes_read` count what was
    written, read and taken away through this object.
    """

    location: str
    options: Mapping[str, str] = field(default_factory=dict)
    least_rows: int = 0
    made: int = 0
    found: int = 0
    removed: int = 0
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
        """Takes tables away; one that is gone already, or has to stay, is no error."""
        for name in names:
            self._remove(self._path(group, name))

    def sweep(self, now: int) -> None:
        """Removes the groups that are out of use, and what killed writers left; `now` is in microseconds."""
        for group in self._storage.children(self.location):
            folder = joined(self.location, group)
            ages = {path: now - self._written(path) for path in self._paths(folder)}
            is_kept = any(age < KEPT for age in ages.values())
            for path, age in ages.items():
                if not is_kept or (path.endswith(UNFINISHED) and age > ABANDONED):
                    self._remove(path)
            if not is_kept and self._storage.scheme is None:
                with suppress(OSError):
                    os.rmdir(folder)

    def _paths(self, folder: str) -> list[str]:
        return [joined(folder, name) for name in self._storage.children(folder)]

    def _written(self, path: str) -> int:
        """When a file was written, in microseconds; one that is gone was just now, as far as anybody can tell."""
        try:
            written: float = self._storage.files.modified(path).timestamp()
            return round(written * 1_000_000)
        except OSError:
            return NEVER

    def _remove(self, path: str) -> None:
        with suppress(OSError):
            self._storage.files.rm(path)
            self.removed += 1

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
