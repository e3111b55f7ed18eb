"""Folders that name values (`ds=2013-07-01/`): each key is a column of every row below, whatever the files' format.

A key is BIGINT where all its values are whole numbers, else text; `ds=2013-07-01` is text. It wins over a column of
that name in the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from zipline.errors import TableError
from zipline.tables.columns import duckdb_type, literal, quoted
from zipline.tables.days import files_within
from zipline.tables.storage import DataFile
from zipline.types import BIGINT, STRING, DataType

_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def folder_keys(name: str, files: Iterable[DataFile]) -> dict[str, DataType]:
    """The keys of a table's folders with their types; TableError where files lie in folders of other keys."""
    values: dict[str, list[str | None]] = {}
    keys: tuple[str, ...] | None = None
    for file in files:
        if keys is not None and keys != tuple(file.partition):
            raise TableError(
                f"{file.path} lies in folders of {list(file.partition)}, other files in folders of {list(keys)}",
                subject=f"table {name!r}",
                hint="every file of a partitioned folder needs the same partition keys",
            )
        keys = tuple(file.partition)
        for key, value in file.partition.items():
            values.setdefault(key, []).append(value)
    return {key: BIGINT if _are_whole_numbers(each) else STRING for key, each in values.items()}


def _are_whole_numbers(values: Iterable[str | None]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(_WHOLE_NUMBER.fullmatch(value) for value in given)


def reader_options(keys: Mapping[str, DataType]) -> str:
    """The arguments with which DuckDB's readers of files give the keys as columns."""
    if not keys:
        return "hive_partitioning = false"
    types = ", ".join(f"{quoted(key)}: {literal(duckdb_type(dtype))}" for key, dtype in keys.items())
    return f"hive_partitioning = true, hive_types = {{{types}}}"


def files_of_days(
    files: Sequence[DataFile],
    keys: Mapping[str, DataType],
    partition: str | None,
    days: tuple[str | None, str | None],
    name: str,
) -> Sequence[DataFile]:
    """The files of the days (first and last, both inclusive), as far as the folders tell: else all."""
    if partition is None or partition not in keys or days == (None, None):
        return files
    return files_within(files, partition, *days, f"table {name!r}")
