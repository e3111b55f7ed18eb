"""`zipline demo`: the demo company end to end on real flights, in the project's own warehouse.

Contract: `prepare` writes the source tables; `run` does everything the command does, says so as it goes, and returns
the facts, JSON-ready. Both can be repeated: tables are replaced, days are published anew. Heavy libraries are imported
when the command runs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import open_project, project_options
from zipline.cli.screen import print_json, print_table
from zipline.clock import monotonic

if TYPE_CHECKING:
    import pyarrow as pa

    from training.pipelines.first_model import Comparison, Metrics
    from zipline.cli.outputs import Work
    from zipline.project import Project

DEPARTURES = "flights.departures.departures"
ROUTE_HISTORY = "flights.routes.route_history"
SUMMER = ("2013-07-01", "2013-09-30")
EXPLAINED = "origin_departures_dep_delay_average_1h"
EXPLAINED_ROW = {"origin": "LGA", "ts": "2013-07-10T21:00:00Z"}
_PARTITIONED_BY = "ds"
_EXPLANATION_LINES = 14
_WIDTH = 88


@click.command()
@project_options
def command(project: str | None, environment: str | None, as_json: bool) -> None:
    """Run the demo company on real flights.

    Writes the flights out of New York in 2013 into the warehouse, compiles configs/, backfills two joins, trains a
    model, and explains one value. Takes about a minute; it can be repeated.

    \b
    Example:
      zipline demo
    """
    facts = run(project, environment, shown=not as_json)
    if as_json:
        print_json(facts)


def prepare(project: Project) -> dict[str, pa.Table]:
    """Writes the source tables into the project's warehouse, a partition for each day, and returns them."""
    from training.source_tables import source_tables
    from zipline.tables.delta import write_source

    tables = source_tables()
    for name, rows in tables.items():
        write_source(name, rows, _PARTITIONED_BY, project=project)
    return tables


def run(project: str | None = None, environment: str | None = None, *, shown: bool = True) -> dict[str, Any]:
    """Everything, in order; `shown` prints each step when it is done."""
    say: Callable[[str], None] = click.echo if shown else lambda _: None
    began, seconds = monotonic(), dict[str, float]()
    say("The demo company: every flight out of New York in 2013\n")
    with _timed("data", seconds, say) as told:
        opened = open_project(project, environment)
        tables = prepare(opened)
        rows = sum(table.num_rows for table in tables.values())
        told(f"{len(tables)} tables, {rows:,} rows, in {opened.warehouse}")
    with _timed("compile", seconds, say) as told:
        compiled = _compile(opened)
        told(f"{compiled['group_bys']} group-bys and {compiled['joins']} joins, {compiled['features']:,} features")
    with _timed("plan", seconds, say) as told:
        work = _work(DEPARTURES, project, environment)
        steps = [f"{step.title}: {step.detail}" for step in work.plan.steps(training=True)]
        told(f"{DEPARTURES}, {work.start} to {work.end}, in {len(steps)} steps")
    for place, step in enumerate(steps, 1):
        say(_shortened(f"           {place:>2} {step}"))
    departures = _backfill(work, seconds, say)
    routes = _backfill(_work(ROUTE_HISTORY, project, environment, SUMMER), seconds, say)
    with _timed("train", seconds, say) as told:
        comparison = _train(work, tables["flights"])
        told(f"{comparison.split.train.rows:,} flights learned from, {comparison.split.test.rows:,} later ones tested")
    with _timed("explain", seconds, say) as told:
        explanation = _explain(work)
        told(f"{EXPLAINED} at {EXPLAINED_ROW['origin']}, {EXPLAINED_ROW['ts']}")
    facts = {
        "rows": {name: table.num_rows for name, table in tables.items()},
        "compiled": compiled,
        "steps": steps,
        "backfills": [departures, routes],
        "model": model_facts(comparison),
        "explained": explanation.facts(),
        "seconds": {**seconds, "total": monotonic() - began},
    }
    if shown:
        _show(facts, str(explanation))
    return facts


@contextmanager
def _timed(name: str, seconds: dict[str, float], say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Prints one line when the block is done; what the block tells stands in it."""
    lines: list[str] = []
    began = monotonic()
    yield lines.append
    seconds[name] = seconds.get(name, 0.0) + (took := monotonic() - began)
    say(f"{name:<9}{took:>6.1f} s  {' '.join(lines)}")


def _compile(project: Project) -> dict[str, Any]:
    from zipline.cli.options import load_definitions
    from zipline.plan.compiled import compile_definitions
    from zipline.tables.catalog import open_catalog

    definitions, catalog = load_definitions(project), open_catalog(project=project)
    folder = project.root / ".zipline" / "compiled"
    result = compile_definitions(definitions, folder, lambda table: catalog.table(table).schema)
    return {
        "folder": str(result.folder),
        "group_bys": len(definitions.group_bys),
        "joins": len(definitions.joins),
        "features": result.features,
    }


def _work(
    join: str, project: str | None, environment: str | None, days: tuple[str | None, str | None] = (None, None)
) -> Work:
    from zipline.cli.outputs import open_work

    return open_work(join, project, environment, *days, training=True)


def _backfill(work: Work, seconds: dict[str, float], say: Callable[[str], None]) -> dict[str, Any]:
    from zipline.cli.backfill import backfill

    features = sum(len(part.columns) for part in work.plan.parts) + len(work.plan.derivations)
    with _timed("backfill", seconds, say) as told:
        report = backfill(work, step_days=92, as_of=None, force=True, progress=lambda _: None)
        told(f"{work.table}: {report.rows:,} rows x {features} features, {len(report.published)} days published")
    if report.immature:
        say(f"           {report.immature:,} rows left out: their labels are not complete where the data end")
    if report.warnings:
        say(_shortened(f"           {len(report.warnings)} warnings, such as {report.warnings[0]}"))
    return {
        "join": work.table,
        "uri": work.output.uri,
        "rows": report.rows,
        "features": features,
        "days": len(report.published),
        "immature": report.immature,
        "warnings": list(report.warnings),
        "seconds": report.seconds,
    }


def _train(work: Work, flights: pa.Table) -> Comparison:
    from training.pipelines.first_model import compare
    from zipline.types import ArrayType, MapType

    single = [name for name, dtype in work.columns if not isinstance(dtype, (ArrayType, MapType))]
    return compare(work.output.read(columns=single), flights)


def _explain(work: Work) -> Any:
    from zipline.engines.explain import explain

    return explain(work.join, EXPLAINED, EXPLAINED_ROW, work.catalog)


def model_facts(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-ready facts."""
    names = ("timetable", "windowed", "leaking", "leaking_served")
    return {
        **{name: dataclasses.asdict(getattr(comparison, name)) for name in names},
        "train_rows": comparison.split.train.rows,
        "unlabelled": comparison.split.unlabelled,
        "left_out": dict(comparison.split.left_out),
        "importance": [[name, share] for name, share in comparison.model.importance()],
    }


_MODELS = {
    "timetable": "timetable only, no windows",
    "windowed": "with the platform's features",
    "leaking": "with averages of the whole day, tested on the same",
    "leaking_served": "the same model, on what was known at the time",
}


def _show(facts: dict[str, Any], explanation: str) -> None:
    lines = explanation.splitlines()
    more = [f"    ... and {len(lines) - _EXPLANATION_LINES} more lines"] if len(lines) > _EXPLANATION_LINES else []
    click.echo("\n" + "\n".join([*lines[:_EXPLANATION_LINES], *more]) + "\n")
    model = facts["model"]
    first = model["windowed"]
    print_table(
        f"Will it land more than 15 minutes late? {first['n']:,} flights, {first['base_rate']:.1%} were",
        ["trained", ">ROC AUC", ">PR AUC", ">log loss"],
        [(text, *_figures(model[name])) for name, text in _MODELS.items()],
    )
    click.echo("The third row is what a daily join shows offline: a day's average holds flights still in the air, and")
    click.echo("the flight itself. The fourth is what it is worth in use. The second needs no such excuse: every value")
    click.echo("was known when the question was asked, so it is the same offline and in use.\n")
    top = ", ".join(name for name, _ in model["importance"][:5])
    click.echo(f"What helped most: {top}\n")
    click.echo(f"Done in {facts['seconds']['total']:.0f} s. Try next:")
    click.echo("\n".join(f"  {line}" for line in _next_steps()))


def _figures(metrics: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{metrics[name]:.3f}" for name in ("roc_auc", "pr_auc", "log_loss"))


def _next_steps() -> list[str]:
    row = json.dumps(EXPLAINED_ROW)
    return [
        f"zipline plan {DEPARTURES} --start 2013-07-01 --end 2013-07-31",
        f"zipline explain {DEPARTURES} {EXPLAINED} --row '{row}'",
        "zipline backfill network.airports.airport_hours",
        "add a window in configs/flights/carriers.py, then: zipline compile",
    ]


def _shortened(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."
