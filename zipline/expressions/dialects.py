"""What differs between the three printed dialects below the level of functions: quoting, type names, sessions.

A printed expression is only right in a session with the settings of `SESSIONS`; the engines apply them. Inside DuckDB
an instant is a TIMESTAMP that holds UTC, because that type ignores the session's zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    NULL,
    SMALLINT,
    STRING,
    TIMESTAMP,
    TINYINT,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
)

Dialect = Literal["duckdb", "spark", "flink"]
DIALECTS: tuple[Dialect, ...] = ("duckdb", "spark", "flink")

SESSIONS: Mapping[Dialect, Mapping[str, str]] = MappingProxyType(
    {
        "duckdb": MappingProxyType({"TimeZone": "UTC"}),
        "spark": MappingProxyType({"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"}),
        "flink": MappingProxyType({"table.local-time-zone": "UTC"}),
    }
)
"""Session settings under which the printed text keeps the rules of the package."""

_NAMES: dict[DataType, tuple[str, str, str]] = {
    BOOLEAN: ("BOOLEAN", "BOOLEAN", "BOOLEAN"),
    TINYINT: ("TINYINT", "TINYINT", "TINYINT"),
    SMALLINT: ("SMALLINT", "SMALLINT", "SMALLINT"),
    INT: ("INTEGER", "INT", "INT"),
    BIGINT: ("BIGINT", "BIGINT", "BIGINT"),
    FLOAT: ("FLOAT", "FLOAT", "FLOAT"),
    DOUBLE: ("DOUBLE", "DOUBLE", "DOUBLE"),
    STRING: ("VARCHAR", "STRING", "STRING"),
    BINARY: ("BLOB", "BINARY", "BYTES"),
    DATE: ("DATE", "DATE", "DATE"),
    TIMESTAMP: ("TIMESTAMP", "TIMESTAMP", "TIMESTAMP_LTZ(6)"),
    NULL: ('"NULL"', "VOID", "NULL"),
}


def type_name(dialect: Dialect, dtype: DataType) -> str:
    """How `dialect` writes the type inside an expression."""
    if isinstance(dtype, DecimalType):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, ArrayType):
        element = type_name(dialect, dtype.element)
        return f"{element}[]" if dialect == "duckdb" else f"ARRAY<{element}>"
    if isinstance(dtype, MapType):
        key, value = type_name(dialect, dtype.key), type_name(dialect, dtype.value)
        return f"MAP({key}, {value})" if dialect == "duckdb" else f"MAP<{key}, {value}>"
    if isinstance(dtype, StructType):
        return _struct_name(dialect, dtype)
    return _NAMES[dtype][DIALECTS.index(dialect)]


def _struct_name(dialect: Dialect, dtype: StructType) -> str:
    mark = {"duckdb": " ", "spark": ": ", "flink": " "}[dialect]
    fields = ", ".join(f"{identifier(dialect, name)}{mark}{type_name(dialect, field)}" for name, field in dtype.fields)
    return {"duckdb": f"STRUCT({fields})", "spark": f"STRUCT<{fields}>", "flink": f"ROW<{fields}>"}[dialect]


def identifier(dialect: Dialect, name: str) -> str:
    """A column or field name, always quoted."""
    quote = '"' if dialect == "duckdb" else "`"
    return quote + name.replace(quote, quote * 2) + quote


def text_literal(dialect: Dialect, text: str) -> str:
    """A string literal. Spark alone reads backslashes inside one."""
    if dialect == "spark":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "''") + "'"


class InstantColumn(str):
    """A column of instants as DuckDB text, with the cheaper text of its microseconds."""

    __slots__ = ("count_sql",)

    count_sql: str


def duckdb_instant_column(name: str) -> InstantColumn:
    """The instants of a column, whichever of DuckDB's timestamp types it has."""
    count = f"epoch_us({name})"
    sql = InstantColumn(f"make_timestamp({count})")
    sql.count_sql = count
    return sql
