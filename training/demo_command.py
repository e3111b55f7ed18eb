"""`zipline demo`: the demo company from its source tables to a model, in one go.

Found through the entry point group "zipline.commands", since the platform imports nothing of training. Everything it
does an author can do alone with the commands that it names at the end. Imports are made when it runs, so that the help
stays quick.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import number, plural, print_json, print_table
from zipline.clock import monotonic

if TYPE_CHECKING:
    import pyarrow as pa

    from training.pipelines.first_model import Comparison, Metrics
    from zipline.cli.outputs import Work
    from zipline.orchestration.backfill import BackfillReport
    from zipline.project import Project

DEPARTURES = "flights.departures.departures"
ROUTES = "flights.routes.route_history"
YEAR = ("2013-01-01", "2013-12-31")
MONTH = ("2013-07-01", "2013-07-31")
EXPLAINED, EXPLAINED_DAY = "carrier_arrivals_arr_delay_average_6h", "2013-07-10"
MOST_LINES = 16

_T = TypeVar("_T")


@click.command("demo")
@project_options
def command(project: str | None, environment: str | None, as_json: bool) -> None:
    """Run the demo company end to end.

    Imports a year of real flights, compiles the definitions under configs/, plans and backfills their joins, trains a
    model that says which flights will be late, and explains one value.

    \b
    Example:
      zipline demo
    """
    facts = run(open_project(project, environment), shown=not as_json)
    if as_json:
        print_json(facts)


def run(project: Project, *, shown: bool = True) -> dict[str, Any]:
    """The whole road; `shown` prints as it goes. Gives the facts that were printed."""
    tour = _Tour(project, shown)
    tour.step("import the source tables", tour.prepare)
    tour.step("compile the definitions", tour.compile)
    work = tour.step("plan the training set", lambda: tour.plan(DEPARTURES, *YEAR))
    tour.step("backfill the training set", lambda: tour.backfill(work))
    routes = tour.plan(ROUTES, *MONTH)
    tour.step("backfill 300 features made by a loop", lambda: tour.backfill(routes))
    rows = work.output.read()
    tour.step("train a model on it", lambda: tour.train(rows))
    tour.step("explain one value", lambda: tour.explain(work, rows))
    tour.close()
    return tour.facts


class _Tour:
    """The steps, and what they found."""

    def __init__(self, project: Project, shown: bool) -> None:
        self._project, self._shown = project, shown
        self._began = monotonic()
        self.facts: dict[str, Any] = {"project": str(project.root), "seconds": {}}

    def step(self, title: str, act: Callable[[], _T]) -> _T:
        self._say(click.style(f"\n{title}", bold=True))
        began = monotonic()
        result = act()
        seconds = monotonic() - began
        self.facts["seconds"][title] = round(seconds, 2)
        self._say(click.style(f"  {seconds:.1f} s", dim=True))
        return result

    def prepare(self) -> None:
        from training.demo import prepare

        prepare(self._project)
        tables = [name for name in self._catalog().names() if "." not in name]
        self.facts["tables"] = tables
        self._say(f"  {', '.join(tables)} in {self._project.warehouse}")

    def compile(self) -> None:
        from zipline.plan.compiled import compile_definitions

        catalog = self._catalog()
        folder = self._project.root / ".zipline" / "compiled"
        result = compile_definitions(load_definitions(self._project), folder, lambda name: catalog.table(name).schema)
        self.facts["compiled"] = {"objects": dict(result.counts), "features": result.features}
        kinds = ", ".join(plural(count, kind.replace("_", " ")) for kind, count in result.counts.items())
        self._say(f"  {kinds}; {plural(result.features, 'feature')}, typed, in {folder}")

    def plan(self, join: str, start: str, end: str) -> Work:
        from zipline.cli.outputs import open_work
        from zipline.cli.plan import plan_facts

        work = open_work(join, str(self._project.root), self._project.environment, start, end, training=True)
        facts = plan_facts(work, None)
        self.facts.setdefault("plans", {})[join] = facts
        self._say(
            f"  {join}, {start}..{end}: {plural(len(facts['steps']), 'step')}, {plural(len(facts['reads']), 'read')}, "
            f"{plural(len(facts['columns']), 'column')}, {number(facts['rows_expected'])} rows expected"
        )
        return work

    def backfill(self, work: Work) -> BackfillReport:
        from zipline.cli.backfill import backfill, progress_bar, report_facts

        with progress_bar(shown=self._shown) as progress:
            report = backfill(work, step_days=30, as_of=None, force=False, progress=progress)
        self.facts.setdefault("backfills", {})[work.plan.name] = report_facts(work, report)
        self._say(
            f"  {plural(report.rows, 'row')} of {plural(len(work.columns), 'column')} on "
            f"{plural(len(report.published), 'day')} published, {plural(len(report.skipped), 'day')} finished before; "
            f"{plural(report.checks, 'check')}, {plural(len(report.warnings), 'warning')}"
        )
        return report

    def train(self, rows: pa.Table) -> None:
        from training.pipelines.first_model import compare

        result = compare(rows, self._rows_of("flights"))
        self.facts["model"] = {name: dataclasses.asdict(found) for name, found in _metrics(result)}
        self.facts["importance"] = result.model.importance(5)
        if self._shown:
            _show_model(result)

    def explain(self, work: Work, rows: pa.Table) -> None:
        from zipline.engines.explain import explain

        explanation = explain(work.join, EXPLAINED, _a_row(rows), work.catalog)
        self.facts["explanation"] = explanation.facts()
        lines = str(explanation).splitlines()
        for line in lines[:MOST_LINES]:
            self._say(f"  {line}")
        if len(lines) > MOST_LINES:
            self._say(f"    ... and {plural(len(lines) - MOST_LINES, 'line')} more")

    def close(self) -> None:
        self.facts["seconds"]["all"] = round(monotonic() - self._began, 2)
        self._say(click.style(f"\ndone in {self.facts['seconds']['all']:.0f} s. Try next:", bold=True))
        for line in (
            f"zipline plan {DEPARTURES} --start 2013-07-01 --end 2013-07-07",
            f"zipline backfill {DEPARTURES} --start 2013-07-01 --end 2013-07-07 --force",
            f"zipline explain {DEPARTURES} origin_departures_dep_delay_average_1h "
            '--row \'{"origin": "JFK", "ts": "2013-07-10T21:00:00Z"}\'',
            "edit a window in configs/flights/carriers.py, then: zipline compile",
            "zipline doctor",
        ):
            self._say(f"  {line}")

    def _say(self, text: str) -> None:
        if self._shown:
            click.echo(text)

    def _catalog(self) -> Any:
        from zipline.tables.catalog import open_catalog

        return open_catalog(project=self._project)

    def _rows_of(self, table: str) -> pa.Table:
        from zipline.engines.local.read import connect, query

        connection = connect()
        try:
            return query(connection, f"SELECT * FROM {self._catalog().table(table).relation(connection)}", table)
        finally:
            connection.close()


def _a_row(rows: pa.Table) -> dict[str, Any]:
    """The first row of the day whose explained value is not null."""
    import pyarrow.compute as pc

    chosen = pc.and_(pc.equal(rows.column("ds"), EXPLAINED_DAY), pc.is_valid(rows.column(EXPLAINED)))
    row: dict[str, Any] = rows.filter(chosen).slice(0, 1).to_pylist()[0]
    return row


def _metrics(result: Comparison) -> list[tuple[str, Metrics]]:
    return [
        ("the timetable alone", result.timetable),
        ("with windowed features", result.windowed),
        ("with daily averages that leak, as its author sees it", result.leaking),
        ("the same model as it would be served", result.leaking_served),
    ]


def _show_model(result: Comparison) -> None:
    print_table(
        "  Will a flight land more than 15 minutes late? Tested on flights after those it was trained on",
        ["model", ">flights", ">late", ">ROC AUC", ">PR AUC", ">log loss"],
        [
            (name, f"{m.n:,}", f"{m.base_rate:.1%}", f"{m.roc_auc:.3f}", f"{m.pr_auc:.3f}", f"{m.log_loss:.3f}")
            for name, m in _metrics(result)
        ],
    )
    strongest = ", ".join(f"{name} {share:.0%}" for name, share in result.model.importance(5))
    click.echo(f"  strongest features: {strongest}")
