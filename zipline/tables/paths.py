"""Paths and URLs as tables: what a location holds decides how it is read.

A file is read by its extension; a folder is a Delta table where it has a `_delta_log`, else the data files in and
below it, which must be of one format.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from zipline.errors import TableError
from zipline.tables.contract import Table
from zipline.tables.storage import DataFile, Storage, joined, normalised
from zipline.values import dataclass

EXTENSIONS = {
    "parquet": "parquet",
    "pq": "parquet",
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
}
COMPRESSIONS = ("gz", "zst")


@dataclass(frozen=True, slots=True)
class PathSource:
    """A location (or several) with how to read it: `null_values` and `delimiter` are of CSV."""

    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    null_values: Sequence[str] = ("",)
    delimiter: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        several = [self.path] if isinstance(self.path, (str, os.PathLike)) else self.path
        return tuple(os.fspath(path) for path in several)


def format_of(path: str) -> str | None:
    """The format that a file's extension names (parquet, csv, json), or None."""
    parts = path.rsplit("/", 1)[-1].lower().split(".")
    if parts[-1] in COMPRESSIONS and len(parts) > 2:
        parts.pop()
    return EXTENSIONS.get(parts[-1]) if len(parts) > 1 else None


def is_path(name: str) -> bool:
    """True where a table's name is a location: it has a separator, a URL scheme or the extension of a data file."""
    return "/" in name or os.sep in name or "://" in name or format_of(name) is not None


def open_path(
    name: str,
    source: PathSource,
    *,
    options: Mapping[str, str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Table:
    """The table at a location; TableError where there is none or it cannot be read."""
    locations = [normalised(path, root) for path in source.paths]
    if not locations:
        raise TableError("the list of paths is empty", subject=f"table {name!r}")
    storage = Storage(locations[0], options)
    if len(locations) == 1 and storage.exists(joined(locations[0], "_delta_log")):
        from zipline.tables.delta_source import DeltaSource

        return DeltaSource(name, locations[0], options)
    files = [file for each in locations for file in _files(name, storage, each)]
    if len({file.name for file in files}) < len(files):
        files = [replace(file, name=file.path) for file in files]
    return _of_files(name, storage, source, files)


def _files(name: str, storage: Storage, location: str) -> list[DataFile]:
    if storage.is_folder(location):
        found = [file for file in storage.data_files(location) if format_of(file.path)]
        if not found:
            raise TableError(
                f"the folder {location} holds no data files", subject=f"table {name!r}", valid=_extensions()
            )
        return found
    if storage.exists(location):
        return [storage.file(location)]
    if "*" in location and (matching := storage.glob(location)):
        return [storage.file(path) for path in matching]
    raise TableError(
        f"there is no file or folder {location}",
        subject=f"table {name!r}",
        asked=location.rsplit("/", 1)[-1],
        valid=storage.children(location.rsplit("/", 1)[0]),
    )


def _of_files(name: str, storage: Storage, source: PathSource, files: Sequence[DataFile]) -> Table:
    formats = {format_of(file.path): file.path for file in files}
    if len(formats) > 1:
        raise TableError(
            f"files of several formats: {', '.join(sorted(formats.values()))}",
            subject=f"table {name!r}",
            hint="keep the files of one table in one format",
        )
    match next(iter(formats)):
        case "parquet":
            from zipline.tables.parquet import ParquetTable

            return ParquetTable(name, storage, files)
        case "csv":
            from zipline.tables.text import CsvTable

            return CsvTable(name, storage, files, source.null_values, source.delimiter)
        case "json":
            from zipline.tables.json_lines import JsonTable

            return JsonTable(name, storage, files)
    raise TableError(f"{files[0].path} has no known extension", subject=f"table {name!r}", valid=_extensions())


def _extensions() -> list[str]:
    return [f".{extension}" for extension in EXTENSIONS] + [".csv.gz", ".jsonl.gz"]
