"""`zipline plan --engine spark --estimate`: what a run would move and write on a cluster, before there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zipline.cli.screen import number, print_table, size
from zipline.engines import ENGINES
from zipline.errors import UsageError

if TYPE_CHECKING:
    from zipline.cli.outputs import Work
    from zipline.engines.spark.costs import Estimate

_F = TypeVar("_F", bound=Callable[..., Any])
COLUMNS = (
    ("reading_tasks", ">tasks that read", number),
    ("tasks", ">that compute", number),
    ("shuffles", ">shuffles", number),
    ("rows_shuffled", ">rows shuffled", number),
    ("bytes_shuffled", ">bytes shuffled", size),
    ("rows_sorted", ">rows sorted", number),
    ("bytes_read", ">read", size),
    ("bytes_scratch", ">to scratch", size),
    ("bytes_output", ">output", size),
)


class Rows(click.ParamType[tuple[str, float]]):
    """TABLE=ROWS, such as clicks=2e10."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        table, mark, count = str(value).rpartition("=")
        try:
            rows = float(count)
        except ValueError:
            rows = -1.0
        if not mark or not table or not 0 <= rows < 1e18:
            self.fail(f"{value!r} is no table and a number of rows: write clicks=2e10", param, ctx)
        return table, rows


def estimate_options(command: _F) -> _F:
    """--engine, --estimate, --rows and --cores."""
    options = (
        click.option(
            "--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="What would compute."
        ),
        click.option(
            "--estimate", is_flag=True, help="With --engine spark: only what one run moves, sorts and writes."
        ),
        click.option(
            "--rows",
            type=Rows(),
            multiple=True,
            metavar="TABLE=ROWS",
            help="With --estimate: as if the table had so many rows.",
        ),
        click.option(
            "--cores", type=click.IntRange(1), help="With --estimate: of the cluster (default: as [spark] says)."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def refuse_what_is_no_estimate(
    engine: str, estimate: bool, rows: Iterable[tuple[str, float]], cores: int | None
) -> None:
    """UsageError for options that would change nothing."""
    if estimate and engine != "spark":
        raise UsageError(
            "--estimate is of a run on Spark; what the local engine takes is printed by every plan",
            hint="add --engine spark, or leave --estimate out",
        )
    if estimate:
        return
    if engine == "spark":
        raise UsageError("the plan is the same on every engine", hint="add --estimate for its cost on Spark")
    if tuple(rows) or cores is not None:
        raise UsageError("--rows and --cores are of an estimate", hint="add --engine spark --estimate")


def expected_on_spark(work: Work, rows: Iterable[tuple[str, float]], cores: int | None) -> Estimate:
    """The estimate by the tables' statistics and the project's settings."""
    from zipline.orchestration.spark_cost import estimate_on_spark, sizing_of

    return estimate_on_spark(
        work.plan,
        work.catalog,
        sizing_of(work.project.spark, os.cpu_count() or 1, cores),
        start=work.start,
        end=work.end,
        training=work.training,
        rows=dict(rows),
        known=work.project.root / ".zipline" / "cache" / "counts",
    )


def estimate_facts(work: Work, found: Estimate) -> dict[str, Any]:
    """Everything that is shown, as JSON-ready facts."""
    from dataclasses import asdict

    return {
        "join": work.plan.name,
        "training": work.training,
        "start": work.start,
        "end": work.end,
        **asdict(found),
        "total": {name: fact for name, fact in asdict(found.total).items() if name != "title"},
        "bytes_compressed": found.bytes_compressed,
    }


def show_estimate(facts: dict[str, Any]) -> None:
    """The same for people."""
    kind = "training" if facts["training"] else "scoring"
    click.echo(f"{facts['join']}: {kind}, {facts['start']}..{facts['end']} in one run on Spark")
    click.echo(f"{facts['rows_per_task']:,} rows per task, {facts['cores']:,} cores\n")
    steps = [*facts["steps"], {"title": "all", **facts["total"]}]
    rows = [(step["title"], *(shown(step[name]) if step[name] else "" for name, _, shown in COLUMNS)) for step in steps]
    print_table("Steps", ["step", *(heading for _, heading, _ in COLUMNS)], rows)
    click.echo(f"shuffled {size(facts['bytes_compressed'])} after Spark's compression, of values that hardly repeat")
    click.echo("at most  keys are even, days whole, no row without a key, files before they are encoded and compressed")
    if facts["unknown"]:
        click.echo(f"without  {', '.join(facts['unknown'])}, of unknown size: say --rows TABLE=ROWS")
