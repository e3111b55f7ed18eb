"""Running a staging query: DuckDB over the catalog's tables, rows in an order of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from zipline.algebra.columnar.values import whole
from zipline.api import StagingQuery
from zipline.api.base import Definition, children
from zipline.arrow import from_arrow
from zipline.clock import day_text, days, to_micros
from zipline.engines.local.session import connect
from zipline.errors import DataError, DefinitionError, TableError, UsageError
from zipline.plan.scope import quoted
from zipline.plan.staging import StagingPlan, plan_staging
from zipline.tables.catalog import Catalog, open_catalog
from zipline.tables.contract import Partition
from zipline.types import DataType

FIRST_DAY, LAST_DAY = "0001-01-01", "9999-12-31"
DAY_COLUMN = "ds"


def run_staging(plan: StagingPlan, catalog: Catalog, start: str | None = None, end: str | None = None) -> pa.Table:
    """The rows of the days `start`..`end` (None: the first and last day of the tables it reads).

    A daily query is run for one day at a time, so its result cannot depend on how days are grouped; where no table
    that it reads has days it is run once for all time. A query that is not daily gives all rows there are. Where the
    author orders nothing the rows of a run are in the order of their values, so every run gives the same bytes. Sums
    of integers are BIGINT.

    TableError where a table is missing, DefinitionError where the SQL does not fit the tables, DataError where the data
    make it fail or a row is of no day asked for.
    """
    ranges = _ranges(plan, catalog, start, end) if plan.is_daily else [(FIRST_DAY, LAST_DAY)]
    connection = connect()
    try:
        for name in plan.tables:
            _offer(plan, catalog, connection, name)
        runs = [_run_once(connection, plan, catalog, first, last) for first, last in ranges]
    finally:
        connection.close()
    return pa.concat_tables(runs) if len(runs) > 1 else runs[0]


def _run_once(
    connection: duckdb.DuckDBPyConnection, plan: StagingPlan, catalog: Catalog, start: str, end: str
) -> pa.Table:
    text = _text(plan, catalog, start, end)
    order = "" if plan.is_ordered else " ORDER BY ALL"
    rows = _run(connection, plan, f"SELECT {_columns(connection, plan, text)} FROM ({text}) AS staging{order}")
    return _of_days(plan, rows, start, end) if plan.is_daily else rows


def _ranges(plan: StagingPlan, catalog: Catalog, start: str | None, end: str | None) -> list[tuple[str, str]]:
    present = sorted({p.day for name in plan.tables for p in _days_of(catalog, name)})
    first = start or plan.start or (present[0] if present else None)
    last = end or (present[-1] if present else None)
    if first is None or last is None:
        return [(first or FIRST_DAY, last or LAST_DAY)]
    return [(day, day) for day in days(first, last)] or [(first, first)]


def _days_of(catalog: Catalog, name: str) -> list[Partition]:
    try:
        return catalog.table(name).partitions(DAY_COLUMN)
    except TableError:
        return []


def staging_schema(plan: StagingPlan, catalog: Catalog) -> Mapping[str, DataType]:
    """Column -> type of what the query gives, without running it."""
    connection = connect()
    try:
        for name in plan.tables:
            _offer(plan, catalog, connection, name)
        text = _text(plan, catalog, FIRST_DAY, LAST_DAY)
        columns = _columns(connection, plan, text)
        schema = _run(connection, plan, f"SELECT {columns} FROM ({text}) AS staging LIMIT 0").schema
    finally:
        connection.close()
    return {field.name: from_arrow(field.type, field.name) for field in schema}


def _text(plan: StagingPlan, catalog: Catalog, start: str, end: str) -> str:
    text = plan.text(start, end, lambda table, column: _latest_date(plan, catalog, table, column))
    return text.rstrip().rstrip(";")


def _columns(connection: duckdb.DuckDBPyConnection, plan: StagingPlan, text: str) -> str:
    return ", ".join(_read_as(name, dtype) for name, dtype in _described(connection, plan, text).items())


def _offer(plan: StagingPlan, catalog: Catalog, connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Makes a table of the catalog readable under its name."""
    try:
        relation = catalog.table(name).relation(connection)
    except TableError as missing:
        raise TableError(
            f"the staging query reads {name!r}: {missing.what}",
            subject=plan.name,
            where=plan.location,
            asked=missing.asked,
            valid=missing.valid,
            hint=missing.hint,
        ) from None
    if relation != quoted(name):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * FROM {relation}")


def _latest_date(plan: StagingPlan, catalog: Catalog, table: str, column: str) -> str:
    partitions = catalog.table(table).partitions(column)
    if not partitions:
        raise DataError(
            f"latest_date({table}): the table has no day in a column {column!r}",
            subject=plan.name,
            where=plan.location,
            hint="name the column that holds the day: latest_date(table, column)",
        )
    return partitions[-1].day


def _described(connection: duckdb.DuckDBPyConnection, plan: StagingPlan, text: str) -> dict[str, str]:
    try:
        found = connection.execute(f"DESCRIBE {text}").fetchall()
    except duckdb.Error as wrong:
        raise DefinitionError(_first_line(wrong), subject=plan.name, where=plan.location) from None
    names = [row[0] for row in found]
    twice = next((name for place, name in enumerate(names) if name.lower() in map(str.lower, names[:place])), None)
    if twice is not None:
        raise DefinitionError(
            f"two columns would be named {twice!r}", subject=plan.name, where=plan.location, hint="use AS"
        )
    return {row[0]: row[1] for row in found}


def _read_as(name: str, dtype: str) -> str:
    """A column as it is; DuckDB's sums of integers, which no table holds, as BIGINT."""
    column = quoted(name)
    return f"CAST({column} AS BIGINT) AS {column}" if dtype in ("HUGEINT", "UHUGEINT") else column


def _run(connection: duckdb.DuckDBPyConnection, plan: StagingPlan, sql: str) -> pa.Table:
    try:
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as wrong:
        raise DataError(_first_line(wrong), subject=plan.name, where=plan.location) from None


def _first_line(wrong: duckdb.Error) -> str:
    return str(wrong).split("\n", 1)[0].split("Error: ", 1)[-1]


def _of_days(plan: StagingPlan, rows: pa.Table, start: str, end: str) -> pa.Table:
    """The rows with `ds` as text, the last column; a row of another day than those asked for is refused."""
    if DAY_COLUMN not in rows.column_names:
        raise DefinitionError(
            "the query asks for days, but gives no column 'ds', the day of each row",
            subject=plan.name,
            where=plan.location,
            valid=rows.column_names,
            hint="select the day AS ds",
        )
    encoded = whole(rows.column(DAY_COLUMN)).dictionary_encode()
    found = [_day(plan, value) for value in encoded.dictionary.to_pylist()]
    if encoded.null_count:
        raise DataError("the query gave rows whose ds is null", subject=plan.name, where=plan.location)
    strange = sorted({day for day in found if not start <= day <= end})
    if strange:
        raise DataError(
            f"the query gave rows of {strange[0]}, which is outside the days asked for, {start} to {end}",
            subject=plan.name,
            where=plan.location,
            hint="bound ds: WHERE ds BETWEEN {{ start_date }} AND {{ end_date }}",
        )
    kept = rows.drop_columns([DAY_COLUMN])
    return kept.append_column(DAY_COLUMN, pa.array(found, pa.string()).take(encoded.indices))


def _day(plan: StagingPlan, value: object) -> str:
    try:
        return day_text(to_micros(value))  # type: ignore[arg-type]
    except UsageError:
        raise DataError(f"ds is {value!r}, which is not a day", subject=plan.name, where=plan.location) from None


def with_staging(tables: Mapping[str, object], definition: Definition | None = None) -> Catalog:
    """The catalog of the tables given and of what staging queries make of them.

    The queries are those among the tables and those that the definition's sources read and no table stands for.
    """
    queries = {name: each for name, each in tables.items() if isinstance(each, StagingQuery)}
    for found in _queries_in(definition):
        if found.title not in tables:
            queries.setdefault(_name(found), found)
    catalog = open_catalog({name: each for name, each in tables.items() if name not in queries})
    plans = {name: plan_staging(query) for name, query in queries.items()}
    for name in _upstream_first(plans):
        plan = plans[name]
        catalog = catalog.with_tables({name: run_staging(plan, catalog)})
    return catalog


def _queries_in(definition: Definition | None) -> Iterator[StagingQuery]:
    pending = [] if definition is None else [definition]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, StagingQuery):
            yield current
        pending += children(current)


def _name(staging: StagingQuery) -> str:
    if not staging.name:
        raise staging.wrong("has no name, which is its table's", hint='give name="..."')
    return staging.name


def _upstream_first(plans: Mapping[str, StagingPlan]) -> Iterator[str]:
    ordered: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise DefinitionError(f"depends on itself: {circle}", subject=name, where=plans[name].location)
        if name in ordered:
            return
        for table in plans[name].tables:
            if table in plans:
                visit(table, (*path, name))
        ordered.append(name)

    for name in plans:
        visit(name, ())
    return iter(ordered)
