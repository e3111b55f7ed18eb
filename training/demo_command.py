"""`zipline demo`: the command; what it does is `training.demo`.

Found through the entry point group "zipline.commands", since the platform imports nothing of training. Imports are made
when it runs, so that the help stays quick.
"""

from __future__ import annotations

import click

from zipline.cli.options import open_project, project_options
from zipline.cli.screen import print_json


@click.command("demo")
@project_options
def command(project: str | None, environment: str | None, as_json: bool) -> None:
    """Run the demo company end to end.

    Imports a year of real flights, compiles the definitions under configs/, plans and backfills two joins, trains a
    model that says which flights will be late, and explains one value. It can be repeated.

    \b
    Example:
      zipline demo
    """
    from training.demo import run

    facts = run(open_project(project, environment), shown=not as_json)
    if as_json:
        print_json(facts)
