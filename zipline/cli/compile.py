"""`zipline compile`: every definition loaded, checked, typed and written as canonical JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.diff import CACHE, COMPILED, changes_facts, show_untyped, stored_days, summary
from zipline.cli.leaks import fail_if_strict, leak_options, leaks_of_all, refuse_strict_alone, show_leaks
from zipline.cli.options import (
    load_definitions,
    open_project,
    project_options,
    with_known_expressions,
    without_collection,
)
from zipline.cli.screen import plural, print_json, print_table
from zipline.errors import UsageError

if TYPE_CHECKING:
    from zipline.plan.compiled import Compilation
    from zipline.plan.definitions import Definitions
    from zipline.project import Project
    from zipline.quality.leaks import LeakReport


@click.command()
@click.option("--force", is_flag=True, help="Accept what breaks for those who ask online; needs --reason.")
@click.option("--reason", metavar="TEXT", help="Why a breaking change is accepted; it is kept.")
@leak_options
@project_options
def command(
    force: bool,
    reason: str | None,
    check_leaks: bool,
    strict: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Check every definition and write it as JSON.

    Loads configs/, names and types everything, and writes .zipline/compiled/KIND/NAME.json: a change of definitions is
    a diff there. Nothing is written when a definition is wrong (exit code 2), or when an online object would break
    for those who ask for it and no reason is given (exit code 1).

    \b
    Examples:
      zipline compile
      zipline compile --force --reason "nobody asks for the old average any more"
    """
    from zipline.cli.schemas import schemas_of
    from zipline.plan.compiled import compile_definitions

    _check_reason(force, reason)
    refuse_strict_alone(check_leaks, strict)
    opened = open_project(project, environment)
    with without_collection(), with_known_expressions(opened):
        definitions = load_definitions(opened)
        result = compile_definitions(
            definitions,
            opened.root.joinpath(*COMPILED),
            schemas_of(opened, definitions),
            cache=opened.root.joinpath(*CACHE),
            days_of=stored_days(opened),
            reason=reason,
        )
        _record(opened, result)
    leaks = _leaks(opened, definitions) if check_leaks else []
    if as_json:
        print_json(_facts(result) | ({"leaks": [each.facts() for each in leaks]} if check_leaks else {}))
    else:
        _show(result)
        show_leaks(leaks)
    fail_if_strict(leaks, strict)


def _check_reason(force: bool, reason: str | None) -> None:
    if force and not (reason and reason.strip()):
        raise UsageError("--force needs --reason: why those who ask online may get other values", asked="--reason")
    if reason is not None and not force:
        raise UsageError("--reason says why a breaking change is forced, and nothing is: give --force too")


def _record(project: Project, result: Compilation) -> None:
    """The registry keeps every version, and who forced what, and when. Where nothing changed it knows all."""
    if not (result.created or result.changed or result.deleted or result.forced):
        return
    from zipline.plan.compiled_texts import summary_of
    from zipline.registry import Compiled, record_compilation

    definitions = [
        Compiled(
            name=name,
            kind=each.kind,
            fingerprint=each.fingerprint,
            canonical=each.canonical,
            owner=each.owner,
            location=each.location,
            needs=each.needs,
        )
        for name, each in ((name, summary_of(text)) for name, text in result.texts.items())
    ]
    record_compilation(project, definitions)
    if not result.forced:
        return
    from zipline.registry import open_registry

    with open_registry(project) as registry:
        for each in result.forced:
            registry.override(
                str(each["name"]), str(each["reason"]), from_fingerprint=each["from"], to_fingerprint=each["to"]
            )


def _leaks(project: Project, definitions: Definitions) -> list[LeakReport]:
    from zipline.tables.catalog import open_catalog

    return leaks_of_all(definitions, open_catalog(project=project))


def _facts(result: Compilation) -> dict[str, Any]:
    fields = (field.name for field in dataclasses.fields(result) if field.name != "texts")
    named = {name: getattr(result, name) for name in fields}
    return {**named, "changes": changes_facts(result.changes)}


def _show(result: Compilation) -> None:
    print_table(
        f"Compiled into {result.folder}",
        ["kind", ">objects"],
        [(kind.replace("_", " "), f"{count:,}") for kind, count in result.counts.items()],
    )
    click.echo(f"{plural(result.features, 'feature')} in all group-bys")
    for line in summary(result.changes):
        click.echo(line)
    for each in result.forced:
        click.echo(f"forced {each['name']}: {each['reason']}")
    show_untyped(dict(result.untyped))
