"""Rows appended to a Delta table, with how far their log was read: in one commit, so never twice and never lost.

The position of each part of a log is an application transaction of the table's own log (id, number). Of two writers
that began at one position the second is refused by Delta, whatever machines they are on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from zipline.errors import TableError
from zipline.tables.columns import canonical
from zipline.tables.delta_log import arrow_schema, failed, open_log
from zipline.tables.storage import delta_options

if TYPE_CHECKING:
    from deltalake import DeltaTable


class MovedError(TableError):
    """Somebody else has appended from the same position: what was to be appended may be there."""


class DeltaAppend:
    """A Delta table as it stands now, to which one append may be made."""

    def __init__(self, uri: str, options: Mapping[str, str] | None = None) -> None:
        log = open_log(uri, options)
        if log is None:
            raise TableError(f"there is no Delta table {uri}", hint="write it first")
        self._uri, self._options, self._log = uri, dict(options or {}), log

    def positions(self, ids: Iterable[str]) -> dict[str, int]:
        """Transaction id -> its number, of those that the table has."""
        found = {name: self._log.transaction_version(name) for name in ids}
        return {name: number for name, number in found.items() if number is not None}

    def append(self, rows: pa.Table, transactions: Mapping[str, int]) -> None:
        """Appends rows, whose columns are some of the table's, and keeps the numbers of these transactions.

        MovedError where one of them was advanced since this was opened.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        numbers = [Transaction(name, number) for name, number in transactions.items()]
        try:
            write_deltalake(
                self._log,
                _whole(rows, self._log),
                mode="append",
                storage_options=delta_options(self._uri, self._options) or None,
                commit_properties=CommitProperties(app_transactions=numbers),
            )
        except CommitFailedError as wrong:
            if "transaction" in str(wrong).lower():
                raise MovedError(f"{self._uri} was appended to from the same position") from None
            raise failed(f"events could not be appended to {self._uri}", wrong) from None
        except (DeltaError, OSError) as wrong:
            raise failed(f"events could not be appended to {self._uri}", wrong) from None


def _whole(rows: pa.Table, log: DeltaTable) -> pa.Table:
    """The rows with all columns of the table; those that they lack are null."""
    schema = arrow_schema(log)
    rows = canonical(rows)
    for name in rows.column_names:
        if name not in schema.names:
            raise TableError(
                f"the table {log.table_uri} has no column {name!r} any more",
                asked=name,
                valid=schema.names,
                hint="begin the stream again, so that it sees the table as it is now",
            )
    return pa.table(
        {
            field.name: rows.column(field.name).cast(field.type)
            if field.name in rows.column_names
            else pa.nulls(rows.num_rows, field.type)
            for field in schema
        },
        schema=schema,
    )
