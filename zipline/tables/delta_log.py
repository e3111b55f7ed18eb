"""Reading Delta tables: which files make a version, with which schema.

Only the log is read with the deltalake package; the files are read by DuckDB or Arrow (with pyarrow 16 the package's
own Arrow datasets can abort the process when it ends). What these readers would get wrong, deletion vectors and renamed
columns, is refused.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import pyarrow as pa

from zipline.errors import TableError
from zipline.tables.columns import canonical
from zipline.tables.storage import DataFile, delta_options, scheme_of

if TYPE_CHECKING:
    from deltalake import DeltaTable

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_OS_ERROR = re.compile(r'Os \{ code: \d+, kind: \w+, message: "([^"]*)" \}')
_FRAME = re.compile(r"^\s*\d+: ")
_LONGEST = 400
_BROKEN = "its _delta_log is damaged: put the log back from a copy, or move the table away and write it anew"
_UNREAD_FEATURES = frozenset({"deletionVectors", "columnMapping"})


def open_log(uri: str, options: Mapping[str, str] | None = None, version: int | None = None) -> DeltaTable | None:
    """The table at a location, or None where there is none; TableError where its log cannot be read."""
    if scheme_of(uri) is None and os.path.isfile(uri):
        raise TableError(f"{uri} is a file, where the folder of a Delta table should be", hint="move it away")
    if _is_missing(uri):
        return None
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(uri, version=version, storage_options=delta_options(uri, options))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError, ValueError) as wrong:
        if version is not None:
            raise _no_version(uri, options, version, wrong) from None
        raise failed(f"the Delta table {uri} cannot be read", wrong, _BROKEN) from None
    _refuse_unread_features(uri, table)
    return table


def _is_missing(uri: str) -> bool:
    """Whether the operating system knows that there is no log: then nothing that reads one is imported."""
    if not os.path.isabs(uri):
        return False
    try:
        os.stat(os.path.join(uri, "_delta_log"))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def live_files(table: DeltaTable) -> list[DataFile]:
    """The files of the table's version in the order they were written: by partition, then by number in it."""
    root = table.table_uri.rstrip("/")
    root = unquote(root.removeprefix("file://")) if root.startswith("file://") else root
    keys = table.metadata().partition_columns
    actions = _actions(table, [f"partition.{key}" for key in keys])
    files = [
        DataFile(
            f"{root}/{unquote(action['path'])}",
            action["size_bytes"],
            action["num_records"],
            {key: None if action[f"partition.{key}"] is None else str(action[f"partition.{key}"]) for key in keys},
            name=unquote(action["path"]),
            token=f"{action['size_bytes']}-{action['modification_time']}",
        )
        for action in actions
    ]
    return sorted(files, key=lambda file: ([file.partition[key] or "" for key in keys], file.path))


def _actions(table: DeltaTable, partitions: list[str]) -> list[dict[str, Any]]:
    """What the log says of each file, without the statistics of its columns; times as numbers."""
    # Not pa.table: that imports pandas to see what it was given, which takes longer than all the rest.
    found = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
    found = found.select(["path", "size_bytes", "num_records", "modification_time", *partitions])
    place = found.column_names.index("modification_time")
    actions: list[dict[str, Any]] = found.set_column(
        place, "modification_time", found.column(place).cast(pa.int64())
    ).to_pylist()
    return actions


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The table's columns in its own order, partition columns last, as the platform's Arrow types."""
    stored = pa.schema(table.schema().to_arrow())
    keys = table.metadata().partition_columns
    fields = [field for field in stored if field.name not in keys] + [stored.field(key) for key in keys]
    # Not empty_table: that imports pandas, which takes longer than all the rest.
    return canonical(pa.Table.from_batches([], pa.schema(fields))).schema


def failed(what: str, wrong: Exception, hint: str | None = None) -> TableError:
    """The error that an operation on a table failed, in the library's words on one line, without colours and frames."""
    words = _COLOUR.sub("", str(wrong)).replace("\N{DOWNWARDS ARROW WITH TIP RIGHTWARDS}", "")
    lines = itertools.takewhile(lambda line: not _FRAME.match(line), words.splitlines())
    reason = _OS_ERROR.sub(r"\1", ": ".join(line.strip() for line in lines if line.strip()))
    return TableError(f"{what}: {reason[:_LONGEST] or type(wrong).__name__}", hint=hint)


def _no_version(uri: str, options: Mapping[str, str] | None, version: int, wrong: Exception) -> TableError:
    newest = open_log(uri, options)
    if newest is None:
        return failed(f"the Delta table {uri} cannot be read", wrong)
    return TableError(f"the Delta table {uri} has no version {version}", valid=[f"0 to {newest.version()}"])


def _refuse_unread_features(uri: str, table: DeltaTable) -> None:
    used = _UNREAD_FEATURES.intersection(table.protocol().reader_features or ())
    if "columnMapping" in used and table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        _refuse(uri, "renames columns (column mapping)", "rewrite the table without delta.columnMapping.mode")
    if "deletionVectors" in used and pa.RecordBatchReader.from_stream(table.deletion_vectors()).read_all().num_rows:
        _refuse(uri, "has deletion vectors", "run REORG TABLE ... APPLY (PURGE) with Spark")


def _refuse(uri: str, what: str, hint: str) -> NoReturn:
    raise TableError(f"the Delta table {uri} {what}, which is not read here", hint=hint)
