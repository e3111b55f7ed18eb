"""Locks: at most one holder, whatever happens to its process. The processes here are real."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zipline.errors import LockedError, LockLostError
from zipline.registry import open_registry

CONTENDER = [sys.executable, "-m", "tests.unit.registry.contender"]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def contend(url):
    """Starts processes that want the lock `table`; what is left of them at the end is killed."""
    started = []

    def start(mode, *arguments):
        command = [*CONTENDER, mode, url, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def said(process):
    return process.stdout.readline().strip()


def awaited(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_lock_is_refused_to_a_second_run_which_is_told_who_has_it(registry, clock):
    with registry.locks.acquire("s3://lake/visits", "zipline backfill shop.visits"):
        clock.forward(90)
        with pytest.raises(LockedError) as refused:
            registry.locks.acquire("s3://lake/visits", "zipline backfill shop.visits")
    error = refused.value
    assert error.subject == "s3://lake/visits"
    assert "zipline backfill shop.visits, process" in error.what
    assert f"process {os.getpid()} on" in error.what
    assert "since 2024-05-01T12:00:00Z, last sign of life 90 s ago" in error.what
    assert f"kill {os.getpid()}" in error.hint
    assert error.next_command == "zipline doctor"


def test_locks_of_other_names_do_not_matter(registry):
    with registry.locks.acquire("one", "a"), registry.locks.acquire("two", "b"):
        assert [holder.name for holder in registry.locks.held()] == ["one", "two"]


def test_a_lock_given_back_is_free_at_once_and_the_token_grows(registry):
    tokens = []
    for _ in range(3):
        with registry.locks.acquire("table", "a") as lock:
            tokens.append(lock.token)
    assert tokens == [1, 2, 3]
    assert registry.locks.holder("table") is None


def test_a_lock_is_given_back_when_its_run_fails(registry):
    with pytest.raises(ZeroDivisionError), registry.locks.acquire("table", "a"):
        _ = 1 / 0
    assert registry.locks.held() == ()


def test_a_lease_that_is_over_can_be_taken_and_its_holder_notices(registry, clock):
    first = registry.locks.acquire("table", "first", lease=60)
    clock.forward(59)
    with pytest.raises(LockedError):
        registry.locks.acquire("table", "second", lease=60)
    clock.forward(1)
    second = registry.locks.acquire("table", "second", lease=60)
    with pytest.raises(LockLostError, match="longer than its lease of 60 s"):
        first.check()
    first.release()
    second.check()
    assert registry.locks.holder("table").what == "second"
    second.release()
    with pytest.raises(LockLostError):
        second.check()


def test_a_holder_whose_lease_is_over_goes_on_where_nobody_took_it(registry, clock):
    with registry.locks.acquire("table", "first", lease=60) as lock:
        clock.forward(100)
        lock.check()
        clock.forward(59)
        with pytest.raises(LockedError):
            registry.locks.acquire("table", "second")


def test_a_holder_of_another_machine_is_known_to_be_dead_only_by_its_lease(registry, clock, monkeypatch):
    monkeypatch.setattr("zipline.registry.process._machine", lambda: "another boot")
    lock = registry.locks.acquire("table", "first", lease=60)
    monkeypatch.undo()
    with pytest.raises(LockedError, match="wait until it ends, or stop it there") as refused:
        registry.locks.acquire("table", "second")
    assert "it is free 61 s from now" in refused.value.hint
    clock.forward(61)
    registry.locks.acquire("table", "second").release()
    lock.release()


def test_a_process_number_given_away_again_is_not_its_former_owner(registry, monkeypatch):
    monkeypatch.setattr("zipline.registry.process._started", lambda pid: 12345)
    lock = registry.locks.acquire("table", "first")
    monkeypatch.undo()
    assert not registry.locks.holder("table").is_alive
    registry.locks.acquire("table", "second").release()
    lock.release()


def test_a_living_holder_keeps_its_lease_by_itself(contend, url):
    holder = contend("hold", 6)
    assert said(holder) == "held 1"
    time.sleep(7)
    with open_registry(url) as registry, pytest.raises(LockedError):
        registry.locks.acquire("table", "second")
    print(file=holder.stdin, flush=True)
    assert said(holder) == "still held"
    assert holder.wait(60) == 0


def test_the_lock_of_a_killed_holder_is_free_at_once(contend, url):
    holder = contend("hold", 600)
    assert said(holder) == "held 1"
    with open_registry(url) as registry:
        with pytest.raises(LockedError, match=f"process {holder.pid} on"):
            registry.locks.acquire("table", "second")
        holder.kill()
        assert awaited(lambda: not registry.locks.holder("table").is_alive)
        with registry.locks.acquire("table", "second") as lock:
            assert lock.token == 2


def test_a_paused_holder_that_wakes_up_after_its_lease_publishes_nothing(contend, url):
    holder = contend("hold", 2)
    assert said(holder) == "held 1"
    holder.send_signal(signal.SIGSTOP)
    with open_registry(url) as registry:
        assert registry.locks.holder("table").process.pid == holder.pid
        assert awaited(lambda: not registry.locks.holder("table").is_alive)
        with registry.locks.acquire("table", "second") as lock:
            holder.send_signal(signal.SIGCONT)
            print(file=holder.stdin, flush=True)
            assert said(holder) == "lost"
            lock.check()
            assert registry.locks.holder("table").token == lock.token == 2


def test_at_most_one_holder_at_any_time_while_processes_are_killed(contend, tmp_path):
    """Each holder takes a kernel's lock on a file, which nobody else may have, and writes down its token."""
    inside, journal = tmp_path / "inside", tmp_path / "journal"
    arguments = ("contend", 600, inside, journal)
    processes = [contend(*arguments) for _ in range(3)]
    assert all(said(process) == "ready" for process in processes)
    lines = 0
    for kill in range(4):
        assert awaited(lambda seen=lines: count_lines(journal) > seen + 3)
        lines = count_lines(journal)
        processes[kill % 3].kill()
        processes[kill % 3] = contend(*arguments)
    # On a busy machine one process may have the lock many times before another gets to ask for it.
    assert awaited(lambda: count_lines(journal) > lines + 10 and len(holders(journal)) > 3)
    for process in processes:
        process.kill()
        process.wait()
    entries = [line.split() for line in journal.read_text().splitlines()]
    assert {what for what, *_ in entries} == {"published"}
    tokens = [int(token) for _, token, _ in entries]
    assert tokens == sorted(set(tokens))


def holders(journal):
    return {line.split()[-1] for line in journal.read_text().splitlines()}


def count_lines(path):
    return path.read_text().count("\n") if path.exists() else 0
