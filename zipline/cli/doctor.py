"""`zipline doctor`: what this project is, whether it can work, and what to do where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import plural, print_json, print_table, size
from zipline.errors import ZiplineError
from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.project import Project

PACKAGES = [
    "pyarrow",
    "duckdb",
    "numba",
    "numpy",
    "deltalake",
    "sqlglot",
    "datasketches",
    "fsspec",
    "msgspec",
    "sqlalchemy",
]
LITTLE_ROOM = 2 * 1024**3
FINE, ATTENTION, WRONG = "ok", "look", "wrong"
_COLOURS = {FINE: "green", ATTENTION: "yellow", WRONG: "red"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is ok, look (it works, but) or wrong; `remedy` says what to do."""

    what: str
    state: str
    detail: str
    remedy: str | None = None


@click.command()
@click.option("--spark", is_flag=True, help="Also start a session of Spark, and run a task in it.")
@project_options
def command(spark: bool, project: str | None, environment: str | None, as_json: bool) -> None:
    """Look for what is missing.

    Shows the project's settings, and whether everything it needs is there. Exit code 1 when something is wrong.

    \b
    Example:
      zipline doctor
    """
    opened = open_project(project, environment)
    findings = [*examine(opened), *_spark(opened, is_started=spark), *_flink(opened)]
    settings = [asdict(setting) for setting in opened.describe()]
    if as_json:
        print_json({"settings": settings, "findings": [asdict(finding) for finding in findings]})
    else:
        _show(opened, settings, findings)
    if any(finding.state == WRONG for finding in findings):
        raise click.exceptions.Exit(1)


def examine(project: Project) -> Iterator[Finding]:
    """Every finding; one that fails to be made is itself a finding."""
    yield _python()
    yield _packages()
    for what, look in (
        ("project", _project_file),
        ("warehouse", _warehouse),
        ("disk", _disk),
        ("definitions", _definitions),
        ("tables", _tables),
        ("outputs", _outputs),
        ("registry", _registry),
        ("online store", _online),
    ):
        yield from _guarded(what, look, project)


def _guarded(what: str, look: Callable[[Project], Finding], project: Project) -> Iterator[Finding]:
    try:
        yield look(project)
    except ZiplineError as error:
        place = f" at {error.where}" if error.where else ""
        yield Finding(what, WRONG, f"{error.what}{place}", error.hint or error.next_command)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Finding("python", FINE, f"{found} at {sys.executable}")
    return Finding("python", WRONG, f"{found} is not supported", "install Python 3.11 or 3.12")


def _packages() -> Finding:
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding("packages", WRONG, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Finding("packages", FINE, ", ".join(found))


def _project_file(project: Project) -> Finding:
    from zipline.project import strange_variables

    where = f"{project.name}, environment {project.environment}"
    strange = strange_variables(os.environ)
    if strange:
        return Finding("project", ATTENTION, f"{where}: {', '.join(strange)} set nothing", "mend or unset them")
    if project.file is None:
        remedy = "write a zipline.toml to say otherwise"
        return Finding("project", FINE, f"{where}: no zipline.toml, everything lies in .zipline/", remedy)
    return Finding("project", FINE, f"{where}: {project.file}")


def _warehouse(project: Project) -> Finding:
    from zipline.tables.storage import Storage, scheme_of

    if scheme_of(project.warehouse) is not None:
        count = len(Storage(project.warehouse, project.storage_options).children(project.warehouse))
        return Finding("warehouse", FINE, f"{project.warehouse}: {count:,} tables and files")
    folder = _existing(Path(project.warehouse))
    if not folder.is_dir():
        return Finding("warehouse", WRONG, f"{folder} is a file", "name a folder in [warehouse] url of zipline.toml")
    if not os.access(folder, os.W_OK):
        return Finding("warehouse", WRONG, f"{project.warehouse} cannot be written", f"make {folder} writable")
    state = "" if folder == Path(project.warehouse) else " (made by the first backfill)"
    return Finding("warehouse", FINE, f"{project.warehouse}{state}")


def _disk(project: Project) -> Finding:
    from zipline.tables.storage import scheme_of

    folders = [project.root, *([] if scheme_of(project.warehouse) else [Path(project.warehouse)])]
    free = min(shutil.disk_usage(_existing(folder)).free for folder in folders)
    if free < LITTLE_ROOM:
        return Finding("disk", ATTENTION, f"{size(free)} free", "make room before a large backfill")
    return Finding("disk", FINE, f"{size(free)} free")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _definitions(project: Project) -> Finding:
    if not (project.root / project.configs).is_dir():
        remedy = "write configs/<team>/<file>.py, or run zipline demo to see one"
        return Finding("definitions", ATTENTION, f"there is no folder {project.root / project.configs}", remedy)
    found = load_definitions(project)
    groups, joins = plural(len(found.group_bys), "group-by"), plural(len(found.joins), "join")
    return Finding("definitions", FINE, f"{plural(len(found), 'object')}: {groups}, {joins}")


def _online(project: Project) -> Finding:
    """Whether the files are what is served."""
    from zipline.clock import to_text
    from zipline.fetch.applied import applied, pack
    from zipline.stores.opening import open_store

    store = open_store(project)
    try:
        generation = applied(project, store)
    finally:
        store.close()
    where, files = f"{project.online.store}: ", project.root / project.configs
    if generation is None:
        return Finding("online store", FINE, f"{where}nothing was applied, so {project.configs}/ is served as it is")
    said = f"{where}what was applied at {to_text(generation.published)} is served"
    if files.is_dir() and pack(files).digest != generation.fingerprint:
        return Finding("online store", ATTENTION, f"{said}, and {project.configs}/ is not that", "zipline apply")
    return Finding("online store", FINE, said)


def _tables(project: Project) -> Finding:
    from zipline.tables.catalog import open_catalog

    catalog = open_catalog(project=project)
    of_spark = {name for name, table in project.tables.items() if table.catalog}
    needed = sorted(_source_tables(project) - of_spark)
    missing: dict[str, str] = {}
    for table in needed:
        try:
            _ = catalog.table(table).schema
        except ZiplineError as error:
            missing[table] = error.what
    if missing:
        remedy = "put them into the warehouse, or name their paths in [tables.NAME] of zipline.toml"
        return Finding("tables", WRONG, "; ".join(missing.values()), remedy)
    return Finding("tables", FINE, f"{plural(len(needed), 'source table')} readable")


def _outputs(project: Project) -> Finding:
    from zipline.tables.delta import DeltaOutput
    from zipline.tables.stored_rows import output_name

    joins = load_definitions(project).joins if (project.root / project.configs).is_dir() else ()
    names = [output_name(join.title, training) for join in joins for training in (True, False)]
    outputs = [DeltaOutput(project.table_uri(name), project.storage_options) for name in names]
    written = [days for output in outputs if (days := output.days())]
    return Finding("outputs", FINE, f"{plural(len(written), 'table')}, {plural(sum(map(len, written)), 'day')} in all")


def _registry(project: Project) -> Finding:
    from zipline.registry import Outcome, find_registry

    registry = find_registry(project)
    if registry is None:
        return Finding("registry", FINE, f"{project.registry} (made by the first run)")
    with registry:
        going = [f"; {holder.what} by {holder.process}" for holder in registry.locks.held() if holder.is_alive]
        newest = {run.subject: run for run in reversed(registry.runs.recent())}
        known = plural(len(registry.versions.active()), "compiled object")
        state = f"{registry.url}: {plural(registry.runs.count(), 'run')}, {known}{''.join(going)}"
    lost = [run for run in newest.values() if run.outcome is Outcome.LOST]
    if lost:
        remedy = f"run zipline {lost[-1].what} {lost[-1].subject} again: it goes on where it stopped"
        return Finding("registry", ATTENTION, f"{state}; {plural(len(lost), 'run')} ended without a word", remedy)
    return Finding("registry", FINE, state)


def _spark(project: Project, *, is_started: bool) -> Iterator[Finding]:
    """What the Spark engine stands on. Where nobody asks for it but pyspark is there, what it lacks is not wrong."""
    from importlib.util import find_spec

    from zipline.engines.spark import setup
    from zipline.spark_settings import Spark

    if find_spec("pyspark") is None and project.spark == Spark() and not is_started:
        return
    is_wanted, sound = is_started or project.spark != Spark(), True
    for what, look in setup.checks(project.spark):
        for finding in _guarded(f"spark {what}", partial(_seen, what, look), project):
            sound &= finding.state != WRONG
            yield finding if is_wanted or finding.state == FINE else replace(finding, state=ATTENTION)
    if is_started and sound:
        yield from _guarded("spark session", _started, project)


def _seen(what: str, look: Callable[[], str], _: Project) -> Finding:
    return Finding(f"spark {what}", FINE, look())


def _flink(project: Project) -> Iterator[Finding]:
    """What streaming jobs stand on; nobody asks for them where Flink's libraries are not, nor a section of settings."""
    from importlib.metadata import PackageNotFoundError, version

    from zipline.engines.flink import setup
    from zipline.flink_settings import Flink

    given = replace(project.flink, state=Flink().state)
    try:
        version("apache-flink-libraries")
    except PackageNotFoundError:
        if given == Flink():
            return
    for what, look in setup.checks():
        for finding in _guarded(f"flink {what}", partial(_flink_seen, what, look), project):
            yield finding if given != Flink() or finding.state == FINE else replace(finding, state=ATTENTION)


def _flink_seen(what: str, look: Callable[[], str], _: Project) -> Finding:
    return Finding(f"flink {what}", FINE, look())


def _started(project: Project) -> Finding:
    from zipline.engines.spark.session import session_of, tried

    return Finding("spark session", FINE, tried(session_of(project)))


def _source_tables(project: Project) -> set[str]:
    from zipline.api import EntitySource, EventSource
    from zipline.api.base import children

    if not (project.root / project.configs).is_dir():
        return set()
    definitions = load_definitions(project)
    pending: list[Any] = list(definitions.values())
    seen: dict[int, Any] = {}
    while pending:
        current = pending.pop()
        if id(current) not in seen:
            seen[id(current)] = current
            pending += children(current)
    tables = {d.table_name for d in seen.values() if isinstance(d, EventSource)}
    tables |= {t for d in seen.values() if isinstance(d, EntitySource) for t in (d.table_name, d.mutations_name) if t}
    return {table for table in tables if table not in definitions}


def _show(project: Project, settings: list[dict[str, Any]], findings: list[Finding]) -> None:
    print_table(
        f"Settings of {project.root}",
        ["setting", "value", "from"],
        [(each["name"], each["value"], each["source"]) for each in settings],
    )
    for finding in findings:
        state = click.style(f"{finding.state:<5}", fg=_COLOURS[finding.state], bold=True)
        click.echo(f"{state} {finding.what}: {finding.detail}")
        if finding.remedy:
            click.echo(f"      {finding.remedy}")
