"""`zipline stream`: what it does, what it says, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events.shop import event, fetched, make_shop, stored
from tests.unit.cli.conftest import Ran
from zipline.cli.main import execute
from zipline.errors import EventError, TableError, UsageError
from zipline.orchestration.events.opening import open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.project import Project, load_project

ROOT = Path(__file__).parents[3]
EVENTS = [event(number, "ann", 1.0, f"2024-05-04T10:{number:02}:00Z") for number in range(10)]


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return make_shop(tmp_path / "shop")


@pytest.fixture
def zipline(shop: Project, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = execute([*arguments, "--project", str(shop.root)])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def written(path: Path, lines: list[Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_a_file_is_taken_in_once(zipline: Callable[..., Ran], shop: Project, tmp_path: Path) -> None:
    file = written(tmp_path / "events.jsonl", [*EVENTS, EVENTS[0], {"user": "ann"}])
    done = zipline("stream", "purchases", "--from", file, "--once", "--json")
    assert done.code == 0, done.err
    assert done.facts["tables"] == {
        "purchases": {
            "delivery": "exactly-once",
            "not_appended": "",
            "events": 11,
            "refused": 1,
            "late": 0,
            "appended": 10,
            "lost_before": None,
        }
    }
    assert done.facts["group_bys"] == {"shop.spending.spending": {"rows": 10, "repeated": 1, "failed": 0}}
    assert done.facts["troubles"] == {}
    again = zipline("stream", "purchases", "--from", file, "--once", "--json")
    assert (again.facts["tables"]["purchases"]["events"], again.facts["tables"]["purchases"]["appended"]) == (0, 0)
    assert zipline("upload", "shop.spending.spending", "--ds", "2024-05-04").code == 0
    assert fetched(shop, "ann", at="2024-05-05").rows()[0]["spending_amount_sum_1d"] == 10.0


def test_what_it_has_done_is_shown(zipline: Callable[..., Ran], tmp_path: Path) -> None:
    file = written(tmp_path / "events.jsonl", EVENTS)
    done = zipline("stream", "purchases", "--from", file, "--once", "--tiles-only")
    assert done.code == 0, done.err
    assert "purchases is in tiles only: as was asked" in done.out
    assert "shop.spending.spending" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("purchase", "--once"), 2, "did you mean 'purchases'"),
        (("visits", "--once"), 2, "there is no source, group-by or join 'visits' that takes events"),
        (("--from", "{file}", "--once"), 2, "a file holds the events of one source"),
        (("purchases", "--from", "nowhere.jsonl", "--once"), 2, "there is no file nowhere.jsonl"),
        (("--engine", "flink"), 2, "a streaming job reads topics of Kafka, and the project has no brokers"),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: tuple[str, ...], code: int, said: str, zipline: Callable[..., Ran], tmp_path: Path
) -> None:
    file = written(tmp_path / "events.jsonl", EVENTS)
    done = zipline("stream", *(each.replace("{file}", file) for each in arguments))
    assert done.code == code, (done.out, done.err)
    assert said in done.err
    assert "Traceback" not in done.err


def test_one_process_writes_the_tiles(zipline: Callable[..., Ran], shop: Project) -> None:
    with open_stream(shop):
        done = zipline("stream", "--once")
    assert done.code == 1
    assert "another process writes the tiles of shop.spending.spending@" in done.err
    assert f": process {os.getpid()} on " in done.err
    assert zipline("stream", "--once").code == 0


def test_a_table_that_cannot_be_appended_to_is_refused_and_may_have_tiles(shop: Project, tmp_path: Path) -> None:
    written(shop.root / "purchases.jsonl", [EVENTS[0] | {"ds": "2024-05-04"}])
    (shop.root / "zipline.toml").write_text('[tables.purchases]\npath = "purchases.jsonl"\n')
    project = load_project(shop.root)
    with pytest.raises(TableError, match="events cannot be appended to 'purchases'") as refused, open_stream(project):
        pass
    assert refused.value.next_command == "zipline stream purchases --tiles-only"
    with pytest.raises(TableError, match="cannot be appended"):
        EventLog(project).post("purchases", EVENTS)


def test_a_table_that_is_shared_with_another_environment_is_refused(shop: Project) -> None:
    (shop.root / "zipline.toml").write_text("[environments.dev]\n")
    project = load_project(shop.root, "dev")
    with pytest.raises(TableError, match="no Delta table that the environment 'dev' writes itself"):
        EventLog(project).post("purchases", EVENTS)
    posted = EventLog(project, tiles_only=True).post("purchases", EVENTS)
    assert (posted.accepted, posted.is_appended) == (10, False)
    done = execute(["upload", "shop.spending.spending", "--ds", "2024-05-03", "--project", str(shop.root)])
    assert done == 0
    assert len(stored(shop)) == 2


def test_what_is_posted_is_accepted_as_a_whole_or_not_at_all(shop: Project) -> None:
    log = EventLog(shop)
    assert log.sources == ("purchases",)
    assert log.post("purchases", []).accepted == 0
    with pytest.raises(EventError) as refused:
        log.post("purchases", [*EVENTS, {**EVENTS[0], "amount": "1"}])
    assert refused.value.path == "$.events[10].amount"
    with pytest.raises(UsageError, match="there is no source 'visits'"):
        log.post("visits", [])
    with open_stream(shop) as stream:
        assert stream.once().tables["purchases"].events == 0


def test_the_job_is_the_command(shop: Project, tmp_path: Path) -> None:
    file = written(tmp_path / "events.jsonl", EVENTS)
    job = [sys.executable, str(ROOT / "jobs" / "stream.py"), "purchases", "--from", file, "--once"]
    done = subprocess.run([*job, "--project", str(shop.root)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(stored(shop)) == 12
