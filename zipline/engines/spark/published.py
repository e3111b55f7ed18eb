"""Outputs in the session's catalog: the Delta table in the warehouse's folder, under a name that SQL can say.

The catalog holds where the table is and nothing else, so whatever a backfill commits there is seen under the name at
once. The name is that of the output with every character that Hive does not allow as `_`, in lower case:
`flights.training.departures` is `features.flights_training_departures`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zipline.engines.spark.catalog_tables import entry_of
from zipline.engines.spark.failures import translated
from zipline.engines.spark.session import DELTA, DELTA_SETTINGS, session_of
from zipline.errors import EngineError, UsageError
from zipline.expressions.dialects import identifier, text_literal
from zipline.project import Project
from zipline.tables.delta import DeltaOutput
from zipline.tables.storage import normalised

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Publication:
    """An output and its name in the catalog of a session."""

    spark: SparkSession
    database: str
    table: str
    output: DeltaOutput

    @property
    def name(self) -> str:
        return f"{self.database}.{self.table}"

    @property
    def _spelled(self) -> str:
        return f"{identifier('spark', self.database)}.{identifier('spark', self.table)}"

    def check(self) -> None:
        """EngineError where the session has no Delta, UsageError where the name cannot be given."""
        lacking = {n: v for n, v in DELTA_SETTINGS.items() if v not in (self.spark.conf.get(n, None) or "")}
        if lacking:
            settings = {"spark.jars.packages": DELTA, **DELTA_SETTINGS}
            raise EngineError(
                f"the session cannot hold Delta tables in its catalog: {', '.join(lacking)} is not set as that needs",
                subject=self.name,
                hint="in [spark.settings]: " + ", ".join(f'{name} = "{value}"' for name, value in settings.items()),
            )
        with translated(self.name):
            databases = [row[0] for row in self.spark.sql("SHOW NAMESPACES").collect()]
            if self.database.lower() not in databases:
                raise UsageError(
                    f"the session's catalog has no database {self.database!r}, which [spark] output_database names",
                    asked=self.database,
                    valid=databases,
                    hint=f"CREATE DATABASE {self.database}",
                )
            if self.spark.catalog.tableExists(self._spelled):
                self._check_place()

    def _check_place(self) -> None:
        there = entry_of(self.spark, self._spelled)
        if (there.format, there.location) != ("delta", normalised(self.output.uri)):
            raise UsageError(
                f"the session's catalog has another table {self.name}, of {there.format or there.kind} at "
                f"{there.location or 'no place of its own'}; the output is at {self.output.uri}",
                hint="name another output_database in [spark], or remove that table from the catalog",
            )

    def publish(self) -> None:
        """Makes the output known, if it is there."""
        if self.output.exists():
            place = text_literal("spark", self.output.uri)
            with translated(self.name):
                self.spark.sql(f"CREATE TABLE IF NOT EXISTS {self._spelled} USING delta LOCATION {place}")


def table_name(project: Project, table: str) -> str:
    """The name of an output table in a database of the catalog."""
    return re.sub(r"[^A-Za-z0-9_]", "_", f"{project.table_prefix}{table}").lower()


@contextmanager
def published(project: Project, table: str, output: DeltaOutput) -> Iterator[None]:
    """What is committed within can be read under the output's name, where the project names an `output_database`.

    Whatever stands in the way of that is said before. A run that fails has made known what it has committed.
    """
    if not project.spark.output_database:
        yield
        return
    publication = Publication(session_of(project), project.spark.output_database, table_name(project, table), output)
    publication.check()
    try:
        yield
    finally:
        publication.publish()
