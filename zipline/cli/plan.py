"""`zipline plan`: what a backfill would do, before anything runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.estimate import (
    estimate_facts,
    estimate_options,
    expected_on_spark,
    refuse_what_is_no_estimate,
    show_estimate,
)
from zipline.cli.leaks import fail_if_strict, leak_options, leaks_of, refuse_strict_alone, show_leaks
from zipline.cli.options import project_options, range_options
from zipline.cli.screen import number, plural, print_json, print_table, ranges, size

if TYPE_CHECKING:
    from zipline.cli.outputs import Work
    from zipline.orchestration.coverage import Coverage
    from zipline.orchestration.stages import BackfillPlan, Stage


@click.command()
@click.argument("join")
@range_options
@leak_options
@estimate_options
@project_options
def command(
    join: str,
    start: str | None,
    end: str | None,
    training: bool,
    as_of: int | None,
    check_leaks: bool,
    strict: bool,
    engine: str,
    estimate: bool,
    rows: tuple[tuple[str, float], ...],
    cores: int | None,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Show what a backfill would do.

    Steps, partitions present and missing, rows and bytes, columns with types. The steps printed are the ones that
    `zipline backfill` executes. Nothing is read but the tables' metadata, and with --check-leaks a sample of the rows.

    \b
    Examples:
      zipline plan flights.training.departures --start 2013-07-01 --end 2013-07-31
      zipline plan flights.training.departures --check-leaks --strict
      zipline plan flights.training.departures --engine spark --estimate --rows flights=1e9 --cores 200
    """
    from zipline.cli.outputs import open_work

    refuse_strict_alone(check_leaks, strict)
    refuse_what_is_no_estimate(engine, estimate, rows, cores)
    work = open_work(join, project, environment, start, end, training, as_of)
    if estimate:
        found = estimate_facts(work, expected_on_spark(work, rows, cores))
        print_json(found) if as_json else show_estimate(found)
        return
    facts = plan_facts(work, as_of)
    reports = [leaks_of(work.join, work.catalog, work.project)] if check_leaks else []
    if as_json:
        print_json(facts | ({"leaks": reports[0].facts()} if reports else {}))
    else:
        _show(facts)
        show_leaks(reports)
    fail_if_strict(reports, strict)


def plan_facts(work: Work, as_of: int | None, step_days: int = 30) -> dict[str, Any]:
    """Everything that is shown, as JSON-ready facts."""
    from zipline.cli.backfill import kept_command, next_command, planned, reason_facts, run_command
    from zipline.cli.cost import cost_facts, expected_cost
    from zipline.clock import days
    from zipline.orchestration.coverage import as_ranges, survey
    from zipline.orchestration.partials import uses_of_partials

    plan, output = work.plan, work.output
    uses = uses_of_partials(plan, work.catalog, training=work.training)
    reads = survey(plan, work.catalog, work.start, work.end, training=work.training)
    asked = days(work.start, work.end)
    todo = planned(work, as_of)
    finished, stored = set(todo.skipped), set(todo.places)
    return {
        "join": plan.name,
        "fingerprint": plan.fingerprint,
        "location": plan.location,
        "training": work.training,
        "start": work.start,
        "end": work.end,
        "steps": [{"title": step.title, "detail": step.detail} for step in plan.steps(training=work.training)],
        "reads": [_read_facts(read) for read in reads],
        "partials": [{"part": part, "use": use} for part, use in uses],
        "cost": cost_facts(expected_cost(work, [each.day for each in todo.work], step_days, as_of)),
        "rows_expected": reads[0].rows,
        "bytes_read": _total([read.bytes for read in reads]),
        "columns": [[name, str(dtype)] for name, dtype in work.columns],
        "checks": [check.title for check in plan.checks],
        "output": {
            "table": work.table,
            "uri": output.uri,
            "finished": as_ranges([day for day in asked if day in finished]),
            "outdated": as_ranges([day for day in asked if day in stored and day not in finished]),
            "missing": as_ranges([day for day in asked if day not in stored]),
            "kept": as_ranges([each.day for each in todo.kept]),
            "changed": as_ranges(todo.changed),
            "kept_next": kept_command(work, [each.day for each in todo.kept]),
            "pending": as_ranges(todo.pending),
            "pending_next": next_command(work, todo.pending, todo.blocked),
        },
        "staging": {each.plan.name: each.due(work.catalog) for each in work.staging},
        "reasons": reason_facts(todo.reasons()),
        "vanished": {table: as_ranges(gone) for table, gone in todo.vanished().items()},
        "backwards": [asdict(each) | {"message": each.message} for each in todo.backwards],
        "stages": [_stage_facts(todo, stage) for stage in todo.stages(step_days)],
        "next": run_command(work, todo),
    }


def _stage_facts(todo: BackfillPlan, stage: Stage) -> dict[str, Any]:
    return {
        "days": [stage.days[0], stage.days[-1]],
        "computed": None if stage.columns is None else list(stage.columns),
        "carried": len(todo.carried(stage.columns)),
    }


def _read_facts(read: Coverage) -> dict[str, Any]:
    from zipline.orchestration.coverage import as_ranges

    return {
        "table": read.table,
        "kind": read.kind,
        "used_by": list(read.used_by),
        "partition": read.partition,
        "first": read.first,
        "last": read.last,
        "present": len(read.present),
        "missing": as_ranges(read.missing),
        "rows": read.rows,
        "bytes": read.bytes,
    }


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _show(facts: dict[str, Any]) -> None:
    from zipline.cli.backfill import reason_row
    from zipline.cli.cost import cost_lines
    from zipline.cli.staging import what_is_due

    kind = "training" if facts["training"] else "scoring"
    at = f"  {facts['location']}" if facts["location"] else ""
    click.echo(f"{facts['join']}: {kind}, {facts['start']}..{facts['end']}{at}")
    click.echo(f"fingerprint {facts['fingerprint']}\n")
    print_table(
        "Steps",
        [">", "step", "what"],
        [(place, step["title"], step["detail"]) for place, step in enumerate(facts["steps"], 1)],
    )
    print_table(
        "Reads (rows and bytes at most)",
        ["table", "for", "days", ">present", "missing", ">rows", ">bytes"],
        [_read_row(read) for read in facts["reads"]],
    )
    print_table(
        "Stored hop partials", ["part", "computed from"], [(each["part"], each["use"]) for each in facts["partials"]]
    )
    print_table("Columns", [">", "name", "type"], [(n, *column) for n, column in enumerate(facts["columns"], 1)])
    output = facts["output"]
    click.echo(f"output   {output['uri']}")
    for state in ("finished", "outdated", "missing"):
        click.echo(f"{state:<8} {ranges(output[state])}")
    for name, due in facts["staging"].items():
        click.echo(f"staging  {name}: {what_is_due(due)}")
    for fact in facts["reasons"]:
        click.echo("{:<8} {}".format(*reason_row(fact)))
    _show_changes(facts)
    click.echo(f"checks   {', '.join(facts['checks']) or 'none'}")
    click.echo(f"expected {number(facts['rows_expected'])} rows, {size(facts['bytes_read'])} to read")
    click.echo("\n".join(cost_lines(facts["cost"])))
    click.echo(f"\nnext: {facts['next']}")


def _show_changes(facts: dict[str, Any]) -> None:
    """What a change of the definition or lost input mean for the output."""
    output = facts["output"]
    carried = max((stage["carried"] for stage in facts["stages"]), default=0)
    if carried:
        click.echo(f"carried  {plural(carried, 'column')} not computed again")
    if output["pending"]:
        click.echo(f"pending  {ranges(output['pending'])}: the output stays as it is until these are done too")
        click.echo(f"         {output['pending_next']}")
    for snapshot in facts["backwards"]:
        click.echo(click.style("warning: ", fg="yellow") + snapshot["message"])
    if output["kept"]:
        gone = "; ".join(f"{table} {ranges(days)}" for table, days in facts["vanished"].items())
        why = [f"input is gone ({gone})"] if gone else []
        why += [f"{ranges(output['changed'])} restored or changed by hand"] if output["changed"] else []
        warning = click.style("warning: ", fg="yellow")
        click.echo(f"{warning}{ranges(output['kept'])} will be kept: {', '.join(why)}; made all the same by")
        click.echo(f"         {output['kept_next']}")


def _read_row(read: dict[str, Any]) -> tuple[object, ...]:
    partitioned = read["partition"] is not None
    return (
        read["table"],
        ", ".join(read["used_by"]),
        f"{read['first'] or 'the beginning'}..{read['last']}",
        number(read["present"]) if partitioned else "no partitions",
        ranges(read["missing"], most=3) if partitioned else "",
        number(read["rows"]),
        size(read["bytes"]),
    )
