"""Of definitions a streaming job: which tables and group-bys, in which statements, under which names.

All group-bys that share a topic are one job, which reads it once. A job's identity is that of its statements: another
definition is another job, with state, offsets and a topic of tiles of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import fsspec

from zipline.api import EntitySource
from zipline.engines.flink.launching import defaults
from zipline.engines.flink.statements import Computed, Settings, StreamTable, session, statements
from zipline.errors import ProjectError, UsageError
from zipline.expressions.nodes import Column
from zipline.orchestration.events.sources import EventSources
from zipline.orchestration.events.tables import EnrichedTable, EventTable
from zipline.orchestration.streaming.brokers import Admin, settings_for_java
from zipline.plan.online import Kept
from zipline.project import EMBEDDED, Project
from zipline.values import dataclass

_LONGEST_NAME = 60

STATE = "state 3"
"""The form of the job's state and its operators, which are Java: to be raised with every change of them. A job does not
go on from the state of another form."""


@dataclass(frozen=True, eq=False)
class StreamJob:
    """One job of a project."""

    project: Project
    sources: EventSources

    @property
    def feeds(self) -> tuple[Kept, ...]:
        return self.sources.group_bys

    @cached_property
    def name(self) -> str:
        """Of its tables: a job of the same tables is the next version of it. Topics may have it as part of theirs."""
        joined = "+".join(sorted(self.sources.tables))
        readable = _topic(joined)
        if readable == joined and len(joined) <= _LONGEST_NAME:
            return joined
        return f"{readable[:_LONGEST_NAME]}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"

    @cached_property
    def identity(self) -> str:
        """Of what it computes, wherever it reads and writes."""
        nowhere = dict.fromkeys(self.sources.all_tables, "")
        found = statements(self.feeds, self.tables, Settings("", "", "", "", nowhere, nowhere, {}))
        text = "\n".join([STATE, *found, str(self.project.flink.parallelism)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def version(self) -> str:
        """Its name and identity, under which the cluster and the brokers know it."""
        return f"{self._prefix}{self.name}.{self.identity}"

    @property
    def group(self) -> str:
        """Of consumers, by which it tells the brokers how far it has got."""
        return self.version

    @property
    def once_group(self) -> str:
        """The same of a job that ends: it begins anew each time."""
        return f"{self.group}.once"

    @property
    def tiles(self) -> str:
        """The topic of its tiles."""
        return f"{self.version}.tiles"

    @property
    def dead(self) -> dict[str, str]:
        """The topics of messages that are no events, by table."""
        return {name: f"{self._prefix}{_topic(name)}.dead" for name in self.sources.all_tables}

    @property
    def late(self) -> dict[str, str]:
        """The topics of events that came too late, by table."""
        return {name: f"{self._prefix}{_topic(name)}.late" for name in self.sources.all_tables}

    @property
    def posted(self) -> dict[str, str]:
        """The topics of what is posted, by table."""
        return {name: f"{self._prefix}{_topic(name)}.posted" for name in self.sources.tables}

    @property
    def enriched(self) -> dict[str, str]:
        """The topics of the rows of joins, by table: of another definition, or other columns, it is another topic."""
        return {table.name: f"{self._prefix}{_version(table)}.enriched" for table in self.sources.enriched}

    @property
    def given(self) -> list[str]:
        """The topics that others write."""
        return list(dict.fromkeys(topic for table in self.sources.tables.values() for topic in table.topics))

    @property
    def topics(self) -> list[str]:
        """All that is read."""
        return [*self.given, *self.posted.values(), *self.enriched.values()]

    @property
    def state(self) -> str:
        """Where its checkpoints lie, of all versions."""
        return f"{self.project.flink.state}/{self.name}"

    @property
    def saved(self) -> str:
        """The same of this one."""
        return f"{self.state}/{self.identity}"

    @property
    def folder(self) -> Path:
        """On this machine: logs, and what is told of it."""
        return self.project.root / EMBEDDED / "stream" / f"{_topic(self.project.key_prefix)}{self.name}.{self.identity}"

    @cached_property
    def tables(self) -> dict[str, StreamTable]:
        own = self.posted | self.enriched
        return {name: _stream_table(table, own[name]) for name, table in self.sources.all_tables.items()}

    def settings(self, restored: str | None = None, *, ends: bool = False) -> dict[str, str]:
        """Of the job; with the checkpoint or savepoint that it goes on from. One that `ends` has checkpoints of its
        own: who went on from these would end there too."""
        found = {
            **session(self.feeds, self.tables),
            **defaults(self.project.flink, self.version, self._once if ends else self.saved),
        }
        return found | ({"execution.state-recovery.path": restored} if restored else {})

    def statements(self, *, ends: bool = False) -> list[str]:
        """What the job is; with `ends` it reads what is there and ends."""
        return statements(
            self.feeds,
            self.tables,
            Settings(
                servers=self.project.brokers.servers,
                job=self.version,
                group=self.once_group if ends else self.group,
                tiles=self.tiles,
                dead=self.dead,
                late=self.late,
                client=settings_for_java(self.project.brokers),
                ends=ends,
                flush=self.project.flink.flush,
            ),
        )

    def newest_state(self) -> str | None:
        """The newest complete checkpoint or savepoint of this version; None where there is none."""
        return newest_state(self.saved, self.project.storage_options)

    def forget_state(self, job: str) -> None:
        """Deletes what jobs of this version left that ended before `job`, which has a checkpoint of its own by now."""
        system, path = _system(self.saved, self.project.storage_options)
        for place in system.ls(path, detail=False):
            if place.rstrip("/").rsplit("/", 1)[-1] != job:
                system.rm(place, recursive=True)

    def forget_once(self) -> None:
        """Deletes the checkpoints of jobs of this version that were to end."""
        system, path = _system(self._once, self.project.storage_options)
        if system.exists(path):
            system.rm(path, recursive=True)

    @property
    def _once(self) -> str:
        return f"{self.state}/once-{self.identity}"

    @property
    def _prefix(self) -> str:
        return job_prefix(self.project)


def job_lock_name(version: str) -> str:
    """Of the lock that whoever keeps a version of a job going has."""
    return f"job {version}"


def job_prefix(project: Project) -> str:
    """What the names of all jobs and topics of an environment begin with."""
    return f"zipline.{_topic(project.name)}.{_topic(project.environment)}."


def stream_job(project: Project, sources: EventSources) -> StreamJob:
    """The job of these sources; UsageError or ProjectError where it can be none."""
    if not project.brokers.servers:
        raise ProjectError(
            "a streaming job reads topics of Kafka, and the project has no brokers",
            hint='write [brokers] servers = "host:9092" in zipline.toml, or stream with --engine local',
        )
    if not sources.group_bys:
        raise UsageError("no online group-by sees these tables", valid=list(sources.tables))
    return StreamJob(project, sources)


def state_of(project: Project, version: str) -> str:
    """Where the checkpoints of a version lie."""
    name, _, identity = version.removeprefix(job_prefix(project)).rpartition(".")
    return f"{project.flink.state}/{name}/{identity}"


def forget_jobs(project: Project, versions: Sequence[str]) -> None:
    """Deletes what versions of jobs have left that will not be gone on with: their state and their tiles' topics."""
    if not versions:
        return
    for version in versions:
        system, path = _system(state_of(project, version), project.storage_options)
        if system.exists(path):
            system.rm(path, recursive=True)
    admin = Admin(project.brokers)
    try:
        admin.delete([f"{version}.tiles" for version in versions])
    finally:
        admin.close()


def newest_state(folder: str, options: Mapping[str, str] | None = None) -> str | None:
    """Of checkpoints and savepoints below a folder the newest that is complete: it has its `_metadata`."""
    system, path = _system(folder, options or {})
    found = [
        name for pattern in ("*/chk-*/_metadata", "savepoint-*/_metadata") for name in system.glob(f"{path}/{pattern}")
    ]
    if not found:
        return None
    newest = max(found, key=lambda name: (_modified(system, name), name))
    return str(system.unstrip_protocol(newest.removesuffix("/_metadata")))


def _system(folder: str, options: Mapping[str, str]) -> tuple[fsspec.AbstractFileSystem, str]:
    return fsspec.core.url_to_fs(folder, **(options if "://" in folder else {}))  # type: ignore[no-any-return]


def _modified(system: fsspec.AbstractFileSystem, name: str) -> float:
    return float(system.modified(name).timestamp())


def _stream_table(table: EventTable, posted: str) -> StreamTable:
    projections = [projection for _, projection in table.sources]
    envelopes = {
        (_column(p.mutation_time), _column(p.is_before))
        for source, p in table.sources
        if isinstance(source, EntitySource) and source.topic is not None and source.topic.format != "json"
    }
    return StreamTable(
        name=table.name,
        columns=table.intake.columns,
        read=frozenset[str]().union(*(projection.table_columns for projection in projections)),
        required=table.intake.required,
        topics=tuple(table.topics),
        posted=posted,
        time=table.time,
        clocks=table.clocks,
        lateness=table.lateness,
        envelope=next(iter(envelopes), None),
        computed=tuple(
            Computed(each.parts, reason, each.null is not None) for each, reason in table.intake.evaluation.computed
        ),
    )


def _column(expression: object) -> str:
    node = getattr(expression, "node", None)
    assert isinstance(node, Column), "an envelope fills plain columns"
    return node.name


def _version(table: EnrichedTable) -> str:
    """Of the rows of a join: its name, and the identity of what is told of it."""
    told = "\n".join([table.name, *(f"{name} {dtype}" for name, dtype in table.schema.items())])
    return f"{_topic(table.plan.name)}.{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _topic(name: str) -> str:
    """As part of a topic's name."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


__all__ = ["StreamJob", "forget_jobs", "job_lock_name", "job_prefix", "newest_state", "stream_job"]
