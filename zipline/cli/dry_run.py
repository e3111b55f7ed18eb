"""`zipline backfill --dry-run`: what the command would do, and nothing done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zipline.cli.backfill import planned, reason_facts, reason_row, repeated
from zipline.cli.screen import plural, print_json, ranges
from zipline.cli.staging import what_is_due

if TYPE_CHECKING:
    from zipline.cli.outputs import Work


def show_dry_run(work: Work, *, step_days: int, as_of: int | None, force: bool, as_json: bool) -> None:
    """Prints the steps that the command would take, and the days that it would leave as they are."""
    facts = dry_run_facts(work, step_days=step_days, as_of=as_of, force=force)
    if as_json:
        print_json(facts)
        return
    count = sum(step["days"] for step in facts["steps"])
    engine = "" if work.engine == "local" else f" on {work.engine.title()}"
    what = f"{plural(count, 'day')} to compute in {plural(len(facts['steps']), 'step')}{engine}"
    click.echo(f"{facts['join']}, {facts['start']}..{facts['end']}: {what if count else 'nothing to do'}")
    for number, step in enumerate(facts["steps"], 1):
        columns = "" if step["columns"] is None else f"only {', '.join(step['columns'])}"
        click.echo(f"step {number:<3} {step['start']}..{step['end']}  {columns}".rstrip())
    for fact in facts["reasons"]:
        click.echo("{:<8} {}".format(*reason_row(fact)))
    for name, due in facts["staging"].items():
        click.echo(f"staging  {name}: {what_is_due(due)}")
    for state in ("finished", "kept", "pending"):
        if facts[state]:
            click.echo(f"{state:<8} {ranges(facts[state])}")
    click.echo(f"\nnothing was done; next: {facts['next']}")


def dry_run_facts(work: Work, *, step_days: int, as_of: int | None, force: bool) -> dict[str, Any]:
    """The same, JSON-ready. `columns` are those that a step computes, None where it is all of them."""
    from zipline.orchestration.coverage import as_ranges

    todo = planned(work, as_of, force=force)
    return {
        "join": work.plan.name,
        "table": work.table,
        "uri": work.output.uri,
        "engine": work.engine,
        "start": work.start,
        "end": work.end,
        "steps": [
            {
                "start": stage.days[0],
                "end": stage.days[-1],
                "days": len(stage.days),
                "columns": None if stage.columns is None else list(stage.columns),
            }
            for stage in todo.stages(step_days)
        ],
        "reasons": reason_facts(todo.reasons()),
        "finished": as_ranges(todo.skipped),
        "kept": as_ranges([each.day for each in todo.kept]),
        "pending": as_ranges(todo.pending),
        "staging": {each.plan.name: each.due(work.catalog) for each in work.staging},
        "next": repeated(work, force=force),
    }
