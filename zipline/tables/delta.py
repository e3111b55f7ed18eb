"""Outputs: Delta tables, written in whole days.

An output is partitioned by `ds`, text YYYY-MM-DD. `replace` swaps days in one commit: readers see the old days or the
new ones, a writer that is killed or runs out of disk leaves nothing visible, writers of different days do not disturb
each other. A day of no rows is a day that exists. What a commit was made for (the definition's fingerprint, the run) is
in its commit info, and so is a digest of every day's files: `changed` finds the days that somebody restored or wrote by
other means. Old versions stay readable; nothing here removes them.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zipline.arrow import every_arrow_type, schema_of
from zipline.clock import now
from zipline.errors import TableError, UsageError
from zipline.tables.columns import canonical, check_names, checked_day
from zipline.tables.commits import DAY, MILLISECOND, Version, commit_of, digest_of_files, version_of
from zipline.tables.delta_log import arrow_schema, failed, live_files, open_log
from zipline.tables.parquet_writing import write_parquet
from zipline.tables.storage import Storage, delta_options, joined
from zipline.tables.stored_rows import StoredRows
from zipline.tables.written import WrittenDay
from zipline.types import DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable
    from deltalake.transaction import AddAction

    from zipline.project import Project

_ATTEMPTS = 20
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}
_RETRIED = ("already exists", "version 0", "conflict", "concurrent")


@dataclass(frozen=True)
class _Days:
    """The days of one commit: `rows` are those in memory, one day after another, `counts` how many of each.

    `ready` are the days that lie in files; their columns are among those of `rows`.
    """

    counts: Mapping[str, int]
    rows: pa.Table
    ready: Mapping[str, WrittenDay]

    @property
    def names(self) -> list[str]:
        return sorted([*self.counts, *self.ready])

    @property
    def title(self) -> str:
        names = self.names
        return f"the day {names[0]}" if len(names) == 1 else f"the days {names[0]} to {names[-1]}"

    def actions(self) -> list[AddAction]:
        """Of the files that are there."""
        return [
            _action(file.name, file.bytes, day, file.rows) for day, rows in self.ready.items() for file in rows.files
        ]


class DeltaOutput:
    """One output table."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._options = dict(storage_options or {})

    @property
    def storage_options(self) -> Mapping[str, str]:
        return self._options

    def exists(self) -> bool:
        return open_log(self.uri, self._options) is not None

    def days(self) -> set[str]:
        """The days that were written, days without rows too."""
        log = open_log(self.uri, self._options)
        return {str(file.partition[DAY]) for file in live_files(log)} if log else set()

    def schema(self) -> dict[str, DataType]:
        """Column name -> type, `ds` last; {} where there is no table yet."""
        log = open_log(self.uri, self._options)
        return schema_of(arrow_schema(log)) if log else {}

    def fingerprint(self) -> str | None:
        """The fingerprint of the newest commit that has one."""
        return next((each.metadata["fingerprint"] for each in self._history() if "fingerprint" in each.metadata), None)

    def fingerprints(self) -> dict[str, str]:
        """For each day that exists, the fingerprint it was last written under."""
        found: dict[str, str] = {}
        for each in self._history():
            for day in each.days if "fingerprint" in each.metadata else ():
                found.setdefault(day, each.metadata["fingerprint"])
        days = self.days()
        return {day: found[day] for day in sorted(found) if day in days}

    def versions(self) -> list[Version]:
        """Every commit, newest first."""
        return list(self._history())

    def changed(self, versions: Sequence[Version]) -> set[str]:
        """Of the days those that hold other files than the newest commit of `versions` that names them left there.

        Somebody restored an older version of the table, or changed it by other means than `replace_days`.
        """
        log = open_log(self.uri, self._options)
        now: dict[str, list[str]] = {}
        for file in live_files(log) if log else ():
            now.setdefault(str(file.partition[DAY]), []).append(file.name)
        written: dict[str, str | None] = {}
        for version in versions:
            for day in version.days:
                written.setdefault(day, version.files.get(day))
        return {day for day, names in now.items() if written.get(day) not in (None, digest_of_files(names))}

    def replace(self, day: str, rows: pa.Table, *, metadata: Mapping[str, str] | None = None) -> None:
        """`replace_days` of one day."""
        self.replace_days({day: rows}, metadata=metadata)

    def replace_days(
        self,
        days: Mapping[str, pa.Table | WrittenDay],
        *,
        metadata: Mapping[str, str] | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """Makes each day's rows, in their order, the whole of the day; creates the table where there is none.

        Rows that lie in the table's folder already are published as the files that they are.

        `fence` says, by an error, that this writer may publish no more. It is asked with the table open, right before
        each try to commit, and a commit is refused where anyone else's came after the table was opened: so however
        long this writer stands still, it commits nothing over a writer that was let in since.

        All days are one commit. A column new to the table is null in its other days, a column that `rows` lack is null
        in these. TableError, with the old days kept, where a column has another type than the table, where nothing but
        null is known of a column that the table does not have, or where writing fails.
        """
        ready = {day: rows for day, rows in days.items() if isinstance(rows, WrittenDay) and rows.files}
        tables = {day: _in_memory(rows) for day, rows in days.items() if day not in ready}
        prepared = {day: _with_day(checked_day(day, DAY, self.uri), rows, self.uri) for day, rows in tables.items()}
        if days:
            counts = {day: rows.num_rows for day, rows in prepared.items()}
            empty = (rows.schema.empty_table() for rows in ready.values())
            self._replace(_Days(counts, _concatenated((*prepared.values(), *empty)), ready), metadata, fence)

    def _replace(self, days: _Days, metadata: Mapping[str, str] | None, fence: Callable[[], None]) -> None:
        """A commit by anyone else in between makes it begin again: what it replaces may be another file now."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        for attempt in range(_ATTEMPTS):
            try:
                self._commit(days, metadata or {}, fence)
                return
            except (CommitFailedError, DeltaError, OSError) as wrong:
                if attempt == _ATTEMPTS - 1 or not _is_conflict(wrong):
                    hint = "they are as they were before; make room on the disk or mend the cause, then run it again"
                    raise failed(f"{days.title} of {self.uri} could not be written", wrong, hint) from None
                time.sleep(random.uniform(0.01, 0.05) * (attempt + 1))

    def read(
        self,
        days: Collection[str] | None = None,
        version: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of the days (all by default) in day order and the order they were written, `ds` last.

        `version` reads the table as it was then. TableError where there is no table, version or column.
        """
        return self.rows(days, version, columns).table()

    def rows(
        self,
        days: Collection[str] | None = None,
        version: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> StoredRows:
        """What `read` reads, not read yet: the files are those of now, whatever is committed later."""
        log = open_log(self.uri, self._options, version)
        if log is None:
            raise TableError(f"there is no table {self.uri}", hint="write it first", next_command="zipline backfill")
        schema = _selected(arrow_schema(log), columns, self.uri)
        files = tuple(file for file in live_files(log) if days is None or file.partition[DAY] in days)
        return StoredRows(Storage(self.uri, self._options), files, schema)

    def _history(self) -> Iterator[Version]:
        log = open_log(self.uri, self._options)
        return (version_of(commit) for commit in log.history()) if log else iter(())

    def _commit(self, days: _Days, metadata: Mapping[str, str], fence: Callable[[], None]) -> None:
        log = open_log(self.uri, self._options)
        rows = _fitted(days.rows, arrow_schema(log) if log is not None else None, self.uri)
        written = self._write(days.counts, rows)
        actions = sorted([*written, *days.actions()], key=lambda action: str(action.partition_values[DAY]))
        commit = commit_of(actions, metadata)
        try:
            fence()
            self._publish(log, actions, rows, days.names, commit)
        except BaseException:
            self._take_back(written)
            raise

    def _publish(
        self,
        log: DeltaTable | None,
        written: list[AddAction],
        rows: pa.Table,
        days: list[str],
        commit: CommitProperties,
    ) -> None:
        from deltalake import Schema
        from deltalake.transaction import create_table_with_add_actions

        schema = Schema.from_arrow(rows.schema)
        if log is not None:
            kept = log.schema() if set(rows.column_names) == set(arrow_schema(log).names) else schema
            replaced = [(DAY, "in", days)]
            log.create_write_transaction(written, "overwrite", kept, [DAY], replaced, commit_properties=commit)
            return
        create_table_with_add_actions(
            self.uri,
            schema,
            written,
            partition_by=[DAY],
            configuration=_CONFIGURATION,
            storage_options=delta_options(self.uri, self._options),
            commit_properties=commit,
        )

    def _take_back(self, written: list[AddAction]) -> None:
        """Removes files whose commit failed, but not those that it has published all the same."""
        with suppress(TableError):
            log = open_log(self.uri, self._options)
            live = {file.path for file in live_files(log)} if log else set()
            paths = [joined(self.uri, action.path) for action in written]
            _remove(Storage(self.uri, self._options), [path for path in paths if path not in live])

    def _write(self, counts: Mapping[str, int], rows: pa.Table) -> list[AddAction]:
        """One file for each day, of no rows too: the log has no other way to say that a day exists.

        What was written is taken away again when one of them fails; until they are committed nobody sees them.
        """
        storage = Storage(self.uri, self._options)
        names = {day: f"{DAY}={day}/part-00000-{uuid.uuid4()}.parquet" for day in counts}
        written: list[AddAction] = []
        try:
            start = 0
            for day, name in names.items():
                part = rows.slice(start, counts[day]).drop_columns([DAY])
                start += counts[day]
                size = write_parquet(storage, joined(self.uri, name), part)
                written.append(_action(name, size, day, counts[day]))
        except BaseException:
            _remove(storage, [joined(self.uri, name) for name in names.values()])
            raise
        return written


def _action(name: str, size: int, day: str, rows: int) -> AddAction:
    """What puts a file into the log."""
    from deltalake.transaction import AddAction

    return AddAction(name, size, {DAY: day}, now() // MILLISECOND, True, json.dumps({"numRecords": rows}))


def write_source(
    name: str,
    rows: pa.Table,
    partition_by: str | None = None,
    *,
    project: Project,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Puts rows into the project's warehouse as the Delta table of that name, whole, in their order.

    `partition_by` names a text column; a table that is there already is replaced in one commit, which keeps `metadata`.
    """
    from deltalake import CommitProperties, write_deltalake
    from deltalake.exceptions import DeltaError

    uri, options = project.table_uri(name), project.storage_options
    rows = _fitted(canonical(rows), None, uri)
    if partition_by is not None and partition_by not in rows.column_names:
        raise TableError(
            f"there is no column {partition_by!r} to partition by",
            subject=f"table {name!r}",
            asked=partition_by,
            valid=rows.column_names,
        )
    try:
        write_deltalake(
            uri,
            rows,
            mode="overwrite",
            schema_mode="overwrite",
            partition_by=[partition_by] if partition_by else None,
            configuration=_CONFIGURATION,
            storage_options=delta_options(uri, options),
            commit_properties=CommitProperties(custom_metadata=dict(metadata or {})),
        )
    except (DeltaError, OSError) as wrong:
        raise failed(f"the table {uri} could not be written", wrong) from None


def _in_memory(rows: pa.Table | WrittenDay) -> pa.Table:
    return rows.table() if isinstance(rows, WrittenDay) else rows


def _concatenated(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of all days; a column that is null in one of them has any type there."""
    return pa.concat_tables(tables, promote_options="default")


def _with_day(day: str, rows: pa.Table, uri: str) -> pa.Table:
    check_names(rows.column_names, uri)
    rows = canonical(rows)
    if DAY not in rows.column_names:
        return rows.append_column(DAY, pa.repeat(pa.scalar(day, pa.string()), rows.num_rows))
    others = set(rows.column(DAY).unique().to_pylist()) - {day}
    if others:
        raise UsageError(f"rows of {sorted(map(str, others))[0]} cannot replace the day {day} of {uri}")
    place = rows.column_names.index(DAY)
    return rows.remove_column(place).append_column(DAY, rows.column(DAY))


def _fitted(rows: pa.Table, stored: pa.Schema | None, uri: str) -> pa.Table:
    """The rows with the table's columns first, each in the table's type."""
    known = {field.name: field.type for field in stored or ()}
    for column in rows.schema:
        before = known.get(column.name)
        if before is not None and not pa.types.is_null(column.type) and before != column.type:
            raise TableError(
                f"the column {column.name!r} is {column.type}, in the table {uri} it is {before}",
                hint="name the column anew, or write the output to a new table",
            )
        if before is None and _has_null_type(column.type):
            raise TableError(
                f"nothing but null is known of the column {column.name!r}, so its type is not: {uri} cannot store it",
                hint=f"give it a type where it is selected, such as CAST({column.name} AS STRING)",
            )
    names = [*known, *(name for name in rows.column_names if name not in known)]
    return pa.table({name: _fitted_column(rows, name, known.get(name)) for name in names})


def _fitted_column(rows: pa.Table, name: str, stored: pa.DataType | None) -> Any:
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, stored)
    column = rows.column(name)
    return column.cast(stored) if stored is not None and column.type != stored else column


def _has_null_type(arrow: pa.DataType) -> bool:
    return any(map(pa.types.is_null, every_arrow_type(arrow)))


def _is_conflict(wrong: Exception) -> bool:
    from deltalake.exceptions import CommitFailedError

    return isinstance(wrong, CommitFailedError) or any(word in str(wrong).lower() for word in _RETRIED)


def _selected(schema: pa.Schema, columns: Sequence[str] | None, uri: str) -> pa.Schema:
    for column in columns or ():
        if column not in schema.names:
            raise TableError(f"{uri} has no column {column!r}", asked=column, valid=schema.names)
    return schema if columns is None else pa.schema([schema.field(column) for column in columns])


def _remove(storage: Storage, paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(Exception):  # the error that led here is the one to tell
            storage.files.rm(path)


__all__ = ["DAY", "DeltaOutput", "Version", "write_source"]
