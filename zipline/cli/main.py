"""`zipline`: finds the command, runs it, and turns every failure into text (or facts) and an exit code."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from zipline.cli.failures import exit_code_of
from zipline.errors import near

BUILT_IN = {
    "compile": "zipline.cli.compile",
    "diff": "zipline.cli.diff",
    "plan": "zipline.cli.plan",
    "backfill": "zipline.cli.backfill",
    "train-set": "zipline.cli.train_set",
    "apply": "zipline.cli.apply",
    "upload": "zipline.cli.upload",
    "stream": "zipline.cli.stream",
    "fetch": "zipline.cli.fetch",
    "explain": "zipline.cli.explain",
    "lineage": "zipline.cli.lineage",
    "doctor": "zipline.cli.doctor",
}
"""Command -> the module that has it, as `command`; in the order in which an author meets them."""
PLUGINS = "zipline.commands"
"""Entry points of this group add commands: name -> a click command, in a module that is quick to import."""
_COLLECTED_AFTER = 100_000
"""Objects made between two looks for garbage. Importing makes hundreds of thousands and keeps them all."""

_SAY_WHAT_IS_LEFT = {"duckdb", "_datasketches"}
"""Libraries that say on the screen what nobody has looked for when the process ends."""


class Commands(click.Group):
    """Commands are imported when they are run, or when the help lists them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*BUILT_IN, *(name for name in sorted(_plugins()) if name not in BUILT_IN)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in BUILT_IN:
            command: click.Command = import_module(BUILT_IN[cmd_name]).command
            return command
        plugin = _plugins().get(cmd_name)
        return _loaded(cmd_name, plugin) if plugin is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            meant = near(args[0], self.list_commands(ctx))
            question = f" Did you mean {meant!r}?" if meant else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{question}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zipline-features", prog_name="zipline")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Features defined once in Python: point-in-time-correct training sets, and the same values online.

    \b
    Begin with:
      zipline demo        the demo company, end to end
      zipline doctor      what this project is, and what is missing
      zipline compile     check every definition under configs/
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def execute(arguments: Sequence[str]) -> int:
    """Runs one command line and gives its exit code: 0 done, 1 the work failed, 2 bad usage or definition."""
    try:
        with _seldom_collected():
            code = main.main(args=list(arguments), prog_name="zipline", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        return exit_code_of(error, arguments)
    return code if isinstance(code, int) else 0


@contextmanager
def _seldom_collected() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(_COLLECTED_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def run() -> None:
    """The console script."""
    code = execute(sys.argv[1:])
    # The process ends: it need not look for garbage among all that it holds, which takes a tenth of a second.
    if not _SAY_WHAT_IS_LEFT & sys.modules.keys():
        gc.freeze()
    sys.exit(code)


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=PLUGINS)}


def _loaded(name: str, plugin: Any) -> click.Command:
    """A plugin's command; one that cannot be imported says so when it is run, and does not spoil the help."""
    try:
        command: click.Command = plugin.load()
    except Exception as error:
        return _broken(name, f"cannot be loaded from {plugin.value}: {type(error).__name__}: {error}")
    return command


def _broken(name: str, why: str) -> click.Command:
    def refuse(**_: object) -> None:
        raise click.UsageError(f"{name} {why}")

    settings = {"ignore_unknown_options": True}
    arguments = click.Argument(["arguments"], nargs=-1)
    return click.Command(name, settings, refuse, [arguments], short_help=f"({why})")


if __name__ == "__main__":
    run()
