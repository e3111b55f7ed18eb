"""`zipline stream`: events into tiles and into the warehouse, as they come."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import open_project, project_options
from zipline.cli.screen import number, plural, print_json, print_table

if TYPE_CHECKING:
    from zipline.orchestration.events.stream import Report, Stream


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--engine", type=click.Choice(["local"]), default="local", help="What updates the tiles.")
@click.option(
    "--from", "file", type=click.Path(path_type=Path), metavar="FILE", help="Follow a JSON-lines file of one table."
)
@click.option("--once", is_flag=True, help="Take in what is there, and end.")
@click.option("--append-topics", is_flag=True, help="Append what comes by topics to the tables too: nobody else does.")
@click.option("--tiles-only", is_flag=True, help="Append nothing to the tables.")
@project_options
def command(
    tables: tuple[str, ...],
    engine: str,
    file: Path | None,
    once: bool,
    append_topics: bool,
    tiles_only: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Follow events: into the tiles that fetches read, and into the tables of the warehouse.

    They are what is posted to the tables' sources and, where the project has brokers, what comes by their topics; with
    --from a file takes the place of these. How far was read is kept with what was made of it: a stream that was stopped
    or killed goes on from there.

    \b
    Example:
      zipline stream purchases --from purchases.jsonl --once
    """
    del engine
    from zipline.orchestration.events.opening import Wanted, open_stream

    wanted = Wanted(tables, file, appends=not tiles_only, appends_topics=append_topics)
    with open_stream(open_project(project, environment), wanted) as stream:
        report = stream.once() if once else _followed(stream, is_quiet=as_json)
    _print(report, as_json=as_json)


def _followed(stream: Stream, *, is_quiet: bool) -> Report:
    """Follows until the process is told to end."""
    with _ended_by_signals(stream):
        if not is_quiet:
            tables = ", ".join(stream.report.tables)
            click.echo(f"following {tables} into {plural(len(stream.report.group_bys), 'group-by')}, until Ctrl-C")
        return stream.run()


@contextmanager
def _ended_by_signals(stream: Stream) -> Iterator[None]:
    before = {each: signal.signal(each, lambda *_: stream.stop()) for each in (signal.SIGTERM, signal.SIGINT)}
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
    for name, what in report.troubles.items():
        click.echo(click.style("warning: ", fg="yellow") + f"{name}: {what}")
