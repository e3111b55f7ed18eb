"""`zipline demo`: the command; what it does is `training.demo`, and `training.replay` with --stream.

Found through the entry point group "zipline.commands", since the platform imports nothing of training. Imports are made
when it runs, so that the help stays quick.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import Day, open_project, project_options
from zipline.cli.screen import plural, print_json
from zipline.errors import EngineError

if TYPE_CHECKING:
    from zipline.project import Project

MOST_SHOWN = 10
"""Values that differ."""


@click.command("demo")
@click.option("--stream", "is_stream", is_flag=True, help="Replay a day as a live stream: Kafka, Flink, LMDB.")
@click.option("--day", type=Day(), default="2013-07-10", show_default=True, help="With --stream: the day.")
@click.option("--carrier", default="UA", show_default=True, help="With --stream: whose feature is shown.")
@click.option(
    "--speed",
    type=click.FloatRange(1.0, 86_400.0),
    default=1440.0,
    show_default=True,
    help="With --stream: how much faster than it was.",
)
@project_options
def command(
    is_stream: bool,
    day: str,
    carrier: str,
    speed: float,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Run the demo company end to end.

    Imports a year of real flights, compiles the definitions under configs/, plans and backfills two joins, trains a
    model that says which flights will be late, and explains one value. It can be repeated.

    With --stream a day of landings is replayed into Kafka and aggregated by a job of Flink, while a feature of one
    carrier is shown as it changes. At the end every key of the day is compared with a backfill: exit code 1 where a
    value differs. The brokers are those of zipline.toml, or else one is started, which Maven fetches.

    \b
    Examples:
      zipline demo
      zipline demo --stream --speed 2880
    """
    opened = open_project(project, environment)
    if is_stream:
        facts = _replayed(opened, day, carrier, speed, is_quiet=as_json)
    else:
        from training.demo import run

        facts = run(opened, shown=not as_json)
    if as_json:
        print_json(facts)
    if facts.get("different"):
        sys.exit(1)


def _replayed(project: Project, day: str, carrier: str, speed: float, *, is_quiet: bool) -> dict[str, Any]:
    try:
        from training.replay import replay
    except ModuleNotFoundError as missing:
        raise EngineError(
            f"{missing.name} is needed for a replay, and not installed",
            hint="pip install 'zipline-features[demo,flink]'",
        ) from None
    tell = (lambda _: None) if is_quiet else click.echo
    facts = replay(project, day, carrier, speed, tell)
    different = facts["different"]
    for each in different[:MOST_SHOWN]:
        tell(f"{each['feature']} of {each['key']}: online {each['online']!r}, backfill {each['offline']!r}")
    tell(
        f"\n{plural(facts['landings'], 'landing')} of {facts['day']}, {plural(facts['keys'], 'key')}: "
        f"{plural(facts['compared'], 'value')} compared with a backfill, {len(different):,} different"
    )
    return facts
