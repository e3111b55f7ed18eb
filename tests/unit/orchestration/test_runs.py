"""A recorded run: its lock, its outcome however it ends, and what it took."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from zipline.engines.contract import Report, Result
from zipline.errors import DataError, LockedError, LockLostError
from zipline.orchestration.runs import recorded_run
from zipline.registry import Outcome, open_registry

ROOT = Path(__file__).parents[3]
MEGABYTE = 2**20
RUN = """
import sys, time
from zipline.orchestration.runs import recorded_run
from zipline.registry import open_registry
with open_registry(sys.argv[1]) as registry:
    with recorded_run(registry, "backfill", {}, subject="shop.visits", output="table") as run:
        run.count(rows=7)
        print("running", flush=True)
        while True:  # a signal just before a call that blocks is seen only after it
            time.sleep(0.01)
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def registry(url):
    with open_registry(url) as opened:
        yield opened


def run_of(registry, **given):
    return recorded_run(registry, "backfill", {"force": True}, subject="shop.visits", output="table", **given)


def newest(registry):
    return registry.runs.recent(most=1)[0]


def test_a_run_that_ends_is_done_with_all_it_counted(registry):
    with run_of(registry, fingerprint="f" * 64, days=["2024-05-01", "2024-05-02"]) as run:
        assert newest(registry).outcome is Outcome.RUNNING
        run.count(rows=5, bytes_read=100)
        run.count(rows=2, bytes_written=30)
        with run.step("read"):
            time.sleep(0.02)
        run.expect({"rows": 8.0, "seconds": 1.5})
        run.add_step_seconds({"read": 1.0, "aggregate": 2.0})
        time.sleep(0.02)
    found = newest(registry)
    assert (found.outcome, found.error) == (Outcome.DONE, None)
    assert found.predicted == {"rows": 8.0, "seconds": 1.5}
    assert (found.what, found.subject, found.arguments, found.days) == ("backfill", "shop.visits", {"force": True}, 2)
    assert (found.measures.rows, found.measures.bytes_read, found.measures.bytes_written) == (7, 100, 30)
    assert 1.02 <= found.measures.step_seconds["read"] < 60
    assert found.measures.step_seconds["aggregate"] == 2.0
    assert 0.04 <= found.seconds < 60
    assert found.ended >= found.started
    assert registry.locks.held() == ()


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [
        (
            DataError("two rows have one id", hint="mend them"),
            Outcome.FAILED,
            "two rows have one id\n  hint: mend them",
        ),
        (ZeroDivisionError("division by zero"), Outcome.FAILED, "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), Outcome.STOPPED, "KeyboardInterrupt: "),
        (LockLostError("another has it"), Outcome.LOST, "another has it"),
    ],
)
def test_a_run_that_fails_says_how_and_gives_its_lock_back(registry, error, outcome, text):
    def fail():
        with run_of(registry) as run:
            run.count(rows=3)
            raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    found = newest(registry)
    assert (found.outcome, found.error, found.measures.rows) == (outcome, text, 3)
    assert registry.locks.held() == ()


def test_what_the_steps_of_an_engine_took_is_added_up(registry):
    def engine(first, *, last):
        return Result(pa.table({"days": [first, last]}), Report(seconds={"read left": 1.0, "derive": 0.5}))

    with run_of(registry) as run:
        counting = run.counting(engine)
        assert counting("2024-05-01", last="2024-05-02").table.to_pydict() == {"days": ["2024-05-01", "2024-05-02"]}
        counting("2024-05-03", last="2024-05-04")
    assert newest(registry).measures.step_seconds == {"read left": 2.0, "derive": 1.0}


def test_a_second_run_of_one_output_is_refused_and_not_recorded(registry):
    with run_of(registry):
        with pytest.raises(LockedError, match=r"zipline backfill shop\.visits"), run_of(registry):
            pass
        with recorded_run(registry, "backfill", {}, subject="shop.other"):
            pass
    assert [run.subject for run in registry.runs.recent()] == ["shop.other", "shop.visits"]


def test_the_peak_of_memory_is_of_the_run_and_not_of_what_was_before(registry):
    before = bytearray(300 * MEGABYTE)
    del before
    with run_of(registry):
        during = bytearray(120 * MEGABYTE)
        del during
    with run_of(registry):
        pass
    little, much = (run.measures.peak_bytes for run in registry.runs.recent())
    assert 110 * MEGABYTE < much - little < 140 * MEGABYTE


def test_a_failure_that_cannot_be_recorded_stays_the_failure_and_says_so(registry, tmp_path):
    def fail():
        with run_of(registry):
            shutil.rmtree(tmp_path)
            raise DataError("two rows have one id")

    with pytest.raises(DataError) as raised:
        fail()
    assert "outcome could not be recorded" in raised.value.__notes__[0]
    assert "lock could not be given back" in raised.value.__notes__[1]


@pytest.fixture
def other(registry, url):
    """A run in a process of its own, which waits."""
    command = [sys.executable, "-c", RUN, url]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_run_is_lost_at_once_and_the_next_goes_on(registry, other):
    assert newest(registry).outcome is Outcome.RUNNING
    other.kill()
    other.wait(60)
    assert newest(registry).outcome is Outcome.LOST
    with run_of(registry) as run:
        assert run.token == 2
    assert [each.outcome for each in registry.runs.recent()] == [Outcome.DONE, Outcome.LOST]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_is_stopped_and_gives_its_lock_back(registry, other, number):
    other.send_signal(number)
    assert other.wait(60) != 0
    found = newest(registry)
    assert (found.outcome, found.measures.rows) == (Outcome.STOPPED, 7)
    assert registry.locks.held() == ()
