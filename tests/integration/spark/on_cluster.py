"""A driver of a cluster of separate processes, to be run as a program: backfills while executors die and tasks fail.

    python -m tests.integration.spark.on_cluster KILLED_PROJECT FAILED_PROJECT ARGUMENTS...

It runs `zipline ARGUMENTS --project ...` in each project and prints what it saw as JSON. What this module defines is
sent to executors by value; all else they must have from what was shipped.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from zipline.cli.main import execute
from zipline.engines.spark import run
from zipline.engines.spark.session import session_of
from zipline.engines.spark.writing import Writing
from zipline.project import load_project
from zipline.tables.storage import Storage

MARK = "failed-once"


class FailingOnce(Writing):
    """Of the first task that has written a file the first attempt fails after that."""

    def _write(self, storage: Storage, day: str, rows: pa.Table) -> tuple[str, str, int, int]:
        told = super()._write(storage, day, rows)
        try:
            os.close(os.open(f"{os.path.dirname(self.uri)}-{MARK}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return told
        raise OSError("this attempt was to fail")


class Killer(threading.Thread):
    """Kills one executor once the first tasks after the left rows are done and others are going on."""

    def __init__(self, spark: Any) -> None:
        super().__init__(daemon=True)
        self._tracker, self.over = spark.sparkContext.statusTracker(), threading.Event()
        self.killed: dict[str, int] = {}

    def run(self) -> None:
        while not self.over.wait(0.05):
            for stage in filter(None, map(self._tracker.getStageInfo, self._tracker.getActiveStageIds())):
                if stage.numTasks >= 8 and 1 <= stage.numCompletedTasks < stage.numTasks:
                    pid = executors()[0]
                    os.kill(pid, signal.SIGKILL)
                    self.killed = {"pid": pid, "done": stage.numCompletedTasks, "tasks": stage.numTasks}
                    return


def executors() -> list[int]:
    """The processes of executors, of those that this one has started."""
    return [pid for pid in below(os.getpid()) if b"CoarseGrainedExecutorBackend" in said(pid, "cmdline")]


def below(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in map(int, said(parent, f"task/{task.name}/children").split()):
            yield child
            yield from below(child)


def said(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def where(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import zipline

    for _ in batches:
        pass
    yield pa.record_batch({"file": [zipline.__file__], "pid": [str(os.getppid())]})


def main(killed_project: str, failed_project: str, *arguments: str) -> None:
    spark = session_of(load_project(killed_project))
    found = spark.range(0, 2, 1, 2).mapInArrow(where, "file STRING, pid STRING").toArrow()
    before, killer = executors(), Killer(spark)
    killer.start()
    codes = [execute([*arguments, "--project", killed_project])]
    killer.over.set()
    killer.join()
    run.Writing = FailingOnce  # type: ignore[misc]
    codes.append(execute([*arguments, "--project", failed_project]))
    facts = {"codes": codes, "files": found.column("file").to_pylist(), "executors": before, "killed": killer.killed}
    print(json.dumps(facts))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
