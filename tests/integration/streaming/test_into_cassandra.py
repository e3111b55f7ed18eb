"""A job's tiles in Cassandra, whose batches are not whole: what is read again is put again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.integration.servers.cassandra import LOGIN
from tests.integration.streaming.jobs import (
    QUICK,
    bought,
    fetching,
    make_streamed,
    produce,
    streaming,
    until,
    virtual_machines,
)


def test_events_are_in_the_next_fetch_once_though_job_and_writer_are_killed(
    tmp_path: Path,
    kafka_servers: str,
    cassandra_address: str,
) -> None:
    url = f"cassandra://{cassandra_address}/streamed?local_dc=datacenter1"
    login = "".join(f'{name} = "{value}"\n' for name, value in LOGIN.items())
    online = f'[online]\nstore = "cassandra"\nurl = "{url}"\n{login}'
    project = make_streamed(tmp_path, kafka_servers, settings=online + QUICK)
    with fetching(project) as fetch:
        with streaming(project) as process:
            produce(project, [bought(number, "ann", 1.0) for number in range(4)])
            until(lambda: fetch("ann")["count_7d"] == 4)
            (java,) = virtual_machines(process.pid)
            os.kill(java, signal.SIGKILL)
            produce(project, [bought(number, "ann", 1.0) for number in range(2, 8)])
            until(lambda: fetch("ann")["count_7d"] == 8, within=180)
            process.kill()
        with streaming(project):
            produce(project, [bought(9, "ann", 1.0), bought(10, "bobo", 2.0)])
            until(lambda: (fetch("ann")["count_7d"], fetch("bobo")["sum_7d"]) == (9, 2.0))
            until(lambda: fetch("ann")["status"] == "ok")
