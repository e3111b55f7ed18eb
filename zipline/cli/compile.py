"""`zipline compile`: every definition loaded, checked, typed and written as canonical JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import plural, print_json, print_table

if TYPE_CHECKING:
    from zipline.plan.compiled import Compilation

_MOST = 12


@click.command()
@project_options
def command(project: str | None, environment: str | None, as_json: bool) -> None:
    """Check every definition and write it as JSON.

    Loads configs/, names and types everything, and writes .zipline/compiled/KIND/NAME.json: a change of definitions is
    a diff there. Nothing is written when a definition is wrong (exit code 2).

    \b
    Example:
      zipline compile
    """
    from zipline.plan.compiled import compile_definitions
    from zipline.tables.catalog import open_catalog

    opened = open_project(project, environment)
    catalog = open_catalog(project=opened)
    folder = opened.root / ".zipline" / "compiled"
    result = compile_definitions(load_definitions(opened), folder, lambda table: catalog.table(table).schema)
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        _show(result)


def _show(result: Compilation) -> None:
    print_table(
        f"Compiled into {result.folder}",
        ["kind", ">objects"],
        [(kind.replace("_", " "), f"{count:,}") for kind, count in result.counts.items()],
    )
    click.echo(f"{plural(result.features, 'feature')} in all group-bys")
    for what in ("created", "changed", "deleted"):
        names: tuple[str, ...] = getattr(result, what)
        if names:
            more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
            click.echo(f"{what} {len(names)}: {', '.join(names[:_MOST])}{more}")
    if result.unchanged:
        click.echo(f"unchanged {len(result.unchanged)}")
    for why in dict.fromkeys(result.untyped.values()):
        names = tuple(name for name, reason in result.untyped.items() if reason == why)
        click.echo(click.style("warning: ", fg="yellow") + f"{plural(len(names), 'object')} without types: {why}")
