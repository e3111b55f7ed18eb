"""`zipline explain`: which source events made one value, and which were left out and why."""

from __future__ import annotations

import json
from typing import Any

import click

from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import print_json
from zipline.errors import UsageError


@click.command()
@click.argument("definition", metavar="JOIN_OR_GROUP_BY")
@click.argument("column")
@click.option(
    "--row",
    "row_text",
    required=True,
    metavar="JSON",
    help="The row's keys and ts, its query time; or a join's row_id.",
)
@project_options
def command(
    definition: str, column: str, row_text: str, project: str | None, environment: str | None, as_json: bool
) -> None:
    """Say which events made one value.

    And which were left out and why. ts in the row is its query time. The value is the engine's; should the events
    listed not give it, that is a bug of the platform: it is said, and the exit code is 1.

    \b
    Examples:
      zipline explain flights.carriers.carrier_arrivals arr_delay_average_7d \\
        --row '{"carrier": "UA", "ts": "2013-07-01T12:00:00Z"}'
      zipline explain flights.departures.departures overdue --row '{"flight_id": "UA1545-EWR-20130101"}'
    """
    row = _row(row_text)
    opened = open_project(project, environment)
    from zipline.api import GroupBy, Join

    subject = load_definitions(opened).find(definition, Join, GroupBy)
    from zipline.engines.explain import explain
    from zipline.tables.catalog import open_catalog

    explanation = explain(subject, column, row, open_catalog(project=opened))
    if as_json:
        print_json(explanation.facts())
    else:
        click.echo(str(explanation))
    if not explanation.is_consistent:
        raise click.exceptions.Exit(1)


def _row(text: str) -> dict[str, Any]:
    example = '--row \'{"carrier": "UA", "ts": "2013-07-01T12:00:00Z"}\''
    try:
        row = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise UsageError(f"--row is not JSON: {wrong}", hint=f"write {example}") from None
    if not isinstance(row, dict):
        raise UsageError(f"--row is {type(row).__name__}, not an object", hint=f"write {example}")
    if row.get("ts") is not None and not _is_time(row["ts"]):
        raise UsageError(f"--row: ts is {row['ts']!r}, not a time", hint=f"write {example}")
    return row


def _is_time(ts: object) -> bool:
    from zipline.clock import to_micros

    try:
        return isinstance(ts, str) and to_micros(ts) is not None
    except UsageError:
        return False
