"""The SQL of a reading: an author's conditions, clocks and columns, as far as they can be evaluated.

Conditions that can fail see only the rows that the others keep, and columns that compute only the rows that all
conditions keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zipline.clock import FIRST_INSTANT, LAST_INSTANT, to_text
from zipline.expressions import Expression
from zipline.expressions.dialects import Dialect, identifier
from zipline.expressions.nodes import Cast, Column, walk
from zipline.plan.steps import Projection
from zipline.tables.columns import quoted
from zipline.types import TIMESTAMP, ArrayType, DataType, MapType, StructType


def all_of(conditions: Iterable[Expression], dialect: Dialect = "duckdb") -> str:
    """True where all hold. Those that can fail come last and see only the rows that the others keep."""
    ordered = sorted(conditions, key=_can_fail)
    if not ordered:
        return "TRUE"
    nested = "".join(f"CASE WHEN ({condition.sql(dialect)}) THEN " for condition in ordered[:-1])
    return f"{nested}({ordered[-1].sql(dialect)}){' ELSE FALSE END' * (len(ordered) - 1)}"


def _can_fail(condition: Expression) -> bool:
    return any(isinstance(node, Cast) and not node.safe for node in walk(condition.node))


def tried(projections: Iterable[Projection], needed: Mapping[Projection, frozenset[str]]) -> dict[str, str]:
    """The author's expressions as SQL, columns as far as the conditions let them be evaluated."""
    texts: dict[str, str] = {}
    for source in projections:
        for clock in (source.time, source.known_at, source.mutation_time, source.is_before):
            if clock is not None:
                texts[clock.text] = clock.sql("duckdb")
        texts |= {condition.text: condition.sql("duckdb") for condition in source.where}
        guard = all_of(source.where) if source.where else ""
        texts |= {source.columns[n].text: guarded(source.columns[n], guard) for n in sorted(needed[source])}
    return texts


def guarded(expression: Expression, guard: str, dialect: Dialect = "duckdb") -> str:
    untouched = column_of(expression, dialect)
    sql = untouched or expression.sql(dialect)
    return sql if untouched or not guard else f"CASE WHEN {guard} THEN {sql} END"


def column_of(expression: Expression, dialect: Dialect = "duckdb") -> str | None:
    """The column that an expression is, untouched; None where it computes."""
    name = expression.text[1:-1].replace('""', '"') if expression.text.startswith('"') else expression.text
    return identifier(dialect, name) if name in expression.columns else None


def left_items(left: Projection, time: str, dialect: Dialect = "duckdb") -> list[tuple[str, str]]:
    """(name, SQL) of what is selected of left rows: `time` where it is the query time, columns as they stand."""
    return [(name, time if e is left.time else column_of(e, dialect) or e.sql(dialect)) for name, e in left.select]


def filtered(relation: str, conditions: list[str]) -> str:
    return f"{relation} WHERE {' AND '.join(f'({c})' for c in conditions)}" if conditions else relation


def deduplicated(first: Projection, relation: str, conditions: list[str]) -> str:
    """Of the rows of one event id the least by (availability, t, values); rows without an id stay."""
    identity, order = event_order(first)
    keep = f"({identity}) IS NULL OR row_number() OVER (PARTITION BY {identity} ORDER BY {order}) = 1"
    return filtered(f"(SELECT * FROM {relation} QUALIFY {keep})", conditions)


def event_order(first: Projection, dialect: Dialect = "duckdb") -> tuple[str, str]:
    """(the event id, the order of the rows of one). A row that lacks a clock is never seen: it comes last."""
    assert first.event_id is not None
    clocks = [f"({e.sql(dialect)})" for e in (first.known_at, first.time) if e is not None]
    unseen = " OR ".join(f"{clock} IS NULL" for clock in clocks) or "FALSE"
    available = f"greatest({', '.join(clocks)})" if len(clocks) > 1 else clocks[0] if clocks else "NULL"
    values = [_sortable(e, dialect) for e in first.values]
    order = ", ".join(f"{sql} NULLS LAST" for sql in (unseen, available, *reversed(clocks), *values))
    return first.event_id.sql(dialect), order


def _sortable(value: Expression, dialect: Dialect) -> str:
    """SQL to order by. Within a value nulls come last too, as DuckDB has it, and maps are lists of their entries."""
    sql = value.sql(dialect)
    return _sortable_on_spark(sql, value.type, 0) if dialect == "spark" else sql


def _sortable_on_spark(sql: str, dtype: DataType, depth: int) -> str:
    """Spark has no order of maps, and within lists and structs puts nulls first."""

    def inner(of: str, inner_type: DataType) -> str:
        return f"{of} IS NULL, {_sortable_on_spark(of, inner_type, depth + 1)}"

    each = f"e{depth}"
    if isinstance(dtype, ArrayType):
        return f"transform({sql}, {each} -> struct({inner(each, dtype.element)}))"
    if isinstance(dtype, MapType):
        entry = f"{each}.key, {inner(f'{each}.value', dtype.value)}"
        return f"transform(map_entries({sql}), {each} -> struct({entry}))"
    if isinstance(dtype, StructType):
        fields = ", ".join(inner(f"{sql}.{identifier('spark', name)}", field) for name, field in dtype.fields)
        return f"CASE WHEN {sql} IS NOT NULL THEN struct({fields}) END"
    return sql


def within(first: Projection, partitions: tuple[str, str] | None) -> tuple[str | None, str | None]:
    if partitions is None:
        return first.start, first.end
    starts = [day for day in (first.start, partitions[0]) if day]
    ends = [day for day in (first.end, partitions[1]) if day]
    return max(starts), min(ends)


def time_bounds(time: Expression | None, low: int | None, high: int | None) -> list[str]:
    if time is None:
        return []
    return between(_instant(time), low, high)


def _instant(time: Expression) -> str:
    """A clock as SQL; a column that is an instant as it is, so that files are passed over by their statistics."""
    if isinstance(time.node, Column) and time.node.type == TIMESTAMP:
        return quoted(time.node.name)
    return f"CAST({time.sql('duckdb')} AS TIMESTAMPTZ)"


def between(sql: str, low: int | None, high: int | None, dialect: Dialect = "duckdb") -> list[str]:
    """Conditions that a time is low <= time < high, or null; what is beyond the calendar bounds nothing."""
    bounds = []
    if low is not None and low > FIRST_INSTANT:
        bounds.append(f"({sql} >= {_literal(min(low, LAST_INSTANT), dialect)} OR ({sql}) IS NULL)")
    if high is not None and high <= LAST_INSTANT:
        bounds.append(f"({sql} < {_literal(max(high, FIRST_INSTANT), dialect)} OR ({sql}) IS NULL)")
    return bounds


def _literal(instant: int, dialect: Dialect) -> str:
    text = to_text(instant)
    return f"TIMESTAMP '{text}'" if dialect == "spark" else f"TIMESTAMPTZ '{text.replace('Z', '+00')}'"
