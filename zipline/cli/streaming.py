"""The streaming jobs of Flink, as `zipline stream` runs, shows and stops them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from zipline.cli.options import load_served
from zipline.cli.screen import number, plural, print_json, print_table, size
from zipline.cli.stream import ended_by_signals, print_lost
from zipline.clock import SECOND, now, to_text
from zipline.engines.flink.statements import SLACK, script
from zipline.orchestration.events.opening import Wanted, check_wanted
from zipline.orchestration.events.sources import event_sources, named_tables
from zipline.orchestration.streaming.jobs import StreamJob, stream_job
from zipline.orchestration.streaming.outboxes import sent_again
from zipline.orchestration.streaming.running import STOPPED_WITHIN, Streaming, open_streaming
from zipline.orchestration.streaming.status import STOPPED, Report, Status, end_job, signalled, status_of, statuses
from zipline.plan.definitions import Definitions, load
from zipline.project import Project
from zipline.stores.opening import open_store
from zipline.tables.catalog import open_catalog


def run_job(
    project: Project,
    names: Sequence[str],
    *,
    once: bool,
    is_dry: bool,
    as_json: bool,
    folder: Path | None = None,
    beside: bool = False,
) -> None:
    """Keeps a job going until the process is told to end. `folder` is that of the definitions, by default those that
    are served; see `open_streaming` for `beside`."""
    definitions = load(folder) if folder is not None else _served(project)
    tables = named_tables(definitions, names)
    sources = event_sources(project, definitions, open_catalog(project=project), tables)
    check_wanted(sources, Wanted(tuple(tables), appends=False))
    job = stream_job(project, sources)
    if is_dry:
        _print_dry(job, as_json=as_json)
        return
    with open_streaming(job, beside=beside) as streaming:
        report = streaming.once() if once else _kept_going(streaming, job, is_quiet=as_json)
    _print_report(report, as_json=as_json)


def _served(project: Project) -> Definitions:
    store = open_store(project)
    try:
        return load_served(project, store)
    finally:
        store.close()


def _kept_going(streaming: Streaming, job: StreamJob, *, is_quiet: bool) -> Report:
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, lambda *_: streaming.restart()),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda *_: streaming.stop(with_job=True)),
    }
    try:
        with ended_by_signals(streaming.stop):
            if not is_quiet:
                where = job.project.flink.cluster or "a mini cluster of this machine"
                click.echo(f"the job {job.name} on {where}: {plural(len(job.feeds), 'group-by')}, until Ctrl-C")
            return streaming.run()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _print_dry(job: StreamJob, *, as_json: bool) -> None:
    """Without the brokers' password."""
    hidden = replace(job.project, brokers=replace(job.project.brokers, password="********"))
    shown = replace(job, project=hidden)
    settings, statements = shown.settings(), shown.statements()
    if as_json:
        print_json({"job": job.version, "tiles": job.tiles, "settings": settings, "statements": statements})
    else:
        click.echo(script(settings, statements))


def print_status(project: Project, job: str | None, *, as_json: bool) -> None:
    """Of one job, or of all."""
    found = dict([status_of(project, job)]) if job is not None else dict(statuses(project))
    if as_json:
        print_json({name: _facts(each) for name, each in found.items()})
        return
    if not found:
        click.echo("no streaming job was started here")
        return
    columns = ("job", "state", ">tiles", ">lag", "complete until", ">late", ">dead", "checkpoint", ">state")
    print_table("streaming jobs", columns, [_row(name, each) for name, each in found.items()])
    for each in found.values():
        _print_troubles(each.report)


def _facts(status: Status) -> dict[str, Any]:
    return {"is_alive": status.is_alive, "at": status.at, **asdict(status.report)}


def _row(name: str, status: Status) -> tuple[Any, ...]:
    report, checkpoint = status.report, status.report.checkpoint
    return (
        name,
        report.state if status.is_alive or report.state == STOPPED else "nothing keeps it going",
        number(report.tiles),
        number(report.lag),
        to_text(report.until) if report.until is not None else "",
        number(sum(report.late.values())),
        number(sum(report.dead.values())),
        f"{(now() - checkpoint.at) // SECOND} s ago" if checkpoint is not None else "none yet",
        size(checkpoint.size if checkpoint is not None else None),
    )


def stop_job(project: Project, job: str | None, *, as_json: bool) -> None:
    """Tells the process that keeps it going, and waits."""
    name, _ = status_of(project, job)
    _print_report(end_job(project, name, 2 * STOPPED_WITHIN).report, as_json=as_json)


def restart_job(project: Project, job: str | None, *, as_json: bool) -> None:
    name, status = status_of(project, job)
    signalled(name, status, signal.SIGHUP)
    if as_json:
        print_json({"job": name, "told": str(status.process)})
    else:
        click.echo(f"told {status.process}, which restarts the job {name} from a savepoint: zipline stream status")


def replay(project: Project, names: Sequence[str], *, as_json: bool) -> None:
    """Of these tables, or of all that take events."""
    definitions = _served(project)
    sources = event_sources(project, definitions, open_catalog(project=project), named_tables(definitions, names))
    job = stream_job(project, sources)
    oldest = now() - SLACK
    found = {table: sent_again(project.brokers, topic, job.version, oldest) for table, topic in job.dead.items()}
    if as_json:
        print_json({table: asdict(each) for table, each in found.items()})
        return
    for table, each in found.items():
        too_old = f", {number(each.too_old)} too old for it" if each.too_old else ""
        click.echo(f"{table}: {plural(sum(each.topics.values()), 'message')} sent again{too_old}")


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
        return
    until = f", complete until {to_text(report.until)}" if report.until is not None else ""
    click.echo(f"{report.job} is {report.state}: {plural(report.tiles, 'tile')} written{until}")
    for what, counts in (("late", report.late), ("no events", report.dead)):
        for table, count in counts.items():
            if count:
                click.echo(f"{table}: {number(count)} {what}")
    _print_troubles(report)


def _print_troubles(report: Report) -> None:
    if report.since is not None:
        print_lost(report.job, report.since)
    for name, what in report.troubles.items():
        click.echo(click.style("warning: ", fg="yellow") + f"{name}: {what}")
