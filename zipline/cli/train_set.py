"""`zipline train-set`: features for any rows of keys and times, written to a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.findings import finding_facts, finding_rows, warning_texts
from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import plural, print_json
from zipline.errors import UsageError
from zipline.types import ArrayType, MapType, StructType

if TYPE_CHECKING:
    import pyarrow as pa

    from zipline.engines.contract import Result
    from zipline.plan.steps import Column
    from zipline.project import Project

FORMATS = (".parquet", ".csv", ".jsonl", ".arrow")


@click.command("train-set")
@click.option("--rows", required=True, metavar="FILE", help="Parquet, CSV or JSON lines: keys, and ts, the query time.")
@click.option("--features", required=True, metavar="NAMES", help="Full names of features, separated by commas.")
@click.option("--out", required=True, metavar="FILE", help=f"Where to write: {', '.join(FORMATS)}.")
@project_options
def command(rows: str, features: str, out: str, project: str | None, environment: str | None, as_json: bool) -> None:
    """Write features for the rows of a file.

    The rows hold keys and ts, the query time; each gets the features as they stood then.

    \b
    Example:
      zipline train-set --rows bookings.csv --out training.parquet \\
        --features flights.carriers.carrier_arrivals.arr_delay_average_7d,flights.airports.weather.wind_last
    """
    names = [name.strip() for name in features.split(",") if name.strip()]
    if not names:
        raise UsageError("--features names none", hint="write --features GROUP_BY.COLUMN,GROUP_BY.COLUMN")
    target = check_target(out)
    opened = open_project(project, environment)
    if not Path(rows).is_file():
        raise UsageError(f"there is no file {rows}", hint="--rows is a file of keys and ts, the query time")
    result = training_rows(rows, names, opened, target)
    table = result.table
    write_table(table, target)
    if as_json:
        facts = {"rows": table.num_rows, "columns": table.column_names, "out": str(target)}
        print_json(facts | finding_facts(result.report))
        return
    click.echo(f"wrote {plural(table.num_rows, 'row')} of {plural(table.num_columns, 'column')} to {target}")
    for what, count in finding_rows(result.report):
        click.echo(f"{what}: {count}")
    for warning in warning_texts(result.report):
        click.echo(click.style("warning: ", fg="yellow") + warning)


def training_rows(rows: str, features: list[str], project: Project, target: Path) -> Result:
    """The rows of a file with features of the project's warehouse; columns that do not fit the target are refused."""
    from zipline.engines.frames import ROWS, _frame, training_join
    from zipline.engines.local.run import run_join
    from zipline.plan.build import plan_join
    from zipline.tables.catalog import open_catalog

    catalog = open_catalog({ROWS: _frame(rows, "rows")}, project)
    join = training_join(features, load_definitions(project))
    plan = plan_join(join, lambda table: catalog.table(table).schema)
    _check_form(target, plan.columns)
    return run_join(plan, catalog)


def _check_form(target: Path, columns: Sequence[Column]) -> None:
    nested = [name for name, dtype in columns if isinstance(dtype, (ArrayType, MapType, StructType))]
    if target.suffix.lower() == ".csv" and nested:
        raise UsageError(
            f"CSV has no form for lists and maps: {', '.join(nested)}", hint="write to .parquet, .jsonl or .arrow"
        )


def check_target(out: str) -> Path:
    """The file to write, refused before any work where its format is unknown or its folder is not there."""
    path = Path(out)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{out} is of no format that can be written", asked=path.suffix, valid=FORMATS)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent} to write {path.name} into")
    return path


def write_table(table: pa.Table, path: Path) -> None:
    """The whole table or nothing: it is written beside and put in place."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.absolute().parent)
    os.close(handle)
    try:
        _writer(path.suffix.lower())(table, beside)
        os.replace(beside, path)
    finally:
        Path(beside).unlink(missing_ok=True)


def _writer(suffix: str) -> Callable[[Any, str], None]:
    return {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_json_lines, ".arrow": _write_arrow}[suffix]


def _write_parquet(table: pa.Table, path: str) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path)


def _write_arrow(table: pa.Table, path: str) -> None:
    import pyarrow.feather as feather

    feather.write_feather(table, path, compression="zstd")


def _write_csv(table: pa.Table, path: str) -> None:
    from pyarrow import csv

    csv.write_csv(table, path)


def _write_json_lines(table: pa.Table, path: str) -> None:
    import json

    with open(path, "w", encoding="utf-8") as lines:
        for batch in table.to_batches(max_chunksize=10_000):
            lines.writelines(
                json.dumps(row, default=_json_value, ensure_ascii=False) + "\n" for row in batch.to_pylist()
            )


def _json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
