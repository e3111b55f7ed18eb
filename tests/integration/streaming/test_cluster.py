"""A streaming job on a cluster of JVMs that are there before it and stay after it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers.flink_cluster import Cluster, flink_cluster
from tests.integration.streaming.jobs import QUICK, bought, fetching, make_streamed, produce, status, streaming, until
from zipline.cli.main import execute
from zipline.project import Project

WITHIN = 180.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with flink_cluster() as started:
        yield started


def _project(folder: Path, servers: str, cluster: Cluster) -> Project:
    """Its events have no ids: one that is read twice counts twice, were it not for the job."""
    return make_streamed(folder, servers, with_ids=False, settings=f'{QUICK}cluster = "{cluster.address}"\n')


def _job(project: Project) -> str:
    return str(status(project)["report"]["id"])


def test_the_job_outlives_its_task_manager_and_the_process_that_follows_it(
    tmp_path: Path, kafka_servers: str, cluster: Cluster
) -> None:
    project = _project(tmp_path, kafka_servers, cluster)
    with fetching(project) as fetch:
        with streaming(project) as process:
            produce(project, [bought(number, "ann", 1.0) for number in range(10)])
            until(lambda: fetch("ann")["count_7d"] == 10, within=WITHIN)
            job = _job(project)
            assert cluster.states() == {job: "RUNNING"}
            cluster.kill_task_manager()
            produce(project, [bought(number, "ann", 1.0) for number in range(10)])
            cluster.start_task_manager()
            began = time.monotonic()
            until(lambda: fetch("ann")["count_7d"] == 20, within=WITHIN)
            print(f"right {time.monotonic() - began:.1f} s after the second TaskManager was there")
            assert _job(project) == job
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert cluster.states()[job] == "RUNNING"
        produce(project, [bought(1, "ann", 1.0), bought(2, "bob", 2.0)])
        with streaming(project):
            until(lambda: fetch("ann")["count_7d"] == 21 and fetch("bob")["sum_1d"] == 2.0, within=WITHIN)
            assert _job(project) == job
        assert cluster.states() == {job: "RUNNING"}
        with streaming(project):
            assert _job(project) == job
            assert execute(["stream", "stop", "--project", str(tmp_path)]) == 0
        assert fetch("ann")["sum_1d"] == 21.0


def test_a_stopped_job_goes_on_from_its_savepoint_and_a_forgotten_one_from_its_checkpoint(
    tmp_path: Path, kafka_servers: str, cluster: Cluster
) -> None:
    project = _project(tmp_path, kafka_servers, cluster)
    with fetching(project) as fetch:
        with streaming(project):
            produce(project, [bought(number, "ann", 1.0) for number in range(5)])
            until(lambda: fetch("ann")["count_7d"] == 5, within=WITHIN)
            first = _job(project)
            assert execute(["stream", "stop", "--project", str(tmp_path)]) == 0
        assert cluster.states()[first] == "FINISHED"
        assert len(list((tmp_path / ".zipline" / "flink").rglob("savepoint-*/_metadata"))) == 1
        produce(project, [bought(1, "ann", 1.0), bought(2, "bob", 2.0)])
        with streaming(project):
            until(lambda: fetch("ann")["count_7d"] == 6 and fetch("bob")["count_7d"] == 1, within=WITHIN)
            second = _job(project)
            assert cluster.states()[second] == "RUNNING"
            until(lambda: status(project)["report"]["checkpoint"] is not None)
            cluster.kill_job_manager()
            produce(project, [bought(3, "ann", 1.0)])
            until(lambda: bool(status(project)["report"]["troubles"]))
            cluster.start_job_manager()
            until(lambda: _job(project) != second, within=WITHIN)
            produce(project, [bought(4, "bob", 2.0)])
            until(lambda: fetch("bob")["count_7d"] == 2, within=WITHIN)
            assert fetch("ann")["sum_1d"] == 7.0
            assert cluster.states() == {_job(project): "RUNNING"}
            assert execute(["stream", "stop", "--project", str(tmp_path)]) == 0
