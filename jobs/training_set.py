"""Features for any rows of keys and times, as an application of Spark.

    spark-submit jobs/training_set.py --rows bookings.parquet --out training.parquet \\
        --features flights.carriers.carrier_arrivals,flights.airports.weather.wind_last [--project FOLDER]

`--rows` is a file, or a folder of Parquet or Delta, with the keys and `ts`, the query time. A feature is named in full,
or all of a group-by's by its name. The output comes through the driver, in the order of the rows: what is too much for
it is a Join, and a backfill.
"""

from __future__ import annotations

import argparse
import sys

from zipline.cli.train_set import check_target, write_table
from zipline.engines.frames import ROWS, training_join
from zipline.engines.spark.catalog_tables import opener
from zipline.engines.spark.run import run_join
from zipline.engines.spark.session import session_of
from zipline.errors import ZiplineError
from zipline.plan.build import plan_join
from zipline.plan.definitions import load
from zipline.project import load_project
from zipline.tables.catalog import open_catalog


def main() -> int:
    parser = argparse.ArgumentParser(description="Features for any rows of keys and times, on Spark.")
    for name in ("--rows", "--features", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--project")
    asked = parser.parse_args()

    target = check_target(asked.out)
    project = load_project(asked.project)
    definitions = load(project.root / project.configs)
    named = [definitions.get(name, name) for name in asked.features.split(",")]
    join = training_join(named, definitions)
    catalog = open_catalog({ROWS: asked.rows}, project, opener(project))
    plan = plan_join(join, lambda table: catalog.table(table).schema)

    rows = run_join(plan, catalog, spark=session_of(project)).table

    write_table(rows, target)
    print(f"wrote {rows.num_rows:,} rows of {rows.num_columns} columns to {target.absolute()}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ZiplineError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        sys.exit(wrong.exit_code)
