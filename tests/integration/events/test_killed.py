"""A stream that is killed at any moment leaves the tiles and the table of one that never was."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lmdb
import pytest

from tests.integration.events.shop import event, make_shop, stored
from zipline.clock import DAY
from zipline.orchestration.events.journal import Journal
from zipline.orchestration.events.opening import open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import journal_of
from zipline.project import Project
from zipline.stores.tiles import POSITION, PROGRESS

ROOT = Path(__file__).parents[3]
FOLLOW = """
import os, signal, sys
from zipline.orchestration.events import appending, journal, stream
from zipline.orchestration.events.opening import open_stream
from zipline.project import load_project
from zipline.stores.lmdb import LmdbStore
from zipline.tables.appending import DeltaAppend

folder, moment, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
stream.APPENDED_EVERY, stream.PROGRESS_EVERY, appending.AT_ONCE = 0.02, 0.02, 7
journal.Journal.read.__defaults__ = (300,)


def killed_at(kind, name):
    write, calls = getattr(kind, name), []

    def counted(self, *arguments):
        calls.append(1)
        if (moment, len(calls)) == (f"before {name}", count):
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, *arguments)
        if (moment, len(calls)) == (f"after {name}", count):
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(kind, name, counted)


killed_at(LmdbStore, "put_tiles")
killed_at(DeltaAppend, "append")
with open_stream(load_project(folder)) as followed:
    print("follows", flush=True)
    followed.run()
"""
MOMENTS = ("before put_tiles", "after put_tiles", "before append", "after append", "some time")


def batches(draw: random.Random) -> list[list[dict[str, Any]]]:
    """Whole amounts, so that sums are equal to the bit; some events come twice."""
    found = []
    for number in range(400):
        hour, minute = draw.randrange(24), draw.randrange(60)
        at = f"2024-05-04T{hour:02}:{minute:02}:00Z"
        found.append(event(number, draw.choice(["ann", "bob", "eve"]), float(draw.randrange(1, 9)), at))
    found += draw.sample(found, 60)
    return [found[place : place + 3] for place in range(0, len(found), 3)]


def tiles(project: Project) -> dict[bytes, bytes]:
    """All tiles as they are stored; which ids were seen, without the day."""
    (folder,) = Path(project.online.url).glob("shop.spending.spending@*/tiles")
    environment = lmdb.open(str(folder), readonly=True, lock=False)
    with environment.begin() as transaction:
        found = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    environment.close()
    return {key: value for key, value in found.items() if key != PROGRESS and not key.startswith(POSITION)}


def post(project: Project, batches_: list[list[dict[str, Any]]]) -> None:
    log = EventLog(project)
    for batch in batches_:
        log.post("purchases", batch)


def follow_until_killed(project: Project, moment: str, draw: random.Random) -> None:
    command = [sys.executable, "-c", FOLLOW, str(project.root), moment, str(draw.randrange(1, 8))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "follows\n"
    if moment == "some time":
        time.sleep(draw.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize(("with_ids", "rows"), [(True, 402), (False, 462)])
def test_a_follower_that_is_killed_again_and_again_neither_loses_nor_repeats(
    with_ids: bool, rows: int, tmp_path: Path
) -> None:
    draw = random.Random(rows)
    posted = batches(draw)
    undisturbed = make_shop(tmp_path / "undisturbed", with_ids=with_ids)
    post(undisturbed, posted)
    with open_stream(undisturbed) as stream:
        stream.once()

    killed = make_shop(tmp_path / "killed", with_ids=with_ids)
    for part, moment in enumerate(MOMENTS):
        post(killed, posted[part :: len(MOMENTS)])
        follow_until_killed(killed, moment, draw)
    with open_stream(killed) as stream:
        stream.once()
    assert tiles(killed) == tiles(undisturbed)
    assert stored(killed) == stored(undisturbed)
    assert len(stored(killed)) == rows


def test_one_that_is_told_to_end_ends_and_has_appended_everything(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    post(project, batches(random.Random(7))[:20])
    command = [sys.executable, "-m", "zipline.cli.main", "stream", "--project", str(project.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "following purchases into 1 group-by, until Ctrl-C\n"
    process.send_signal(signal.SIGTERM)
    said, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, "")
    assert "exactly-once" in said
    assert len(stored(project)) == 62


def test_a_file_of_a_journal_is_deleted_once_it_is_appended_and_old(tmp_path: Path) -> None:
    import os

    from zipline.orchestration.events.opening import append_posted
    from zipline.plan.definitions import load
    from zipline.tables.catalog import open_catalog

    project = make_shop(tmp_path)
    journal: Journal = journal_of(project, "purchases")
    post(project, [[event(1, "ann", 1.0, "2024-05-04T10:00:00Z")]])
    first = next(journal.folder.glob("*.jsonl"))
    os.utime(first, (time.time() - 5 * DAY / 1e6,) * 2)
    post(project, [[event(2, "ann", 1.0, "2024-05-04T10:00:00Z")]])
    assert len(list(journal.folder.glob("*.jsonl"))) == 2, "a file of its own for each day"
    definitions, catalog = load(project.root / "configs"), open_catalog(project=project)
    assert append_posted(project, definitions, catalog, ["purchases"]) == {"purchases": 2}
    assert [path.name for path in journal.folder.glob("*.jsonl")] != [first.name]
    assert len(list(journal.folder.glob("*.jsonl"))) == 1
    with open_stream(project) as stream:
        assert stream.once().tables["purchases"].events == 1, "what is too old for tiles is passed over"
