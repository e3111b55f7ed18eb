"""Options that several commands take, and the project, definitions and ranges they stand for."""

from __future__ import annotations

import datetime as dt
import gc
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zipline.errors import UsageError

if TYPE_CHECKING:
    from zipline.plan.definitions import Definitions
    from zipline.project import Project
    from zipline.stores.contract import Store

_F = TypeVar("_F", bound=Callable[..., Any])


_FIRST_YEAR, _LAST_YEAR = 1700, 2200


class Day(click.ParamType[str]):
    """A day such as 2013-07-01, of years that leave room for windows before it and labels after it."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            day = dt.date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day: write it as 2013-07-01", param, ctx)
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            self.fail(f"{value} is not in the years {_FIRST_YEAR} to {_LAST_YEAR}", param, ctx)
        return day.isoformat()


class Instant(click.ParamType[int]):
    """A day or a time, as microseconds."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from zipline.clock import to_micros

        try:
            return to_micros(value)
        except UsageError as wrong:
            self.fail(f"{wrong.what}: {wrong.hint}" if wrong.hint else wrong.what, param, ctx)


def project_options(command: _F) -> _F:
    """--project, --environment and --json."""
    options = (
        click.option("--project", metavar="DIR", help="The project's folder (default: this one, or a parent of it)."),
        click.option("--environment", metavar="NAME", help="The environment of zipline.toml to work in."),
        click.option("--json", "as_json", is_flag=True, help="Print facts as JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def range_options(command: _F) -> _F:
    """--start, --end, --training/--scoring and --as-of."""
    options = (
        click.option("--start", type=Day(), help="First day (default: the join's start, or the left's first day)."),
        click.option("--end", type=Day(), help="Last day, inclusive (default: the left's last day)."),
        click.option(
            "--training/--scoring",
            default=True,
            help="With labels and only rows whose labels are complete, or every row without labels.",
        ),
        click.option(
            "--as-of",
            type=Instant(),
            metavar="TIME",
            help="Labels as they stood then (default: where the label data end).",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def open_project(project: str | None, environment: str | None) -> Project:
    from zipline.project import load_project

    return load_project(project, environment)


def load_definitions(project: Project) -> Definitions:
    from zipline.plan.definitions import load

    with without_collection():
        return load(project.root / project.configs)


def load_served(project: Project, store: Store, *names: str) -> Definitions:
    """The definitions that are served, and a word to who works on others: the files that were not applied.

    DefinitionError for a name that only the files have.
    """
    from zipline.clock import to_text
    from zipline.fetch.applied import applied, pack, served_folder
    from zipline.plan.definitions import load

    folder, files = served_folder(project, store), project.root / project.configs
    with without_collection():
        definitions = load(folder)
    if folder == files or not files.is_dir():
        return definitions
    generation = applied(project, store)
    if generation is not None and pack(files).digest != generation.fingerprint:
        click.echo(
            f"note: the definitions of {to_text(generation.published)} are served; those in {project.configs}/ are "
            "others: zipline apply",
            err=True,
        )
        unknown = [name for name in names if name not in definitions]
        if unknown and unknown[0] in load(files):
            raise UsageError(
                f"{unknown[0]!r} is in {project.configs}/, and was not applied", next_command="zipline apply"
            )
    return definitions


@contextmanager
def with_known_expressions(project: Project) -> Iterator[None]:
    """For commands that only look: expressions typed by an earlier one need no parser."""
    from zipline.expressions.known import kept_in

    with kept_in(project.root / ".zipline" / "cache" / "expressions"):
        yield


@contextmanager
def without_collection() -> Iterator[None]:
    """For short work that keeps nearly all it makes: looking for garbage meanwhile takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def arguments_again(training: bool, project: str | None, environment: str | None, as_of: int | None = None) -> str:
    """What a suggested command must repeat of this one, with a space before it."""
    from zipline.clock import to_text

    until = None if as_of is None else to_text(as_of)
    given = (("--as-of", until), ("--project", project), ("--environment", environment))
    named = "".join(f" {option} {shlex.quote(value)}" for option, value in given if value)
    return ("" if training else " --scoring") + named


def check_range(start: str, end: str) -> None:
    if start > end:
        raise UsageError(f"--start {start} is after --end {end}")
