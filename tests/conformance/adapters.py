"""The engines as the suite sees them: something that answers a batch of cases.

To plug an engine in, subclass `Adapter`, say how one call runs, and add it to `ADAPTERS`. What it cannot do is marked
at the test, `@pytest.mark.gap("spark", "cannot yet: ...")`, and must fail there with UnsupportedError: a gap that
closes breaks the build until its mark goes. The oracle is an engine too, so that every literal case tests it as well.
"""

from __future__ import annotations

import datetime as dt
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zipline.arrow import to_arrow
from zipline.types import parse_type

from . import oracle
from .batches import are_batchable, merged, split
from .oracle import Result
from .spark_session import divided
from .tables import AggregateCase, BackfillCase, Case, Row, Table

FLINK = "flink"
LAYOUTS: dict[str, pa.DataType] = {
    "NAIVE": pa.timestamp("us"),
    "MILLIS_TOKYO": pa.timestamp("ms", tz="Asia/Tokyo"),
    "LARGE_STRING": pa.large_string(),
    "DICTIONARY": pa.dictionary(pa.int32(), pa.string()),
}


class Adapter(ABC):
    """One engine. `name` is what gaps are marked with."""

    name: str

    @abstractmethod
    def run(self, case: Case) -> Result:
        """The engine's answer to one case; errors of the platform pass through."""

    def run_batch(self, cases: Sequence[Case]) -> list[Result]:
        """The answers to cases of one definition, as one job where that cannot change them."""
        if len(cases) > 1 and are_batchable(cases):
            return split(self.run(merged(cases)), len(cases))
        return [self.run(case) for case in cases]


class Oracle(Adapter):
    name = "oracle"

    def run(self, case: Case) -> Result:
        return oracle.run(case)


class Streamed(Adapter):
    """A stream answers many cases at once, after they were asked: `on_flink` stands in its place."""

    name = FLINK

    def run(self, case: Case) -> Result:
        raise NotImplementedError


class Arrow(Adapter):
    """An engine behind `zipline.aggregate` and `zipline.backfill`, which take and give Arrow tables."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, case: Case) -> Result:
        return result_of(self.table(case))

    def table(self, case: Case) -> pa.Table:
        """The answer as Arrow, for tests of types and bits."""
        queries = arrow_table(case.queries) if isinstance(case, AggregateCase) else None
        return self.call(case, queries, {name: arrow_table(table) for name, table in case.tables.items()})

    def call(self, case: Case, queries: pa.Table | None, tables: dict[str, Any]) -> pa.Table:
        """The public call with tables in any form the platform takes.

        On Spark about every other table that is in memory is given as files, which come another way.
        """
        if self.name == "spark":
            divided(case)
            with as_files(tables) as given:
                return self._call(case, queries, given)
        return self._call(case, queries, tables)

    def _call(self, case: Case, queries: pa.Table | None, tables: dict[str, Any]) -> pa.Table:
        import zipline

        if isinstance(case, AggregateCase):
            return zipline.aggregate(case.group_by, queries, tables=tables, engine=self.name)
        return zipline.backfill(case.join, tables=tables, engine=self.name, training=case.training, as_of=case.as_of)

    def days(self, case: BackfillCase, first: str, last: str) -> pa.Table:
        """One step of a backfill: the rows of the left's partitions from one day to another, their day in `ds`."""
        from zipline.clock import to_micros
        from zipline.engines.frames import run_join_of
        from zipline.plan.build import plan_join
        from zipline.tables.catalog import open_catalog

        catalog = open_catalog({name: arrow_table(table) for name, table in case.tables.items()})
        plan = plan_join(case.join, lambda name: catalog.table(name).schema)
        as_of = None if case.as_of is None else to_micros(case.as_of)
        run_join = run_join_of(self.name)
        return run_join(plan, catalog, start=first, end=last, training=case.training, as_of=as_of).table


@contextmanager
def as_files(tables: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tables with an odd number of rows as two files of Parquet each, the others as they are."""
    with TemporaryDirectory() as place:
        found = dict(tables)
        for place_of, (name, table) in enumerate(tables.items()):
            if isinstance(table, pa.Table) and table.num_rows % 2:
                found[name] = folder = Path(place, str(place_of))
                folder.mkdir()
                for number, rows in enumerate((table.slice(0, table.num_rows // 2), table.slice(table.num_rows // 2))):
                    pq.write_table(rows, folder / f"part-{number}.parquet")
        yield found


ORACLE = Oracle()
NAMES = os.environ.get("ZIPLINE_ENGINES", "local").split()
"""The suite takes Spark many minutes, and Flink a JVM of its own: `make test` names each alone."""
ENGINES = tuple(Arrow(name) for name in NAMES if name != FLINK)
ADAPTERS: tuple[Adapter, ...] = (ORACLE, *ENGINES, *(Streamed() for name in NAMES if name == FLINK))


def arrow_type(kind: str) -> pa.DataType:
    return LAYOUTS.get(kind) or to_arrow(parse_type(kind))


def arrow_schema(table: Table) -> pa.Schema:
    return pa.schema([(name, arrow_type(kind)) for name, kind in table.schema.items()])


def arrow_table(table: Table) -> pa.Table:
    schema = arrow_schema(table)
    columns = [_column([row[field.name] for row in table.rows], field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind) and kind.tz is None:
        values = [value and value.replace(tzinfo=None) for value in values]
    return pa.array(values, kind, from_pandas=False)


def result_of(table: pa.Table) -> Result:
    """A result table as plain rows: maps as dicts, instants as UTC datetimes."""
    columns = [[plain(value, field.type) for value in table[field.name].to_pylist()] for field in table.schema]
    rows: list[Row] = [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]
    return Result(tuple(table.column_names), tuple(rows))


def plain(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {plain(key, kind.key_type): plain(item, kind.item_type) for key, item in value}
    if pa.types.is_list(kind):
        return [plain(element, kind.value_type) for element in value]
    if isinstance(value, dt.datetime):
        zone = dt.timezone.utc
        return value.replace(tzinfo=zone) if value.tzinfo is None else value.astimezone(zone)
    return value
