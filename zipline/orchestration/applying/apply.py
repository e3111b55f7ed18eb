"""`apply`: does the steps, in the order in which each may be the last one that was done.

What nobody reads any more goes first. New versions are uploaded and streamed beside what is served; when all that came
until a moment ago is in their tiles, the definitions are exchanged. Jobs of the former definitions end afterwards, and
those that were begun beside them take over the tiles of group-bys that have not changed. Where the project streams
with the other engine now, tiles that jobs wrote are made anew when these have ended.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from zipline.clock import SECOND, day_text, monotonic, now, to_text
from zipline.engines.flink.rest import Jobs
from zipline.errors import EngineError, LockedError, ProjectError
from zipline.fetch.applied import publish
from zipline.orchestration.applying.state import Version, divided, tables_of
from zipline.orchestration.applying.steps import Steps, progress_of
from zipline.orchestration.events.opening import Wanted, open_stream, tiles_lock_name
from zipline.orchestration.events.standing import FLINK, engine_of
from zipline.orchestration.streaming.brokers import Admin
from zipline.orchestration.streaming.jobs import StreamJob, forget_jobs, state_of
from zipline.orchestration.streaming.status import end_job, is_kept_by
from zipline.orchestration.upload_runs import run_upload
from zipline.project import Project
from zipline.registry import open_registry
from zipline.stores.contract import Store
from zipline.stores.opening import space_of
from zipline.tables.catalog import Catalog

TAKEN_UP_WITHIN = 5.0
"""Seconds after which servers have taken up what was exchanged: they look every two."""
STOPPED_WITHIN = 120.0
Tell = Callable[[str], None]


def apply(
    steps: Steps,
    project: Project,
    catalog: Catalog,
    store: Store,
    tell: Tell,
    *,
    within: float,
    allow_missing: bool = False,
) -> None:
    """Does the steps; `tell` is told of each. For the tiles of new versions it waits `within` seconds. What fails
    leaves what is served as it is, and may be done again."""
    for space in steps.removes:
        store.remove(space)
    _leave([name for name in steps.leaves if name in steps.forgets], project, tell)
    forget_jobs(project, steps.forgets)
    for version, day in steps.uploads:
        report = run_upload(project, steps.state.definitions, version.name, day, store, allow_missing=allow_missing)
        tell(f"{version.name}: uploaded as of {day}, {report.generation.rows:,} keys, {report.seconds:.1f} s")
    _check_topics(steps, project, store)
    _fill(steps.fills, steps, project, catalog, store, tell)
    _start(steps, project, store, tell, within)
    if steps.exchanges or steps.made_then() != steps.made:
        publish(project, store, steps.state.packed, steps.made_then())
    if steps.exchanges:
        tell("the definitions are served from now on")
    if steps.ends:
        time.sleep(TAKEN_UP_WITHIN)
    for name in steps.ends:
        end_job(project, name, STOPPED_WITHIN)
        tell(f"the job {name} has ended")
    _leave([name for name in steps.leaves if name not in steps.forgets], project, tell)
    _fill(steps.refills, steps, project, catalog, store, tell)


def _leave(versions: Sequence[str], project: Project, tell: Tell) -> None:
    """Ends jobs of a cluster that nobody here keeps going, with a savepoint, from which they can go on."""
    jobs = Jobs(project.flink.cluster)
    running = jobs.names().items() if versions else ()
    for job, version in running:
        if version not in versions:
            continue
        jobs.stop(job, state_of(project, version), STOPPED_WITHIN)
        tell(f"the job {version} has ended on its cluster")


def _new(steps: Steps, store: Store) -> list[Version]:
    """Versions whose tiles nobody has written yet."""
    return [version for version in steps.state.streamed if progress_of(store, version.space) is None]


def _check_topics(steps: Steps, project: Project, store: Store) -> None:
    """ProjectError where messages are gone that a new version would need: those since its upload's end."""
    new = _new(steps, store)
    if not new or not project.brokers.servers:
        return
    admin = Admin(project.brokers)
    try:
        for version in new:
            generation = store.current(version.space)
            end = 0 if generation is None else generation.end
            for table in tables_of(steps.state.sources, version.kept):
                for topic in steps.state.sources.tables[table].topics:
                    begins = admin.begins(admin.bounds([topic]))
                    if begins > end:
                        raise ProjectError(
                            f"{version.name} would miss events: its upload ends at {to_text(end)}, and the topic "
                            f"{topic!r} begins at {to_text(begins)}, for it has deleted what came before",
                            hint="keep messages longer, or apply again when the next day can be uploaded; what was "
                            "served goes on",
                            next_command=f"zipline apply --ds {day_text(begins)}",
                        )
    finally:
        admin.close()


def _fill(
    versions: Sequence[Version], steps: Steps, project: Project, catalog: Catalog, store: Store, tell: Tell
) -> None:
    """Makes the tiles of versions of what came so far. Whoever follows events goes on with them; what a server has
    begun to follow since the steps were planned is left to it, as what it followed before is."""
    try:
        _fill_all(versions, steps, project, catalog, store, tell)
    except LockedError:
        with open_registry(project) as registry:
            held = {holder.name for holder in registry.locks.held() if holder.is_alive}
        others = [version for version in versions if tiles_lock_name(version.space) not in held]
        if len(others) == len(versions):
            raise
        followed = sorted({version.name for version in versions} - {version.name for version in others})
        tell(f"{', '.join(followed)}: already followed")
        _fill(others, steps, project, catalog, store, tell)


def _fill_all(
    versions: Sequence[Version], steps: Steps, project: Project, catalog: Catalog, store: Store, tell: Tell
) -> None:
    names = {version.name for version in versions}
    wanted = tuple(kept for kept in steps.state.sources.group_bys if kept.group_by.name in names)
    for part in divided(replace(steps.state.sources, group_bys=wanted)):
        if part.group_bys:
            asked = Wanted(tuple(part.tables), appends=False)
            definitions = steps.state.definitions
            with open_stream(project, asked, definitions, catalog, store=store, sources=part) as stream:
                report = stream.once()
            rows = sum(counts.rows for counts in report.group_bys.values())
            tell(f"{', '.join(sorted(report.group_bys))}: {rows:,} rows of what came since are in the tiles")


def _start(steps: Steps, project: Project, store: Store, tell: Tell, within: float) -> None:
    """Starts jobs, each kept going by a process of its own, and waits until they have got as far as events come."""
    started = {job.version: _started(job, project, steps.state.folder) for job in steps.starts}
    for job in steps.starts:
        tell(f"{job.name}: the job {job.identity} has been started")
    until = monotonic() + within
    for job in dict.fromkeys([*steps.starts, *steps.waits]):
        process = started.get(job.version)
        spaces = [space_of(project, kept) for kept in job.feeds]
        while not (_is_there(store, spaces, project) and (process is None or is_kept_by(job.folder, process.pid))):
            if process is not None and process.poll() is not None:
                raise EngineError(
                    f"the process that keeps the job {job.name} going has ended: {_last_line(_log(job))}",
                    hint=f"its log is {_log(job)}; what was served goes on",
                )
            if monotonic() > until:
                raise EngineError(
                    f"the tiles of the job {job.name} have not got as far as its events within {within:.0f} s",
                    hint="it goes on, and what was served too: apply again to go on waiting. Tiles that a stream of "
                    "the other engine writes are its own when that one has ended",
                    next_command="zipline stream status",
                )
            time.sleep(0.2)
        tell(f"{job.name}: its tiles have all that came until now")


def _started(job: StreamJob, project: Project, folder: Path) -> subprocess.Popen[bytes]:
    job.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "zipline.cli.main", "stream", *sorted(job.sources.tables), "--engine", "flink"]
    command += ["--beside", "--definitions", str(folder), "--project", str(project.root)]
    with _log(job).open("wb") as log:
        return subprocess.Popen(
            [*command, "--environment", project.environment],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _is_there(store: Store, spaces: Sequence[str], project: Project) -> bool:
    """Whether progress is as new as checkpoints allow, and that of a job."""
    oldest = now() - 10 * SECOND - 3 * project.flink.checkpoint * (SECOND // 1000)
    are_new = all((progress := progress_of(store, space)) is not None and progress >= oldest for space in spaces)
    return are_new and all(engine_of(store, space) == FLINK for space in spaces)


def _log(job: StreamJob) -> Path:
    return job.folder / "process.log"


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").split("\n") if log.exists() else []
    return next((line for line in lines if line.startswith("error: ")), "it has said nothing").removeprefix("error: ")
