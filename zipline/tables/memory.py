"""Tables in memory: Arrow, registered with DuckDB without a copy."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING

import pyarrow as pa

from zipline.arrow import every_arrow_type, from_arrow, to_arrow
from zipline.errors import TableError
from zipline.tables.columns import (
    checked_day,
    checked_schema,
    empty_relation,
    exposed,
    quoted,
    unfit_partition,
    within,
)
from zipline.tables.contract import Partition, Statistics, Unit
from zipline.types import DATE, STRING, TIMESTAMP, DataType

if TYPE_CHECKING:
    import duckdb


class MemoryTable:
    """An Arrow table under a name. Without columns it has the schema {} and a relation of no rows worth reading."""

    def __init__(self, name: str, rows: pa.Table) -> None:
        self.name = name
        self._token = uuid.uuid4().hex
        self._schema = checked_schema(rows.schema, f"table {name!r}")
        self._rows = rows = _registered(rows, name)
        self._items = [exposed(field.name, field.type) for field in rows.schema]
        self._is_exposed = self._items == [quoted(column) for column in self._schema]

    @property
    def schema(self) -> dict[str, DataType]:
        return self._schema

    def relation(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        partition: str | None = None,
        start: str | None = None,
        end: str | None = None,
        units: Collection[str] | None = None,
    ) -> str:
        if not self._schema:
            return f"(SELECT NULL FROM range({self._rows.num_rows}))"
        if units is not None and self.name not in units:
            return empty_relation(self._schema)
        # What is not shown as it is has another name, so that a view of the table's own name can be made of it.
        name = self.name if self._is_exposed else f"{self.name} as given"
        connection.register(name, self._rows)
        view = quoted(name)
        limited = partition in self._schema and (start, end) != (None, None)
        if self._is_exposed and not limited:
            return view
        query = f"SELECT {', '.join(self._items)} FROM {view}"
        if limited and partition is not None:
            query = f"SELECT * FROM ({query}) WHERE {within(partition, self._schema[partition], start, end)}"
        return f"({query})"

    def units(self, partition: str | None) -> list[Unit]:
        """The table is one unit, whose token no other table has: what a memory holds cannot be told from before."""
        del partition
        return [Unit(self.name, self._token, None, self._rows.num_rows, self._rows.nbytes)]

    def partitions(self, column: str) -> list[Partition]:
        if column not in self._schema:
            return []
        # It takes a while to import, and few tables in memory are cut into days.
        import pyarrow.compute as pc

        counted = pc.value_counts(self._days(column)).to_pylist()
        found = [(each["values"], each["counts"]) for each in counted if each["values"] is not None]
        where = f"table {self.name!r}"
        return [Partition(checked_day(day, column, where), rows, None) for day, rows in sorted(found)]

    def statistics(self) -> Statistics:
        return Statistics(self._rows.num_rows, self._rows.nbytes, 0)

    def _days(self, column: str) -> pa.ChunkedArray:
        import pyarrow.compute as pc

        dtype, values = self._schema[column], self._rows.column(column)
        if dtype == STRING:
            return values.cast(pa.string())
        if dtype == DATE:
            return values.cast(pa.date32()).cast(pa.string())
        if dtype == TIMESTAMP:
            return pc.strftime(values.cast(pa.timestamp(values.type.unit, "UTC")), format="%Y-%m-%d")
        raise unfit_partition(column, dtype)


def _registered(rows: pa.Table, name: str) -> pa.Table:
    """The rows as DuckDB takes them, which knows no halves of floats and no wide decimals, and which a naive time in
    seconds or milliseconds ends where it is beyond what microseconds count."""
    for place, field in enumerate(rows.schema):
        column = rows.column(place)
        if any(chunk.offset for chunk in column.chunks) and _is_deep(field.type):
            column = _copied(column)
            rows = rows.set_column(place, field, column)
        if _is_unknown(field.type):
            known = to_arrow(from_arrow(field.type, field.name))
            try:
                # Arrow's cast of the keys of a map ends the process where one of the maps is null.
                is_plain = not _has_unknown_keys(field.type)
                column = column.cast(known) if is_plain else pa.chunked_array([pa.array(column.to_pylist(), known)])
            except pa.ArrowInvalid as wrong:
                raise TableError(
                    f"the column {field.name!r} holds what is no {from_arrow(field.type)}: {wrong}",
                    subject=f"table {name!r}",
                    hint="is its unit that of its values?",
                ) from None
            rows = rows.set_column(place, pa.field(field.name, known), column)
    return rows


def _copied(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without the rows before it, of which DuckDB loses its way in structs of structs."""
    sink = pa.BufferOutputStream()
    alone = pa.table({"column": column})
    with pa.ipc.new_stream(sink, alone.schema) as stream:
        stream.write_table(alone)
    return pa.ipc.open_stream(sink.getvalue()).read_all().column("column")


def _is_deep(stored: pa.DataType) -> bool:
    return any(stored.field(place).type.num_fields for place in range(stored.num_fields))


def _has_unknown_keys(stored: pa.DataType) -> bool:
    return any(pa.types.is_map(each) and _is_unknown(each.key_type) for each in every_arrow_type(stored))


def _is_unknown(stored: pa.DataType) -> bool:
    return any(
        pa.types.is_float16(each)
        or pa.types.is_decimal256(each)
        or (pa.types.is_timestamp(each) and each.tz is None and each.unit in ("s", "ms"))
        for each in every_arrow_type(stored)
    )
