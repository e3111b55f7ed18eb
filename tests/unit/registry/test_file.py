"""What is read and recorded without SQLAlchemy is what the registry gives and keeps."""

import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.registry.test_migrations import make_first_schema
from zipline.errors import RegistryError
from zipline.registry import Compiled, Measures, Outcome, finished_runs, open_registry, record_compilation
from zipline.registry.file import SCHEMA
from zipline.registry.migrations import NEWEST
from zipline.registry.recording import recorded


def finish(registry, subject, outcome=Outcome.DONE, **measured):
    run = registry.runs.start("backfill", subject, {"start": "2024-05-01", "größe": 1.5}, days=["2024-05-01"])
    measures = Measures(10, None, 300, 5 * 2**30, {"read": 1.25})
    registry.runs.finish(run, outcome, measures, 2.5, predicted={"rows": 9.0}, **measured)
    return run


def test_they_are_the_runs_that_the_registry_gives_newest_first(registry, url, clock):
    for subject in ("a", "b", "c"):
        finish(registry, subject)
        clock.forward(1)
    finish(registry, "d", Outcome.FAILED, error="no")
    registry.runs.start("backfill", "e", {})
    found = finished_runs(url)
    assert [run.subject for run in found] == ["c", "b", "a"]
    assert found == registry.runs.recent(outcomes=[Outcome.DONE])
    assert finished_runs(url, 2) == registry.runs.recent(outcomes=[Outcome.DONE], most=2)


def test_what_is_being_written_is_not_waited_for(registry, url):
    finish(registry, "a")
    writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE zipline_runs SET subject = 'z'")
    assert [run.subject for run in finished_runs(url)] == ["a"]
    writer.execute("COMMIT")
    assert [run.subject for run in finished_runs(url)] == ["z"]
    writer.close()


def test_of_a_registry_that_is_not_there_nothing_is_made(url, tmp_path):
    assert finished_runs(url) == ()
    assert list(tmp_path.iterdir()) == []


def test_the_schema_is_the_newest():
    assert SCHEMA == NEWEST


def test_an_older_registry_is_migrated_and_read(url):
    make_first_schema(url)
    found = finished_runs(url)
    with open_registry(url) as registry:
        assert found == registry.runs.recent(outcomes=[Outcome.DONE])
    assert [run.subject for run in found] == ["shop.visits"]


def test_a_newer_registry_and_a_damaged_one_are_refused(registry, url, new_url):
    with sqlite3.connect(url.removeprefix("sqlite:///")) as newer:
        newer.execute("INSERT INTO zipline_schema VALUES (99, 'zipline-features 9', 0)")
    newer.close()
    with pytest.raises(RegistryError, match="knows schemas up to"):
        finished_runs(url)
    Path(new_url.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 100)
    with pytest.raises(RegistryError, match="damaged"):
        finished_runs(new_url)


def test_nothing_heavy_is_imported(registry, url):
    finish(registry, "a")
    code = (
        "import sys; from zipline.registry import finished_runs, record_compilation; "
        f"record_compilation({url!r}, []); "
        f"print(len(finished_runs({url!r})), 'sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def compilation(rng):
    """Some of six definitions, each in one of a few states."""
    names = rng.sample("abcdef", rng.randrange(7))
    return [
        Compiled(
            name,
            rng.choice(["GroupBy", "Join"]),
            rng.choice("123") * 64,
            rng.choice(["{}", '{"größe": 1}']),
            rng.choice([None, "shop"]),
            rng.choice([None, "configs/shop.py:3"]),
            tuple(rng.sample(names, min(len(names), rng.randrange(3)))),
        )
        for name in names
    ]


def kept(registry):
    versions = [registry.versions.history(name) for name in "abcdef"]
    return versions, {name: registry.versions.consumers(name) for name in "abcdef"}


@pytest.mark.parametrize("seed", range(8))
def test_a_compilation_is_recorded_as_the_registry_does(new_url, url, clock, monkeypatch, seed):
    rng = random.Random(seed)
    monkeypatch.setattr("zipline.registry.file.now", clock)
    with open_registry(url, clock=clock) as ours, open_registry(new_url, clock=clock) as its:
        for _ in range(12):
            definitions = compilation(rng)
            assert record_compilation(url, definitions) == its.record(definitions)
            assert kept(ours) == kept(its)
            clock.forward(rng.randrange(2))


def test_the_first_compilation_makes_the_registry(url):
    assert record_compilation(url, [Compiled("a", "GroupBy", "1" * 64, "{}")]).created == ("a",)
    with open_registry(url) as registry:
        assert [version.name for version in registry.versions.active()] == ["a"]


def test_a_compilation_migrates_an_older_registry(url):
    make_first_schema(url)
    record_compilation(url, [Compiled("a", "GroupBy", "1" * 64, "{}")])
    with open_registry(url) as registry:
        assert [version.name for version in registry.versions.active()] == ["a"]


def test_a_compilation_waits_for_a_writer(registry, url):
    writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: (writer.execute("COMMIT"), writer.close()))
    timer.start()
    assert record_compilation(url, [Compiled("a", "GroupBy", "1" * 64, "{}")]).created == ("a",)
    timer.join()


def test_of_a_compilation_that_breaks_off_nothing_is_kept(registry, url, monkeypatch):
    def broken(statements, *args, **named):
        recorded(statements, *args, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr("zipline.registry.file.recorded", broken)
    with pytest.raises(KeyboardInterrupt):
        record_compilation(url, [Compiled("a", "GroupBy", "1" * 64, "{}")])
    assert registry.versions.active() == ()


def test_a_damaged_registry_takes_no_compilation(new_url):
    Path(new_url.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 100)
    with pytest.raises(RegistryError, match="damaged"):
        record_compilation(new_url, [])
