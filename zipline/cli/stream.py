"""`zipline stream`: events into tiles and into the warehouse, as they come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import load_served, open_project, project_options
from zipline.cli.screen import number, plural, print_json, print_table
from zipline.errors import ZiplineError

if TYPE_CHECKING:
    from zipline.orchestration.events.stream import Report, Stream


LOOK_EVERY = 2.0
"""Seconds between two looks at what is applied."""


class _Stream(click.Group):
    """Without the name of a subcommand what stands there is what to stream."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = next((each for each in args if not each.startswith("-")), None)
        if first not in self.commands and not {"-h", "--help"}.intersection(args):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of `run`, which need not be named."""
        self.commands["run"].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_Stream, subcommand_metavar="[NAME]... | COMMAND")
def command() -> None:
    """Follow events: into the tiles that fetches read, and into the tables of the warehouse.

    \b
    Example:
      zipline stream purchases --from purchases.jsonl --once    (= zipline stream run ...)
      zipline stream --engine flink
      zipline stream status
    """


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--engine", type=click.Choice(["local", "flink"]), help="What updates the tiles (default: the project's, local)."
)
@click.option(
    "--from", "file", type=click.Path(path_type=Path), metavar="FILE", help="Follow a JSON-lines file of one table."
)
@click.option("--once", is_flag=True, help="Take in what is there, and end.")
@click.option("--append-topics", is_flag=True, help="Append what comes by topics to the tables too: nobody else does.")
@click.option("--tiles-only", is_flag=True, help="Append nothing to the tables.")
@click.option("--definitions", type=click.Path(path_type=Path, exists=True), hidden=True)
@click.option("--beside", is_flag=True, hidden=True)
@click.option("--dry-run", is_flag=True, help="With --engine flink: print the job as SQL, and start nothing.")
@project_options
def run(
    names: tuple[str, ...],
    engine: str | None,
    file: Path | None,
    once: bool,
    append_topics: bool,
    tiles_only: bool,
    definitions: Path | None,
    beside: bool,
    dry_run: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Follow the events of tables, group-bys or joins (default: of all).

    They are what is posted to the tables' sources and, where the project has brokers, what comes by their topics; with
    --from a file takes the place of these. How far was read is kept with what was made of it: a stream that was stopped
    or killed goes on from there.

    With --engine flink the topics are aggregated by a job of Flink, on the cluster of [flink] in zipline.toml or on a
    mini cluster of this machine, and this process puts its tiles into the store.

    \b
    Examples:
      zipline stream purchases --from purchases.jsonl --once
      zipline stream shop.spending.spending --engine flink --dry-run
    """
    from zipline.fetch.applied import applied
    from zipline.orchestration.events.opening import Wanted, open_stream
    from zipline.orchestration.events.sources import named_tables
    from zipline.stores.opening import open_store

    where = open_project(project, environment)
    if (engine or where.stream_engine) == "flink":
        if file is not None or append_topics or tiles_only:
            raise click.UsageError("--from, --append-topics and --tiles-only are those of --engine local.")
        from zipline.cli.streaming import run_job

        run_job(where, names, once=once, is_dry=dry_run, as_json=as_json, folder=definitions, beside=beside)
        return
    if dry_run:
        raise click.UsageError("--dry-run is of --engine flink.")
    store = open_store(where)

    def streamed() -> tuple[Report, bool]:
        """What became of the stream of what is served now, and whether it ended for that something else is."""
        generation = applied(where, store)
        served = load_served(where, store, *names)
        tables = tuple(named_tables(served, names))
        wanted = Wanted(tables, file, appends=not tiles_only, appends_topics=append_topics)
        with open_stream(where, wanted, served, store=store) as stream:
            if once:
                return stream.once(), False
            return _followed(stream, lambda: applied(where, store) != generation, is_quiet=as_json)

    try:
        goes_on = True
        while goes_on:
            report, goes_on = streamed()
    finally:
        store.close()
    _print(report, as_json=as_json)


@command.command()
@click.argument("job", required=False)
@project_options
def status(job: str | None, project: str | None, environment: str | None, as_json: bool) -> None:
    """Show the streaming jobs of Flink: state, lag, until when all events are in, late and dead ones, checkpoints."""
    from zipline.cli.streaming import print_status

    print_status(open_project(project, environment), job, as_json=as_json)


@command.command()
@click.argument("job", required=False)
@project_options
def stop(job: str | None, project: str | None, environment: str | None, as_json: bool) -> None:
    """Stop a streaming job with a savepoint, from which it goes on when it is started again.

    What puts its tiles into the store ends, and the job itself, on a cluster too.
    """
    from zipline.cli.streaming import stop_job

    stop_job(open_project(project, environment), job, as_json=as_json)


@command.command("replay-dead-letters")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@project_options
def replay_dead_letters(tables: tuple[str, ...], project: str | None, environment: str | None, as_json: bool) -> None:
    """Send messages that were no events for the job to their topics again, each once: after the reason was mended.

    They keep the time at which they came, which must not be more than two days ago: of older tiles the job may have no
    state. What is still no event is put aside again. What former versions of the job put aside is left out: where a
    definition or a table's columns were changed, the next one reads the topics anew.
    """
    from zipline.cli.streaming import replay

    replay(open_project(project, environment), tables, as_json=as_json)


@command.command()
@click.argument("job", required=False)
@project_options
def restart(job: str | None, project: str | None, environment: str | None, as_json: bool) -> None:
    """Stop a streaming job with a savepoint, and start it again from there, by the process that keeps it going."""
    from zipline.cli.streaming import restart_job

    restart_job(open_project(project, environment), job, as_json=as_json)


def _followed(stream: Stream, has_changed: Callable[[], bool], *, is_quiet: bool) -> tuple[Report, bool]:
    """Follows until the process is told to end, or other definitions are applied; whether they were."""
    over, exchanged = threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            with suppress(ZiplineError):
                if has_changed():
                    exchanged.set()
                    stream.stop()
                    return

    looking = threading.Thread(target=look, name="looking at what is applied", daemon=True)
    with ended_by_signals(stream.stop):
        if not is_quiet:
            tables = ", ".join(stream.report.tables)
            click.echo(f"following {tables} into {plural(len(stream.report.group_bys), 'group-by')}, until Ctrl-C")
        looking.start()
        try:
            return stream.run(), exchanged.is_set()
        finally:
            over.set()
            looking.join()


def print_lost(what: str, since: int) -> None:
    """That messages were deleted before they were read."""
    from zipline.clock import to_text

    click.echo(
        f"{click.style('warning: ', fg='yellow')}{what}: topics have deleted messages that came before "
        f"{to_text(since)}, and some were not read; features are stale until an upload has them"
    )


@contextmanager
def ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    before = {each: signal.signal(each, lambda *_: stop()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
        return
    tables: list[tuple[Any, ...]] = [
        (name, number(each.events), number(each.appended), number(each.refused), number(each.late), each.delivery)
        for name, each in report.tables.items()
    ]
    print_table("events", ("table", ">events", ">appended", ">refused", ">late", "delivery"), tables)
    group_bys = [
        (name, number(each.rows), number(each.repeated), number(each.failed)) for name, each in report.group_bys.items()
    ]
    print_table("tiles", ("group-by", ">rows", ">repeated", ">failed"), group_bys)
    for name, counts in report.tables.items():
        if counts.not_appended:
            click.echo(f"{name} is in tiles only: {counts.not_appended}")
        if counts.lost_before is not None:
            print_lost(name, counts.lost_before)
    for name, what in report.troubles.items():
        click.echo(click.style("warning: ", fg="yellow") + f"{name}: {what}")
