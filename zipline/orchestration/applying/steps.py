"""What an apply has to do, told before anything is done: the state that is wanted, against what is there."""

from __future__ import annotations

from collections.abc import Sequence

from zipline.clock import DAY, day_text, now, to_micros
from zipline.engines.flink.rest import Jobs
from zipline.errors import TableError
from zipline.fetch.applied import Made, applied, read
from zipline.orchestration.applying.state import State, Version
from zipline.orchestration.events.opening import tiles_lock_name
from zipline.orchestration.events.standing import FLINK, engine_of
from zipline.orchestration.streaming.jobs import StreamJob, job_lock_name, job_prefix
from zipline.orchestration.streaming.status import statuses
from zipline.orchestration.upload import missing_sources
from zipline.plan.online import SERVED
from zipline.project import Project
from zipline.registry import Registry
from zipline.stores.contract import Generation, Place, Store
from zipline.stores.opening import space_of
from zipline.stores.tiles import PROGRESS, Progress
from zipline.tables.catalog import Catalog
from zipline.values import dataclass

_NOTHING = Made({})


@dataclass(frozen=True, eq=False)
class Steps:
    """`uploads` say the day, as of whose end. `fills` are versions whose tiles are made of what came since, by this
    process; `starts` are jobs that no process keeps going; `ends` are those of definitions that are no longer wanted,
    by their names here, and `leaves` those of a cluster that run there though nobody here keeps them going. `waits` are
    jobs of whose group-bys some are not served yet, or have tiles of the other engine. `refills` are versions whose
    tiles jobs wrote that are wanted no longer: when these have ended, this process makes them anew."""

    state: State
    generation: Generation | None
    made: Made
    uploads: tuple[tuple[Version, str], ...]
    fills: tuple[Version, ...]
    starts: tuple[StreamJob, ...]
    waits: tuple[StreamJob, ...]
    ends: tuple[str, ...]
    leaves: tuple[str, ...]
    refills: tuple[Version, ...]

    @property
    def spaces(self) -> dict[str, str]:
        return {version.name: version.space for version in self.state.versions}

    @property
    def exchanges(self) -> bool:
        """Whether other definitions are served afterwards."""
        return self.generation is None or self.generation.fingerprint != self.state.packed.digest

    @property
    def is_nothing(self) -> bool:
        streams = self.fills or self.starts or self.waits or self.ends or self.leaves or self.refills
        return not (self.uploads or streams or self.exchanges or self.made_then() != self.made)

    @property
    def removes(self) -> list[str]:
        """Spaces that nobody will go back to."""
        then = self.made_then()
        return sorted(set(self.made.former_spaces) - set(then.former_spaces) - set(then.spaces.values()))

    @property
    def forgets(self) -> list[str]:
        """Versions of jobs that nobody will go back to."""
        then = self.made_then()
        return sorted(set(self.made.former_jobs) - set(then.former_jobs) - set(then.jobs))

    def change(self, name: str) -> str:
        """What becomes of a group-by: new, changed, unchanged or removed."""
        if name not in self.spaces:
            return "removed"
        before = self.made.spaces.get(name)
        return "new" if before is None else "unchanged" if before == self.spaces[name] else "changed"

    def made_then(self) -> Made:
        """What there is afterwards; what is served now is kept beside it, until the next exchange."""
        jobs = tuple(job.version for job in self.state.jobs)
        former_spaces = tuple(sorted(set(self.made.spaces.values()) - set(self.spaces.values())))
        former_jobs = tuple(job for job in self.made.jobs if job not in jobs)
        return Made(
            self.spaces,
            jobs,
            former_spaces or tuple(each for each in self.made.former_spaces if each not in self.spaces.values()),
            former_jobs or tuple(each for each in self.made.former_jobs if each not in jobs),
        )


def steps_to(
    state: State,
    project: Project,
    catalog: Catalog,
    store: Store,
    registry: Registry,
    day: str | None = None,
    *,
    allow_missing: bool = False,
) -> Steps:
    """The steps from what is there to this state. TableError names sources that have nothing of any day that serves."""
    generation = applied(project, store)
    made = read(project, store, generation)[1] if generation is not None else _NOTHING
    uploads = []
    for version in state.versions:
        due = _due(version, made, catalog, store, day, allow_missing=allow_missing)
        if due is not None:
            uploads.append((version, due))
    versions = {job.version for job in state.jobs}
    held = {holder.name for holder in registry.locks.held() if holder.is_alive}
    new = [each for each in state.streamed if each.space not in made.spaces.values()]
    unserved = {version.name for version in new}

    def is_waited_for(job: StreamJob) -> bool:
        is_new = any(kept.group_by.name in unserved for kept in job.feeds)
        return is_new or any(engine_of(store, space_of(project, kept)) != FLINK for kept in job.feeds)

    ends = {
        name: status.report.job
        for name, status in statuses(project)
        if status.is_alive and status.report.job.startswith(job_prefix(project)) and status.report.job not in versions
    }
    return Steps(
        state,
        generation,
        made,
        tuple(uploads),
        () if state.jobs else tuple(each for each in new if tiles_lock_name(each.space) not in held),
        tuple(job for job in state.jobs if job_lock_name(job.version) not in held),
        tuple(filter(is_waited_for, state.jobs)),
        tuple(ends),
        tuple(name for name in _running(project) if name not in versions and name not in ends.values()),
        () if state.jobs else tuple(each for each in state.streamed if engine_of(store, each.space) == FLINK),
    )


def _running(project: Project) -> list[str]:
    """The project's jobs of this environment that run on its cluster."""
    found = Jobs(project.flink.cluster).names().values() if project.flink.cluster else ()
    return sorted(name for name in found if name.startswith(job_prefix(project)))


def progress_of(store: Store, space: str) -> int | None:
    """Until when all events are in a space's tiles; None where nobody has said so."""
    found = store.get([(Place(space), [PROGRESS])])[0][0]
    return None if found is None else Progress.of(found).until


def _due(
    version: Version, made: Made, catalog: Catalog, store: Store, day: str | None, *, allow_missing: bool
) -> str | None:
    """The day of which an upload is due: of a version that has none, or one older than what is served or was asked."""
    current = store.current(version.space)
    former = made.spaces.get(version.name, version.space)
    served = store.current(former) if former != version.space else None
    least = max(to_micros(day) + DAY if day is not None else 0, served.end if served is not None else 0)
    if current is not None and current.end >= least:
        return None
    days = [day] if day is not None else _days(served)
    wrong: list[str] = []
    for each in days:
        if current is not None and current.end >= to_micros(each) + DAY:
            return None
        missing = missing_sources(version.kept, catalog, each)
        if not missing or allow_missing:
            return each
        wrong = wrong or missing
    raise TableError(
        f"{version.name} cannot be uploaded as of {days[0]}{_or_before(days)}: {'; '.join(wrong)}",
        hint="wait for the data, or say which day is to be online",
        next_command="zipline apply --ds DAY",
    )


def _days(served: Generation | None) -> list[str]:
    """Yesterday, and the days before of which an upload serves today; then the day that is served."""
    today = now() // DAY * DAY
    days = [day_text(today - back) for back in range(DAY, DAY + SERVED + 1, DAY)]
    return list(dict.fromkeys([*days, *([day_text(served.end - DAY)] if served is not None else [])]))


def _or_before(days: Sequence[str]) -> str:
    return f" or one of the {len(days) - 1} days before" if len(days) > 1 else ""
