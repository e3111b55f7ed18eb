"""How columns appear to DuckDB: names and texts quoted, types spelled, instants zoned, days limited.

One rule for all sources: what a query sees has exactly the types of the table's schema. Unsigned and half-precision
numbers are widened, and every timestamp, of any unit or zone, is TIMESTAMP WITH TIME ZONE in microseconds, finer units
rounded down. DuckDB's own cast of nanoseconds rounds half up, which could move an event past a query.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import pyarrow as pa

from zipline.arrow import from_arrow, schema_of, to_arrow
from zipline.errors import TableError
from zipline.tables.contract import ROW_NUMBER
from zipline.types import BINARY, DATE, NULL, STRING, TIMESTAMP, ArrayType, DataType, DecimalType, MapType, StructType

_SPELLED: dict[DataType, str] = {STRING: "VARCHAR", TIMESTAMP: "TIMESTAMPTZ", BINARY: "BLOB", NULL: '"NULL"'}


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def listed(texts: Iterable[str]) -> str:
    """An SQL list of strings."""
    return f"[{', '.join(literal(text) for text in texts)}]"


def duckdb_type(dtype: DataType) -> str:
    """DuckDB's spelling of a type."""
    if isinstance(dtype, ArrayType):
        return f"{duckdb_type(dtype.element)}[]"
    if isinstance(dtype, MapType):
        return f"MAP({duckdb_type(dtype.key)}, {duckdb_type(dtype.value)})"
    if isinstance(dtype, StructType):
        return f"STRUCT({', '.join(f'{quoted(name)} {duckdb_type(field)}' for name, field in dtype.fields)})"
    if isinstance(dtype, DecimalType):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    return _SPELLED.get(dtype, dtype.name)


def exposed(name: str, stored: pa.DataType) -> str:
    """The select item that gives a stored column the type of the schema."""
    column = quoted(name)
    if pa.types.is_timestamp(stored) and stored.unit == "ns":
        return f"make_timestamptz({_floored_micros(column)}) AS {column}"
    if _is_seen_as_is(stored):
        return column
    return f"CAST({column} AS {duckdb_type(from_arrow(stored, name))}) AS {column}"


def _floored_micros(column: str) -> str:
    nanos = f"epoch_ns({column})"
    return f"(({nanos} - ({nanos} % 1000 + 1000) % 1000) // 1000)"


def _is_seen_as_is(stored: pa.DataType) -> bool:
    if pa.types.is_timestamp(stored):
        return stored.unit == "us" and stored.tz is not None
    if pa.types.is_dictionary(stored):
        return _is_seen_as_is(stored.value_type)
    if pa.types.is_fixed_size_list(stored):
        return False
    if stored.num_fields:
        return all(_is_seen_as_is(stored.field(place).type) for place in range(stored.num_fields))
    return not (pa.types.is_unsigned_integer(stored) or pa.types.is_float16(stored) or pa.types.is_decimal256(stored))


def known_null(name: str, dtype: DataType) -> str:
    """The select item of a column that a text format reads as text where nothing but null is known of it."""
    if "NULL" not in str(dtype):
        return quoted(name)
    return f"CAST({quoted(name)} AS {duckdb_type(dtype)}) AS {quoted(name)}"


def empty_relation(schema: Mapping[str, DataType]) -> str:
    """A FROM item of no rows with the columns of `schema`."""
    items = [f"CAST(NULL AS {duckdb_type(dtype)}) AS {quoted(name)}" for name, dtype in schema.items()]
    return f"(SELECT {', '.join(items) or 'NULL'} WHERE FALSE)"


def numbered(rows: tuple[int, int]) -> str:
    """The SQL condition that a row of a file is one of these."""
    return f"{quoted(ROW_NUMBER)} >= {rows[0]} AND {quoted(ROW_NUMBER)} < {rows[1]}"


def day_expression(column: str, dtype: DataType) -> str:
    """SQL for the YYYY-MM-DD text of a partition column."""
    if dtype == STRING:
        return quoted(column)
    if dtype in (DATE, TIMESTAMP):
        return f"strftime({quoted(column)}, '%Y-%m-%d')"
    raise unfit_partition(column, dtype)


def within(column: str, dtype: DataType, start: str | None, end: str | None) -> str:
    """The SQL condition that a partition column lies in start..end, in a form that file statistics can answer."""
    name, bounds = quoted(column), []
    if dtype not in (STRING, DATE, TIMESTAMP):
        raise unfit_partition(column, dtype)
    if start is not None:
        bounds.append(f"{name} >= {_bound(start, dtype)}")
    if end is not None:
        after = (dt.date.fromisoformat(end) + dt.timedelta(days=1)).isoformat()
        bounds.append(f"{name} < {_bound(after, dtype)}" if dtype == TIMESTAMP else f"{name} <= {_bound(end, dtype)}")
    return " AND ".join(bounds) or "TRUE"


def _bound(day: str, dtype: DataType) -> str:
    if dtype == TIMESTAMP:
        return f"TIMESTAMPTZ '{day} 00:00:00+00'"
    return f"DATE '{day}'" if dtype == DATE else literal(day)


def unfit_partition(column: str, dtype: DataType) -> TableError:
    """The error that a column of this type cannot hold days."""
    return TableError(
        f"the partition column {column!r} is {dtype}, which does not hold days",
        valid=["STRING (YYYY-MM-DD)", "DATE", "TIMESTAMP"],
        hint="name another column with Query(partition=...)",
    )


def checked_day(text: str, column: str, where: str) -> str:
    """`text` where it is a day written YYYY-MM-DD, else a TableError."""
    try:
        if dt.date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise TableError(
        f"{where}: the partition column {column!r} holds {text!r}, which is not a day",
        hint="partitions are days written YYYY-MM-DD; name another column with Query(partition=...)",
    )


def checked_schema(arrow: pa.Schema, where: str) -> dict[str, DataType]:
    """The platform's schema of an Arrow one; TableError for names that DuckDB or Delta could not tell apart."""
    check_names(arrow.names, where)
    try:
        return schema_of(arrow)
    except TableError as wrong:
        wrong.subject = where
        raise


def check_names(names: Iterable[str], where: str) -> None:
    """TableError where a column has no name, or two names are equal or differ in case only."""
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip():
            raise TableError(f"{where}: a column has no name", hint="name every column in the header")
        if name.lower() in seen:
            raise TableError(
                f"{where}: the columns {seen[name.lower()]!r} and {name!r} have the same name (case does not count)",
                hint="rename one of them",
            )
        seen[name.lower()] = name


def canonical(table: pa.Table) -> pa.Table:
    """The table with the one Arrow type of each platform type: plain strings, UTC microseconds, signed integers."""
    target = pa.schema([pa.field(field.name, to_arrow(from_arrow(field.type, field.name))) for field in table.schema])
    return table if table.schema.equals(target) else table.cast(target, safe=False)
