"""The demo company end to end on real flights, in the project's own warehouse.

Contract: `prepare` writes the source tables; `run` imports, compiles, plans, backfills, trains and explains, prints
each step when it is done, and returns the facts, JSON-ready. Both can be repeated: tables are replaced, days are
published anew. Everything it does an author can do alone, with the commands that it names at the end.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.screen import print_table
from zipline.clock import monotonic

if TYPE_CHECKING:
    import pyarrow as pa

    from training.pipelines.first_model import Comparison
    from zipline.cli.outputs import Work
    from zipline.project import Project

DEPARTURES = "flights.departures.departures"
ROUTE_HISTORY = "flights.routes.route_history"
YEAR = ("2013-01-01", "2013-12-31")
SUMMER = ("2013-07-01", "2013-09-30")
EXPLAINED = "origin_departures_dep_delay_average_1h"
EXPLAINED_ROW = {"origin": "LGA", "ts": "2013-07-10T21:00:00Z"}
MODEL = "late_arrival"
MODELS = {
    "timetable": "the timetable alone",
    "windowed": "with the platform's features",
    "leaking": "with averages of the whole day, as its author sees it",
    "leaking_served": "the same model, on what was known at the time",
}
_STEP_DAYS = 92
_EXPLANATION_LINES = 16
_WIDTH = 100

Tell = Callable[[str], None]


def prepare(project: Project) -> dict[str, pa.Table]:
    """Writes the source tables into the project's warehouse, by day where they have days, and returns them."""
    from training.source_tables import source_tables
    from zipline.tables.delta import write_source

    tables = source_tables()
    for name, rows in tables.items():
        write_source(name, rows, "ds" if "ds" in rows.column_names else None, project=project)
    return tables


def run(project: Project, *, shown: bool = True) -> dict[str, Any]:
    """Everything, in order."""
    return _Demo(project, shown).run()


class _Demo:
    """The steps, and how long each took."""

    def __init__(self, project: Project, shown: bool) -> None:
        self._project, self._shown = project, shown
        self._seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        began = monotonic()
        self._say("The demo company: every flight out of New York in 2013\n")
        tables = self._prepare()
        compiled = self._compile()
        work, steps = self._plan()
        backfills = [self._backfill(work), self._backfill(self._work(ROUTE_HISTORY, SUMMER))]
        comparison = self._train(work, tables["flights"])
        explanation = self._explain(work)
        facts = {
            "project": str(self._project.root),
            "rows": {name: table.num_rows for name, table in tables.items()},
            "compiled": compiled,
            "steps": steps,
            "backfills": backfills,
            "model": model_facts(comparison),
            "explained": explanation.facts(),
            "seconds": {**self._seconds, "total": monotonic() - began},
        }
        if self._shown:
            _show(facts, str(explanation))
        return facts

    def _prepare(self) -> dict[str, pa.Table]:
        with self._timed("import") as tell:
            tables = prepare(self._project)
            rows = sum(table.num_rows for table in tables.values())
            tell(f"{len(tables)} tables, {rows:,} rows, in {self._project.warehouse}")
        return tables

    def _compile(self) -> dict[str, Any]:
        from zipline.cli.options import load_definitions
        from zipline.plan.compiled import compile_definitions
        from zipline.tables.catalog import open_catalog

        with self._timed("compile") as tell:
            catalog = open_catalog(project=self._project)
            folder = self._project.root / ".zipline" / "compiled"
            definitions = load_definitions(self._project)
            result = compile_definitions(definitions, folder, lambda table: catalog.table(table).schema)
            counts = {"group_bys": len(definitions.group_bys), "joins": len(definitions.joins)}
            tell(f"{counts['group_bys']} group-bys and {counts['joins']} joins, {result.features:,} features")
        return {**counts, "features": result.features, "folder": str(result.folder)}

    def _plan(self) -> tuple[Work, list[str]]:
        with self._timed("plan") as tell:
            work = self._work(DEPARTURES, YEAR)
            steps = [f"{step.title}: {step.detail}" for step in work.plan.steps(training=True)]
            tell(f"{DEPARTURES}, {work.start} to {work.end}, in {len(steps)} steps")
        for place, step in enumerate(steps, 1):
            self._note(f"{place:>2} {step}")
        return work, steps

    def _work(self, join: str, days: tuple[str, str]) -> Work:
        from zipline.cli.outputs import open_work

        return open_work(join, str(self._project.root), self._project.environment, *days, training=True)

    def _backfill(self, work: Work) -> dict[str, Any]:
        from zipline.cli.backfill import backfill, progress_bar, report_facts

        features = sum(len(part.columns) for part in work.plan.parts) + len(work.plan.derivations)
        with self._timed("backfill") as tell, progress_bar(shown=self._shown) as progress:
            report = backfill(work, step_days=_STEP_DAYS, as_of=None, force=True, progress=progress)
            tell(f"{work.table}: {report.rows:,} rows x {features} features, {len(report.published)} days published")
        if report.immature:
            self._note(f"{report.immature:,} rows left out: their labels are not complete where the data end")
        if report.warnings:
            self._note(f"{len(report.warnings)} warnings, such as {report.warnings[-1]}")
        facts = report_facts(work, report)
        return {
            **{name: facts[name] for name in ("table", "uri", "rows", "immature", "warnings")},
            "features": features,
        }

    def _train(self, work: Work, flights: pa.Table) -> Comparison:
        from training.pipelines.first_model import compare
        from zipline.types import ArrayType, MapType

        with self._timed("train") as tell:
            single = [name for name, dtype in work.columns if not isinstance(dtype, (ArrayType, MapType))]
            comparison = compare(work.output.read(columns=single), flights)
            self._save(work, comparison)
            learned, tested = comparison.split.train.rows, comparison.split.test.rows
            tell(f"{learned:,} flights learned from, {tested:,} later ones tested")
        return comparison

    def _save(self, work: Work, comparison: Comparison) -> None:
        """Puts the model where `zipline serve` finds it."""
        from training.repo.saved import save

        learned = comparison.split.train
        facts = {
            "name": MODEL,
            "join": DEPARTURES,
            "fingerprint": work.plan.fingerprint,
            "inputs": [
                {"name": name, "categories": learned.categories.get(name)} for name in comparison.model.features
            ],
            "description": "The probability that a flight lands more than 15 minutes late.",
        }
        save(self._project.root / ".zipline" / "models" / MODEL, comparison.model.trees, facts)

    def _explain(self, work: Work) -> Any:
        from zipline.engines.explain import explain

        with self._timed("explain") as tell:
            explanation = explain(work.join, EXPLAINED, EXPLAINED_ROW, work.catalog)
            tell(f"{EXPLAINED} of {EXPLAINED_ROW['origin']} at {EXPLAINED_ROW['ts']}")
        return explanation

    @contextmanager
    def _timed(self, name: str) -> Iterator[Tell]:
        """Prints one line when the block is done; what the block tells stands in it."""
        told: list[str] = []
        began = monotonic()
        yield told.append
        took = monotonic() - began
        self._seconds[name] = self._seconds.get(name, 0.0) + took
        self._say(f"{name:<9}{took:>6.1f} s  {' '.join(told)}")

    def _note(self, text: str) -> None:
        line = " " * 19 + text
        self._say(line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "...")

    def _say(self, text: str) -> None:
        if self._shown:
            click.echo(text)


def model_facts(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-ready facts."""
    return {
        **{name: dataclasses.asdict(getattr(comparison, name)) for name in MODELS},
        "train_rows": comparison.split.train.rows,
        "unlabelled": comparison.split.unlabelled,
        "left_out": dict(comparison.split.left_out),
        "importance": [[name, share] for name, share in comparison.model.importance()],
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
        [(text, *_figures(model[name])) for name, text in MODELS.items()],
    )
    click.echo("The third line is what a daily join shows offline: the average of a day holds flights that were")
    click.echo("still in the air, and the flight itself. The fourth is what that model is worth in use. The second")
    click.echo("saw nothing that was not known when the question was asked: in use it is worth what it shows.\n")
    click.echo(f"What helped most: {', '.join(name for name, _ in model['importance'][:4])}\n")
    click.echo(f"Done in {facts['seconds']['total']:.0f} s. Try next:")
    click.echo("\n".join(f"  {line}" for line in _next_steps()))


def _figures(metrics: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{metrics[name]:.3f}" for name in ("roc_auc", "pr_auc", "log_loss"))


def _next_steps() -> list[str]:
    row = json.dumps(EXPLAINED_ROW)
    return [
        f"zipline plan {DEPARTURES} --start 2013-07-01 --end 2013-07-31",
        f"zipline explain {DEPARTURES} {EXPLAINED} --row '{row}'",
        "zipline backfill flights.live.live_departures --start 2013-07-01 --end 2013-07-07",
        "add a window in configs/flights/carriers.py, then: zipline diff",
        "zipline lineage flights.arr_delay",
        "zipline doctor",
    ]
