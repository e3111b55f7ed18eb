"""What a run on Spark will cost: the engine's own estimate, with the sizes that tables have or are supposed to have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zipline.engines.spark.costs import Estimate
from zipline.engines.spark.estimate import estimate
from zipline.engines.spark.sizes import Sizing
from zipline.engines.spark.splits import Sized
from zipline.engines.spark.widths import column_bytes
from zipline.errors import UsageError
from zipline.orchestration.sizes import Counter, Sizes
from zipline.plan.steps import JoinPlan, Projection
from zipline.spark_settings import Spark
from zipline.tables.catalog import Catalog

if TYPE_CHECKING:
    from pathlib import Path

    from zipline.expressions import Expression

PARTITIONS_OF_SPARK = 200
"""`spark.sql.shuffle.partitions` of a session in which nobody sets it."""


def sizing_of(spark: Spark, here: int, cores: int | None = None) -> Sizing:
    """As a run in the project's session would be divided; `here` are this machine's cores, `cores` those supposed."""
    settings = dict(spark.settings)
    if cores is not None:
        settings["spark.sql.shuffle.partitions"] = str(cores)
    return Sizing.by(settings.get, here if spark.is_here else PARTITIONS_OF_SPARK)


def estimate_on_spark(
    plan: JoinPlan,
    catalog: Catalog,
    sizing: Sizing,
    *,
    start: str | None = None,
    end: str | None = None,
    training: bool = True,
    rows: Mapping[str, float] | None = None,
    known: Path | None = None,
) -> Estimate:
    """The cost of one run over the days. `rows` are how many tables are supposed to have, by name.

    A table that has rows is supposed to have more of the same on each of its days. One that has none has all its rows
    within the range, and the bytes that its columns take. UsageError where a table is not read.
    """
    given = dict(rows or {})
    _check_names(plan, given, training=training)
    supposed = {name: _supposed(catalog, name, round(count)) for name, count in given.items()}
    counter = Counter(catalog, known)

    def amount(read: Projection, conditions: Sequence[Sequence[Expression]]) -> Sizes | None:
        table = _origin(read)
        found = counter.sizes(read, conditions)
        return found if table not in supposed else _scaled(found, catalog, table, supposed[table])

    return estimate(plan, catalog, amount, sizing, start=start, end=end, training=training, supposed=supposed)


def _origin(read: Projection) -> str:
    """The table whose rows they are: of a parent's output that of its left."""
    while read.parent is not None:
        read = read.parent.left
    return read.table


def _check_names(plan: JoinPlan, names: Iterable[str], *, training: bool) -> None:
    valid = tuple(dict.fromkeys(_tables(plan, training=training)))
    for name in names:
        if name not in valid:
            raise UsageError(f"--rows {name}: the join {plan.name} does not read it", asked=name, valid=valid)


def _tables(plan: JoinPlan, *, training: bool) -> Iterator[str]:
    reads = [*plan.projections(training=training), *(read.source for read in plan.bootstrap)]
    for read in reads:
        if read.parent is not None:
            yield from _tables(read.parent, training=False)
        else:
            yield read.table
            yield from [read.mutations.table] if read.mutations is not None else []


def _supposed(catalog: Catalog, name: str, rows: int) -> Sized:
    table = catalog.table(name)
    found = table.statistics()
    width = found.bytes / found.rows if found.rows and found.bytes else column_bytes(table.schema.items(), {})
    return Sized(name, table.schema, rows, rows * width, table)


def _scaled(found: Sizes | None, catalog: Catalog, name: str, supposed: Sized) -> Sizes:
    rows, size = supposed.statistics().rows or 0, supposed.size
    there = catalog.table(name).statistics().rows
    if found is None or not there:
        return Sizes(always=size, rows_at_most=float(rows))
    more = rows / there
    return replace(
        found,
        rows=tuple(each * more for each in found.rows),
        bytes=tuple(each * more for each in found.bytes),
        always=found.always * more,
        rows_at_most=found.rows_at_most * more,
    )
