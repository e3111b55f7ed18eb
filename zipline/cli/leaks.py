"""What `plan` and `compile` say of leaks: the options, the check of one join or of all with labels, how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zipline.cli.options import load_definitions
from zipline.errors import UsageError

if TYPE_CHECKING:
    from zipline.api import Join
    from zipline.plan.definitions import Definitions
    from zipline.project import Project
    from zipline.quality.leaks import LeakReport
    from zipline.tables.catalog import Catalog

_F = TypeVar("_F", bound=Callable[..., Any])


def leak_options(command: _F) -> _F:
    """--check-leaks and --strict."""
    options = (
        click.option(
            "--check-leaks", is_flag=True, help="Look for what a training set could not have known; reads a sample."
        ),
        click.option("--strict", is_flag=True, help="Exit with 1 where --check-leaks finds something."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def refuse_strict_alone(check_leaks: bool, strict: bool) -> None:
    if strict and not check_leaks:
        raise UsageError("--strict is about leaks, and they are not looked for", hint="give --check-leaks too")


def leaks_of(join: Join, catalog: Catalog, project: Project) -> LeakReport:
    """The leaks of one join, with the project's other definitions around it."""
    from zipline.quality.leaks import check_leaks

    return check_leaks(join, catalog, load_definitions(project))


def leaks_of_all(definitions: Definitions, catalog: Catalog) -> list[LeakReport]:
    """The leaks of every join that has labels; one whose tables are not there is skipped, and says so."""
    from zipline.errors import TableError
    from zipline.quality.leaks import LeakReport, check_leaks

    reports = []
    for join in definitions.joins:
        if join.labels is None:
            continue
        try:
            reports.append(check_leaks(join, catalog, definitions))
        except TableError as missing:
            reports.append(LeakReport(join.title, skipped=(missing.what,)))
    return reports


def show_leaks(reports: Iterable[LeakReport]) -> None:
    for report in reports:
        click.echo("\n".join(report.lines()))


def fail_if_strict(reports: Iterable[LeakReport], strict: bool) -> None:
    """Ends with exit code 1 where something was found."""
    if strict and any(report.leaks for report in reports):
        raise click.exceptions.Exit(1)
