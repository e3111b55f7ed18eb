"""`zipline apply` with jobs of Flink: a changed job is built beside the one that goes on, and takes over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.servers.flink_cluster import flink_cluster
from tests.integration.servers.kafka import delete_all
from tests.integration.streaming.jobs import QUICK, bought, fetching, make_streamed, produce, topic_of, until
from zipline.clock import now
from zipline.orchestration.streaming.status import Status, end_job, statuses
from zipline.project import Project, load_project

COUNTED = """
counted = GroupBy(
    keys=["user"],
    sources=[purchases],
    aggregations=[Aggregation("amount", Operation.MAX, windows=["1d"])],
    online=True,
)
"""


def apply(project: Project, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """In a process of its own, for this one has the store open."""
    command = [sys.executable, "-m", "zipline.cli.main", "apply", "--allow-missing", "--project", str(project.root)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def alive(project: Project) -> dict[str, Status]:
    return {name: status for name, status in statuses(project) if status.is_alive}


@contextmanager
def applied(folder: Path, servers: str, settings: str = "") -> Iterator[Project]:
    """A project of two group-bys of one topic, of which nothing is applied; its jobs end with the block."""
    made = make_streamed(folder, servers, settings='[stream]\nengine = "flink"\n' + QUICK + settings)
    file = folder / "configs" / "shop" / "spending.py"
    file.write_text(file.read_text() + COUNTED)
    visits = folder / "configs" / "shop" / "visits.py"
    text = visits.read_text().replace("import spending", "import counted, spending")
    visits.write_text(text.replace("[JoinPart(spending)]", "[JoinPart(spending), JoinPart(counted)]"))
    project = load_project(made.root)
    try:
        yield project
    finally:
        for name in alive(project):
            end_job(project, name, 120)


def change(project: Project, before: str, after: str) -> None:
    file = project.root / "configs" / "shop" / "spending.py"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def told(project: Project) -> Any:
    return json.loads(apply(project, "--json").stdout)


def test_a_changed_job_takes_over_from_the_one_that_goes_on(tmp_path: Path, kafka_servers: str) -> None:
    with applied(tmp_path, kafka_servers) as project:
        apply(project)
        (first,) = alive(project)
        produce(project, [bought(number, "ann", float(number)) for number in (2, 8)])
        with fetching(project) as fetch:
            until(lambda: fetch("ann")["sum_1h"] == 10.0)
            assert told(project)["done"] == []
        change(project, 'SUM, windows=["1h", "1d", "7d"]', 'SUM, windows=["1h", "3d"]')
        assert watched(project, lambda: apply(project)) == []
        assert list(alive(project)) != [first]
        assert len(alive(project)) == 1
        with fetching(project) as fetch:
            assert [fetch("ann")[name] for name in ("sum_1h", "sum_3d", "counted_amount_max_1d")] == [30.0, 30.0, 10.0]
            produce(project, [bought(20, "ann", 3.0), bought(21, "ann", 11.0)])
            until(lambda: fetch("ann")["sum_3d"] == 44.0 and fetch("ann")["counted_amount_max_1d"] == 11.0, within=180)
            (status,) = alive(project).values()
            os.kill(status.process.pid, signal.SIGKILL)
            until(lambda: not alive(project))
            produce(project, [bought(22, "ann", 20.0)])
            done = told(project)
            assert [job["starts"] for job in done["jobs"]] == [True]
            assert not done["exchanges"]
            until(lambda: fetch("ann")["sum_1h"] == 64.0 and fetch("ann")["counted_amount_max_1d"] == 20.0)
        change(project, "online=True", "online=False")
        (tmp_path / "configs" / "shop" / "visits.py").unlink()
        apply(project)
        assert alive(project) == {}


def test_jobs_on_a_cluster_are_brought_to_what_is_declared(tmp_path: Path, kafka_servers: str) -> None:
    with (
        flink_cluster() as cluster,
        applied(tmp_path, kafka_servers, f'cluster = "{cluster.address}"\n') as project,
    ):
        apply(project)
        ((first, state),) = cluster.states().items()
        assert state == "RUNNING"
        produce(project, [bought(number, "ann", float(number)) for number in (2, 8)])
        with fetching(project) as fetch:
            until(lambda: fetch("ann")["sum_1h"] == 10.0)
        (status,) = alive(project).values()
        os.kill(status.process.pid, signal.SIGKILL)
        until(lambda: not alive(project))
        apply(project)
        assert cluster.states() == {first: "RUNNING"}, "it is followed again"
        change(project, 'SUM, windows=["1h", "1d", "7d"]', 'SUM, windows=["1h", "3d"]')
        apply(project)
        states = cluster.states()
        assert (states.pop(first), list(states.values())) == ("FINISHED", ["RUNNING"])
        produce(project, [bought(9, "ann", 9.0)])
        with fetching(project) as fetch:
            until(lambda: fetch("ann")["sum_1h"] == 19.0 and fetch("ann")["sum_3d"] == 19.0)
        (status,) = alive(project).values()
        os.kill(status.process.pid, signal.SIGKILL)
        until(lambda: not alive(project))
        change(project, "online=True", "online=False")
        (tmp_path / "configs" / "shop" / "visits.py").unlink()
        assert "has ended on its cluster" in apply(project).stdout, "nobody here keeps it going"
        assert set(cluster.states().values()) == {"FINISHED"}


def test_where_the_engine_changes_tiles_are_made_anew_by_the_other(tmp_path: Path, kafka_servers: str) -> None:
    with applied(tmp_path, kafka_servers) as project:
        apply(project)
        produce(project, [bought(number, "ann", float(number)) for number in (2, 8)])
        for number, (engine, jobs) in enumerate([("flink", 1), ("local", 0), ("flink", 1)]):
            file = project.root / "zipline.toml"
            file.write_text(re.sub(r'engine = "\w+"', f'engine = "{engine}"', file.read_text()))
            done = told(load_project(project.root))
            assert len(alive(project)) == jobs
            assert done["fills"] == ([] if jobs else ["shop.spending.counted", "shop.spending.spending"])
            with fetching(project) as fetch:
                until(lambda: fetch("ann")["sum_1h"] == 10.0 + number)  # noqa: B023
                assert fetch("ann")["counted_amount_max_1d"] == 8.0
                assert fetch("ann")["status"] == "ok"
            produce(project, [bought(20 + number, "ann", 1.0)])


def watched(project: Project, work: Callable[[], None]) -> list[str]:
    """Does the work while events come; what a fetch has said meanwhile that is not so."""
    over, wrong = threading.Event(), []

    def look() -> None:
        with fetching(project) as fetch:
            produce(project, [bought(9, "ann", 9.0), bought(10, "ann", 1.0), bought(11, "ann", 10.0)])
            began = now()
            sums = {10.0, 19.0, 20.0, 30.0}
            while not over.wait(0.2):
                found = fetch("ann")
                if found["sum_1h"] not in sums:
                    wrong.append(f"{found['sum_1h']} after {(now() - began) / 1e6:.1f} s")
                if found["counted_amount_max_1d"] not in (8.0, 9.0, 10.0):
                    wrong.append(f"counted {found['counted_amount_max_1d']}")
            if found["sum_1h"] != 30.0:
                wrong.append(f"{found['sum_1h']} in the end")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        work()
    finally:
        over.set()
        looking.join()
    return wrong


def test_messages_that_are_gone_hold_up_the_new_version_and_not_what_is_served(
    tmp_path: Path, kafka_servers: str
) -> None:
    with applied(tmp_path, kafka_servers) as project:
        produce(project, [bought(number, "ann", float(number)) for number in (2, 8)])
        delete_all(kafka_servers, topic_of(project))
        produce(project, [bought(9, "ann", 1.0)])
        said = apply(project, code=2).stderr
        assert "would miss events: its upload ends at" in said
        assert "zipline apply --ds" in said
        assert alive(project) == {}
