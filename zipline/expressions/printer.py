"""Typed tree to SQL text of one dialect.

A float that may be NaN is wrapped where something other than arithmetic reads it, and at the root. Instants leave
DuckDB as TIMESTAMP WITH TIME ZONE, whatever timestamp types the columns have.
"""

from __future__ import annotations

import datetime as dt

from zipline.expressions.casts import print_cast
from zipline.expressions.dialects import (
    Dialect,
    InstantColumn,
    duckdb_instant_column,
    identifier,
    text_literal,
    type_name,
)
from zipline.expressions.instants import text_from_instant
from zipline.expressions.nodes import Call, Case, Cast, Coalesce, Column, Field, Fixed, Literal, Node
from zipline.types import BIGINT, BOOLEAN, DATE, FLOAT, INT, NULL, STRING, TIMESTAMP, DataType


def print_expression(node: Node, dialect: Dialect) -> str:
    """The whole expression, ready for a SELECT list."""
    sql = print_node(node, dialect)
    if node.type != TIMESTAMP or dialect != "duckdb":
        return sql
    count = sql.count_sql if isinstance(sql, InstantColumn) else f"epoch_us({sql})"
    return f"make_timestamptz({count})"


def print_node(node: Node, dialect: Dialect) -> str:
    """The node with NaN as null."""
    sql = _print(node, dialect)
    return _without_nan(sql, node.type, dialect) if node.may_be_nan else sql


def _without_nan(sql: str, dtype: DataType, dialect: Dialect) -> str:
    if dialect == "flink":
        return f"CASE WHEN ABS({sql}) >= 0 THEN {sql} END"
    return f"NULLIF({sql}, CAST('NaN' AS {type_name(dialect, dtype)}))"


def _print(node: Node, dialect: Dialect) -> str:
    """The node as it is, its operands already safe to read."""
    if isinstance(node, Column):
        return _loaded(identifier(dialect, node.name), node.type, dialect)
    if isinstance(node, Literal):
        return _literal(node, dialect)
    if isinstance(node, Call):
        return node.overload.print(dialect, [_argument(node, argument, dialect) for argument in node.arguments])
    if isinstance(node, Cast):
        return _cast(node, dialect)
    if isinstance(node, Case):
        return _case(node, dialect)
    if isinstance(node, Coalesce):
        return _coalesce([print_node(operand, dialect) for operand in node.operands], dialect)
    assert isinstance(node, Field)
    return _loaded(f"{print_node(node.operand, dialect)}.{identifier(dialect, node.name)}", node.type, dialect)


def _loaded(sql: str, dtype: DataType, dialect: Dialect) -> str:
    return duckdb_instant_column(sql) if dtype == TIMESTAMP and dialect == "duckdb" else sql


def _argument(call: Call, argument: Node | Fixed, dialect: Dialect) -> object:
    if isinstance(argument, Fixed):
        return argument.value
    return _print(argument, dialect) if call.overload.carries_nan else print_node(argument, dialect)


def _cast(node: Cast, dialect: Dialect) -> str:
    operand = node.operand
    sql = _print(operand, dialect) if node.may_be_nan else print_node(operand, dialect)
    return print_cast(dialect, sql, operand.type, node.type, safe=node.safe)


def _coalesce(operands: list[str], dialect: Dialect) -> str:
    """Flink's COALESCE computes operands it does not need, and fails where they do; its CASE does not."""
    if dialect != "flink":
        return f"COALESCE({', '.join(operands)})"
    *firsts, last = operands
    return f"(CASE {' '.join(f'WHEN {first} IS NOT NULL THEN {first}' for first in firsts)} ELSE {last} END)"


def _case(node: Case, dialect: Dialect) -> str:
    branches = " ".join(
        f"WHEN {print_node(condition, dialect)} THEN {print_node(value, dialect)}" for condition, value in node.branches
    )
    return f"(CASE {branches} ELSE {print_node(node.otherwise, dialect)} END)"


def _literal(node: Literal, dialect: Dialect) -> str:
    value, dtype = node.value, node.type
    if value is None:
        return "NULL" if dtype == NULL else f"CAST(NULL AS {type_name(dialect, dtype)})"
    if dtype == TIMESTAMP:
        return _instant(int(value), dialect)  # type: ignore[arg-type]
    if dtype == BOOLEAN:
        return "TRUE" if value else "FALSE"
    if dtype == STRING:
        quoted = text_literal(dialect, str(value))
        return f"CAST({quoted} AS STRING)" if dialect == "flink" else quoted
    if dtype == DATE:
        assert isinstance(value, dt.date)
        return f"DATE '{value.isoformat()}'"
    if dtype == INT:
        return str(value) if isinstance(value, int) and value >= 0 else f"({value})"
    return _number(value, dtype, dialect)


def _number(value: object, dtype: DataType, dialect: Dialect) -> str:
    if dtype.is_float:
        written = repr(value) if "e" in repr(value) else f"{value!r}e0"
        sql = written if not written.startswith("-") else f"({written})"
        return f"CAST({sql} AS FLOAT)" if dtype == FLOAT else sql
    if dtype == BIGINT and dialect == "spark":
        return f"{value}L" if isinstance(value, int) and value >= 0 else f"({value}L)"
    written = f"'{value}'" if not dtype.is_integer or value == -(2**63) else f"{value}"
    return f"CAST({written} AS {type_name(dialect, dtype)})"


def _instant(micros: int, dialect: Dialect) -> str:
    text = text_from_instant(micros).removesuffix("Z").replace("T", " ")
    return {
        "duckdb": f"TIMESTAMP '{text}'",
        "spark": f"timestamp_micros({micros}L)",
        "flink": f"CAST(TIMESTAMP '{text}' AS TIMESTAMP_LTZ(6))",
    }[dialect]
