"""The functions an author calls: training sets and features as Arrow tables, from any frames or the warehouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from zipline.api import EventSource, GroupBy, Join, JoinPart, Query, StagingQuery
from zipline.arrow import TIMESTAMP_ARROW, from_arrow
from zipline.clock import to_micros
from zipline.engines import ENGINES
from zipline.engines.contract import Result
from zipline.errors import UnsupportedError, UsageError
from zipline.plan.build import plan_group_by, plan_join
from zipline.plan.chaining import parents_of
from zipline.plan.keys import check_key_kinds
from zipline.plan.parts import Projection
from zipline.project import Project, load_project
from zipline.tables.catalog import Catalog, Opener, open_catalog
from zipline.tables.contract import Table
from zipline.types import STRING

Instant = dt.datetime | dt.date | str | int


def backfill(
    join: Join,
    tables: Mapping[str, Any] | None = None,
    *,
    engine: str = "local",
    training: bool = True,
    as_of: Instant | None = None,
) -> pa.Table:
    """The join's output: one row per left row, in left order.

    Columns: the selected left columns untouched, `ts` (the query time, timestamp[us, UTC]), the parts' features,
    derivations, labels. `training=True` leaves out rows whose labels are not complete at `as_of` (by default where
    the label data end); `training=False` keeps every row and has no labels. `tables` maps names to Arrow tables,
    pandas or polars frames, lists of dicts, or paths; without it the project's warehouse is read.

    With `engine="spark"` a table may be a DataFrame of Spark too, such as `spark.table("sales.orders")`: its session
    runs the join. A left one is numbered once and written down; the output has its rows in the order in which Spark
    gave them then.
    """
    return run(join, tables, engine=engine, training=training, as_of=as_of).table


def run(
    join: Join,
    tables: Mapping[str, Any] | None = None,
    *,
    engine: str = "local",
    training: bool = True,
    as_of: Instant | None = None,
) -> Result:
    """`backfill` with its report."""
    _check_engine(engine)
    if not isinstance(join, Join):
        raise UsageError(f"backfill takes a Join, not {type(join).__name__}", hint="aggregate takes a GroupBy")
    catalog = open_tables(tables, join, engine)
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    _check_days(plan.projections(training=training), catalog)
    return run_join_of(engine, tables)(
        plan, catalog, training=training, as_of=None if as_of is None else to_micros(as_of)
    )


def aggregate(
    group_by: GroupBy, queries: Any, tables: Mapping[str, Any] | None = None, *, engine: str = "local"
) -> pa.Table:
    """The queries' columns as they stand (keys, `ts`, any others) and the group-by's features, unprefixed.

    `queries` is a frame of the keys and `ts`, the query time of each row. With `engine="spark"` it and the tables may
    be DataFrames of Spark: of the queries all rows are then brought here, in the order in which Spark gives them.
    """
    _check_engine(engine)
    if not isinstance(group_by, GroupBy):
        raise UsageError(f"aggregate takes a GroupBy, not {type(group_by).__name__}", hint="backfill takes a Join")
    catalog = open_tables(tables, group_by, engine)
    plan = plan_group_by(group_by, lambda name: catalog.table(name).schema)
    _check_days(plan.sources, catalog)
    rows = _frame(queries, "queries", engine)
    types = {name: from_arrow(rows.schema.field(name).type, name) for name in rows.column_names}
    if not rows.column_names:
        rows = pa.table({**{key: pa.nulls(0) for key, _ in plan.keys}, "ts": pa.nulls(0).cast(TIMESTAMP_ARROW)})
        types = {name: from_arrow(rows.schema.field(name).type) for name in rows.column_names}
    for key, dtype in plan.keys:
        if key not in types:
            raise UsageError(f"the queries have no column {key!r}, a key of {plan.name}", asked=key, valid=types)
        check_key_kinds(group_by, key, types[key], key, dtype)
    for name, _ in plan.columns:
        if name in types:
            raise UsageError(f"the queries already have a column {name!r}, a feature of {plan.name}")
    return run_group_by_of(engine, tables)(plan, rows, catalog).table


def training_set(
    rows: Any,
    features: Sequence[str | GroupBy],
    tables: Mapping[str, Any] | None = None,
    *,
    definitions: Any = None,
    engine: str = "local",
) -> pa.Table:
    """Point-in-time-correct features for any frame of keys and times (`ts`).

    `features` names them as `group_by.feature`, or a group-by for all of its features; group-bys are looked up in
    `definitions` (by default the project's configs) or given as objects. The output is that of the join of these.
    DataFrames of Spark are taken as by `aggregate`.
    """
    _check_engine(engine)
    frame = _frame(rows, "rows", engine)
    join = training_join(features, definitions)
    catalog = open_tables(tables, join, engine).with_tables({ROWS: frame})
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    _check_days(plan.projections(), catalog)
    return run_join_of(engine, tables)(plan, catalog).table


ROWS = "__rows__"


def training_join(features: Sequence[str | GroupBy], definitions: Any = None) -> Join:
    """The join that `training_set` runs: the frame on the left, one part per group-by."""
    if isinstance(features, (str, GroupBy)) or not features:
        raise UsageError(
            "features is a list of feature names", hint='features=["flights.carriers.by_carrier.x_sum_1d"]'
        )
    chosen: dict[int, tuple[GroupBy, list[str] | None]] = {}
    for feature in features:
        group_by, name = _feature(feature, definitions)
        found = chosen.setdefault(id(group_by), (group_by, [] if name else None))[1]
        if name and found is not None and name not in found:
            found.append(name)
        if name is None:
            chosen[id(group_by)] = (group_by, None)
    parts = [JoinPart(group_by, features=names) for group_by, names in chosen.values()]
    left = EventSource(ROWS, query=Query(time="ts"))
    return Join(left, parts, name="training_set")


def _feature(feature: str | GroupBy, definitions: Any) -> tuple[GroupBy, str | None]:
    if isinstance(feature, GroupBy):
        return feature, None
    from zipline.plan.definitions import Definitions, load

    if definitions is None:
        project = load_project()
        definitions = load(project.root / project.configs)
    if not isinstance(definitions, Definitions):
        raise UsageError(
            f"definitions is what zipline.load gives, not {type(definitions).__name__}",
            hint="group-bys that are at hand go into features themselves",
        )
    found: tuple[GroupBy, str | None] = definitions.feature(feature)
    return found


def explain_value(
    definition: Join | GroupBy, column: str, row: Mapping[str, Any], tables: Mapping[str, Any] | None = None
) -> Any:
    """Which source events made one value, and which were left out and why."""
    from zipline.engines.explain import explain

    return explain(definition, column, row, open_tables(tables, definition))


def open_tables(tables: Mapping[str, Any] | None, definition: Any = None, engine: str = "local") -> Catalog:
    """The tables given, and the project's warehouse where none are. DataFrames of Spark are read by its engine alone.

    Of tables given, those that staging queries make for the definition (or stand among the tables) are computed from
    the others, whole; in a project `zipline backfill` makes them.
    """
    if tables is None:
        project = load_project()
        return open_catalog(None, project, opener_of(engine, project))
    if not isinstance(tables, Mapping):
        raise UsageError(f"tables maps names to frames or paths; got {type(tables).__name__}")
    tables = {name: _opened(name, each, engine) if is_of_spark(each) else each for name, each in tables.items()}
    if definition is None and not any(isinstance(table, StagingQuery) for table in tables.values()):
        return open_catalog(tables)
    from zipline.engines.local.staging import with_staging

    return with_staging(tables, definition)


def opener_of(engine: str, project: Project) -> Opener | None:
    """What opens the project's tables of Spark's catalog: the Spark engine's own, of others none."""
    if engine != "spark":
        return None
    from zipline.engines.spark.catalog_tables import opener

    return opener(project)


def is_of_spark(rows: object) -> bool:
    """Whether it is a DataFrame of Spark, of a session here or of Spark Connect."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.startswith("pyspark.sql.") for kind in type(rows).__mro__
    )


def _opened(name: str, frame: Any, engine: str) -> Table:
    """A DataFrame of Spark as a table of its engine."""
    _check_reads_spark(name, engine)
    from zipline.engines.spark.catalog_tables import given_frame

    return given_frame(name, frame)


def _check_reads_spark(name: str, engine: str) -> None:
    if engine != "spark":
        raise UnsupportedError(
            f"the table {name!r} is a DataFrame of Spark, which the {engine} engine does not read",
            hint='say engine="spark"; or bring its rows here with .toArrow()',
        )


def _session(tables: Mapping[str, Any] | None) -> Any:
    """That of the DataFrames given, else the active one or the project's."""
    from zipline.engines.spark.session import session_of

    sessions = [each.sparkSession for each in (tables or {}).values() if is_of_spark(each)]
    if any(session != sessions[0] for session in sessions):
        raise UsageError("the DataFrames are of several sessions of Spark", hint="read all tables in one session")
    return sessions[0] if sessions else session_of(load_project())


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", asked=engine, valid=ENGINES)


def _check_days(reads: Iterable[Projection], catalog: Catalog) -> None:
    """TableError where a query bounds a partition column of text that holds anything but days: texts of another form
    compare as texts do, so rows would be left out, or not, without a word."""
    reads = tuple(reads)
    above = [read for parent in parents_of(reads) for read in parent.projections(training=False)]
    for read in (*reads, *above):
        if read.parent is None and read.partition is not None and (read.start is not None or read.end is not None):
            table = catalog.table(read.table)
            if table.schema.get(read.partition) == STRING:
                table.partitions(read.partition)


def run_join_of(engine: str, tables: Mapping[str, Any] | None = None) -> Callable[..., Result]:
    """The engine's `run_join`; on Spark in the session of the DataFrames among the tables."""
    if engine == "spark":
        from zipline.engines.spark import run as on_spark

        return partial(on_spark.run_join, spark=_session(tables))
    from zipline.engines.local.run import run_join

    return run_join


def run_group_by_of(engine: str, tables: Mapping[str, Any] | None = None) -> Callable[..., Result]:
    """The engine's `run_group_by`; on Spark in the session of the DataFrames among the tables."""
    if engine == "spark":
        from zipline.engines.spark import run as on_spark

        return partial(on_spark.run_group_by, spark=_session(tables))
    from zipline.engines.local.run import run_group_by

    return run_group_by


def _frame(rows: Any, name: str, engine: str = "local") -> pa.Table:
    """Any frame as Arrow, `ts` as timestamp[us, UTC]."""
    from zipline.engines.local.session import connect, query

    if is_of_spark(rows):
        _check_reads_spark(name, engine)
        from zipline.engines.spark.catalog_tables import brought

        rows = brought(name, rows)
    table = open_catalog({name: rows}).table(name)
    if not table.schema:
        return pa.table({})
    connection = connect()
    try:
        found = query(connection, f"SELECT * FROM {table.relation(connection)}", name)
    finally:
        connection.close()
    if "ts" not in found.column_names:
        raise UsageError(f"{name} have no column 'ts', the query time of each row", valid=found.column_names)
    place = found.column_names.index("ts")
    return found.set_column(place, "ts", _as_time(found.column("ts"), name))


def _as_time(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if pa.types.is_string(column.type) or pa.types.is_date(column.type) or pa.types.is_null(column.type):
        values = [None if value is None else to_micros(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.int64()).view(TIMESTAMP_ARROW)])
    if not pa.types.is_timestamp(column.type):
        raise UsageError(f"{name}: ts is {column.type}, not a time", hint="give datetimes, dates or ISO 8601 text")
    return column.cast(TIMESTAMP_ARROW)
