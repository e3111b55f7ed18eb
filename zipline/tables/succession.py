"""A successor of an output: its new generation, a table beside it until it is complete, that then takes its place.

The successor of `warehouse/flights` is `warehouse/_flights~<generation>`, which no listing of tables shows. `succeed`
puts its files into the output's folder (linked where the file system can, else copied) and publishes them in one
commit: readers see the whole old generation or the whole new one, whenever the writer is killed. Old versions stay
readable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from zipline.errors import TableError
from zipline.tables.commits import DAY, commit_of
from zipline.tables.delta import DeltaOutput
from zipline.tables.delta_log import failed, open_log
from zipline.tables.storage import Storage, joined

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

_MARK = "~"


def successor_of(output: DeltaOutput, generation: str) -> DeltaOutput:
    """The table that holds this generation until it is complete, there or not."""
    folder, name = output.uri.rsplit("/", 1)
    return DeltaOutput(f"{folder}/_{name}{_MARK}{generation}", output.storage_options)


def successors_of(output: DeltaOutput) -> list[DeltaOutput]:
    """Those that are there."""
    folder, name = output.uri.rsplit("/", 1)
    prefix = f"_{name}{_MARK}"
    found = [child for child in Storage(folder, output.storage_options).children(folder) if child.startswith(prefix)]
    return [successor_of(output, child.removeprefix(prefix)) for child in found]


def remove(successor: DeltaOutput) -> None:
    """Removes a successor with all its files; one that is an output is refused.

    Its log goes first, newest entry first: a writer that dies leaves an older version of it, or none.
    """
    if not successor.uri.rsplit("/", 1)[1].startswith("_"):
        raise ValueError(f"{successor.uri} is no successor")
    storage, log = Storage(successor.uri, successor.storage_options), joined(successor.uri, "_delta_log")
    try:
        for name in sorted(storage.children(log), reverse=True):
            storage.files.rm(joined(log, name), recursive=True)
        storage.files.rm(successor.uri, recursive=True)
    except FileNotFoundError:
        return
    except Exception as wrong:  # every fsspec file system raises the errors of its own client library
        raise failed(f"{successor.uri} could not be removed", wrong, "remove it: no output needs it") from None


def succeed(
    output: DeltaOutput,
    successor: DeltaOutput,
    metadata: Mapping[str, str],
    *,
    fence: Callable[[], None] = lambda: None,
) -> None:
    """Makes the successor's days, columns and order of columns those of the output, in one commit.

    `fence` is as in `DeltaOutput.replace_days`; a commit by anyone else in between is an error here.
    TableError, with the output as it was, where the output has a day that the successor lacks, or writing fails.
    """
    from deltalake.exceptions import CommitFailedError, DeltaError

    new, old = open_log(successor.uri, successor.storage_options), open_log(output.uri, output.storage_options)
    if new is None or old is None:
        raise TableError(f"{successor.uri} cannot take the place of {output.uri}: both must be there")
    missing = sorted(output.days() - successor.days())
    if missing:
        raise TableError(f"{successor.uri} lacks days of {output.uri}, such as {missing[0]}")
    try:
        actions = [_placed(action, output, successor) for action in _actions(new)]
        commit = commit_of(actions, metadata)
        fence()
        old.create_write_transaction(actions, "overwrite", new.schema(), [DAY], commit_properties=commit)
    except (CommitFailedError, DeltaError, OSError) as wrong:
        fence()  # a writer that was passed by is told so
        hint = "the table is as it was before; run the backfill again"
        raise failed(f"the new generation of {output.uri} could not be published", wrong, hint) from None


def _actions(log: DeltaTable) -> list[AddAction]:
    from deltalake.transaction import AddAction

    actions = pa.RecordBatchReader.from_stream(log.get_add_actions(flatten=True)).read_all().to_pylist()
    return [
        AddAction(
            action["path"],
            action["size_bytes"],
            {DAY: action[f"partition.{DAY}"]},
            action["modification_time"],
            True,
            json.dumps({"numRecords": action["num_records"]}),
        )
        for action in actions
    ]


def _placed(action: AddAction, output: DeltaOutput, successor: DeltaOutput) -> AddAction:
    """The same file in the output's folder; a run that was killed may have put it there already."""
    storage = Storage(output.uri, output.storage_options)
    source, target = joined(successor.uri, action.path), joined(output.uri, action.path)
    if storage.scheme is not None:
        storage.files.copy(source, target)
        return action
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with suppress(FileExistsError):
        _link(source, target, storage)
    return action


def _link(source: str, target: str, storage: Storage) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        part = f"{target}.part"
        storage.files.copy(source, part)
        os.replace(part, target)
